"""Grades submissions from outside: `python -m minipeft grade SUBMISSIONS --out OUT --seed N`.

Exit status: 0, everything was graded; 1, something was passed over or could not be judged (it is
named); 2, nothing began; 130, stopped by Ctrl-C, and the same command goes on.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from . import classroom, sandbox, similarity
from .classroom import Job
from .desk import by_hand, tables
from .desk.folder import Folder, Refused, chosen_seed, file_names
from .desk.late import Rule
from .desk.marks import Mark, known_answers, marks
from .exercises import NUMBERS, exercise
from .exercises.solutions import given_code, public_seeds, right_answers
from .handins import Class, find_handins, read_roster, recognised
from .limits import Limits
from .marking import Marking
from .pages.group import Group, class_page
from .pages.html import shown
from .pages.reading import reading_page
from .pages.student import student_page
from .results import Result
from .tasks import Exercise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `python -m minipeft grade`."""
    add = parser.add_argument
    add("submissions", type=Path, metavar="SUBMISSIONS",
        help="a download of Moodle or Canvas (folder or zip), nbgrader's submitted/ folder, "
        "or a folder of STUDENT.ipynb files")  # fmt: skip
    add("--out", type=Path, required=True, metavar="OUT",
        help="folder for grades, feedback pages and all else")  # fmt: skip
    add("--seed", type=int, help="of the hidden inputs; drawn and stored in OUT if absent")
    add("--reuse-seed", action="store_true",
        help="grade late work with a used seed: only if no one has seen feedback")  # fmt: skip
    add("--exercise", choices=NUMBERS, help="lesson's number; recognised by its tasks if absent")
    add("--roster", type=Path, metavar="CSV",
        help="who is in the class: a CSV with student_id and name, Canvas's gradebook, or "
        "Moodle's grading worksheet")  # fmt: skip
    add("--due", type=datetime.fromisoformat, metavar="TIME", help="2026-11-30T23:59")
    add("--late-days", type=int, default=0, metavar="N", help="days late that cost nothing")
    add("--penalty", type=float, default=0.0, metavar="PERCENT",
        help="of the points, for each further day late")  # fmt: skip
    add("--canvas-column", metavar="TITLE", help="the assignment's title in Canvas's gradebook")
    add("--jobs", type=int, default=2, help="submissions at the same time")
    add("--task-seconds", type=int, default=Limits.task_seconds, metavar="SECONDS",
        help="processor time of one task (default %(default)d)")  # fmt: skip
    add("--memory", type=float, default=Limits.memory / 2**30, metavar="GIB",
        help="memory limit of one submission (default %(default)g)")  # fmt: skip
    add("--no-sandbox", action="store_true",
        help="run submissions unprotected, with all your rights. At your own risk")  # fmt: skip


def main(arguments: argparse.Namespace) -> int:
    """Grade a folder; returns the exit status."""
    folder = Folder(arguments.out.resolve())
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        job = _prepared(arguments, folder)
        with folder.taken():
            return _Grading(arguments, folder, *job).run()
    except (ValueError, sandbox.NoSandbox) as error:
        print(f"grade: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        done = len(list(folder.results.glob("*.json")))
        print(
            f"Stopped. {done} results are kept in {arguments.out}; the same command goes on.",
            file=sys.stderr,
        )
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _prepared(arguments: argparse.Namespace, folder: Folder) -> tuple[Exercise, Class]:
    """What is to be graded. Raises ValueError or NoSandbox where nothing can begin."""
    root = arguments.submissions.resolve()
    if folder.out.is_relative_to(root):
        raise Refused("--out must lie outside of SUBMISSIONS")
    for name in ("late_days", "penalty", "jobs", "task_seconds", "memory"):
        value, least = getattr(arguments, name), 0 if name in ("late_days", "penalty") else 0.1
        if not value >= least:
            raise Refused(f"--{name.replace('_', '-')} {value!r} must be at least {least:g}")
    asked = exercise(arguments.exercise or _handed_in(root, folder))
    roster = read_roster(arguments.roster) if arguments.roster else None
    found = find_handins(root, asked, roster)
    if not arguments.no_sandbox:
        sandbox.check()
    return asked, found


def _handed_in(root: Path, folder: Folder) -> str:
    """The exercise that OUT was begun with, or else the one that the notebooks show."""
    before = folder.settings().get("exercise")
    if before in NUMBERS:
        return before
    found = recognised(root, [exercise(number) for number in NUMBERS])
    if not found:
        print(f"grade: no notebook shows a task of any exercise; taken for {NUMBERS[0]}. "
              "Name it with --exercise.", file=sys.stderr)  # fmt: skip
    return found or NUMBERS[0]


class _Grading:
    """One run of the grader over one class."""

    def __init__(
        self, arguments: argparse.Namespace, folder: Folder, exercise: Exercise, found: Class
    ) -> None:
        self.arguments, self.folder, self.exercise, self.found = arguments, folder, exercise, found
        self.rule = Rule(arguments.due, arguments.late_days, arguments.penalty)
        self.limits = Limits(
            task_seconds=arguments.task_seconds, memory=int(arguments.memory * 2**30)
        )
        self.students = [handin.student for handin in found.handins]

    def run(self) -> int:
        """Grade, write everything, tell; returns the exit status."""
        entries = by_hand.read(self.folder.out / "by_hand.csv", self.exercise)
        settings = self.settings()
        seed = settings["seed"]
        print(f"Grading {len(self.students)} submissions to {self.exercise.notebook}, seed {seed}.")
        marking = Marking(
            self.exercise,
            seed,
            self.limits,
            not self.arguments.no_sandbox,
            right_answers(self.exercise),
        )
        results = self.graded(marking, settings["handins"])
        pairs = [(handin, results[handin.student]) for handin in self.found.handins]
        final = marks(pairs, self.exercise, entries, self.rule)
        self.write(final, entries, settings)
        self.folder.store({**settings, "finished": True})
        return self.tell(final)

    def settings(self) -> dict:
        """The settings of this run, seed included, stored before anything is graded."""
        before = self.folder.settings()
        if before.get("exercise", self.exercise.number) != self.exercise.number:
            raise Refused(
                f"{str(self.folder.out)!r} holds exercise {before['exercise']!r}; each exercise "
                "needs an --out of its own"
            )
        digests = {h.student: classroom.digest_of(h) for h in self.found.handins}
        public, again = public_seeds(self.exercise), self.arguments.reuse_seed
        settings = {
            "exercise": self.exercise.number,
            "seed": chosen_seed(self.arguments.seed, before, digests, public, again),
            "limits": self.limits.told(),
            "sandbox": not self.arguments.no_sandbox,
            "due": str(self.arguments.due or ""),
            "late_days": self.arguments.late_days,
            "penalty_percent": self.arguments.penalty,
            "handins": digests,
            "finished": False,
        }
        self.folder.store(settings)
        return settings

    def graded(self, marking: Marking, digests: dict[str, str]) -> dict[str, Result]:
        """The results by student, told as each is done."""
        names = file_names(self.students, ".json")
        pages = file_names(self.students)
        self.folder.remove_strangers(pages, names)
        jobs = [
            Job(h, self.folder.results / name, classroom.key_of(h, digests[h.student], marking))
            for h, name in zip(self.found.handins, names, strict=True)
        ]
        results: dict[str, Result] = {}

        def done(job: Job, result: Result) -> None:
            results[job.handin.student] = result
            place = f"{len(results)}/{len(jobs)}"
            note = f"  ({shown(result.note)[:100]})" if result.note else ""
            print(f"{place:>9}  {result.points:5g}  {shown(result.student)}{note}", flush=True)

        classroom.grade_all(jobs, marking, self.arguments.jobs, done)
        return results

    def write(self, final: Sequence[Mark], entries: by_hand.Entries, settings: dict) -> None:
        """Write every table and page; none is left half written."""
        exercise, write = self.exercise, self.folder.write
        names = file_names([mark.student for mark in final])
        for mark, name in zip(final, names, strict=True):
            write(f"feedback/{name}", student_page(mark, exercise, self.rule, self.limits))
        prints = {mark.student: mark.result.prints for mark in final}
        pairs = similarity.alike(prints, known=similarity.prints(given_code(exercise)))
        told = {key: settings[key] for key in ("seed", "exercise", "limits", "sandbox", "due")}
        group = Group(final, exercise, names, pairs, self.found.skipped, told)
        write("class.html", class_page(group))
        write("by_hand.html", reading_page(final, exercise))
        write("similar.csv", tables.similar(pairs))
        write("canvas.csv", tables.canvas(final, exercise, self.canvas_column()))
        write("moodle.csv", tables.moodle(final, exercise))
        people = [(mark.student, mark.handin.name) for mark in final]
        automatic = {
            m.student: {n: f"{v.points:g}" for n, v in m.result.verdicts.items()} for m in final
        }
        table = by_hand.table(people, automatic, known_answers(final), entries, exercise)
        write("by_hand.csv", tables.BOM + table)
        write("grades.csv", tables.grades(final, exercise, self.rule))

    def canvas_column(self) -> str:
        return self.arguments.canvas_column or self.exercise.notebook

    def tell(self, final: Sequence[Mark]) -> int:
        """Say what was done and what was not; returns the exit status."""
        for mark in final:
            print(f"{mark.score:5g} of {self.exercise.points:g}  {shown(mark.student)}")
        print(
            f"Wrote grades.csv, class.html and {len(final)} feedback pages to {self.arguments.out}."
        )
        waiting = sum(len(mark.waits) for mark in final)
        if waiting:
            print(f"{waiting} answers wait for a person: read by_hand.html, fill in by_hand.csv.")
        nothing = [m for m in final if m.result.note == "nothing was handed in"]
        if nothing:
            print(f"Nothing was handed in by {_names(nothing)}.")
        unjudged = [m for m in final if not m.result.graded and m not in nothing]
        passed = [f"{shown(mark.student)}: {shown(mark.result.note)}" for mark in unjudged]
        passed += [f"{name}: not a notebook" for name in self.found.skipped]
        for line in passed:
            print(f"Passed over: {line}", file=sys.stderr)
        return int(bool(passed))


def _names(final: Sequence[Mark]) -> str:
    names = ", ".join(shown(mark.student) for mark in final[:10])
    return names + (f" and {len(final) - 10} more" if len(final) > 10 else "")
