"""Task 3: the student's own model."""

from collections.abc import Callable
from functools import partial

from ...tasks import Misconception, Sheet, Task, by_entry
from ...observing import unseen
from .methods import at_matrices, in_blocks, product
from .model import SEVEN, block_shapes, count_model


def on_sheet(
    sheet: Sheet,
    at: Callable = at_matrices,
    within: Callable = in_blocks,
    blocks: int | None = None,
    **how,
) -> dict[str, int]:
    """The five counts; the mistakes are those of tasks 1 and 2."""
    config = {**sheet, "attention_bias": False}
    heads = {name: how[name] for name in ("grouped", "own_head_dim") if name in how}
    shapes = block_shapes(config, **heads)
    layers = sheet["num_hidden_layers"] if blocks is None else blocks
    more = heads if blocks is None else {"blocks": blocks, **heads}
    return {
        "the model": count_model(config, **how, **({} if blocks is None else {"blocks": blocks})),
        "LoRA": layers * at("LoRA", [shapes[name] for name in SEVEN], sheet["r"]),
        "DoRA": layers * at("DoRA", [shapes["q_proj"], shapes["v_proj"]], sheet["r"]),
        "(IA)3": within("(IA)3", config, sheet["n"], **more),
        "prefix": within("prefix", config, sheet["n"], **more),
    }


SHEET = Task(
    name="my_counts",
    title="3. Your own sheet",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    misconceptions=[
        Misconception(
            partial(on_sheet, grouped=False),
            "On your sheet: keys and values have fewer heads than queries, and you count as many.",
        ),
        Misconception(
            partial(on_sheet, own_head_dim=False),
            "On your sheet: head_dim is given, and it is not hidden_size / heads.",
        ),
        Misconception(
            partial(on_sheet, ties=False),
            "On your sheet: the embeddings are tied, so the table is there once.",
        ),
        Misconception(
            partial(on_sheet, blocks=1),
            "On your sheet: you counted one block, and there are several.",
        ),
        Misconception(
            partial(on_sheet, norms=0, last_norm=0),
            "On your sheet: the model's norms are missing.",
        ),
        Misconception(
            partial(on_sheet, at=partial(at_matrices, LoRA=product, DoRA=product)),
            "On your sheet: A and B have r d_in and d_out r numbers; the sides are added.",
        ),
        Misconception(
            partial(
                on_sheet, at=partial(at_matrices, DoRA=lambda out, in_, r: r * (in_ + out) + in_)
            ),
            "On your sheet: DoRA has one magnitude for each output, not for each input.",
        ),
        Misconception(
            partial(on_sheet, within=partial(in_blocks, sides=1)),
            "On your sheet: a prefix holds keys and values, and you count one of the two.",
        ),
    ],
    parts=by_entry,
    why="These are your own numbers: no other sheet has them.",
)
