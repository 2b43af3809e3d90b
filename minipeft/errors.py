"""How the course words a mistake: the thing, its value, and the nearest valid choice."""

import difflib
from collections.abc import Iterable


def nearest(name: object, choices: Iterable[str], most: int = 5) -> str:
    """The end of an error message: the choices closest to `name`, or all where none is close.

    >>> nearest("q_porj", ["q_proj", "k_proj", "embed_tokens"])
    "nearest: 'q_proj', 'k_proj'"
    """
    choices = sorted(set(choices))
    if not choices:
        return "there is nothing to choose from"
    close = difflib.get_close_matches(str(name), choices, n=most, cutoff=0.5)
    shown = close or choices[:most]
    names = ", ".join(repr(choice) for choice in shown)
    more = "" if close or len(choices) <= most else f", ... ({len(choices)} in all)"
    return f"{'nearest' if close else 'choose from'}: {names}{more}"
