"""The instant checks of a notebook: run a function on a few inputs and name what is wrong.

They are a student's own tool. The grade comes from `grade.py`, on inputs that no one knows yet.
"""

from collections.abc import Callable
from functools import partial

from .compare import NOT_WRITTEN, difference, judge
from .exercises import exercise
from .sandboxed.call import call
from .sandboxed.protocol import Raised
from .tasks import Exercise, Recorded, Sheet, Task

PLACEHOLDER = "your student id"


class NotYet(AssertionError):
    """An answer that is not right yet. In a notebook only its text shows, no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet. {self}"]


def checks(number: str) -> "Checks":
    """The checks of one exercise: `check = checks("03")`, then `check.merge(merge)`."""
    return Checks(exercise(number))


class Checks:
    """One check for each task, under the name of the function that the task asks for."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise, self._student = exercise, PLACEHOLDER

    def __dir__(self) -> list[str]:
        return ["sheet", *(task.name for task in self._exercise.tasks)]

    def __getattr__(self, name: str) -> Callable[..., None]:
        for task in self._exercise.tasks:
            if task.name == name:
                return partial(self._check, task)
        raise AttributeError(f"there is no check called {name!r}; there are: {dir(self)}")

    def sheet(self, student: str) -> Sheet:
        """The numbers of the student's own sheet, printed and returned."""
        if not student.strip() or student == PLACEHOLDER:
            raise ValueError("Write your student id, as your course knows it, between the quotes.")
        self._student = student
        sheet = self._exercise.sheet_for(student)
        print(f"The sheet of {student}:", ", ".join(f"{k} = {v}" for k, v in sheet.items()))
        return sheet

    def _check(self, task: Task, function: Callable, seed: int | None = None) -> None:
        """Print why the function works. Raises NotYet, with the mistake's name, if it does not."""
        if task.from_sheet and isinstance(task.answer, Recorded):
            _noted(task, function)
            return
        sheet = self._exercise.sheet_for(self._student)
        cases = task.inputs(seed or 0, sheet)
        answers: list[object] = []
        for case in task.told(cases):
            answers.append(call(function, case, task.calls))
            if isinstance(answers[-1], Raised) and answers[-1].name == "KeyboardInterrupt":
                raise KeyboardInterrupt
        verdict = judge(task, cases, answers)
        if not verdict.right:
            right = f" Right are: {'; '.join(verdict.right_parts)}." if verdict.right_parts else ""
            case = f"\n{verdict.case}" if verdict.case else ""
            raise NotYet(verdict.message + right + case)
        if seed is None:  # nbgrader's own hidden tests name a seed, and have nothing to add
            points = f"{task.points:g} point" + ("s" if task.points != 1 else "")
            print(f"Right ({points}). Why this works: {verdict.message}")


def _noted(task: Task, function: Callable) -> None:
    """In a copy without answers: see that an answer to one's own sheet has the asked form."""
    got, form = call(function, []), task.answer.values[0]
    fits = isinstance(got, dict) and isinstance(form, dict) and got.keys() == form.keys()
    if not fits or any(type(got[key]) is not type(form[key]) for key in form):
        unwritten = isinstance(got, Raised) and got.is_a("NotImplementedError")
        told = difference(got, form, 0) if isinstance(got, Raised) else _form(form)
        raise NotYet(NOT_WRITTEN if unwritten else told)
    print("Written down. It is compared with your own sheet when it is graded.")


def _form(form: dict) -> str:
    kinds = ", ".join(f"{key!r}: a number ({type(value).__name__})" for key, value in form.items())
    return f"asked for is a dictionary with these entries: {kinds}."
