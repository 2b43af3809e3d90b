"""An exercise as students get it: what is asked, and numbers in place of answers.

`make release` works out, for the inputs of the instant checks, what the right and the wrong answers
give, and writes these values into one file. So the checks name the same mistakes in a copy of the
course that holds no answer.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from . import observing
from .arguments import parameters
from .compare import Unfit, expected
from .sandboxed import protocol
from .tasks import ByHand, Exercise, Misconception, Recorded, Task

CHECKS_OWN_SEED = 0
NOBODY = "your student id"


def record(exercise: Exercise, asked: ModuleType) -> bytes:
    """The file of one exercise. Raises ValueError for a function outside of `asked.py`."""
    about = {
        "number": exercise.number,
        "notebook": exercise.notebook,
        "identity": exercise.identity,
        "sheet": _name(exercise.sheet, asked) if exercise.has_sheets else "",
        "tasks": [_recorded(exercise, task, asked) for task in exercise.tasks],
        "by_hand": [[part.name, part.title, part.points] for part in exercise.by_hand],
    }
    return protocol.encode(about, protocol.LARGEST_JOB)


def _recorded(exercise: Exercise, task: Task, asked: ModuleType) -> dict:
    cases = task.inputs(CHECKS_OWN_SEED, exercise.sheet_for(NOBODY))
    wrong = []
    for misconception in task.misconceptions:
        values = expected(task, misconception.answer, cases)
        if not any(isinstance(value, Unfit) for value in values):
            wrong.append([misconception.message, values])
    return {
        "name": task.name,
        "title": task.title,
        "points": task.points,
        "why": task.why,
        "tolerance": task.tolerance,
        "calls": task.calls,
        "from_sheet": task.from_sheet,
        "observe": _name(task.observe, asked),
        "cases": [] if task.from_sheet else cases,
        "right": expected(task, task.answer, cases),
        "parameters": parameters(task.answer),
        "wrong": [] if task.from_sheet else wrong,
    }


def _function(name: str, asked: ModuleType) -> Callable | None:
    """The function of this name that a student's copy has: the exercise's own, or a common one."""
    return getattr(asked, name, None) or getattr(observing, name, None)


def _name(function: Callable, asked: ModuleType) -> str:
    """The name of a function in a student's copy; "" for the one that changes nothing."""
    name = getattr(function, "__name__", f"{function!r}")  # a partial has none
    if _function(name, asked) is function:
        return name
    if name == "<lambda>" and function("x") == "x":
        return ""
    raise ValueError(f"{name!r} must stand in {asked.__name__}: a student's copy needs it")


def read(path: Path, asked: ModuleType) -> Exercise:
    """The exercise in a file that `record` made."""
    about = protocol.decode(path.read_bytes())
    found = {"sheet": getattr(asked, about["sheet"])} if about["sheet"] else {}
    return Exercise(
        number=about["number"],
        notebook=about["notebook"],
        identity=about["identity"],
        tasks=[_task(task, asked) for task in about["tasks"]],
        by_hand=[ByHand(*part) for part in about["by_hand"]],
        **found,
    )


def _task(told: dict, asked: ModuleType) -> Task:
    cases, observe = told["cases"], told["observe"]
    return Task(
        name=told["name"],
        title=told["title"],
        points=told["points"],
        why=told["why"],
        tolerance=told["tolerance"],
        calls=told["calls"],
        from_sheet=told["from_sheet"],
        cases=lambda generator: cases,
        observe=_function(observe, asked) if observe else lambda value: value,
        answer=Recorded(told["right"], told["parameters"]),
        misconceptions=[Misconception(Recorded(values), text) for text, values in told["wrong"]],
    )
