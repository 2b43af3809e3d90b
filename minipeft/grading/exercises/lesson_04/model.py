"""Task 1: how many numbers a decoder has, from its config."""

from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from ...observing import kind_and_count
from .asked import decoder

Shapes = dict[str, tuple[int, int]]
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
SEVEN = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def block_shapes(config: dict, grouped: bool = True, own_head_dim: bool = True) -> Shapes:
    """(out, in) of the seven matrices; the mistakes take other heads for keys and values."""
    d, f, heads = (config[n] for n in ("hidden_size", "intermediate_size", "num_attention_heads"))
    head_dim = config["head_dim"] if own_head_dim else d // heads
    q, kv = heads * head_dim, head_dim * (config["num_key_value_heads"] if grouped else heads)
    return dict(zip(SEVEN, [(q, d), (kv, d), (kv, d), (d, q), (f, d), (f, d), (d, f)], strict=True))


def count_model(
    config: dict, tables: int = 2, ties: bool = True, norms: int = 2, last_norm: int = 1, **more
) -> int:
    """Embeddings, head, blocks and norms. The mistakes leave something out, or count it again.

    more: blocks (None for all), biases, and what block_shapes takes.
    """
    blocks, biases = more.pop("blocks", None), more.pop("biases", True)
    d, shapes = config["hidden_size"], block_shapes(config, **more)
    block = sum(out * in_ for out, in_ in shapes.values()) + norms * d
    if biases and config["attention_bias"]:
        block += sum(shapes[name][0] for name in ATTENTION)
    if ties and config["tie_word_embeddings"]:
        tables = 1
    blocks = config["num_hidden_layers"] if blocks is None else blocks
    return tables * config["vocab_size"] * d + blocks * block + last_norm * d


def cases(generator: np.random.Generator) -> Cases:
    """A plain decoder, and one with each of the things that are easily overlooked."""
    found = []
    for grouped, tied, other in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)):
        sizes = decoder(generator)
        sizes = {name: size for name, size in sizes.items() if name not in ("r", "n")}
        if not grouped:
            sizes["num_key_value_heads"] = sizes["num_attention_heads"]
        if other != 2:
            sizes["head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
        sizes["tie_word_embeddings"] = bool(tied)
        found.append([sizes | {"attention_bias": other == 1}])
    return found


MODEL = Task(
    name="count_model",
    title="1. Count a model",
    points=3,
    cases=cases,
    answer=count_model,
    observe=kind_and_count,
    parts=by_case("a plain decoder", "GQA", "tied embeddings", "biases", "heads of another size"),
    misconceptions=[
        Misconception(
            partial(count_model, ties=False),
            "The tied table is counted twice. With tied embeddings the head is the same tensor as "
            "the table: it is read twice and there once.",
        ),
        Misconception(
            partial(count_model, tables=1),
            "The head is missing where it is not tied: there it is a matrix of its own, "
            "vocab_size x hidden_size, beside the table of embeddings.",
        ),
        Misconception(
            partial(count_model, grouped=False),
            "k_proj and v_proj are counted as wide as q_proj. With GQA their outputs are "
            "num_key_value_heads * head_dim wide.",
        ),
        Misconception(
            partial(count_model, own_head_dim=False),
            "You work head_dim out as hidden_size / heads. The config says it: q_proj is "
            "(heads * head_dim, hidden_size), and need not be square.",
        ),
        Misconception(
            partial(count_model, norms=0, last_norm=0),
            "The norms are missing: two in each block and one at the end, hidden_size numbers each.",
        ),
        Misconception(
            partial(count_model, last_norm=0),
            "One norm is missing: after the last block there is one more.",
        ),
        Misconception(
            partial(count_model, norms=1),
            "A block has two norms, one before attention and one before the MLP. You count one.",
        ),
        Misconception(
            partial(count_model, biases=False),
            "The biases are forgotten: with attention_bias, each matrix of attention has one "
            "number more for each of its outputs.",
        ),
        Misconception(
            partial(count_model, blocks=1),
            "You counted one block. There are num_hidden_layers of them.",
        ),
        Misconception(
            lambda config: float(count_model(config)),
            "The numbers are right, but they are floats. A count is an int: divide with //, not /.",
        ),
    ],
    why="Every number of a model lies in a tensor, and every tensor's shape follows from the "
    "config. Two names of one tensor are one tensor.",
)
