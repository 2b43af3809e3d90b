"""Task 3, the bug zoo: entries that look better than they are, told by the record of their check."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, every_twice, misnamed, one_name_for_all

HEALTHY = "healthy"
MEMORY = "scored in memory"
GRADIENT = "counted what requires a gradient"
TWINS = "twins counted once"
ZEROS = "zeros left out"
KNOWN = "knew the test texts"
THAWED = "base was changed"
BROKEN = "not all finite"
SPECIMENS = [HEALTHY, MEMORY, GRADIENT, TWINS, ZEROS, KNOWN, THAWED, BROKEN]


def specimen(generator: np.random.Generator, bug: str) -> dict[str, object]:
    """The record of one entry with one bug (or none)."""
    tensors, extra = drawn_tensors(generator)
    total = sum(tensor.size for tensor in tensors.values())
    nonzero = sum(int(np.count_nonzero(tensor)) for tensor in tensors.values())
    wants = total - extra if bug == GRADIENT else total
    counts = {GRADIENT: wants, TWINS: total - tensors["twin"].size, ZEROS: nonzero}
    if bug == BROKEN:
        held = tensors[str(generator.choice(list(tensors)))]
        bad = [np.nan, np.inf, -np.inf]
        held[tuple(generator.integers(0, held.shape))] = generator.choice(bad)
    texts = generator.permutation(1000)[:20].tolist()
    asked, trained = texts[:6], texts[6:]
    if bug == KNOWN:
        trained[int(generator.integers(len(trained)))] = asked[int(generator.integers(6))]
    before = generator.normal(size=(3, 4)).astype(np.float32)
    after = before.copy()
    if bug == THAWED:
        after[tuple(generator.integers(0, (3, 4)))] += 0.25
    memory = int(generator.integers(8, 20)) / 64
    of_file = memory + int(generator.integers(10, 30)) / 64
    return {
        "tensors": tensors,
        "numbers": counts.get(bug, total),
        "requires grad": wants,
        "loss": memory if bug == MEMORY else of_file,
        "loss in memory": memory,
        "loss of the file": of_file,
        "asked texts": asked,
        "trained texts": trained,
        "base before": before,
        "base after": after,
    }


def drawn_tensors(generator: np.random.Generator) -> tuple[dict[str, np.ndarray], int]:
    """The tensors of a file, two of them equal and some entries zero; and the size of one more.

    No two ways of counting them agree.
    """
    while True:
        r, d, other = (int(v) for v in generator.integers([2, 4, 4], [4, 9, 9]))
        one = generator.normal(size=(r, d)).astype(np.float32)
        two = generator.normal(size=(other, r)).astype(np.float32)
        extra = generator.normal(size=other).astype(np.float32)
        two[0] = 0
        sizes = {extra.size, one.size, r}
        if len(sizes) == 3:
            tensors = {"A": one, "twin": one.copy(), "B": two, "extra": extra}
            return tensors, extra.size


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice, in a random order."""
    return every_twice(generator, specimen, SPECIMENS)


def diagnose(record: dict, blind_to: str | None = None) -> str:
    """What is wrong with the entry; a wrong answer is one that is blind to some bug."""
    tensors = list(record["tensors"].values())
    total = sum(tensor.size for tensor in tensors)
    nonzero = sum(int(np.count_nonzero(tensor)) for tensor in tensors)
    signs = {
        BROKEN: not all(np.isfinite(tensor).all() for tensor in tensors),
        THAWED: not np.array_equal(record["base before"], record["base after"]),
        KNOWN: bool(set(record["asked texts"]) & set(record["trained texts"])),
        MEMORY: record["loss"] != record["loss of the file"],
        GRADIENT: record["numbers"] == record["requires grad"] != total,
        ZEROS: record["numbers"] == nonzero != total,
        TWINS: record["numbers"] != total,
    }
    return next((bug for bug, sign in signs.items() if sign and bug != blind_to), HEALTHY)


DIAGNOSE = Task(
    name="diagnose",
    title="3. The bug zoo",
    points=4,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every entry healthy. All of them look fine on the board: compare what is "
            "claimed with what the record holds.",
        ),
        Misconception(
            partial(misnamed, diagnose, {HEALTHY: MEMORY}),
            "You call any gap between file and memory a bug. An entry may lose when it is saved in "
            "fewer bits; it is honest as long as the claimed loss is the file's.",
        ),
        Misconception(
            partial(misnamed, diagnose, {MEMORY: HEALTHY}),
            "You miss the loss that was measured in memory. The claimed `loss` must be that of the "
            "file.",
        ),
        Misconception(
            partial(misnamed, diagnose, {GRADIENT: HEALTHY}),
            "You compare the claimed count with what requires a gradient. The file holds more: add "
            "up the sizes of its tensors.",
        ),
        Misconception(
            partial(misnamed, diagnose, {GRADIENT: TWINS}),
            "You take the count of what requires a gradient for twins. Compare it with the entry "
            "`requires grad` first.",
        ),
        Misconception(
            partial(misnamed, diagnose, {TWINS: HEALTHY}),
            "You count equal tensors once. The file holds both, so both count.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ZEROS: HEALTHY}),
            "You leave out zeros. A zero in the file takes as many bytes as any number: it counts.",
        ),
        Misconception(
            partial(misnamed, diagnose, {ZEROS: TWINS}),
            "You take left-out zeros for twins. Count the entries that are not zero, and compare.",
        ),
        Misconception(
            partial(misnamed, diagnose, {KNOWN: HEALTHY}),
            "You miss a test text among the training texts. One is enough: look for what both "
            "lists share.",
        ),
        Misconception(
            partial(misnamed, diagnose, {THAWED: HEALTHY}),
            "You miss a changed base. One number of it is other than before: compare entry by "
            "entry.",
        ),
        Misconception(
            partial(misnamed, diagnose, {BROKEN: HEALTHY}),
            "You miss a number that is NaN or infinite. `x == nan` is never true: ask "
            "`torch.isfinite(x).all()`.",
        ),
    ],
    why="Every line of a card has one thing that it must equal: the count that of the file, the "
    "loss that of the file on a fresh base, the base itself. What is compared can't be claimed.",
)
