"""Task 6a: the largest size of each method that stays within a budget."""

from collections.abc import Callable

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Task
from .asked import counts_by_name, decoder
from .methods import in_blocks
from .model import block_shapes


def per_size(config: dict, biases: bool = True, twice: int = 2, **heads) -> dict[str, tuple]:
    """{method: (numbers for each unit of its size, numbers whatever the size)}."""
    shapes = block_shapes(config, **heads)
    one = config["num_hidden_layers"] * (sum(shapes["q_proj"]) + sum(shapes["v_proj"]))
    found = {"LoRA": (one, 0)}
    for name in ("adapters", "prefix"):
        first, second = (in_blocks(name, config, n, biases, twice, **heads) for n in (1, 2))
        found[name] = (second - first, 2 * first - second)
    return found


def down(budget: int, each: int, fixed: int) -> int:
    """The largest whole size within the budget."""
    return max(0, (budget - fixed) // each)


def up(budget: int, each: int, fixed: int) -> int:
    """The first size above it."""
    return max(0, -(-(budget - fixed) // each))


def nearest(budget: int, each: int, fixed: int) -> int:
    """The size that comes nearest, over the budget or under it."""
    return max(0, round((budget - fixed) / each))


def at_least_one(budget: int, each: int, fixed: int) -> int:
    """As if one were always to be had."""
    return max(1, down(budget, each, fixed))


def meet_budget(budget: int, config: dict, cut: Callable = down, **more) -> dict[str, int]:
    """{"LoRA": r on q and v, "adapters": width, "prefix": tokens}, each within the budget."""
    return {name: cut(budget, *costs) for name, costs in per_size(config, **more).items()}


def a_block(budget: int, config: dict) -> dict[str, int]:
    """As if each block had the budget for itself."""
    return meet_budget(budget * config["num_hidden_layers"], config)


def cases(generator: np.random.Generator) -> Cases:
    """Budgets that leave a rest, two met to the number, one that lacks a number, one too small."""
    found = []
    for kind in ("rest", "much rest", "exact", "exact width", "one short", "small"):
        sizes = decoder(generator)
        config = {name: size for name, size in sizes.items() if name not in ("r", "n")}
        each = {name: cost for name, (cost, _) in per_size(config).items()}
        width = in_blocks("adapters", config, int(generator.integers(5, 30)))
        budget = {
            "rest": int(each["adapters"] * generator.uniform(6.1, 9.4)),
            "much rest": each["LoRA"] * int(generator.integers(5, 9)) + int(0.9 * each["LoRA"]),
            "exact": each["LoRA"] * int(generator.integers(4, 12)),
            "exact width": width,
            "one short": width - 1,
            "small": min(each.values()) - 1,
        }[kind]
        found.append([budget, config])
    return found


def by_method(got: list, want: list) -> Pieces:
    """Parts by method, each over all budgets."""

    def of(answers: list, name: str) -> list:
        return [answer.get(name) if isinstance(answer, dict) else answer for answer in answers]

    return {name: (of(got, name), of(want, name)) for name in want[0]}


BUDGET = Task(
    name="meet_budget",
    title="6a. Meet a budget",
    points=2,
    cases=cases,
    answer=meet_budget,
    observe=counts_by_name,
    parts=by_method,
    misconceptions=[
        Misconception(
            lambda budget, config: meet_budget(budget, config, cut=up),
            "You round up, and the count is over the budget. The largest size *within* it is asked "
            "for.",
        ),
        Misconception(
            lambda budget, config: meet_budget(budget, config, cut=nearest),
            "You take the nearest size, which may be over the budget. Round down.",
        ),
        Misconception(
            lambda budget, config: meet_budget(budget, config, cut=at_least_one),
            "Where even a size of 1 is over the budget, the answer is 0.",
        ),
        Misconception(
            lambda budget, config: meet_budget(budget, config, grouped=False),
            "Keys and values are counted for every head, so r and the number of tokens come out "
            "too small. With GQA they are narrower.",
        ),
        Misconception(
            lambda budget, config: meet_budget(budget, config, biases=False),
            "The adapters' biases are forgotten: the budget must pay for them, too.",
        ),
        Misconception(
            lambda budget, config: meet_budget(budget, config, twice=1),
            "You pay for one adapter in a block; there are two.",
        ),
        Misconception(
            a_block,
            "You give each block the whole budget. It is for all of them together.",
        ),
    ],
    why="Each count is a straight line in the size: so many numbers for each unit, and for adapters "
    "some whatever the width. A comparison of methods begins with sizes that cost the same.",
)
