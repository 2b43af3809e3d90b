"""Task 4, the bug zoo: selection guides that ran without a complaint and misled their customer.

Each specimen is the record of one guide at work. In every broken one its choice is another than
that of a guide that works.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Task, by_answer
from ..zoo import always, misnamed, one_name_for_all

HEALTHY = "healthy"
THUMB = "rule of thumb"
WEIGHTS = "weights alone"
TRAINED = "trained numbers alone"
GB = "GB for GiB"
SQUARE = "square matrices"
UNMERGED = "cannot be merged"
SPECIMENS = [HEALTHY, THUMB, WEIGHTS, TRAINED, GB, SQUARE, UNMERGED]

NOTHING = "none"
CARDS = (4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141)  # GiB
STATES = 16  # bytes for a trained number: weight, gradient, two moments of Adam, in fp32
Record = dict[str, object]


def base_bytes(numbers: int, method: str) -> int:
    """Two bytes a number; 4.5 bits in NF4, four and a constant of 4 bytes to a block of 64."""
    return 9 * numbers // 16 if method == "QLoRA" else 2 * numbers


def lora_numbers(record: Record, grouped: bool = True) -> int:
    """A and B on the four matrices of attention in every layer."""
    hidden = record["hidden"]
    kv = record["key_value_width"] if grouped else hidden
    return record["layers"] * record["r"] * (2 * (hidden + hidden) + 2 * (hidden + kv))


def choice(record: Record) -> str:
    """The first wish that is allowed and fits, by the guide's own numbers."""
    for method in record["wishes"]:
        merges = method != "adapters" or not record["must_merge"]
        if merges and record["needed"][method] <= record["room"]:
            return method
    return NOTHING


def needed(record: Record, bug: str = HEALTHY) -> dict[str, int]:
    """Bytes by method, from the guide's own trained numbers."""
    found = {}
    for method, trained in record["trained"].items():
        base, states = base_bytes(record["numbers"], method), STATES * trained
        whole = base + states + record["activations"]
        found[method] = {WEIGHTS: base, TRAINED: whole - base}.get(bug, whole)
    return found


def worked_through(customer: Record, bug: str = HEALTHY) -> Record:
    """What a guide with one bug (or none) does for a customer."""
    record = dict(customer)
    record["room"] = customer["card_gib"] * (10**9 if bug == GB else 2**30)
    lora = lora_numbers(customer, grouped=bug != SQUARE)
    record["trained"] = {"LoRA": lora, "QLoRA": lora, "adapters": customer["adapter_numbers"]}
    record["needed"] = needed(record, bug)
    allowed = record | ({"must_merge": False} if bug == UNMERGED else {})
    small = customer["card_gib"] < 2 * customer["numbers"] / 1e9
    record["chosen"] = ("QLoRA" if small else "LoRA") if bug == THUMB else choice(allowed)
    del record["adapter_numbers"]
    return record


def some_customer(generator: np.random.Generator) -> Record:
    """A decoder of 1 to 70 billion numbers with grouped-query attention, a card, and wishes."""
    hidden = 512 * int(generator.integers(4, 17))
    kv = hidden // int(generator.choice([4, 8]))
    layers = int(hidden // 128 * generator.uniform(0.8, 1.3))
    block = 2 * hidden * (hidden + kv) + 3 * hidden * int(3.5 * hidden)
    r = 8 * int(generator.integers(2, 9))
    numbers = layers * block + 32_000 * hidden
    cards = [card for card in CARDS if 0.3 < base_bytes(numbers, "LoRA") / (card * 2**30) < 5.5]
    wishes = ["LoRA", "adapters"] if generator.random() < 0.5 else ["adapters", "LoRA"]
    return {
        "card_gib": int(generator.choice(cards)),
        "layers": layers,
        "hidden": hidden,
        "key_value_width": kv,
        "r": r,
        "numbers": numbers,
        "adapter_numbers": 2 * layers * (r * (2 * hidden + 1) + hidden),
        "wishes": [*wishes, "QLoRA"],
        "must_merge": bool(generator.random() < 0.3),
    }


def activations(generator: np.random.Generator, customer: Record, bug: str) -> int:
    """Bytes with which the bug can change the choice, where it is a matter of bytes."""
    room = customer["card_gib"] * 2**30
    left = room - 2 * customer["numbers"]
    part = generator.uniform(0.2, 0.8)
    lora, wrong = (lora_numbers(customer, grouped) for grouped in (True, False))
    adapters = customer["wishes"][0] == "adapters" and not customer["must_merge"]
    states = STATES * (customer["adapter_numbers"] if adapters else lora)
    return int(
        {
            GB: left - states - part * (room - customer["card_gib"] * 10**9),
            SQUARE: left - states - part * STATES * (wrong - lora),
            UNMERGED: (left - states) * part,
        }.get(bug, abs(left) * generator.uniform(0.1, 1.2))
    )


def signs(record: Record) -> dict[str, bool]:
    """What each bug does to the record, by the numbers of the step before."""
    lora = record["needed"]["LoRA"]
    return {
        GB: record["room"] != record["card_gib"] * 2**30,
        SQUARE: record["trained"]["LoRA"] != lora_numbers(record),
        WEIGHTS: lora == base_bytes(record["numbers"], "LoRA"),
        TRAINED: lora < base_bytes(record["numbers"], "LoRA"),
        UNMERGED: record["must_merge"] and record["chosen"] == "adapters",
        THUMB: record["needed"].get(record["chosen"], 0) > record["room"],
    }


def specimen(generator: np.random.Generator, bug: str, nothing: bool = False) -> Record:
    """The record of one guide with one bug (or none); with `nothing`, no method fits."""
    while True:
        customer = some_customer(generator)
        customer["activations"] = activations(generator, customer, bug)
        if not 2**26 < customer["activations"] < customer["card_gib"] * 2**30:
            continue
        record = worked_through(customer, bug)
        right = worked_through(customer)["chosen"]
        misleads = (record["chosen"] != right) == (bug != HEALTHY)
        seen = [name for name, sign in signs(record).items() if sign]
        wanted = [] if bug == HEALTHY else [bug]
        if misleads and seen == wanted and (bug != HEALTHY or nothing == (right == NOTHING)):
            return record


def cases(generator: np.random.Generator) -> Cases:
    """Every specimen twice and, rightly, a guide that finds nothing, in a random order."""
    runs = [(bug, False) for bug in SPECIMENS * 2] + [(HEALTHY, True)]
    return [[specimen(generator, *runs[int(n)])] for n in generator.permutation(len(runs))]


def diagnose(record: Record) -> str:
    """The name of the bug, or "healthy"."""
    return next((bug for bug, sign in signs(record).items() if sign), HEALTHY)


def blames_nothing(record: Record) -> str:
    """A guide that finds nothing looks broken."""
    found = diagnose(record)
    return THUMB if found == HEALTHY and record["chosen"] == NOTHING else found


def by_another(names: dict[str, str]) -> Callable:
    return partial(misnamed, diagnose, names)


DIAGNOSE = Task(
    name="diagnose",
    title="4. The bug zoo",
    points=4,
    cases=cases,
    answer=diagnose,
    parts=by_answer,
    trivial=one_name_for_all(SPECIMENS),
    misconceptions=[
        Misconception(
            partial(always, HEALTHY),
            "You call every guide healthy. None of them raised an error: work through its steps.",
        ),
        Misconception(
            by_another(dict.fromkeys([WEIGHTS, TRAINED, GB, SQUARE], HEALTHY)),
            "You check the choice by the guide's own numbers, and these may be wrong: work out the "
            "room, the trained numbers and the bytes yourself.",
        ),
        Misconception(
            by_another({WEIGHTS: THUMB, TRAINED: THUMB}),
            "You call wrong bytes a rule of thumb. That one chooses what does not fit by the "
            "guide's *own* numbers.",
        ),
        Misconception(
            by_another({WEIGHTS: TRAINED, TRAINED: WEIGHTS}),
            "You have the two forgotten parts the wrong way round: with the weights alone, the "
            "bytes of LoRA are those of the base.",
        ),
        Misconception(
            by_another({GB: HEALTHY}),
            "You take GB for GiB, as the guide does. A card of 24 GiB has 24 x 2^30 bytes, seven per "
            "cent more than 24 x 10^9.",
        ),
        Misconception(
            by_another({SQUARE: HEALTHY}),
            "You miss the square matrices: W_k and W_v have `key_value_width` outputs, and the guide "
            "counts `hidden`.",
        ),
        Misconception(
            by_another({UNMERGED: HEALTHY}),
            "You miss the customer who must merge. An adapter has a nonlinearity between its two "
            "matrices, and no weight can take it in.",
        ),
        Misconception(
            by_another({THUMB: HEALTHY}),
            "You miss the rule of thumb. Compare the chosen method's bytes with the room: the guide "
            "never did.",
        ),
        Misconception(
            blames_nothing,
            "You call a guide broken because it finds nothing. Where no method fits, that is the "
            "right answer.",
        ),
    ],
    why="A guide is a chain of steps, each of which can be worked out again: the room, what is "
    "trained, what that needs, what the customer allows, and then the first wish that fits.",
)
