"""The cells that a cell needs are found, and those are enough to run it."""

import pytest

from tests.notebooks.needed import needed
from tests.notebooks.reading import LESSONS, code_cells, named, read

CELLS = [
    "import math\nimport random",  # 0
    "x = 3",  # 1
    "def f(y):\n    x = y + 1\n    return x * scale",  # 2
    "print(f(1)); random.seed(0)",  # 3
    "scale = math.sqrt(2)",  # 4
    "counts = []",  # 5
    "counts.append(x)",  # 6
    "x = [n for n in range(3)]",  # 7
    "table = {}; table['a'] = f(2)",  # 8
]


@pytest.mark.parametrize(
    ("cell", "above"),
    [
        ("x", [7]),
        ("[x for x in range(2)]", []),
        ("counts", [1, 5, 6]),
        ("f(2)", [0, 2, 4]),
        ("table", [0, 2, 4, 8]),
        ("scale = 1\nscale", []),
        ("lambda: scale", [0, 4]),
        ("len(counts)", [1, 5, 6]),
    ],
)
def test_what_is_needed(cell, above):
    sources = [*CELLS, cell]
    assert needed(sources, [9]) == [*above, 9]


def test_of_several_cells_the_union():
    assert needed(CELLS, [4, 6]) == [0, 1, 4, 5, 6]


@pytest.mark.parametrize("path", LESSONS, ids=named)
def test_sliders_need_few_of_a_lessons_cells(path):
    sources = [cell.source for cell in code_cells(read(path))]
    sliders = [place for place, source in enumerate(sources) if "explore(" in source]
    assert len(needed(sources, sliders)) <= len(sources) / 2
