"""Task 3, on the student's own sheet: what adapters train, and which width a budget allows."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def on_sheet(
    sheet: Sheet, adapters=2, biases=True, norm=4, rounded=0, matrices=2
) -> dict[str, int]:
    """The three numbers that a sheet asks for; the mistakes leave parts out.

    adapters: of Houlsby's style in a block. norm: trained numbers of a block's LayerNorms, in d.
    rounded: 1 takes the next width. matrices: those of the LoRA in a block.
    """
    blocks, d, r, rank = (sheet[name] for name in ("blocks", "d", "r", "rank"))
    each = 2 * d * r + (r + d if biases else 0)
    budget = matrices * 2 * d * rank  # of LoRA, in a block
    width = (budget - d) // (2 * d + 1) if biases else budget // (2 * d)
    return {
        "adapters": blocks * adapters * each,
        "with LayerNorms": blocks * (adapters * each + norm * d),
        "width": width + rounded,
    }


SHEET = Task(
    name="my_numbers",
    title="3. Your own model",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, biases=False),
            "The biases are missing: down has r of them, up has d.",
        ),
        Misconception(
            partial(on_sheet, adapters=1),
            "Houlsby's style has two adapters in a block.",
        ),
        Misconception(
            partial(on_sheet, norm=2),
            "A block has two LayerNorms, and each trains a scale and a shift for every one of d "
            "places.",
        ),
        Misconception(
            partial(on_sheet, rounded=1),
            "One too wide: this adapter trains more than the LoRA. Asked for is the largest width "
            "that does not.",
        ),
        Misconception(
            partial(on_sheet, matrices=1),
            "LoRA is on two matrices of each block, queries and values, so a block has twice the "
            "numbers that you give the adapter.",
        ),
    ],
    why="An adapter has 2 d r + r + d numbers, a LoRA on a square matrix 2 d r without biases: at "
    "an equal count one adapter in a block is as wide as the ranks of all its LoRAs together, less "
    "what its biases take. These are your own numbers.",
)
