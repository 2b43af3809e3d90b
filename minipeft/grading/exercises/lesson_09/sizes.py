"""Task 3, on the student's own sheet: how many numbers soft prompts train, and the file's bytes."""

from functools import partial

from ...observing import unseen
from ...tasks import Misconception, Sheet, Task, by_entry


def on_sheet(
    sheet: Sheet, heads="key/value heads", pair=2, biases=1, Z=1, number=4, file_has_mlp=False
) -> dict[str, int]:
    """The four numbers that a sheet asks for; the mistakes differ in sides and summands."""
    n, L, h = (sheet[name] for name in ("virtual tokens", "layers", "encoder width"))
    d_kv = sheet[heads] * sheet["head_dim"]
    row = pair * L * d_kv
    encoder = d_kv * h + h * row + biases * (h + row)
    with_mlp = Z * n * d_kv + encoder
    return {
        "prompt": n * sheet["width"],
        "prefix": n * row,
        "prefix with its MLP": with_mlp,
        "bytes of its file": number * (with_mlp if file_has_mlp else n * row),
    }


def a_prompt_in_each_layer(sheet: Sheet) -> dict[str, int]:
    """The prompt counted once for each layer."""
    right = on_sheet(sheet)
    return right | {"prompt": right["prompt"] * sheet["layers"]}


SHEET = Task(
    name="my_numbers",
    title="3. Your own decoder",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=on_sheet,
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(on_sheet, heads="query heads"),
            "You took the query heads. The cache holds keys and values, of which grouped-query "
            "attention has fewer heads.",
        ),
        Misconception(
            partial(on_sheet, pair=1),
            "Each virtual token has a key and a value in each layer: two vectors, not one.",
        ),
        Misconception(
            partial(on_sheet, biases=0),
            "Both linear layers of the MLP have biases: h numbers, and as many as a row of P has.",
        ),
        Misconception(
            partial(on_sheet, Z=0),
            "The MLP has an input: Z, one row for each virtual token, as wide as the keys of one "
            "layer. It is trained, too.",
        ),
        Misconception(
            partial(on_sheet, file_has_mlp=True),
            "The file holds no MLP: P = MLP(Z) is worked out once, and is all that is read later.",
        ),
        Misconception(
            partial(on_sheet, number=2),
            "The file is asked for in float32: four bytes for each number.",
        ),
        Misconception(
            a_prompt_in_each_layer,
            "A prompt has no rows in the layers: it is embeddings, n times the width of the model.",
        ),
    ],
    why="A prompt costs n d, a prefix 2 n L times the width of the keys. The MLP multiplies what "
    "is trained and changes nothing in the file. These are your own numbers.",
)
