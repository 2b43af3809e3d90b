"""Tasks 1 and 2: bytes by state, by formula and on the student's own sheet."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...tasks import Cases, Misconception, Pieces, Sheet, Task, by_entry
from ...observing import unseen
from .asked import company

STATES = ("weights", "gradients", "adam", "master")


def training_bytes(total, trained, weight, gradient, mean, master) -> dict[str, int]:
    """Bytes by state: all numbers are weights, only the trained ones have anything else."""
    return {
        "weights": total * weight,
        "gradients": trained * gradient,
        "adam": 2 * trained * mean,
        "master": trained * master,
    }


def changed(state: str, change: Callable, *given) -> dict[str, int]:
    """The right bytes but for one state."""
    return training_bytes(*given) | {state: change(*given)}


def all_trained(total, trained, *widths) -> dict[str, int]:
    """As if nothing were frozen."""
    return training_bytes(total, total, *widths)


def in_gb(*given) -> dict[str, float]:
    """The right numbers in GB."""
    return {state: count / 1e9 for state, count in training_bytes(*given).items()}


def bytes_cases(generator: np.random.Generator) -> Cases:
    """Full tuning, partial tuning and an adapter, in three conventions."""
    cases = []
    for share, widths in [(1, (4, 4, 4, 0)), (7, (2, 2, 4, 4)), (90, (2, 4, 4, 4)), (3, (2, 2, 2, 0))]:
        trained = int(generator.integers(1000, 9000))
        cases.append([trained * share, trained, *widths])
    return cases


def by_state(got: list, want: list) -> Pieces:
    """Parts by state, over all cases."""

    def of(values: list, state: str) -> list:
        return [value.get(state) if isinstance(value, dict) else value for value in values]

    return {state: (of(got, state), of(want, state)) for state in STATES}


BYTES = Task(
    name="training_bytes",
    title="1. Bytes by state",
    points=3,
    cases=bytes_cases,
    answer=training_bytes,
    parts=by_state,
    misconceptions=[
        Misconception(
            all_trained,
            "You count gradients and means for frozen numbers as well. Only what is trained has "
            "them; the frozen rest is there as weights alone.",
        ),
        Misconception(
            partial(changed, "adam", lambda total, trained, w, g, mean, master: trained * mean),
            "Adam keeps two means for each trained number: one of the gradient, one of its square.",
        ),
        Misconception(
            partial(changed, "weights", lambda total, trained, weight, *rest: trained * weight),
            "You count the weights of what is trained alone. The frozen ones are needed for the "
            "forward pass, so they are in memory too.",
        ),
        Misconception(
            partial(changed, "master", lambda total, trained, w, g, m, master: total * master),
            "You keep a master copy of frozen weights. It is there for the optimizer to add small "
            "steps to, and the optimizer never touches what is frozen.",
        ),
        Misconception(
            partial(changed, "gradients", lambda total, trained, w, gradient, *rest: total * gradient),
            "You count a gradient for every number of the model. A frozen matrix gets none.",
        ),
        Misconception(in_gb, "These are GB. Asked for are bytes, whole numbers."),
    ],
    why="All numbers of a model are there as weights. Gradient, two means and master copy are there "
    "for each trained number only: this is where training less saves memory.",
)


def on_sheet(parameters, adapter, tasks, twelve=12, sixteen=16, width=2, bases=1) -> dict[str, int]:
    """The four numbers that a sheet asks for."""
    return {
        "12 bytes": parameters * twelve,
        "16 bytes": parameters * sixteen,
        "copies": parameters * width * tasks,
        "adapters": bases * parameters * width + tasks * adapter * width,
    }


def for_sheet(answer: Callable, sheet: Sheet) -> dict[str, int]:
    """An answer to a sheet."""
    return answer(**sheet)


def one_task(parameters, adapter, tasks) -> dict[str, int]:
    """As if there were one task."""
    return on_sheet(parameters, adapter, 1)


def base_each_time(parameters, adapter, tasks) -> dict[str, int]:
    """As if each adapter brought its base along."""
    return on_sheet(parameters, adapter, tasks, bases=tasks)


def and_the_base(parameters, adapter, tasks) -> dict[str, int]:
    """As if a company with full copies served the base as well."""
    found = on_sheet(parameters, adapter, tasks)
    return found | {"copies": found["copies"] + 2 * parameters}


def gibibytes(parameters, adapter, tasks) -> dict[str, int]:
    """The right numbers divided by 2^30."""
    return {name: n // 2**30 for name, n in on_sheet(parameters, adapter, tasks).items()}


SHEET = Task(
    name="my_bytes",
    title="2. Your own sheet",
    points=2,
    cases=lambda generator: [],
    from_sheet=True,
    answer=partial(for_sheet, on_sheet),
    observe=unseen,
    parts=by_entry,
    misconceptions=[
        Misconception(
            partial(for_sheet, partial(on_sheet, width=4)),
            "On your sheet: files hold 16 bits a number here, so 2 bytes, not 4.",
        ),
        Misconception(
            partial(for_sheet, partial(on_sheet, bases=0)),
            "On your sheet: the adapters need their base beside them. It is stored once, for all.",
        ),
        Misconception(
            partial(for_sheet, base_each_time),
            "On your sheet: you stored the base once for each adapter. All of them share one.",
        ),
        Misconception(
            partial(for_sheet, one_task),
            "On your sheet: you stored one task. There is a copy, or an adapter, for each.",
        ),
        Misconception(
            partial(for_sheet, and_the_base),
            "On your sheet: full copies need no base beside them. Each of them is a whole model.",
        ),
        Misconception(
            partial(for_sheet, gibibytes),
            "On your sheet: these are GiB. Asked for are bytes.",
        ),
        Misconception(
            partial(for_sheet, partial(on_sheet, twelve=10, sixteen=14)),
            "On your sheet: you left the weights themselves out of the training memory.",
        ),
    ],
    why="These are your own numbers: no other sheet has them. With copies the disk grows by a model "
    "for each task, with adapters by a file for each.",
)
