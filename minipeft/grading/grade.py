"""Grades submissions from outside: `python -m minipeft grade SUBMISSIONS --out OUT --seed N`."""

import argparse
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import report, runner, sandbox
from .compare import judge
from .exercises import NUMBERS, exercise
from .notebook import Cell, Unreadable, cells_for, read_cells
from .results import Grade, Verdict
from .runner import Limits, Outcome, Request
from .submissions import Submission, find_submissions
from .tasks import Exercise, Task


def grade(
    submission: Submission, exercise: Exercise, seed: int, limits: Limits, sandboxed: bool = True
) -> Grade:
    """Grade one submission. Whatever it is or does, the result is a Grade."""
    try:
        if submission.path is None:
            raise Unreadable(submission.trouble)
        cells = read_cells(submission.path)
    except Unreadable as error:
        lost = Verdict(False, "Not graded: the notebook could not be read.")
        return Grade(submission, [lost] * len(exercise.tasks), f"{error}"[:500])
    sheet = exercise.sheet_for(submission.student)
    inputs = {task.name: task.inputs(seed, sheet) for task in exercise.tasks}
    requests = [_request(exercise, task, cells, inputs[task.name]) for task in exercise.tasks]
    outcomes = runner.run(requests, sheet, exercise.preload, limits, sandboxed)
    verdicts = [
        _verdict(task, request, inputs[task.name], outcomes[task.name])
        for task, request in zip(exercise.tasks, requests, strict=True)
    ]
    pairs = zip(exercise.tasks, verdicts, strict=True)
    score = sum(task.points for task, verdict in pairs if verdict.right)
    troubles = [
        f"{task.title}: {outcomes[task.name].trouble}"
        for task in exercise.tasks
        if outcomes[task.name].trouble
    ]
    return Grade(submission, verdicts, "; ".join(troubles), score)


def _request(exercise: Exercise, task: Task, cells: list[Cell], cases: list) -> Request:
    """What the worker is told of a task."""
    return Request(
        task=task.name,
        function=task.name,
        cells=cells_for(cells, task.name),
        own=frozenset(cell.index for cell in cells if cell.grade_id == task.name),
        cases=task.told(cases),
        calls=task.calls,
        tensors="torch" in exercise.preload,
    )


def _verdict(task: Task, request: Request, cases: list, outcome: Outcome) -> Verdict:
    """Judge what came back, and say in words what did not."""
    own_errors = [text for index, text in outcome.errors.items() if index in request.own]
    if outcome.missing:
        missing = f"There is no function called `{task.name}`."
        stopped = f" Its cell stopped with {own_errors[0]}" if own_errors else ""
        return Verdict(False, (missing + stopped)[:500])
    if outcome.trouble:
        where = "One of its cells" if outcome.at in request.own else "The function"
        return Verdict(False, f"{where} was stopped: {outcome.trouble}.")
    return judge(task, cases, outcome.answers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `python -m minipeft grade`."""
    parser.add_argument(
        "submissions",
        type=Path,
        metavar="SUBMISSIONS",
        help="nbgrader's submitted/STUDENT/ASSIGNMENT folders, or STUDENT.ipynb files",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for grades.csv and feedback/STUDENT.html",
    )
    parser.add_argument(
        "--seed", type=int, help="of the hidden inputs; drawn and printed if absent"
    )
    parser.add_argument("--exercise", default=NUMBERS[0], choices=NUMBERS, help="lesson's number")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at the same time")
    parser.add_argument(
        "--task-seconds",
        type=int,
        default=Limits.task_seconds,
        metavar="SECONDS",
        help="processor time of one task (default %(default)d)",
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=Limits.memory / 2**30,
        metavar="GIB",
        help="memory limit of one submission (default %(default)g)",
    )
    parser.add_argument(
        "--no-sandbox",
        action="store_true",
        help="run submissions unprotected, with all your rights. At your own risk",
    )


def main(arguments: argparse.Namespace) -> int:
    """Grade a folder; returns the exit status, 2 for what cannot begin."""
    out, folder = arguments.out.resolve(), arguments.submissions.resolve()
    asked = exercise(arguments.exercise)
    try:
        if out.is_relative_to(folder):
            raise ValueError("--out must lie outside of SUBMISSIONS")
        submissions = find_submissions(folder, asked)
        if not arguments.no_sandbox:
            sandbox.check()
    except (ValueError, sandbox.NoSandbox) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 2
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    limits = Limits(task_seconds=arguments.task_seconds, memory=int(arguments.memory * 2**30))
    print(f"Grading {len(submissions)} submissions to {asked.notebook}, seed {seed}.")
    with ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        grades = list(
            pool.map(
                lambda one: grade(one, asked, seed, limits, not arguments.no_sandbox), submissions
            )
        )
    report.write(grades, asked, out)
    for result in grades:
        print(
            f"{result.score:5g} of {asked.points:g}  {report.shown(result.submission.student)}"
            + (f"  ({report.shown(result.note)[:100]})" if result.note else "")
        )
    print(f"Wrote grades.csv and {len(grades)} feedback pages to {arguments.out}.")
    return 0
