"""Task 4: count what is loaded: names, tensors that share their storage, packed weights."""

from functools import partial
from math import prod

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case
from .asked import counts_by_name

Entry = dict[str, object]
PACKED = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")


def entry(name: str, shape: list[int], tensor: int, packed: bool = False, trained: bool = False):
    """One line of a loaded model's list."""
    return {"name": name, "shape": shape, "tensor": tensor, "packed": packed, "trained": trained}


def loaded(generator: np.random.Generator, tied: bool, packed: bool, adapter: bool) -> list[Entry]:
    """The list of a small model, its tensors numbered as the computer placed them."""
    vocab, d, f = (int(generator.integers(low, 3 * low)) for low in (90, 10, 25))
    d, f = 2 * d, 2 * f
    numbers = iter(generator.permutation(np.arange(1000, 1200)).tolist())
    table = next(numbers)
    found = [entry("embed_tokens.weight", [vocab, d], table)]
    for layer in range(int(generator.integers(2, 4))):
        for matrix in PACKED:
            shape = {"up_proj": [f, d], "down_proj": [d, f]}.get(matrix, [d, d])
            name = f"layers.{layer}.{matrix}"
            stored = [prod(shape) // 2, 1] if packed else shape
            found.append(entry(f"{name}.weight", stored, next(numbers), packed=packed))
            if adapter and matrix in ("q_proj", "v_proj"):
                r = int(generator.integers(1, 6))
                found.append(entry(f"{name}.lora_A.weight", [r, d], next(numbers), trained=True))
                found.append(entry(f"{name}.lora_B.weight", [d, r], next(numbers), trained=True))
        found.append(entry(f"layers.{layer}.norm.weight", [d], next(numbers)))
    found.append(entry("norm.weight", [d], next(numbers)))
    found.append(entry("lm_head.weight", [vocab, d], table if tied else next(numbers)))
    return found


def count_loaded(entries: list[Entry], once: bool = True, unpack: bool = True) -> dict[str, int]:
    """{"trained", "all"}: each tensor once, a packed one as the two that each entry stands for."""
    tensors = {e["tensor"] if once else e["name"]: e for e in entries}.values()
    counts = [(e, prod(e["shape"]) * (2 if e["packed"] and unpack else 1)) for e in tensors]
    trained = sum(count for e, count in counts if e["trained"])
    return {"trained": trained, "all": sum(count for _, count in counts)}


def halved(entries: list[Entry]) -> dict[str, int]:
    """The script that halves the adapter of a packed model."""
    counts = count_loaded(entries, unpack=False)
    share = 2 if any(e["packed"] for e in entries) else 1
    return counts | {"trained": counts["trained"] // share}


def all_doubled(entries: list[Entry]) -> dict[str, int]:
    """As if every tensor of a packed model were packed."""
    counts = count_loaded(entries, unpack=False)
    times = 2 if any(e["packed"] for e in entries) else 1
    return {name: times * count for name, count in counts.items()}


def base_alone(entries: list[Entry]) -> dict[str, int]:
    """Without the adapter in "all"."""
    counts = count_loaded(entries)
    return counts | {"all": counts["all"] - counts["trained"]}


def by_shape(entries: list[Entry]) -> dict[str, int]:
    """As if two tensors of one shape were one."""
    return count_loaded([e | {"tensor": str(e["shape"])} for e in entries])


CASES = ((False, False, False), (False, False, True), (True, False, True), (False, True, True))
CASES += ((True, True, True),)

LOADED = Task(
    name="count_loaded",
    title="4. Count what is loaded",
    points=2,
    cases=lambda generator: [[loaded(generator, *kind)] for kind in CASES],
    answer=count_loaded,
    observe=counts_by_name,
    parts=by_case("no adapter", "an adapter", "a tied head", "packed weights", "all of it"),
    misconceptions=[
        Misconception(
            partial(count_loaded, once=False),
            "You count by name. Two entries with the same `tensor` are two names of one tensor: "
            "count it once.",
        ),
        Misconception(
            partial(count_loaded, unpack=False),
            "A packed weight counts as half of what it is: each of its entries holds two weights.",
        ),
        Misconception(
            halved,
            "You halve the trained numbers of a packed model. The adapter is not packed; it is the "
            "base's count that comes out as half.",
        ),
        Misconception(
            all_doubled,
            "You double everything in a packed model. Only entries that are `packed` hold two.",
        ),
        Misconception(
            base_alone,
            "`all` is base and adapter together, as peft prints it. You left the adapter out.",
        ),
        Misconception(
            by_shape,
            "You take two tensors of one shape for one. Only the same `tensor` is the same.",
        ),
        Misconception(
            partial(count_loaded, once=False, unpack=False),
            "You add up the sizes as they are. Tied tensors come twice so, packed ones as half.",
        ),
    ],
    why="A model's list of names is not its list of numbers: tied names share a tensor, and a "
    "packed tensor holds two weights in each of its entries.",
)
