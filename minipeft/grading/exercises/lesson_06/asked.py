"""What a student's copy of the course needs of this exercise: sheets, and how answers are seen."""

import numpy as np

from ...tasks import Sheet

# What peft needs to know of a file of OFT; it fills in the rest itself.
READ_BY_PEFT = ("peft_type", "oft_block_size", "use_cayley_neumann", "target_modules")
ON_FILE = ("tensors in the file", "what the file says")


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
    config = value["config"]
    said = {name: config[name] for name in READ_BY_PEFT if name in config}
    seen = {name: value[name] for name in ("start", "output", "gradients", "merged")}
    return seen | dict(zip(ON_FILE, (value["tensors"], said), strict=True))


def by_tensor(got: list, want: list) -> dict:
    """Parts by the entries of the dictionaries that each case asks for."""

    def of(values: list, key: str) -> list:
        return [value.get(key) if isinstance(value, dict) else value for value in values]

    return {key: (of(got, key), of(want, key)) for key in want[0]}
