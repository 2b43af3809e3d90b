"""The final mark of each student: what the grader found, what a person entered, lateness.

Whose sheet a notebook draws is decided here, with the whole class in view: a student's own, or one
that nobody else has.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..handins import HandIn
from ..handins.roster import name_keys
from ..results import Result, Verdict
from ..tasks import Exercise, same
from .by_hand import LATE, Entries, Entry
from .late import Rule


@dataclass(frozen=True)
class Mark:
    """All about one student's work on one exercise."""

    handin: HandIn
    result: Result
    entries: dict[str, Entry]  # by the name of a part
    points: dict[str, float | None]  # by the name of a part; None waits for a person
    days_late: float = 0
    penalty: float = 0.0
    look: list[str] = field(default_factory=list)  # what a person should look at

    @property
    def student(self) -> str:
        return self.handin.student

    @property
    def raw(self) -> float:
        return round(sum(points or 0.0 for points in self.points.values()), 2)

    @property
    def score(self) -> float:
        return round(max(0.0, self.raw - self.penalty), 2)

    @property
    def waits(self) -> list[str]:
        """The parts that wait for a person."""
        return [name for name, points in self.points.items() if points is None]


def marks(
    pairs: Sequence[tuple[HandIn, Result]], exercise: Exercise, entries: Entries, rule: Rule
) -> list[Mark]:
    """The marks of a class, in the order given."""
    decided = sheets_decided(pairs, exercise)
    return [
        _mark(h, r, look, exercise, entries, rule)
        for (h, _), (r, look) in zip(pairs, decided, strict=True)
    ]


def _mark(
    handin: HandIn,
    result: Result,
    look: list[str],
    exercise: Exercise,
    entries: Entries,
    rule: Rule,
) -> Mark:
    own = {task: entry for (student, task), entry in entries.items() if student == handin.student}
    points: dict[str, float | None] = {n: v.points for n, v in result.verdicts.items()}
    for part in exercise.by_hand:
        points[part.name] = None if written(result, part.name) else 0.0
    for task, entry in own.items():
        if task in points and entry.points is not None:
            points[task] = entry.points
    days = rule.days(handin.timestamp)
    entered = own.get(LATE, Entry()).points
    if entered is not None:
        days = entered
    elif handin.late and not days:
        look = [*look, f"late, by how much is not known: enter {LATE!r} in by_hand.csv"]
    look = [*look, *filter(None, [handin.told, result.note])]
    mark = Mark(handin, result, own, points, days, look=look)
    return replace(mark, penalty=rule.penalty(mark.raw, days))


EMPTY_ANSWERS = ("", "your answer here")


def written(result: Result, part: str) -> bool:
    """Whether there is anything to read in an answer in words."""
    return result.texts.get(part, "").strip().casefold() not in EMPTY_ANSWERS


def sheets_decided(
    pairs: Sequence[tuple[HandIn, Result]], exercise: Exercise
) -> list[tuple[Result, list[str]]]:
    """Each result, without the points of a sheet that is another student's; and what to look at."""
    if not exercise.has_sheets:
        return [(result, []) for _, result in pairs]
    claims = defaultdict(list)
    for place, (_, result) in enumerate(pairs):
        if result.claim:
            claims[same(result.claim)].append(place)
    decided = []
    for place, (handin, result) in enumerate(pairs):
        claim = same(result.claim)
        others = [pairs[other][0] for other in claims[claim] if other != place]
        owners = [h for n, (h, _) in enumerate(pairs) if n != place and _is_own(claim, h)]
        if not claim or _is_own(claim, handin):
            decided.append((result, []))
        elif handin.on is not None or owners:
            told = f"its sheet is that of {result.claim!r}"
            decided.append((_without_sheet(result, handin, exercise), [told]))
        else:
            told = f"it writes the id {result.claim!r}"
            if others:
                told += f", as do {', '.join(other.student for other in others[:5])}"
            decided.append((result, [told]))
    return decided


def _is_own(claim: str, handin: HandIn) -> bool:
    """Whether an id that a notebook names is the student's, as far as the class list knows them."""
    if claim in {same(one) for one in (handin.student, *handin.ids)}:
        return True
    if handin.on is not None:  # with a roster it is known what the ids are
        return False
    words = {word for key in name_keys(handin.name) for word in key.split()}
    return bool(name_keys(claim) & name_keys(handin.name)) or claim in words


def _without_sheet(result: Result, handin: HandIn, exercise: Exercise) -> Result:
    message = (
        f"Your notebook draws the sheet of {result.claim!r}, which is not yours. Write the id that "
        f"your course knows you by, {handin.student!r}, into `{exercise.identity}`."
    )
    lost = Verdict(False, message)
    sheets = {task.name: lost for task in exercise.tasks if task.from_sheet}
    return replace(result, verdicts={**result.verdicts, **sheets})


def known_answers(found: Iterable[Mark]) -> dict[str, dict[str, str]]:
    """The answers in words, by student and part."""
    return {mark.student: dict(mark.result.texts) for mark in found}
