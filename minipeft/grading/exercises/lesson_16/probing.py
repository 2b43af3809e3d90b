"""Task 5a: a linear probe, trained by gradient descent on frozen features."""

from collections.abc import Callable

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import head_seen
from .attending import softmax
from .tokens import normal


def cases(generator: np.random.Generator) -> Cases:
    """One step, a few, and more classes than two; class 0 has the most images."""
    found = []
    for count, d, classes, steps in [(6, 3, 2, 1), (8, 4, 3, 4), (12, 5, 4, 9)]:
        uneven = np.arange(count) % classes * (np.arange(count) >= count // 3)
        labels = generator.permutation(uneven).astype(np.int64)
        rate = float(generator.uniform(0.3, 0.8))
        found.append([normal(generator, count, d), labels, classes, rate, steps])
    return found


def cross_entropy_error(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The gradient of an image's cross entropy at its logits: softmax - one-hot."""
    return softmax(logits) - wanted


def softmax_twice(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The same where the logits go through a softmax before the loss takes another."""
    once = softmax(logits)
    error = softmax(once) - wanted
    return once * (error - (error * once).sum(-1, keepdims=True))


def train_head(
    features,
    labels,
    classes,
    rate,
    steps,
    step: Callable = lambda error, count, classes: error / count,
    with_bias: bool = True,
    error_of: Callable = cross_entropy_error,
):
    """(weight (classes, d), bias (classes,)) after gradient descent from zero."""
    features = np.asarray(features, np.float64)
    weight, bias = np.zeros((classes, features.shape[1])), np.zeros(classes)
    for _ in range(steps):
        logits = features @ weight.T + bias  # (count, classes)
        error = error_of(logits, np.eye(classes)[labels])
        move = rate * step(error, len(labels), classes)
        weight, bias = weight - move.T @ features, bias - with_bias * move.sum(0)
    return weight, bias


def mistake(**options) -> Callable:
    """The training with something else in it."""
    return lambda *given: train_head(*given, **options)


TRAIN_HEAD = Task(
    name="train_head",
    title="5a. Train a linear probe",
    points=3,
    cases=cases,
    answer=lambda features, labels, classes, rate, steps: train_head(
        features, labels, classes, rate, steps
    ),
    observe=head_seen,
    tolerance=1e-3,
    parts=by_case("one step, two classes", "four steps", "nine steps, four classes"),
    misconceptions=[
        Misconception(
            mistake(step=lambda error, count, classes: error),
            "You add the losses of all images. Asked for is their mean.",
        ),
        Misconception(
            mistake(step=lambda error, count, classes: error / count / classes),
            "You divide by the number of classes as well. The loss of an image is one number, and "
            "the mean runs over images.",
        ),
        Misconception(
            mistake(step=lambda error, count, classes: -error / count),
            "You climb: the loss grows. Move against the gradient.",
        ),
        Misconception(
            mistake(with_bias=False),
            "Your bias stays at zero. The head has two tensors, and both are trained.",
        ),
        Misconception(
            mistake(error_of=lambda logits, wanted: logits - wanted),
            "You compare the logits with the labels. Cross entropy compares their softmax.",
        ),
        Misconception(
            mistake(error_of=softmax_twice),
            "You take the softmax twice. `cross_entropy` of PyTorch takes logits.",
        ),
    ],
    why="The gradient of the mean cross entropy is (softmax - one-hot) / count at the logits. The "
    "features never change, so they can be computed once: no method is cheaper to train.",
)
