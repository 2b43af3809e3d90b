"""The course's reference part: its words, its symbols, and what it cites.

    from minipeft.course.reference import bibliography, glossary, look_up, notation, table

    print(look_up("rank"))                      # a term, by its word, peft's name or a synonym
    print(look_up("ΔW"), look_up("2106.09685"), sep="\\n")  # a symbol, a work
    table(notation(), "Notation")

`disagreements(lesson_texts(folder))` says where notebooks and bibliography disagree.
"""

from minipeft.core.errors import nearest

from .citations import disagreements, lesson_texts
from .records import Symbol, Term, Work, bibliography, glossary, notation
from .table import table

__all__ = [
    "Symbol",
    "Term",
    "Work",
    "bibliography",
    "disagreements",
    "glossary",
    "lesson_texts",
    "look_up",
    "notation",
    "table",
]


def look_up(word: str) -> Term | Symbol | Work:
    """The record of a term, a symbol or a work, whichever has this name; print it to read it.

    Small letters and capitals count where both mean something ("b" and "B"), and nowhere else.

    Raises:
        ValueError: nothing has this name; the error tells the nearest that are there.
    """
    records = (*glossary(), *notation(), *bibliography())
    named = {record.names[0]: record for record in reversed(records)}
    for record in records:  # another name for one thing may be the name of another: peft's r
        for name in record.names:
            named.setdefault(name, record)
    if word in named:
        return named[word]
    folded = {name.casefold(): record for name, record in reversed(named.items())}
    if str(word).strip().casefold() in folded:
        return folded[str(word).strip().casefold()]
    raise ValueError(f"look_up({word!r}): no such term, symbol or work; {nearest(word, named)}")
