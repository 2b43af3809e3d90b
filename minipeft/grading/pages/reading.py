"""The page to read the answers in words from: rubric, answers at three levels, then everyone's."""

from collections.abc import Sequence

from ..desk.marks import Mark, written
from ..tasks import ByHand, Exercise
from .html import listed, page, safe, safe_lines, section


def reading_page(marks: Sequence[Mark], exercise: Exercise) -> str:
    """All answers that a person reads, task by task."""
    parts = [_task(part, marks) for part in exercise.by_hand]
    main = "<p>Enter points and comments in by_hand.csv, and run the same command again.</p>\n"
    title = f"{exercise.notebook}: answers to read"
    return page(title, main + "\n".join(parts), "For instructors only.")


def _task(part: ByHand, marks: Sequence[Mark]) -> str:
    content = ["<h3>Rubric</h3>", listed(f"{p:g}: {safe(what)}" for p, what in part.rubric)]
    for points, answer in part.levels:
        content.append(f"<h3>An answer of {points:g} points</h3>")
        content.append(f'<div class="answer">{safe_lines(answer)}</div>')
    for mark in marks:
        if not written(mark.result, part.name):
            continue
        got = mark.points[part.name]
        state = "waits" if got is None else f"{got:g} of {part.points:g}"
        content.append(f"<h3>{safe(mark.student)} ({state})</h3>")
        content.append(f'<div class="answer">{safe_lines(mark.result.texts[part.name])}</div>')
    return section(part.title, "\n".join(content))
