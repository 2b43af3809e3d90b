"""Task 4: a planted hole, on which the fewest numbers can be known exactly.

Layers without a nonlinearity between them lack the updates D. For inputs x of mean 0 and unit
covariance the loss above the floor is the mean of ||(D - B A) x||^2, which is ||D - B A||_F^2: so
fresh inputs are averaged over exactly. Eckart and Young (1936) say which direction is next in each
layer; which layer is next is a question of energy per number.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import entry_seen

MARGIN = 0.004  # of the whole energy, by which every choice is clearly within the bound or not
Layers = dict[str, np.ndarray]
Ranks = dict[str, int]


def spectra(layers: Layers) -> dict[str, np.ndarray]:
    """The singular values of each layer's update."""
    return {
        name: singular_values(np.asarray(D, np.float64).tobytes(), D.shape)
        for name, D in layers.items()
    }


@lru_cache(maxsize=32)
def singular_values(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Of the matrix with these bytes; a hole that is drawn is asked for them a dozen times."""
    return np.linalg.svd(np.frombuffer(data).reshape(shape), compute_uv=False)


def per_number(value: float, shape: tuple[int, int]) -> float:
    """The energy that a number of this direction brings."""
    return value**2 / sum(shape)


def energy(value: float, shape: tuple[int, int]) -> float:
    """The energy of a direction, whatever it costs."""
    return value**2


def value_per_number(value: float, shape: tuple[int, int]) -> float:
    """The singular value in place of its square."""
    return value / sum(shape)


def per_product(value: float, shape: tuple[int, int]) -> float:
    """As if a direction cost d_out d_in numbers."""
    return value**2 / (shape[0] * shape[1])


def per_longer_side(value: float, shape: tuple[int, int]) -> float:
    """As if a direction cost its longer vector alone."""
    return value**2 / max(shape)


def cube_per_number(value: float, shape: tuple[int, int]) -> float:
    """A power too many."""
    return value**3 / sum(shape)


NAMED = (energy, value_per_number, per_product)  # mistakes that have a message of their own


def chosen(
    layers: Layers, bound: float, worth: Callable = per_number, power: float = 1, shift: int = 0
) -> Ranks:
    """The ranks that one gets by taking the most worthy direction again and again.

    power: of the share that is missing, before it is compared. shift: directions too many or few.
    """
    values = spectra(layers)
    order = sorted(
        ((worth(s, layers[name].shape), name, s) for name in layers for s in values[name]),
        key=lambda part: -part[0],
    )
    total = sum((s**2).sum() for s in values.values())
    missing, count = total, 0
    while (max(missing, 0) / total) ** power > bound and count < len(order):
        missing -= order[count][2] ** 2
        count += 1
    taken = [name for _, name, _ in order[: max(count + shift, 0)]]
    return {name: taken.count(name) for name in layers}


def uniform(layers: Layers, bound: float) -> Ranks:
    """Par: the smallest rank that is enough when every layer has it."""
    values = spectra(layers)
    total = sum((s**2).sum() for s in values.values())
    most = max(len(s) for s in values.values())
    r = next(
        r for r in range(most + 1)
        if sum((s[r:] ** 2).sum() for s in values.values()) <= bound * total
    )  # fmt: skip
    return {name: min(r, len(values[name])) for name in layers}


def each_alone(layers: Layers, bound: float) -> Ranks:
    """Every layer reaches the bound by itself."""
    return {name: chosen({name: D}, bound)[name] for name, D in layers.items()}


def cost(layers: Layers, ranks: Ranks) -> int:
    """The numbers of an entry with these ranks."""
    return sum(ranks[name] * sum(D.shape) for name, D in layers.items())


def factors(layers: Layers, ranks: Ranks, squared: bool = False) -> dict[str, tuple]:
    """The best A and B of these ranks; layers of rank 0 are left out."""
    found = {}
    for name, r in ranks.items():
        if r:
            U, S, V = np.linalg.svd(np.asarray(layers[name], np.float64), full_matrices=False)
            found[name] = V[:r] * (S[:r, None] if squared else 1), U[:, :r] * S[:r]
    return found


def by(rule: Callable[[Layers, float], Ranks]) -> Callable[[Layers, float], dict]:
    """An entry whose ranks follow a rule."""
    return lambda layers, bound: factors(layers, rule(layers, bound))


def of_spectrum(generator: np.random.Generator, shape: tuple[int, int], values) -> np.ndarray:
    """An update with these singular values, in float32."""
    U, _ = np.linalg.qr(generator.normal(size=(shape[0], len(values))))
    V, _ = np.linalg.qr(generator.normal(size=(shape[1], len(values))))
    return ((U * values) @ V.T).astype(np.float32)


def is_clear(layers: Layers, bound: float) -> bool:
    """Whether one choice is the cheapest, by far enough, and is the one that `chosen` makes."""
    values, best = spectra(layers), chosen(layers, bound)
    total = sum((s**2).sum() for s in values.values())
    least = cost(layers, best)
    for ranks in itertools.product(*(range(len(s) + 1) for s in values.values())):
        each = dict(zip(layers, ranks, strict=True))
        left = sum((s[r:] ** 2).sum() for s, r in zip(values.values(), ranks, strict=True))
        share = left / total
        if each == best and share > bound - MARGIN:
            return False
        if each != best and cost(layers, each) <= least and share < bound + MARGIN:
            return False
    return True


def hole(generator: np.random.Generator, shapes: list[tuple[int, int]], directions: int) -> list:
    """[layers, bound]: one on which the rules that are known differ from the best."""
    worths = NAMED if len({sum(shape) for shape in shapes}) > 1 else ()
    others = [uniform, each_alone] if len(shapes) > 1 else []
    if worths:
        others += [partial(chosen, worth=worth) for worth in (per_longer_side, cube_per_number)]
    while True:
        layers = {}
        for number, shape in enumerate(shapes):
            scale = generator.uniform(0.5, 3)
            values = scale * np.cumprod(generator.uniform(0.45, 0.9, directions))
            layers[f"layer {number}"] = of_spectrum(generator, shape, values)
        bound = float(generator.integers(8, 26)) / 100
        best = chosen(layers, bound)
        wrong = [chosen(layers, bound, worth=worth) for worth in worths]
        if best in wrong or any(one in wrong[:i] for i, one in enumerate(wrong)):
            continue
        if len(shapes) > 1 and uniform(layers, bound) == each_alone(layers, bound):
            continue
        if all(other(layers, bound) != best for other in others) and is_clear(layers, bound):
            return [layers, bound]


def cases(generator: np.random.Generator) -> Cases:
    """A single layer, layers alike, and layers of different shapes."""
    return [
        hole(generator, [(9, 12)], 7),
        hole(generator, [(9, 7)] * 3, 4),
        hole(generator, [(4, 5), (18, 6), (8, 30)], 4),
    ]


PLAY = Task(
    name="play",
    title="4. Play a hole",
    points=5,
    cases=cases,
    answer=by(chosen),
    observe=entry_seen,
    tolerance=1e-3,
    parts=by_case("one layer", "layers alike", "layers of different shapes"),
    weights={"one layer": 1, "layers alike": 2, "layers of different shapes": 2},
    trivial=[lambda layers, bound: {}],
    misconceptions=[
        Misconception(
            by(uniform),
            "This is par: the same rank in every layer. A layer whose update is small does not "
            "need the rank of one whose update is large.",
        ),
        Misconception(
            by(each_alone),
            "You let every layer reach the bound by itself. The bound is on all of them together: "
            "what one layer leaves, another may make up for.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, worth=energy)),
            "You take the directions by their energy alone. A direction of a wide layer costs "
            "more numbers: compare energy per number.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, worth=value_per_number)),
            "You weigh the singular value by its cost. The loss falls by its square.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, worth=per_product)),
            "You divide by d_out d_in. A direction is two vectors: it costs d_out + d_in numbers.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, shift=-1)),
            "One direction too few: the loss is still above the bound.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, shift=1)),
            "One direction too many: the bound was reached before the last one.",
        ),
        Misconception(
            by(lambda *given: chosen(*given, power=0.5)),
            "You compared the norm of what is missing with the bound. The loss is its square.",
        ),
        Misconception(
            by(lambda layers, bound: {name: min(D.shape) for name, D in layers.items()}),
            "You kept every direction. Nothing is missing, and nothing was saved.",
        ),
        Misconception(
            lambda layers, bound: factors(layers, chosen(layers, bound), squared=True),
            "The singular values are in A and in B, so the product has their squares.",
        ),
    ],
    why="Each direction lowers the loss by the square of its singular value and costs d_in + d_out "
    "numbers. Taking the best ratio again and again is the greedy rule of the knapsack; on these "
    "holes exhaustive search finds nothing cheaper.",
)
