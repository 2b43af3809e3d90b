"""Task 5: OFT by Cayley's transform, as a method of minipeft whose file opens in Hugging Face peft.

Qiu et al. 2023, arXiv 2306.07280: W = W0 R^T with R = (I - Q) (I + Q)^-1 in blocks, Q = -Q^T.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import by_tensor, saved_seen
from .core import normal

PREFIX = "base_model.model."
NAME = "oft_R.weight"


def skew(numbers: np.ndarray, size: int, by_columns: bool = False) -> np.ndarray:
    """Q of each block (blocks, size, size): `numbers` above the diagonal, row by row."""
    Q = np.zeros((len(numbers), size, size))
    rows, columns = np.triu_indices(size, 1)
    if by_columns:
        order = np.lexsort((rows, columns))
        rows, columns = rows[order], columns[order]
    Q[:, rows, columns] = numbers
    return Q - Q.transpose(0, 2, 1)


def cayley(Q: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """(I - Q) (I + Q)^-1 of each block."""
    one = np.eye(Q.shape[-1])
    return (one - sign * Q) @ np.linalg.inv(one + sign * Q)


def block_diagonal(blocks: np.ndarray) -> np.ndarray:
    """One matrix with the blocks along its diagonal."""
    count, size, _ = blocks.shape
    whole = np.zeros((count * size, count * size))
    for n, block in enumerate(blocks):
        whole[n * size : (n + 1) * size, n * size : (n + 1) * size] = block
    return whole


def rotation(numbers, block_size, by_columns=False, of: Callable = cayley):
    """R (d_in, d_in); the mistakes fill Q otherwise or make something else of it."""
    return block_diagonal(of(skew(numbers, block_size, by_columns)))


def rotation_cases(generator: np.random.Generator) -> Cases:
    """One block, two and three."""
    sizes = ((1, 4), (2, 3), (3, 5))
    return [[normal(generator, count, n * (n - 1) // 2), n] for count, n in sizes]


def upper_only(Q: np.ndarray) -> np.ndarray:
    """Cayley's transform of the upper triangle alone."""
    return cayley(np.triu(Q))


def series(Q: np.ndarray) -> np.ndarray:
    """The first terms of the series, as peft takes by default: I - 2 Q + 2 Q^2."""
    return np.eye(Q.shape[-1]) - 2 * Q + 2 * Q @ Q


ROTATION = Task(
    name="rotation",
    title="5a. A rotation from a triangle",
    points=2,
    cases=rotation_cases,
    answer=rotation,
    parts=by_case("one block", "two blocks", "three blocks"),
    misconceptions=[
        Misconception(
            partial(rotation, of=partial(cayley, sign=-1.0)),
            "This is R transposed, (I + Q) (I - Q)^-1. It is a rotation as well, but the other way "
            "round: a file would turn every row in the wrong sense.",
        ),
        Misconception(
            partial(rotation, of=upper_only),
            "Your Q has zeros below its diagonal. It must be skew-symmetric, Q^T = -Q, or R is no "
            "rotation.",
        ),
        Misconception(
            partial(rotation, by_columns=True),
            "You fill the triangle column by column. The order is that of torch.triu_indices: row "
            "by row.",
        ),
        Misconception(
            partial(rotation, of=series),
            "These are the first terms of a series for R. Asked for is R itself, with the inverse.",
        ),
        Misconception(
            lambda numbers, size: cayley(skew(numbers, size)),
            "You return the blocks as a stack. Asked for is one matrix (d_in, d_in) that has them "
            "along its diagonal, and zeros elsewhere.",
        ),
        Misconception(
            partial(rotation, of=lambda Q: np.linalg.inv(np.eye(Q.shape[-1]) + Q)),
            "The factor I - Q is missing: (I + Q)^-1 alone shortens what it turns.",
        ),
    ],
    why="(I - Q) and (I + Q) commute and are each other's transposes, so R^T R = I: no row gets "
    "longer or shorter, whatever the numbers are.",
)


def saved_cases(generator: np.random.Generator) -> Cases:
    """Two layers in a row, with biases; blocks of 2, and of 4."""
    found = []
    for size, sides in ((2, (6, 4, 3)), (4, (8, 4, 5))):
        pairs = list(zip(sides[:-1], sides[1:], strict=True))
        weights = [normal(generator, out, wide) for wide, out in pairs]
        biases = [normal(generator, out) for _, out in pairs]
        count = size * (size - 1) // 2
        numbers = [normal(generator, wide // size, count) / 2 for wide, _ in pairs]
        named = [dict(zip("01", arrays, strict=True)) for arrays in (weights, biases, numbers)]
        found.append([*named, normal(generator, 3, sides[0]), size])
    return found


def outputs(weights, biases, turns, x) -> list[np.ndarray]:
    """What enters each layer, and at last the output, where layer n has the weight W0 R^T."""
    seen = [x]
    for weight, bias, R in zip(weights, biases, turns, strict=True):
        seen.append(seen[-1] @ R @ weight.T + bias)
    return seen


def gradients(weights, biases, numbers, x, size) -> list[np.ndarray]:
    """By the numbers of each layer, of the sum of the squared outputs."""
    turns = [rotation(n, size) for n in numbers]
    seen = outputs(weights, biases, turns, x)
    upstream, found = 2 * seen[-1], []
    rows, columns = np.triu_indices(size, 1)
    for n in reversed(range(len(weights))):
        of_R = seen[n].T @ (upstream @ weights[n])  # (in, in)
        upstream = upstream @ weights[n] @ turns[n].T
        each = []
        for block, Q in enumerate(skew(numbers[n], size)):
            at = slice(block * size, (block + 1) * size)
            one = np.eye(size)
            # dR = -(I + R) dQ (I + Q)^-1
            of_Q = -(one + turns[n][at, at]).T @ of_R[at, at] @ np.linalg.inv(one + Q).T
            each.append((of_Q - of_Q.T)[rows, columns])
        found.insert(0, np.stack(each))
    return found


def saved(
    weights, biases, numbers, x, block_size, turned=False, unmerged=False, random_start=False
):
    """What the method does and what its file holds; the mistakes differ in the options.

    weights, biases, numbers: {the layer's name: an array}.
    """
    size, names = block_size, [f"{PREFIX}{layer}.{NAME}" for layer in weights]
    weights, biases, numbers = (list(named.values()) for named in (weights, biases, numbers))
    turns = [rotation(n, size) for n in numbers]
    turns = [R.T for R in turns] if turned else turns
    output = outputs(weights, biases, turns, x)[-1]
    none = [np.eye(len(R)) for R in turns]
    right = gradients(weights, biases, numbers, x, size)
    if turned:
        right = [-g for g in gradients(weights, biases, [-n for n in numbers], x, size)]
    return {
        "start": outputs(weights, biases, turns if random_start else none, x)[-1],
        "output": output,
        "gradients": right,
        "merged": outputs(weights, biases, [R.T for R in turns] if unmerged else turns, x)[-1],
        "tensors": dict(zip(names, map(np.asarray, numbers), strict=True)),
        "config": {
            "peft_type": "OFT",
            "oft_block_size": size,
            "use_cayley_neumann": False,
            "target_modules": ["0", "1"],
        },
    }


def renamed(*given) -> dict:
    """Tensors under the name that a bare parameter has."""
    right = saved(*given)
    tensors = {name.removesuffix(".weight"): t for name, t in right["tensors"].items()}
    return right | {"tensors": tensors}


def with_config(*given, **fields) -> dict:
    """The right method with other fields in its file; None leaves one out."""
    right = saved(*given)
    config = {name: v for name, v in (right["config"] | fields).items() if v is not None}
    return right | {"config": config}


SAVED = Task(
    name="oft_saved",
    title="5b. A method in one file",
    points=3,
    cases=saved_cases,
    answer=saved,
    observe=saved_seen,
    parts=by_tensor,
    tolerance=1e-3,
    misconceptions=[
        Misconception(
            partial(saved, turned=True),
            "Your rows turn the wrong way. Rows of x are x @ R before the layer, so the weight is "
            "W0 R^T.",
        ),
        Misconception(
            partial(saved, unmerged=True),
            "Your layer is right and its merge is not: with x @ R before the layer, the merged "
            "weight is W0 R^T, not W0 R.",
        ),
        Misconception(
            partial(saved, random_start=True),
            "Your layer does not start at the base. With numbers of zero, Q is zero and R is I.",
        ),
        Misconception(
            renamed,
            "Your tensors have a name that peft doesn't know: it looks for `oft_R.weight` in each "
            "layer, warns that keys are missing, and goes on with numbers of zero.",
        ),
        Misconception(
            partial(with_config, use_cayley_neumann=None),
            "Your file doesn't say use_cayley_neumann. peft's default is true, a series in place "
            "of the inverse: other numbers than yours.",
        ),
        Misconception(
            partial(with_config, use_cayley_neumann=True),
            "Your file says that R is the series (use_cayley_neumann true), and it is the inverse.",
        ),
        Misconception(
            partial(with_config, oft_block_size=None),
            "Your file doesn't say oft_block_size: make it a field of the config. peft takes 32.",
        ),
        Misconception(
            partial(with_config, peft_type="MYOFT"),
            "Your method has a peft_type that peft doesn't know. Its name there is OFT.",
        ),
    ],
    why="minipeft attaches, merges, saves and counts whatever answers h = f(x; base). With peft's "
    "names in the file, your thirty lines are a file that half the world can open.",
)
