"""Task 2: what a method trains, at given matrices and in the blocks of a decoder."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from ...observing import kind_and_count
from .asked import decoder
from .model import block_shapes

AT = {  # for one matrix
    "LoRA": lambda out, in_, r: r * (in_ + out),
    "DoRA": lambda out, in_, r: r * (in_ + out) + out,
    "AdaLoRA": lambda out, in_, r: r * (in_ + out + 1),
    "VeRA": lambda out, in_, r: r + out,
    "BitFit": lambda out, in_, r: out,
    "diff pruning": lambda out, in_, r: 2 * out * in_ + 1,
}


def at_matrices(method: str, shapes: list, r: int, **wrong: Callable) -> int:
    """The sum over the matrices; `wrong` replaces the formula of some methods."""
    formula = {name.replace(" ", "_"): form for name, form in AT.items()} | wrong
    return sum(formula[method.replace(" ", "_")](out, in_, r) for out, in_ in shapes)


def turned_over(method: str, shapes: list, r: int) -> int:
    """As if the shapes were (in, out)."""
    return at_matrices(method, [shape[::-1] for shape in shapes], r)


def first_alone(method: str, shapes: list, r: int) -> int:
    """As if there were one target."""
    return at_matrices(method, shapes[:1], r)


def with_alpha(method: str, shapes: list, r: int) -> int:
    """As if the constant alpha were trained, too."""
    low_rank = method in ("LoRA", "DoRA", "AdaLoRA")
    return at_matrices(method, shapes, r) + low_rank * len(shapes)


def product(out: int, in_: int, r: int) -> int:
    """Sides multiplied, where they are added."""
    return r * out * in_


def matrix_cases(generator: np.random.Generator) -> Cases:
    """Each method once, on two or three matrices that are never square."""
    found = []
    for method in AT:
        count = int(generator.integers(2, 4))
        narrow = generator.integers(20, 300, count)
        wide = generator.integers(301, 900, count)
        turned = generator.permutation([True, False, True])[:count]
        pairs = zip(narrow.tolist(), wide.tolist(), turned.tolist(), strict=True)
        shapes = [[b, a] if turn else [a, b] for a, b, turn in pairs]
        found.append([method, shapes, int(generator.integers(2, 17))])
    return found


AT_MATRICES = Task(
    name="count_at_matrices",
    title="2a. At a matrix",
    points=3,
    cases=matrix_cases,
    answer=at_matrices,
    observe=kind_and_count,
    parts=by_case(*AT),
    misconceptions=[
        Misconception(
            partial(
                at_matrices,
                LoRA=product,
                DoRA=lambda out, in_, r: r * out * in_ + out,
                AdaLoRA=lambda out, in_, r: r * out * in_ + r,
            ),
            "You multiplied r by the product of the sides. A has r d_in numbers and B has d_out r: "
            "the sides are added.",
        ),
        Misconception(
            partial(at_matrices, DoRA=lambda out, in_, r: r * (in_ + out) + in_),
            "DoRA's magnitudes are counted for the inputs. There is one for each row of the stored "
            "weight (d_out, d_in), so one for each output.",
        ),
        Misconception(
            partial(at_matrices, AdaLoRA=lambda out, in_, r: r * (in_ + out) + 1),
            "AdaLoRA has one strength for each of its r components, not one for each matrix.",
        ),
        Misconception(
            partial(at_matrices, VeRA=lambda out, in_, r: r * (in_ + out) + r + out),
            "VeRA's A and B are counted. They are random and frozen: trained are the two vectors, "
            "r and d_out long.",
        ),
        Misconception(
            partial(at_matrices, VeRA=lambda out, in_, r: in_ + out),
            "VeRA's vectors lie after A and after B: the first one has r entries, not d_in.",
        ),
        Misconception(
            partial(at_matrices, diff_pruning=lambda out, in_, r: out * in_),
            "Diff pruning trains a gate for each entry beside the difference, and one gate for the "
            "whole matrix.",
        ),
        Misconception(
            partial(at_matrices, diff_pruning=lambda out, in_, r: 2 * out * in_),
            "Diff pruning has one gate more: that of the whole matrix.",
        ),
        Misconception(
            turned_over,
            "You read the shapes as (d_in, d_out). They are (d_out, d_in), as PyTorch stores a "
            "weight. LoRA does not tell, but DoRA, VeRA and BitFit do.",
        ),
        Misconception(
            with_alpha,
            "alpha is counted. It is a constant that you choose, and nothing trains it.",
        ),
        Misconception(first_alone, "You counted the first matrix alone. Add up all of them."),
        Misconception(
            lambda *given: float(at_matrices(*given)),
            "The counts are right, but they are floats. A count of numbers is an int.",
        ),
    ],
    why="A method that adds something to a matrix is counted from the matrix's two sides. DoRA, "
    "VeRA and BitFit have something for each output, so for them the two sides differ.",
)


def in_blocks(
    method: str, config: dict, n: int, biases: bool = True, twice: int = 2, **more
) -> int:
    """What a decoder's blocks and input get; the mistakes leave something out.

    more: sides (keys and values), blocks (None for all), of_prompt, and what block_shapes takes.
    """
    sides, blocks = more.pop("sides", 2), more.pop("blocks", None)
    of_prompt = more.pop("of_prompt", 1)
    L = config["num_hidden_layers"] if blocks is None else blocks
    d, f = config["hidden_size"], config["intermediate_size"]
    kv = block_shapes(config, **more)["k_proj"][0]
    adapter = 2 * d * n + (n + d if biases else 0)
    mlp = n * kv + kv * kv + kv + kv * sides * L * kv + sides * L * kv
    return {
        "(IA)3": L * (2 * kv + f),
        "adapters": L * twice * adapter,
        "prompt": n * d * of_prompt,
        "prefix": sides * n * L * kv,
        "prefix with its MLP": mlp,
    }[method]


def square_ia3(method: str, config: dict, n: int) -> int:
    """As if keys, values and the MLP's inside were all as wide as the model."""
    square = 3 * config["num_hidden_layers"] * config["hidden_size"]
    return square if method == "(IA)3" else in_blocks(method, config, n)


def outer_ia3(method: str, config: dict, n: int) -> int:
    """As if (IA)3 rescaled what the MLP gives out."""
    d, f = config["hidden_size"], config["intermediate_size"]
    less = config["num_hidden_layers"] * (f - d) if method == "(IA)3" else 0
    return in_blocks(method, config, n) - less


def everywhere(method: str, config: dict, n: int) -> int:
    """A prompt in front of every block: prefix tuning's place."""
    return in_blocks(method, config, n, of_prompt=config["num_hidden_layers"])


def kept_alone(method: str, config: dict, n: int) -> int:
    """The prefix that the file holds in the end, for the MLP that is trained."""
    return in_blocks(method.removesuffix(" with its MLP"), config, n)


def without_table(method: str, config: dict, n: int) -> int:
    """The MLP without the rows that it reads."""
    table = n * block_shapes(config)["k_proj"][0] if "MLP" in method else 0
    return in_blocks(method, config, n) - table


BLOCKS = ("(IA)3", "adapters", "prompt", "prefix", "prefix with its MLP")


def block_cases(generator: np.random.Generator) -> Cases:
    """Each method once, on a decoder with GQA."""
    found = []
    for method in BLOCKS:
        sizes = decoder(generator)
        n = sizes.pop("n")
        del sizes["r"]
        found.append([method, sizes, n])
    return found


IN_BLOCKS = Task(
    name="count_in_blocks",
    title="2b. In the blocks and at the input",
    points=3,
    cases=block_cases,
    answer=in_blocks,
    observe=kind_and_count,
    parts=by_case(*BLOCKS),
    misconceptions=[
        Misconception(
            partial(in_blocks, grouped=False),
            "Keys and values are counted for every head. With GQA they have num_key_value_heads.",
        ),
        Misconception(
            square_ia3,
            "You gave (IA)3 three vectors of hidden_size. Keys and values are "
            "num_key_value_heads * head_dim wide, the inside of the MLP intermediate_size.",
        ),
        Misconception(
            outer_ia3,
            "(IA)3 rescales the numbers inside the MLP, the input of down_proj: intermediate_size "
            "of them. You took its output.",
        ),
        Misconception(
            partial(in_blocks, biases=False),
            "The biases of the adapters are forgotten: n for the way down, hidden_size for the way "
            "up.",
        ),
        Misconception(
            partial(in_blocks, twice=1),
            "You have one adapter in a block. Houlsby's two come after attention and after the MLP.",
        ),
        Misconception(
            partial(in_blocks, sides=1),
            "Each virtual token of a prefix has a key *and* a value in every block: twice as many.",
        ),
        Misconception(
            partial(in_blocks, blocks=1),
            "You counted one block. Every block has its own.",
        ),
        Misconception(
            everywhere,
            "Prompt tuning adds its tokens once, at the input. In every block it would be a prefix.",
        ),
        Misconception(
            kept_alone,
            "That is what is kept. While training, the table of n rows and both layers of the MLP "
            "learn.",
        ),
        Misconception(
            without_table,
            "The MLP reads a table of n rows, d_kv wide, and that table is trained as well.",
        ),
    ],
    why="What acts on keys and values is as wide as they are, and GQA makes them narrow. What an "
    "MLP makes while training may be a thousand times what is kept.",
)
