"""One line in place of a traceback, where a notebook can tell what went wrong.

`start` installs it: a guess without quotes, a name of a cell that was not run, an interrupted cell.
"""

import re
import sys

PREDICT = re.compile(
    r"\bpredict\([^()]*?\bguess\s*=\s*(?P<guess>.+?)\s*(?:,\s*[a-z]+\s*=|,?\s*\)\s*(?:#.*)?$)",
    re.DOTALL | re.MULTILINE,
)
NUMBER_AND_UNIT = re.compile(r"([-+]?[\d.]+)\s*(%|[A-Za-z]+)")
GROUPED = re.compile(r"[-+]?\d{1,3}([, ]\d{3})+")
RUN_ABOVE = (
    "{name!r} is not known here. If an earlier cell makes it, run that one first: "
    "Run, then Run All Above Selected Cell."
)


def install() -> None:
    """Let the notebook's shell ask `advice` first; elsewhere there is nothing to do."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        shell.set_custom_exc((NameError, SyntaxError, KeyboardInterrupt), _explain)


def _explain(shell, kind, error, traceback, tb_offset=None):
    cells = shell.history_manager.input_hist_raw
    line = advice(error, cells[-1] if cells else "")
    if line:
        error._render_traceback_ = lambda: [line]
        if isinstance(error, SyntaxError):  # the shell would show its place, not our line
            shell._showtraceback(kind, error, [line])
            return
    elif isinstance(error, NameError) and error.name:
        error.add_note(RUN_ABOVE.format(name=error.name))
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def advice(error: BaseException, cell: str) -> str | None:
    """The line to show for this error of a cell, or None where its traceback says more."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Stopped."
    for call in PREDICT.finditer(cell):
        guess = call["guess"].strip()
        wrong = isinstance(error, SyntaxError) or getattr(error, "name", None) in guess.split()
        if wrong and guess[0] not in "\"'":
            return guess_written_right(guess)
    return None


def guess_written_right(guess: str) -> str:
    """How to write a guess that is no Python."""
    if GROUPED.fullmatch(guess):
        return f"A number has no commas or spaces: guess={re.sub('[, ]', '_', guess)}"
    measured = NUMBER_AND_UNIT.fullmatch(guess)
    if measured:
        return f"Write the number alone, without {measured[2]!r}: guess={measured[1]}"
    return f'Use quotes around a word: guess="{guess}"'
