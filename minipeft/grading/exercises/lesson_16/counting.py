"""Task 3: what LoRA trains in a ViT, with the new head; by formula and on the student's sheet."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...observing import kind_and_count, unseen
from ...tasks import Cases, Misconception, Sheet, Task, by_case, by_entry

ATTENTION = ("query", "key", "value", "attention.output")
MLP = ("intermediate", "output")


def layer_sides(name: str, d: int, f: int) -> tuple[int, int]:
    """(d_out, d_in) of one of the six linear layers of a block."""
    return (d, d) if name in ATTENTION else (f, d) if name == "intermediate" else (d, f)


def count(
    blocks,
    d,
    f,
    r,
    labels,
    targets,
    each: Callable = lambda d_out, d_in, r: r * (d_out + d_in),
    head: Callable = lambda d, labels: labels * d + labels,
) -> int:
    """Trained numbers: in every block r (d_in + d_out) for every target, and the new head."""
    low_rank = sum(each(*layer_sides(name, d, f), r) for name in targets)
    return blocks * low_rank + head(d, labels)


def one_block(blocks, *rest) -> int:
    """As if there were one block."""
    return count(1, *rest)


def all_square(blocks, d, f, *rest) -> int:
    """As if every layer were d x d."""
    return count(blocks, d, d, *rest)


def cases(generator: np.random.Generator) -> Cases:
    """Four models, each with other targets."""
    found = []
    for targets in (("query", "value"), ATTENTION, ("key", *MLP), (*ATTENTION, *MLP)):
        d = 8 * int(generator.integers(5, 100))
        f = d * int(generator.integers(2, 6))
        blocks, r, labels = (int(n) for n in generator.integers((3, 2, 3), (40, 40, 300)))
        found.append([blocks, d, f, r, labels, list(targets)])
    return found


NO_HEAD = Misconception(
    partial(count, head=lambda d, labels: 0),
    "The new head is missing. It starts at random, so it is trained and saved with the adapter.",
)
NO_BIAS = Misconception(
    partial(count, head=lambda d, labels: labels * d),
    "The head has a bias as well: one number for each label.",
)
TWICE = Misconception(
    partial(count, head=lambda d, labels: 2 * (labels * d + labels)),
    "You counted the head twice, as peft's count of all parameters does. Trained is one copy.",
)
LONG = Misconception(
    partial(count, each=lambda d_out, d_in, r: r * d_out * d_in),
    "You multiplied r by the product of the sides. A has r d_in numbers and B has d_out r.",
)
COUNT = Task(
    name="count_trained",
    title="3a. Count any ViT",
    points=3,
    cases=cases,
    answer=lambda blocks, d, f, r, labels, targets: count(blocks, d, f, r, labels, targets),
    observe=kind_and_count,
    parts=by_case("queries and values", "attention", "keys and the MLP", "all six"),
    misconceptions=[
        NO_HEAD,
        NO_BIAS,
        TWICE,
        LONG,
        Misconception(
            one_block, "You counted one block. Every block has its own A and B; the head is one."
        ),
        Misconception(
            all_square,
            "You took every layer for d x d. The two layers of the MLP are f wide on one side.",
        ),
        Misconception(
            lambda *given: float(count(*given)),
            "The numbers are right, but they are floats. A count is an int.",
        ),
    ],
    why="The body gets r (d_in + d_out) for each target; the head is trained in full. With many "
    "labels and a small rank the head is most of what is trained.",
)


def on_sheet(sheet: Sheet, extra: int = 1, factor: int = 1, head: Callable | None = None) -> dict:
    """The four numbers that a sheet asks for; the mistakes differ in the tokens and the head."""
    side, patch, blocks, d, r, labels = (
        sheet[key] for key in ("side", "patch", "blocks", "d", "r", "labels")
    )
    patches = factor * (side // patch) ** 2
    options = {} if head is None else {"head": head}
    return {
        "patches": patches,
        "attention entries": (patches + extra) ** 2,
        "trained": count(blocks, d, 4 * d, r, labels, ["query", "value"], **options),
    }


def linear_grid(sheet: Sheet) -> dict:
    """As if the patches lay in one row."""
    right = on_sheet(sheet)
    row = sheet["side"] // sheet["patch"]
    return right | {"patches": row, "attention entries": (row + 1) ** 2}


def entries_of_all(sheet: Sheet) -> dict:
    """The entries of all blocks."""
    right = on_sheet(sheet)
    return right | {"attention entries": sheet["blocks"] * right["attention entries"]}


SHEET = Task(
    name="my_vit",
    title="3b. Your own ViT",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=lambda sheet: on_sheet(sheet),
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, extra=0),
            "On your sheet: the class token is a token, too. It attends, and is attended to.",
        ),
        Misconception(
            linear_grid,
            "On your sheet: patches lie in a grid. There are as many rows as columns.",
        ),
        Misconception(
            entries_of_all,
            "On your sheet: asked for are the entries of one head in one block.",
        ),
        Misconception(
            partial(on_sheet, head=lambda d, labels: 0),
            "On your sheet: the new head is trained as well.",
        ),
        Misconception(
            partial(on_sheet, head=lambda d, labels: labels * d),
            "On your sheet: the new head has a bias, one number for each label.",
        ),
    ],
    why="These are your own numbers: no other sheet has them.",
)
