"""Task 1, on the student's own sheet: the largest size of each method within one budget.

LoRA: arXiv 2106.09685, section 4.1; DoRA: 2402.09353, section 4.1; adapters: 1902.00751, section
2.1; prefix tuning: 2101.00190, section 4.2.
"""

from collections.abc import Callable
from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def down(rest: int, each: int) -> int:
    """The largest size that stays within the budget."""
    return rest // each


def up(rest: int, each: int) -> int:
    """The first size beyond it."""
    return rest // each + 1


def on_sheet(
    sheet: Sheet,
    cut: Callable = down,
    grouped: bool = True,
    magnitudes: Callable = lambda hidden, kv: 2 * hidden + 2 * kv,
    adapters: int = 2,
    biases: int = 1,
    planes: int = 2,
    grouped_prefix: bool = True,
) -> dict[str, int]:
    """The six numbers that a sheet asks for; the mistakes differ in what a size costs."""
    layers, hidden, budget = sheet["layers"], sheet["hidden"], sheet["budget"]
    narrow = hidden // sheet["heads"] * sheet["key_value_heads"]
    kv = narrow if grouped else hidden
    pair = layers * (2 * (hidden + hidden) + 2 * (hidden + kv))  # A and B on q, k, v, o for r = 1
    vectors = layers * magnitudes(hidden, kv)
    unit, outside = layers * adapters * (2 * hidden + biases), layers * adapters * hidden * biases
    token = layers * planes * (kv if grouped_prefix else hidden)
    dora, width = cut(budget - vectors, pair), cut(budget - outside, unit)
    return {
        "LoRA r": cut(budget, pair),
        "DoRA r": dora,
        "DoRA trains": dora * pair + vectors,
        "adapter width": width,
        "adapters train": width * unit + outside,
        "prefix tokens": cut(budget, token),
    }


def for_each_layer(sheet: Sheet) -> dict[str, int]:
    """As if each layer had the budget for itself."""
    return on_sheet(sheet | {"budget": sheet["budget"] * sheet["layers"]})


SHEET = Task(
    name="my_sizes",
    title="1. One budget, four methods",
    points=3,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, grouped=False),
            "You count keys and values for every head. With grouped-query attention W_k and W_v "
            "are (key_value_heads x head size, hidden), not square.",
        ),
        Misconception(
            partial(on_sheet, magnitudes=lambda hidden, kv: 0),
            "DoRA's magnitudes are forgotten: each adapted matrix trains one number for each of "
            "its outputs beside A and B.",
        ),
        Misconception(
            partial(on_sheet, magnitudes=lambda hidden, kv: 4 * hidden),
            "You give DoRA a magnitude for each input. It has one for each output, and W_k and W_v "
            "have fewer outputs than inputs.",
        ),
        Misconception(
            partial(on_sheet, adapters=1),
            "You pay for one adapter in a layer. Houlsby's style has two, one after the attention "
            "and one after the MLP.",
        ),
        Misconception(
            partial(on_sheet, biases=0),
            "The biases of the adapters are forgotten: `width` numbers on the way down and `hidden` "
            "on the way up, in each adapter.",
        ),
        Misconception(
            partial(on_sheet, planes=1),
            "You count the prefix once. Each virtual token has a key and a value in every layer.",
        ),
        Misconception(
            partial(on_sheet, grouped_prefix=False),
            "Your prefix is as wide as the hidden state. Keys and values are narrower here, and so "
            "is a prefix of them.",
        ),
        Misconception(
            partial(on_sheet, cut=up),
            "Your sizes are one too large: they train more numbers than the budget has. Round down.",
        ),
        Misconception(
            for_each_layer,
            "You give each layer the whole budget. It is for all layers together.",
        ),
    ],
    why="Each count is a straight line in the size, so the largest size within a budget is a "
    "division that is rounded down. These are your own numbers.",
)
