"""Task 5, the bug zoo: QLoRA trainings that run without a complaint, told by what they leave.

Each specimen is a record of the first training step of one small model with a new classifier.
"""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, one_name_for_all
from .layer import normal
from .nf4 import BLOCK, LEVELS, four_bits, in_blocks

HEALTHY = "healthy"
LORA_FIRST = "LoRA attached before quantizing"
NO_GRADIENT = "no gradient reaches the adapter"
NOT_FROZEN = "base not frozen"
MISREAD = "constants read wrongly"
DENSE = "a dense weight waits for the backward pass"
SPECIMENS = [HEALTHY, LORA_FIRST, NO_GRADIENT, NOT_FROZEN, MISREAD, DENSE]
LAYER = "layers.0.q_proj"
LORA = [f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"]
HEAD = "classifier.weight"


def stored_as(generator: np.random.Generator, weight: np.ndarray, bug: str) -> np.ndarray:
    """What the layer multiplies with: the weight after NF4, or codes times the wrong constants."""
    if bug != MISREAD:
        return four_bits(weight)
    scaled, absmax = in_blocks(weight)
    levels = LEVELS[np.abs(scaled[..., None] - LEVELS).argmin(-1)]
    as_bytes = generator.integers(1, 256, absmax.shape)  # the codes of a second quantization
    without_mean = absmax - absmax.mean()
    return (levels * (as_bytes if generator.random() < 0.5 else without_mean)).reshape(weight.shape)


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one training step with one bug (or none)."""
    d_in, d_out, r, batch = BLOCK * int(generator.integers(4, 8)), 12, 3, 5
    weight = normal(generator, d_out, d_in)
    trained = [HEAD] if bug == LORA_FIRST else [*LORA, HEAD]
    if bug == NOT_FROZEN:
        trained.append(str(generator.choice(["layers.0.norm.weight", "embed_tokens.weight"])))
    gradients = {name: float(generator.uniform(0.1, 2)) for name in trained}
    if LORA[0] in gradients:
        gradients[LORA[0]] = 0.0  # B is zero at the first step, so A's gradient is
    if bug == NO_GRADIENT:
        gradients[LORA[1]] = 0.0
    four = [LAYER, *([f"{LAYER}.lora_A", f"{LAYER}.lora_B"] if bug == LORA_FIRST else [])]
    waiting = [[batch, d_in], [batch, r], [batch, d_out]]
    if bug == DENSE:
        waiting.insert(int(generator.integers(0, 4)), [d_out, d_in])
    return {
        "weight": weight,
        "stored": stored_as(generator, weight.astype(np.float64), bug).astype(np.float32),
        "in_4bit": four,
        "trained": [str(name) for name in generator.permutation(trained)],
        "gradients": gradients,
        "waiting": waiting,
    }


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def distance(record: dict) -> float:
    """||stored - weight|| / ||weight||: 0.07 for NF4 in blocks of 8, more than 0.2 when misread."""
    return float(
        np.linalg.norm(record["stored"] - record["weight"]) / np.linalg.norm(record["weight"])
    )


def diagnose(record: dict, blind_to: str | None = None, **signs: bool) -> str:
    """What is wrong with the training; a wrong answer misses some bug, or sees one too many."""
    of_lora = [norm for name, norm in record["gradients"].items() if "lora_" in name]
    found = {
        LORA_FIRST: any("lora_" in name for name in record["in_4bit"]),
        NOT_FROZEN: any("lora_" not in n and "classifier" not in n for n in record["trained"]),
        NO_GRADIENT: bool(of_lora) and not any(of_lora),
        MISREAD: distance(record) > 0.15,
        DENSE: list(record["weight"].shape) in [list(shape) for shape in record["waiting"]],
    } | signs
    return next((bug for bug, sign in found.items() if sign and bug != blind_to), HEALTHY)


def any_zero_gradient(record: dict) -> str:
    """Takes A's zero gradient at the first step for a gradient that does not come through."""
    zero = any(norm == 0 for norm in record["gradients"].values())
    return diagnose(record, **{NO_GRADIENT: zero})


def any_difference(record: dict) -> str:
    """Takes the error of quantization for wrong constants."""
    return diagnose(record, **{MISREAD: True})


def only_the_adapter(record: dict) -> str:
    """Takes the classifier, which is trained on purpose, for a base that is not frozen."""
    others = any("lora_" not in name for name in record["trained"])
    return diagnose(record, **{NOT_FROZEN: others})


def anything_waits(record: dict) -> str:
    """Takes every tensor that waits for a dense weight."""
    return diagnose(record, **{DENSE: True})


DIAGNOSE = Task(
    name="diagnose",
    title="5. The bug zoo",
    points=3,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every specimen healthy. None of them raises an error: the record tells.",
        ),
        Misconception(
            any_zero_gradient,
            "A zero gradient of A alone is healthy at the first step: its factor B is still zero. "
            "The bug is that B gets none, either.",
        ),
        Misconception(
            any_difference,
            "`stored` always differs from `weight`: four bits round. NF4 moves a weight by less "
            "than a tenth of its norm here; wrong constants by much more.",
        ),
        Misconception(
            only_the_adapter,
            "The classifier is new and trained on purpose. A base that is not frozen shows by "
            "other names: an embedding, a norm.",
        ),
        Misconception(
            anything_waits,
            "Inputs and small products wait for every backward pass. The bug is a tensor of the "
            "weight's own shape among them.",
        ),
        Misconception(
            partial(diagnose, blind_to=LORA_FIRST),
            "You miss the adapter that is in four bits itself: look for its names in `in_4bit`.",
        ),
        Misconception(
            partial(diagnose, blind_to=DENSE),
            "You miss the dense weight that waits: compare the shapes in `waiting` with the "
            "weight's.",
        ),
        Misconception(
            partial(diagnose, blind_to=MISREAD),
            "You never compare `stored` with `weight`. How far apart are they, in norms?",
        ),
        Misconception(
            partial(diagnose, blind_to=NO_GRADIENT),
            "You never look at the gradients: an adapter whose B gets none will never learn.",
        ),
        Misconception(
            partial(diagnose, blind_to=NOT_FROZEN),
            "You miss the base that is not frozen. Look at all the names in `trained`.",
        ),
    ],
    why="Each of these runs, and most even lower the loss. What finds them are five questions: "
    "what is in four bits, what trains, what gets a gradient, what is multiplied with, what waits.",
)
