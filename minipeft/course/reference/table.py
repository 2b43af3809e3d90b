"""Records as a table in a notebook, folded away; as plain text where nothing else can be shown."""

import html
from collections.abc import Callable, Sequence

from ..lab.screen import PROSE, show
from .records import Symbol, Term, Work

LEFT = "text-align: left; vertical-align: top; white-space: normal; max-width: 32em"
Cell = Callable[[Term | Symbol | Work], str]
COLUMNS: dict[type, dict[str, Cell]] = {
    Term: {
        "term": lambda one: one.term,
        "meaning": lambda one: one.meaning,
        "lesson": lambda one: one.lesson,
        "symbol": lambda one: one.symbol,
        "in peft": lambda one: one.peft,
    },
    Symbol: {
        "symbol": lambda one: one.symbol,
        "meaning": lambda one: " ".join(filter(None, [one.meaning, one.otherwise])),
        "shape": lambda one: one.shape,
        "unit": lambda one: one.unit,
        "lesson": lambda one: one.lesson,
    },
    Work: {
        "work": lambda one: f"{one.authors}{one.when}, {one.title}",
        "where": lambda one: one.where,
        "lessons": lambda one: ", ".join(one.lessons),
    },
}


def table(records: Sequence[Term | Symbol | Work], title: str) -> None:
    """Show records of one kind as a table below a title, which opens it.

    Args:
        records: of `glossary()`, `notation()` or `bibliography()`, or some of them.
        title: what they are; their number is added.

    Raises:
        ValueError: no records, or records of several kinds.
    """
    kinds = {type(record) for record in records}
    if len(kinds) != 1 or not kinds <= COLUMNS.keys():
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "nothing"
        raise ValueError(f"table(records) of {names}; give terms, or symbols, or works")
    headline = f"{title} ({len(records)})"
    rows = COLUMNS[kinds.pop()]
    plain = "\n".join([headline, *(f"  {record}" for record in records)])
    show({"text/html": page(records, headline, rows), "text/plain": plain})


def page(records: Sequence, headline: str, columns: dict[str, Cell]) -> str:
    """The table as HTML, with headers that screen readers tell; a single record is unfolded."""
    head = "".join(f'<th scope="col" style="{LEFT}">{name}</th>' for name in columns)
    body = "\n".join(f"<tr>{row(record, columns)}</tr>" for record in records)
    opened = " open" if len(records) == 1 else ""
    return (
        f'<details class="minipeft-table"{opened}><summary style="{PROSE}">'
        f"{html.escape(headline)}</summary>\n"
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></details>"
    )


def row(record: Term | Symbol | Work, columns: dict[str, Cell]) -> str:
    """The cells of one record: its name heads the row, and leads to the work if it is one."""
    first, *others = (html.escape(cell(record)) for cell in columns.values())
    weight = "bold"
    if isinstance(record, Work):
        weight = "normal"
        first = f'<a href="{html.escape(record.url)}">{first}</a>' if record.url else first
    rest = "".join(f'<td style="{LEFT}">{cell}</td>' for cell in others)
    return f'<th scope="row" style="{LEFT}; font-weight: {weight}">{first}</th>{rest}'
