"""Compares what a function returned with the reference, and names the mistake where it can."""

import contextlib
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .arguments import arguments
from .results import Verdict
from .sandboxed.call import call
from .sandboxed.protocol import LARGEST, Raised
from .tasks import Cases, Recorded, Task

NOT_WRITTEN = "This task is not written yet: it still raises NotImplementedError."
HEAVIEST = 4 * LARGEST  # bytes; an array that is named a thousand times comes in few
MISSING = Raised("nothing", "no value came back")


@dataclass(frozen=True)
class Unfit:
    """An answer of which nothing can be observed: it is not of the kind that is asked for."""

    value: object


def judge(task: Task, cases: Cases, answers: Sequence[object]) -> Verdict:
    """Compare the answers with the reference, then with every known wrong answer."""
    for answer in answers:
        if isinstance(answer, Raised) and answer.is_a("NotImplementedError"):
            return Verdict(False, _not_written(task, answer))
    want = expected(task, task.answer, cases)
    got = [_observed(task, answer) for answer in answers][: len(want)]
    got += [MISSING] * (len(want) - len(got))
    if _all_agree(got, want, task.tolerance):
        return Verdict(True, task.why, task.points)
    parts = right_parts(task, got, want)
    trivial = (right_parts(task, expected(task, t, cases), want) for t in task.trivial)
    earned = parts if not any(parts <= nothing for nothing in trivial) else set()
    names = list(task.pieces(want, want))
    points = sum(task.worth(name, names) for name in earned)
    pairs = enumerate(zip(got, want, strict=True))
    wrong = next(case for case, pair in pairs if not agree(*pair, task.tolerance))
    return Verdict(
        False,
        _mistake(task, cases, got, want, len(answers), wrong),
        round(points, 2),
        [name for name in names if name in earned],
        arguments(task, task.told(cases)[wrong], wrong + 1),
    )


def right_parts(task: Task, got: list, want: list) -> set[str]:
    """The names of the parts that are right."""
    pieces = task.pieces(got, want).items()
    return {name for name, (mine, right) in pieces if _all_agree(mine, right, task.tolerance)}


def _mistake(task: Task, cases: Cases, got: list, want: list, came: int, case: int) -> str:
    """The name of the mistake, or how the first wrong case differs."""
    for misconception in task.misconceptions:
        wrong = expected(task, misconception.answer, cases)[:came]
        if came and _all_agree(got[:came], wrong, task.tolerance, any_error=True):
            return misconception.message
    if case < came:
        return f"Case {case + 1}: {_difference_in_a_call(task, got[case], want[case])}"
    return f"{came} of {len(want)} cases came back, and they are right."


def _difference_in_a_call(task: Task, got: object, want: object) -> str:
    """The difference; of several calls with the same arguments, that of the first wrong one."""
    calls = [got, want] if task.calls > 1 else []
    if not calls or any(not isinstance(v, list) or len(v) != task.calls for v in calls):
        return difference(got, want, task.tolerance)
    pairs = enumerate(zip(got, want, strict=True))
    call, pair = next(found for found in pairs if not agree(*found[1], task.tolerance))
    told = difference(*pair, task.tolerance)
    return f"called once more with the same arguments, {told}" if call else told


def _not_written(task: Task, answer: Raised) -> str:
    if answer.function in ("", task.name):
        return NOT_WRITTEN
    return f"It calls `{answer.function}`, which is not written yet."


def expected(task: Task, answer: Callable | Recorded, cases: Cases) -> list[object]:
    """What a function of ours answers to every case, as far as it is compared."""
    if isinstance(answer, Recorded):
        return list(answer.values)
    with _one_seed():
        values = [call(answer, case, task.calls, tensors=False) for case in cases]
    return [_observed(task, value) for value in values]


@contextlib.contextmanager
def _one_seed() -> Iterator[None]:
    """What our functions draw from NumPy's own generator is the same each time."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)  # a student's own draws go on as if nothing had been


def _observed(task: Task, value: object) -> object:
    if isinstance(value, Raised):
        return value
    is_of_calls = task.calls == 1 or (isinstance(value, list) and len(value) == task.calls)
    if not is_of_calls or weight(value) > HEAVIEST:
        return Unfit(value)
    try:
        return task.observe(value)
    except Exception:  # the value may be anything
        return Unfit(value[0] if task.calls > 1 else value)


def weight(value: object) -> int:
    """The bytes of all arrays in a value, each counted as often as it is named."""
    if isinstance(value, list | tuple | dict):
        return sum(map(weight, value.values() if isinstance(value, dict) else value))
    return value.nbytes if isinstance(value, np.ndarray) else 0


def _all_agree(got: Sequence, want: Sequence, tolerance: float, any_error: bool = False) -> bool:
    return all(agree(g, w, tolerance, any_error) for g, w in zip(got, want, strict=True))


def agree(got: object, want: object, tolerance: float, any_error: bool = False) -> bool:
    """Whether two values are equal: numbers within the tolerance, all else exactly.

    An expected exception asks for one that `except` of its name would catch, or with `any_error`
    for any: numpy and torch name the same mistake differently.
    """
    if isinstance(want, Raised):
        return isinstance(got, Raised) and (any_error or got.is_a(want.name))
    if want is None or isinstance(want, str | bool):
        return type(_plain(got)) is type(want) and _plain(got) == want
    if isinstance(want, dict):
        same_keys = isinstance(got, dict) and got.keys() == want.keys()
        return same_keys and all(agree(got[k], want[k], tolerance, any_error) for k in want)
    if isinstance(want, list | tuple):
        is_list = isinstance(got, list | tuple) or (isinstance(got, np.ndarray) and got.ndim > 0)
        return bool(is_list and len(got) == len(want)) and _all_agree(
            list(got), want, tolerance, any_error
        )
    return _numbers_agree(got, want, tolerance)


def _numbers_agree(got: object, want: object, tolerance: float) -> bool:
    if isinstance(got, bool) or not isinstance(got, int | float | np.ndarray | np.generic):
        return False
    if np.shape(got) != np.shape(want):
        return False
    if isinstance(want, int):
        return bool(got == want)  # a count is exact
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    scale = np.abs(want).max(initial=0.0) or 1.0
    return bool(np.all(np.isfinite(got)) and np.all(np.abs(got - want) <= tolerance * scale))


def _plain(value: object) -> object:
    """A number or truth value out of its array."""
    is_scalar = isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0
    return value.item() if is_scalar else value


def difference(got: object, want: object, tolerance: float) -> str:
    """One sentence on how a value differs from the right one, by form first, then by number."""
    if isinstance(got, Raised):
        return _raised(got)
    if isinstance(got, Unfit):
        return f"you returned {_short(got.value)}, which is not what is asked for."
    if isinstance(want, Raised):
        return f"your function returned a value where it should raise {want.name}."
    if isinstance(want, list | tuple | dict) and isinstance(got, type(want)):
        keys = want if isinstance(want, dict) else range(len(want))
        if len(got) != len(want):
            return f"you returned {len(got)} items: {_short(got)}; right are {len(want)}."
        for key in keys:
            if isinstance(want, dict) and key not in got:
                return f"the entry {key!r} is missing."
            if not agree(got[key], want[key], tolerance):
                return f"in item {key!r}, {difference(got[key], want[key], tolerance)}"
    if isinstance(want, np.ndarray):
        return _array_difference(got, want)
    return f"you returned {_short(got)}; right is {_short(want)}."


def _raised(got: Raised) -> str:
    if got.name == "ProtocolError":
        return f"what you returned cannot be judged: {got.text}."
    where = f" (in `{got.function}`)" if got.function.isidentifier() else ""
    return f"your function raised {got.name}: {got.text}{where}"


def _array_difference(got: object, want: np.ndarray) -> str:
    if not isinstance(got, np.ndarray):
        return f"you returned {_short(got)}; asked for is a tensor of shape {want.shape}."
    if got.shape != want.shape:
        return f"the shape is {got.shape}; it should be {want.shape}."
    if not np.all(np.isfinite(got)):
        return "the result holds nan or infinity."
    largest = np.abs(np.asarray(got, np.float64) - want).max(initial=0.0)
    return f"the shape is right, the numbers are not: they are off by up to {largest:.3g}."


class _Short(reprlib.Repr):
    """Values in a few words, however large they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_ndarray(self, value: np.ndarray, level: int) -> str:
        return repr(value.item()) if value.ndim == 0 else f"<array of shape {value.shape}>"


def _short(value: object) -> str:
    text = _Short().repr(value)
    return f"a {type(value).__name__}" if len(text) > 120 else text
