"""Task 3: which bytes of AdamW's states may leave the GPU."""

from collections.abc import Callable

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import whole_pair

SMALLEST = 100_000  # elements, in bitsandbytes
Shapes = list[list[int]]


def pages(shapes: Shapes, moves: Callable = lambda n: n >= SMALLEST, width: int = 8) -> list[int]:
    """[bytes of states that may page, bytes that stay]; the mistakes differ in the rule."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    paging = sum(width * n for n in sizes if moves(n))
    return [paging, width * sum(sizes) - paging]


def by_total(shapes: Shapes) -> list[int]:
    """As if all states were one tensor."""
    total = 8 * sum(int(np.prod(shape)) for shape in shapes)
    return [total, 0] if total >= 8 * SMALLEST else [0, total]


def cases(generator: np.random.Generator) -> Cases:
    """A pair too small, one that is mixed, one at the boundary, and a vector beside them."""
    wide = int(generator.integers(3800, 6400))
    r = int(generator.integers(3, 9))
    some = [
        [[r, wide], [wide, r]],
        [[64, wide], [wide // 64, 64], [r, wide]],
        [[25, 4000], [9, 11111], [wide]],
        [[400, 300 + r], [16, wide], [7], [2 * SMALLEST]],
    ]
    return [[shapes] for shapes in some]


PAGES = Task(
    name="paged_bytes",
    title="3. What may page",
    points=2,
    cases=cases,
    answer=pages,
    observe=whole_pair,
    parts=by_case("small matrices", "small and large ones", "the boundary", "all kinds"),
    trivial=[lambda shapes: [0, 8 * sum(int(np.prod(shape)) for shape in shapes)]],
    misconceptions=[
        Misconception(
            lambda shapes: pages(shapes, moves=lambda n: True),
            "You let everything page. States of tensors with fewer than 100,000 elements stay.",
        ),
        Misconception(
            lambda shapes: pages(shapes, moves=lambda n: n > SMALLEST),
            "A tensor of exactly 100,000 elements pages, too: fewer than that stay.",
        ),
        Misconception(
            lambda shapes: pages(shapes, moves=lambda n: 8 * n >= SMALLEST),
            "You compared bytes with 100,000. The rule counts elements.",
        ),
        Misconception(
            by_total,
            "You added all tensors up first. Each tensor pages or stays by its own size.",
        ),
        Misconception(
            lambda shapes: pages(shapes, width=4),
            "AdamW has two states for each element, of 4 bytes each: 8 bytes.",
        ),
        Misconception(
            lambda shapes: pages(shapes, width=12),
            "You counted the weights as well. Only states page; weights never do.",
        ),
        Misconception(
            lambda shapes: pages(shapes)[::-1],
            "The pair is turned round: first what may page, then what stays.",
        ),
    ],
    why="Paging is decided tensor by tensor. With small ranks most of LoRA's matrices are below "
    "the boundary, so a paged optimizer changes little for them.",
)
