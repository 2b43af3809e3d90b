"""The class at a glance: how it went, what was hard, who needs help, what to look at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..desk.marks import Mark
from ..similarity import Pair
from ..tasks import Exercise, Task
from .html import listed, page, safe, section, table

HELP_BELOW = 0.5  # of the points that are graded by now
COMMONEST = 8


@dataclass(frozen=True)
class Group:
    """A class's marks, and what else its page tells."""

    marks: Sequence[Mark]
    exercise: Exercise
    names: Sequence[str]  # the file names of the students' pages
    pairs: Sequence[Pair] = ()
    skipped: Sequence[str] = ()
    settings: dict[str, object] = field(default_factory=dict)


def class_page(group: Group) -> str:
    """The instructor's page of one grading."""
    waiting = sum(len(mark.waits) for mark in group.marks)
    told = f"{len(group.marks)} students; {waiting} answers wait for a person (by_hand.html)."
    parts = [
        f"<p>{told}</p>",
        section("Distribution", distribution(group)),
        section("Tasks, the hardest first", _tasks(group)),
        section("Commonest mistakes", _mistakes(group)),
        section("Who needs help", listed(needs_help(group))),
        section("To look at", listed(_to_look_at(group))),
        section("Code that looks alike", _alike(group)),
        section("Passed over", listed(map(safe, group.skipped))),
        section("Everyone", _everyone(group)),
    ]
    settings = "; ".join(f"{key}: {value}" for key, value in group.settings.items())
    footer = f"For instructors only. {settings}"
    title = f"{group.exercise.notebook}: the class"
    return page(title, "\n".join(parts), footer, width="60rem")


def graded_points(mark: Mark, exercise: Exercise) -> float:
    """The points that can be had so far: without what waits for a person."""
    waits = sum(part.points for part in exercise.by_hand if mark.points[part.name] is None)
    return exercise.points - waits


def distribution(group: Group, bins: int = 10) -> str:
    """How many students have which share of the points, as bars and in words."""
    shares = [m.score / (graded_points(m, group.exercise) or 1) for m in group.marks]
    counts = [0] * bins
    for share in shares:
        counts[min(bins - 1, int(share * bins))] += 1
    most = max([*counts, 1])
    width, height, step = 640, 180, 64
    drawn = []
    for place, count in enumerate(counts):
        tall = round(120 * count / most, 1)
        x = place * step
        drawn.append(
            f'<rect x="{x + 6}" y="{140 - tall}" width="{step - 12}" height="{tall}" '
            f'fill="var(--bar)"/>'
            f'<text x="{x + step / 2}" y="{134 - tall}" text-anchor="middle">{count}</text>'
            f'<text x="{x + step / 2}" y="160" text-anchor="middle">{place * 10}%</text>'
        )
    middle = sorted(shares)[len(shares) // 2] if shares else 0.0
    said = ", ".join(f"{n} from {place * 10}%" for place, n in enumerate(counts) if n)
    label = f"Students by share of the points: {said}; the median is {middle:.0%}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{safe(label)}" '
        f'style="width:100%;font-size:14px;fill:var(--text)">{"".join(drawn)}</svg>\n'
        f"<p>{safe(label)}.</p>"
    )


def _tasks(group: Group) -> str:
    """The tasks by the share of their points that the class earned, least first."""
    rows = []
    for part in (*group.exercise.tasks, *group.exercise.by_hand):
        got = [m.points[part.name] for m in group.marks if m.points[part.name] is not None]
        if got:
            share = sum(got) / (len(got) * part.points)
            full = sum(points == part.points for points in got)
            rows.append((share, [safe(part.title), f"{share:.0%}", f"{full} of {len(got)}"]))
    ordered = sorted(rows, key=lambda row: (row[0], row[1][0]))
    header = ("Task", "Points earned", "Fully right")
    return table(header, [("", cells) for _, cells in ordered], "Tasks by share of points earned")


def _mistakes(group: Group) -> str:
    counted: Counter[tuple[str, str]] = Counter()
    for mark in group.marks:
        for task in group.exercise.tasks:
            if message := named_mistake(task, mark.result.verdicts[task.name].message):
                counted[task.title, message] += 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:COMMONEST]
    times = {1: "Once", 2: "Twice"}
    return listed(
        f"{times.get(n, f'{n} times')}, {safe(title)}: {safe(text)}" for (title, text), n in ordered
    )


def named_mistake(task: Task, message: str) -> str:
    """The misconception that a message names; "" for none."""
    known = (wrong.message for wrong in task.misconceptions)
    return next((text for text in known if text in message), "")


def needs_help(group: Group) -> list[str]:
    """Those with less than half of the points, the least first, and the tasks without any."""
    lines = []
    for mark in sorted(group.marks, key=lambda mark: (mark.raw, mark.student)):
        if mark.raw < HELP_BELOW * graded_points(mark, group.exercise):
            without = [t.title for t in group.exercise.tasks if not mark.points[t.name]]
            none = f"; none for {', '.join(without)}" if without else ""
            lines.append(safe(f"{mark.student}, {mark.raw:g} points{none}"))
    return lines


def _to_look_at(group: Group) -> list[str]:
    lines = [
        f"{safe(m.student)}: {safe('; '.join(dict.fromkeys(m.look)))}"
        for m in group.marks
        if m.look
    ]
    lines += [f"{safe(m.student)}: not on the roster" for m in _strangers(group)]
    return lines


def _strangers(group: Group) -> list[Mark]:
    has_roster = any(mark.handin.on for mark in group.marks)
    return [mark for mark in group.marks if has_roster and mark.handin.on is None]


def _alike(group: Group) -> str:
    lines = (
        f"{safe(p.first)} and {safe(p.second)}: {p.shared} rare runs of tokens in both, "
        f"{p.share:.0%} of the smaller one's"
        for p in group.pairs
    )
    return listed(lines) + (
        "\n<p>Only code that few in the class have is compared. Short right answers look alike by "
        "nature, changed names hide a copy, and who copied from whom is not to be seen: a reason "
        "to look, never a proof.</p>"
    )


def _everyone(group: Group) -> str:
    rows = []
    for mark, name in zip(group.marks, group.names, strict=True):
        link = f'<a href="feedback/{safe(name)}">{safe(mark.student)}</a>'
        waits = f"{len(mark.waits)} waits" if mark.waits else ""
        late = f"{mark.days_late:g} days late" if mark.days_late else ""
        rows.append(("", [link, f"{mark.score:g}", "; ".join(filter(None, (waits, late)))]))
    return table(("Student", "Points", "Still open"), rows, "All students and their points")
