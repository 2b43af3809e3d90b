"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

from collections.abc import Iterable

import numpy as np

from ...tasks import Sheet

# What peft needs to know of a file of OFT; it fills in the rest itself.
READ_BY_PEFT = ("peft_type", "oft_block_size", "use_cayley_neumann", "target_modules")
NAMES, NUMBERS, SAID = "tensors in the file", "numbers in the file", "what the file says"


def decoder(generator: np.random.Generator) -> Sheet:
    """A model that no published one equals; its sides are multiples of the block."""
    hidden = 64 * int(generator.integers(5, 40))
    return {
        "layers": int(generator.integers(7, 60)),
        "hidden": hidden,
        "key_value": hidden // int(generator.choice([2, 4])),
        "intermediate": 64 * int(generator.integers(hidden // 32, hidden // 16)),
        "r": int(generator.integers(3, 33)),
        "vera_r": int(generator.integers(65, 400)),
        "init_r": int(generator.integers(34, 60)),
        "block": int(generator.choice([4, 8, 16])),
    }


def moved_seen(value: object) -> dict:
    """dM and dD as numbers."""
    magnitude, direction = value
    return {"dM": float(magnitude), "dD": float(direction)}


def saved_seen(value: object) -> dict:
    """What a method does, and what its file holds for peft; other fields of a config are free."""
    config, tensors = value["config"], dict(sorted(value["tensors"].items()))
    said = [f"{name} = {config[name]}" for name in READ_BY_PEFT if name in config]
    seen = {name: value[name] for name in ("start", "output", "merged")}
    return seen | {
        "gradients": in_a_row(value["gradients"]),
        NAMES: ", ".join(f"{name} {np.shape(tensor)}" for name, tensor in tensors.items()),
        NUMBERS: in_a_row(tensors.values()),
        SAID: ", ".join(said),
    }


def in_a_row(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """All numbers of some arrays, one after the other."""
    return np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])


def by_tensor(got: list, want: list) -> dict:
    """Parts by the entries of the dictionaries that each case asks for."""

    def of(values: list, key: str) -> list:
        return [value.get(key) if isinstance(value, dict) else value for value in values]

    return {key: (of(got, key), of(want, key)) for key in want[0]}
