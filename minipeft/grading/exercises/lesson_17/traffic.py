"""Task 3, on the student's own sheet: what one step brings to each process, by layout."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry

WIDTH = 2  # bytes of a number, bfloat16


def counts(sheet: Sheet) -> tuple[int, int, int]:
    """(numbers in the blocks' matrices, in the embedding, LoRA's on all seven)."""
    hidden, wide, r = sheet["hidden"], sheet["intermediate"], sheet["r"]
    block = 4 * hidden * hidden + 3 * hidden * wide
    lora = r * (4 * 2 * hidden + 3 * (hidden + wide))
    return sheet["layers"] * block, sheet["vocabulary"] * hidden, sheet["layers"] * lora


def on_sheet(
    sheet: Sheet,
    gathers=2,
    outside=1,
    adapter_gathers=2,
    reduce=2,
    scatter=1,
    share=lambda p: (p - 1, p),
    width=WIDTH,
    trained=None,
) -> dict[str, int]:
    """The three numbers that a sheet asks for; the mistakes differ in passes and shares."""
    blocks, embedding, lora = counts(sheet)
    of, parts = share(sheet["processes"])
    moving = lora if trained is None else trained(sheet)
    fsdp = gathers * blocks + outside * embedding + adapter_gathers * moving + scatter * moving
    kept = blocks + embedding + moving
    return {
        "DDP": width * reduce * moving * of // parts,
        "FSDP2": width * fsdp * of // parts,
        "held under FSDP2": width * kept // sheet["processes"],
    }


SHEET = Task(
    name="my_bytes",
    title="3. Your own cluster",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, share=lambda p: (1, 1)),
            "The factor (p - 1) / p is missing: of the p chunks a process has one already.",
        ),
        Misconception(
            partial(on_sheet, share=lambda p: (p - 1, 1)),
            "You send everything to everyone. On a ring each process gets chunks of one p-th: "
            "(p - 1) / p, not p - 1.",
        ),
        Misconception(
            partial(on_sheet, reduce=1),
            "An all-reduce is a reduce-scatter and an all-gather: twice (p - 1) / p.",
        ),
        Misconception(
            partial(on_sheet, gathers=1, adapter_gathers=1),
            "Under FSDP2 a block is gathered twice in a step, for the forward pass and again "
            "for the backward pass.",
        ),
        Misconception(
            partial(on_sheet, gathers=0, outside=0),
            "You count what is trained alone. Under FSDP2 the frozen weights are shards, too, and "
            "have to be gathered.",
        ),
        Misconception(
            partial(on_sheet, outside=2),
            "The embedding lies outside the blocks: it is gathered once and stays whole until "
            "the backward pass ends.",
        ),
        Misconception(
            partial(on_sheet, adapter_gathers=0),
            "The adapter's weights are shards as well: they are gathered with their block.",
        ),
        Misconception(
            partial(on_sheet, scatter=0),
            "The gradients are missing under FSDP2: one reduce-scatter of what is trained.",
        ),
        Misconception(
            partial(on_sheet, width=4),
            "Every number has two bytes here, bfloat16.",
        ),
        Misconception(
            partial(on_sheet, trained=lambda sheet: sum(counts(sheet)[:2])),
            "You count gradients of the whole base. It is frozen: only A and B have gradients.",
        ),
    ],
    why="DDP moves the adapter alone. FSDP2 moves the frozen base twice in each step, however "
    "small the adapter is, and holds a p-th of everything for it. These are your own numbers.",
)
