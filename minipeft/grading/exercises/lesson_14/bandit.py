"""Task 5: the policy gradient of REINFORCE, for a policy that is one matrix.

R. J. Williams 1992, Machine Learning 8. The loss is -mean((R_i - mean R) log pi(a_i | x_i)).
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case

SHAPES = [(6, 5, 3), (9, 4, 5), (5, 6, 4)]  # episodes, inputs, actions


def gradient_cases(generator: np.random.Generator) -> Cases:
    """Rewards of 0 and 1, any rewards, and rewards that are all equal."""
    found = []
    for (n, d_in, d_out), kind in zip(SHAPES, ("yes or no", "any", "equal"), strict=True):
        W, X = generator.normal(size=(d_out, d_in)), generator.normal(size=(n, d_in))
        greedy = (X @ W.T).argmax(axis=1)
        actions = np.where(generator.permutation(n) < n // 2, greedy, (greedy + 1) % d_out)
        rewards = {
            "yes or no": generator.permutation(np.arange(n) < 2),
            "any": generator.normal(size=n) + 1,
            "equal": np.full(n, generator.uniform(0.5, 2)),
        }[kind]
        found.append([W.astype("f4"), X.astype("f4"), actions, rewards.astype("f4")])
    return found


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities of the actions, one row an episode."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def minus_mean(rewards: np.ndarray) -> np.ndarray:
    """How much better than the average an episode went."""
    return rewards - rewards.mean()


def gradient(
    W,
    X,
    actions,
    rewards,
    advantage: Callable = minus_mean,
    sign=-1,
    mean=True,
    score: Callable = lambda P, taken: taken - P,
):
    """sign times the mean of advantage * (taken - P) x^T; the mistakes leave something out."""
    W, X, rewards = (np.asarray(part, np.float64) for part in (W, X, rewards))
    P = softmax(X @ W.T)
    scores = score(P, np.eye(len(W))[actions])
    return sign * (advantage(rewards)[:, None] * scores).T @ X / (len(X) if mean else 1)


def of_the_greedy(W, X, actions, rewards):
    """As if in each episode the likeliest action had been taken."""
    return gradient(W, X, (X @ W.T).argmax(axis=1), rewards)


GRADIENT = Task(
    name="policy_gradient",
    title="5a. A gradient from rewards",
    points=2,
    cases=gradient_cases,
    answer=gradient,
    tolerance=1e-3,
    parts=by_case("rewards of 0 and 1", "any rewards", "equal rewards"),
    trivial=[lambda W, X, actions, rewards: 0 * W],
    misconceptions=[
        Misconception(
            partial(gradient, sign=1),
            "The sign is turned: this is the direction in which the reward grows. Asked for is the "
            "gradient of the loss, which is the negative.",
        ),
        Misconception(
            partial(gradient, advantage=lambda rewards: rewards),
            "The mean reward is not subtracted. Without it every action that was taken gets "
            "likelier, the worst one too, wherever rewards are positive.",
        ),
        Misconception(
            partial(gradient, mean=False),
            "You added the episodes up. The loss is their mean.",
        ),
        Misconception(
            partial(gradient, score=lambda P, taken: taken),
            "The softmax is missing: log pi(a) is the logit of a minus the log of the sum over all "
            "actions, and that sum has a gradient, too.",
        ),
        Misconception(
            partial(gradient, score=lambda P, taken: taken * (1 - P)),
            "Only the row of the action that was taken has a gradient here. The other actions get "
            "less likely where this one gets likelier.",
        ),
        Misconception(
            partial(
                gradient,
                score=lambda P, taken: (taken - P) * (P * taken).sum(axis=1, keepdims=True),
            ),
            "This is the gradient of pi, not of log pi. Actions that are sampled often are counted "
            "often already.",
        ),
        Misconception(
            partial(
                gradient,
                advantage=lambda rewards: minus_mean(rewards) / (rewards.std() + 1e-6),
            ),
            "You divided by the standard deviation of the rewards, as GRPO does. The loss here "
            "only subtracts the mean.",
        ),
        Misconception(
            of_the_greedy,
            "You took the likeliest action of each episode. The reward belongs to the action that "
            "was taken, `actions`.",
        ),
        Misconception(
            lambda W, X, actions, rewards: gradient(W, X, actions, rewards).T,
            "Your gradient is transposed. It has the shape of W, (d_out, d_in).",
        ),
    ],
    why="Each episode adds (advantage) times (what was taken minus what was likely) x^T, a matrix "
    "of rank 1. If all rewards are equal, nothing was learned and the gradient is zero.",
)
