"""One student's feedback."""

from ..desk.late import Rule
from ..desk.marks import Mark, written
from ..limits import Limits
from ..tasks import ByHand, Exercise, Task
from .html import listed, page, safe, safe_lines, section, table


def student_page(mark: Mark, exercise: Exercise, rule: Rule, limits: Limits) -> str:
    """The page of one student, which stands alone."""
    waiting = sum(part.points for part in exercise.by_hand if mark.points[part.name] is None)
    graded = exercise.points - waiting
    name = mark.handin.name if mark.handin.name in ("", mark.student) else f" ({mark.handin.name})"
    about = f"{mark.student}{name if name.startswith(' ') else ''}"
    rest = f" so far; {waiting:g} more wait for a person" if waiting else ""
    main = [f"<p>{safe(about)}: <strong>{mark.score:g} of {graded:g} points</strong>{rest}.</p>"]
    main += _lateness(mark, rule)
    if mark.result.note:
        main.append(f'<p class="note">{safe(mark.result.note)}</p>')
    if mark.handin.told and mark.handin.told != mark.result.note:
        main.append(f"<p>{safe(mark.handin.told)}.</p>")
    rows = [_task_row(mark, task) for task in exercise.tasks]
    rows += [_hand_row(mark, part) for part in exercise.by_hand]
    main.append(table(("Task", "Points", "Feedback"), rows, "Tasks, points and feedback"))
    main += [_answer(mark, part) for part in exercise.by_hand]
    ran = [safe(mark.result.ran or "Nothing was run."), safe(f"The limits were {limits.told()}.")]
    main.append(section("What was run", listed(ran)))
    footer = "Graded on inputs drawn for this grading, which no check in the notebook uses."
    title = f"{mark.handin.assignment}: {mark.student}"
    return page(title, "\n".join(main), footer, heading=mark.handin.assignment)


def _lateness(mark: Mark, rule: Rule) -> list[str]:
    if not mark.days_late:
        return []
    free = min(mark.days_late, rule.free_days)
    return [
        f"<p>Late by {mark.days_late:g} days, {free:g} of them free: {mark.raw:g} points less "
        f"{mark.penalty:g}.</p>"
    ]


def _task_row(mark: Mark, task: Task) -> tuple[str, list[str]]:
    verdict, points = mark.result.verdicts[task.name], mark.points[task.name] or 0.0
    kind = "right" if verdict.right else "part" if points else "wrong"
    message = ("Right. " if verdict.right else "") + safe(verdict.message)
    if verdict.right_parts:
        message += f" Right are: {safe('; '.join(verdict.right_parts))}."
    if verdict.case:
        message += f'<p class="case">{safe(verdict.case)}</p>'
    entry = mark.entries.get(task.name)
    if entry is not None and entry.points is not None:
        kind = "right" if points == task.points else "part"
        message = f"Points entered by a person, in place of {verdict.points:g}. {message}"
    if entry is not None and entry.comment:
        message += f" <strong>Comment:</strong> {safe(entry.comment)}"
    return kind, [safe(task.title), f"{points:g} of {task.points:g}", message]


def _hand_row(mark: Mark, part: ByHand) -> tuple[str, list[str]]:
    points, entry = mark.points[part.name], mark.entries.get(part.name)
    comment = safe(entry.comment) if entry else ""
    if points is None:
        return "waits", [safe(part.title), f"- of {part.points:g}", "Waits for a person."]
    if not written(mark.result, part.name) and not comment:
        comment = "Nothing is written here."
    kind = "right" if points == part.points else "part"
    return kind, [
        safe(part.title),
        f"{points:g} of {part.points:g}",
        comment or "Read by a person.",
    ]


def _answer(mark: Mark, part: ByHand) -> str:
    """The student's own text, and once it was read, what the points were for."""
    text = mark.result.texts.get(part.name, "")
    content = "<p>Nothing is written here.</p>"
    if written(mark.result, part.name):
        content = f'<div class="answer">{safe_lines(text)}</div>'
    if mark.points[part.name] is not None and part.rubric:
        wanted = listed(f"{points:g}: {safe(what)}" for points, what in part.rubric)
        content += f"\n<p>What the {part.points:g} points are for:</p>\n{wanted}"
    return section(f"{part.title}: your answer", content)
