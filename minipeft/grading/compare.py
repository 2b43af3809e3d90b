"""Compares what a function returned with the reference, and names the mistake where it can."""

from collections.abc import Callable, Sequence

import numpy as np

from .results import Verdict
from .sandboxed.call import call
from .sandboxed.protocol import Raised
from .tasks import Cases, Task

NOT_WRITTEN = "This task is not written yet: it still raises NotImplementedError."


def judge(task: Task, cases: Cases, answers: Sequence[object]) -> Verdict:
    """Compare the answers with the reference, then with every known wrong answer."""
    if any(isinstance(a, Raised) and a.name == "NotImplementedError" for a in answers):
        return Verdict(False, NOT_WRITTEN)
    got = [_observed(task, answer) for answer in answers]
    want = expected(task, task.answer, cases)
    if len(got) == len(want) and _all_agree(got, want, task.tolerance):
        return Verdict(True, task.why)
    for misconception in task.misconceptions:
        wrong = expected(task, misconception.answer, cases)[: len(got)]
        if got and _all_agree(got, wrong, task.tolerance, any_error=True):
            return Verdict(False, misconception.message)
    for case, (mine, right) in enumerate(zip(got, want, strict=False)):
        if not agree(mine, right, task.tolerance):
            return Verdict(False, f"Case {case + 1}: {difference(mine, right)}")
    return Verdict(False, f"{len(got)} of {len(want)} cases came back, and they are right.")


def expected(task: Task, answer: Callable, cases: Cases) -> list[object]:
    """What a function of ours answers to every case, as far as it is compared."""
    values = (call(answer, case, task.calls, tensors=False) for case in cases)
    return [_observed(task, value) for value in values]


def _observed(task: Task, value: object) -> object:
    if isinstance(value, Raised):
        return value
    try:
        return task.observe(value)
    except Exception:  # the value may be anything; then it is compared as it is
        return value


def _all_agree(got: Sequence, want: Sequence, tolerance: float, any_error: bool = False) -> bool:
    return all(agree(g, w, tolerance, any_error) for g, w in zip(got, want, strict=True))


def agree(got: object, want: object, tolerance: float, any_error: bool = False) -> bool:
    """Whether two values are equal: numbers within the tolerance, all else exactly.

    An expected exception asks for one of the same name, or with `any_error` for any: numpy and
    torch name the same mistake differently.
    """
    if isinstance(want, Raised):
        return isinstance(got, Raised) and (any_error or got.name == want.name)
    if want is None or isinstance(want, str | bool):
        return type(_plain(got)) is type(want) and _plain(got) == want
    if isinstance(want, dict):
        same_keys = isinstance(got, dict) and got.keys() == want.keys()
        return same_keys and all(agree(got[k], want[k], tolerance, any_error) for k in want)
    if isinstance(want, list | tuple):
        got = list(got) if isinstance(got, np.ndarray) and got.ndim else got
        same_length = isinstance(got, list | tuple) and len(got) == len(want)
        return same_length and _all_agree(got, want, tolerance, any_error)
    return _numbers_agree(got, want, tolerance)


def _numbers_agree(got: object, want: object, tolerance: float) -> bool:
    if isinstance(got, bool) or not isinstance(got, int | float | np.ndarray | np.generic):
        return False
    if np.shape(got) != np.shape(want):
        return False
    if isinstance(want, int):
        return bool(got == want)  # a count is exact
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    scale = np.abs(want).max(initial=1.0)
    return bool(np.all(np.isfinite(got)) and np.all(np.abs(got - want) <= tolerance * scale))


def _plain(value: object) -> object:
    """A number or truth value out of its array."""
    is_scalar = isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0
    return value.item() if is_scalar else value


def difference(got: object, want: object) -> str:
    """One sentence on how a value differs from the right one, by form first, then by number."""
    if isinstance(got, Raised):
        return f"your function raised {got.name}: {got.text}"
    if isinstance(want, Raised):
        return f"your function returned a value where it should raise {want.name}."
    if isinstance(want, list | tuple | dict) and isinstance(got, type(want)):
        keys = want if isinstance(want, dict) else range(len(want))
        if len(got) != len(want):
            return f"you returned {len(got)} items: {_short(got)}; right are {len(want)}."
        for key in keys:
            if isinstance(want, dict) and key not in got:
                return f"the entry {key!r} is missing."
            if not agree(got[key], want[key], 1e-4):
                return f"in item {key!r}, {difference(got[key], want[key])}"
    if isinstance(want, np.ndarray):
        return _array_difference(got, want)
    return f"you returned {_short(got)}; right is {_short(want)}."


def _array_difference(got: object, want: np.ndarray) -> str:
    if not isinstance(got, np.ndarray):
        return f"you returned {_short(got)}; asked for is a tensor of shape {want.shape}."
    if got.shape != want.shape:
        return f"the shape is {got.shape}; it should be {want.shape}."
    if not np.all(np.isfinite(got)):
        return "the result holds nan or infinity."
    largest = np.abs(got - want).max(initial=0.0)
    return f"the shape is right, the numbers are not: they are off by up to {largest:.3g}."


def _short(value: object) -> str:
    text = repr(value)
    return f"a {type(value).__name__}" if len(text) > 120 else text
