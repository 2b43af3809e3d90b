"""Task 4, the bug zoo: runs that go through without a complaint, told by their bytes."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import one_name_for_all

HEALTHY = "healthy"
BASE = "the base takes gradients"
GRAPH = "graphs are retained"
STILL = "the layers get no gradient"
OFF = "checkpointing is off"
SPECIMENS = [HEALTHY, BASE, GRAPH, STILL, OFF]


def specimen(generator: np.random.Generator, bug: str, checkpointing: bool = True) -> dict:
    """The record of one run with one bug (or none)."""
    layers, trained = int(generator.integers(3, 9)), 64 * int(generator.integers(400, 4000))
    base = trained * int(generator.integers(15, 90))
    lying = 4 * base + 16 * trained
    layer_inputs = layers * int(lying * generator.uniform(0.3, 0.9) / layers)
    without = layer_inputs * int(generator.integers(6, 20))
    kept = layer_inputs if checkpointing and bug != OFF else without
    moved = {
        f"layers.{n}.q_proj.lora_B": float(generator.uniform(0.01, 0.1)) for n in range(layers)
    }
    moved["norm.weight"] = float(generator.uniform(0.01, 0.1))
    if bug == STILL:
        moved |= {name: 0.0 for name in moved if "lora_B" in name}
    grown = kept if bug == GRAPH else 0
    noise = lying // 4000 * up_and_down(generator, steps=7)
    return {
        "trained": trained,
        "gradients": 4 * (trained + (base if bug == BASE else 0)),
        "checkpointing": checkpointing,
        "layer_inputs": layer_inputs,
        "all_activations": without,
        "activations": kept,
        "after_each_step": [int(lying + n + step * grown) for step, n in enumerate(noise)],
        "moved": moved,
    }


def up_and_down(generator: np.random.Generator, steps: int) -> np.ndarray:
    """Small whole numbers that rise and fall, and end higher than they began."""
    while True:
        noise = generator.permutation(steps) - steps // 2
        changes = np.diff(noise)
        if noise[-1] > noise[0] and (changes < 0).any():
            return noise


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, and healthy runs without checkpointing, in a random order."""
    runs = [(str(bug), True) for bug in SPECIMENS * 2]
    runs += [(HEALTHY, False), (HEALTHY, False), (GRAPH, False), (BASE, False)]
    return [[specimen(generator, *runs[n])] for n in generator.permutation(len(runs))]


def diagnose(run: dict, blind_to: str | None = None, **wrong) -> str:
    """What is wrong with the run; a wrong answer is blind to some bug or sees one too many."""
    after = run["after_each_step"]
    grows = all(b > a for a, b in zip(after, after[1:], strict=False))
    if "any_growth" in wrong:
        grows = after[-1] > after[0]
    moved = [size for name, size in run["moved"].items() if "lora_B" in name]
    asked = run["checkpointing"] or "always_asked" in wrong
    signs = {
        BASE: run["gradients"] > wrong.get("each", 4) * run["trained"],
        GRAPH: grows,
        STILL: not any(moved),
        OFF: asked and run["activations"] > run["layer_inputs"],
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            lambda run: HEALTHY,
            "You call every run healthy. None of them raises an error: the bytes tell.",
        ),
        Misconception(
            partial(diagnose, any_growth=True),
            "You take any difference between first and last for growth. Bytes go up and down a "
            "little from step to step; a retained graph adds to them at every step.",
        ),
        Misconception(
            partial(diagnose, always_asked=True),
            "You call a run ill that never asked for checkpointing. It keeps all activations, as "
            "it should.",
        ),
        Misconception(
            lambda run: diagnose(run, blind_to=STILL),
            "You miss the run whose layers get no gradient. Look at `moved`, and at the B alone: the "
            "norm lies outside the layers and learns all the same.",
        ),
        Misconception(
            partial(diagnose, each=2),
            "You expect gradients of 2 bytes each. The adapter is in fp32, so a healthy run has 4 "
            "bytes of gradients for each trained number.",
        ),
        Misconception(
            lambda run: diagnose(run, blind_to=BASE),
            "You miss the base that takes gradients. Compare `gradients` with 4 bytes for each "
            "trained number.",
        ),
        Misconception(
            lambda run: diagnose(run, blind_to=GRAPH),
            "You miss the retained graphs. What lies in memory after each step should be the same "
            "up to a little noise.",
        ),
        Misconception(
            lambda run: diagnose(run, blind_to=OFF),
            "You miss the run that asked for checkpointing and did not get it. It should keep the "
            "layers' inputs alone.",
        ),
    ],
    why="A prediction for each row turns a silent mistake into a wrong number. Three steps are "
    "enough to see all four of these.",
)
