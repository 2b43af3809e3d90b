"""Who is looking: a person at a notebook, a terminal, or nobody (tests, CI, `make notebooks`)."""

import os
import sys

# The style of sentences in an output: they wrap, and their lines are not too long to read.
PROSE = "max-width: 45em; white-space: normal; line-height: 1.5; margin: 0.4em 0"


def in_kernel() -> bool:
    """True inside a Jupyter kernel, False in a plain Python or IPython terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def watched() -> bool:
    """True when a person is likely to be watching, so that bars and live pictures make sense.

    Nobody watches under CI, under pytest (nbval starts its kernels there) and where output
    goes to a file or a pipe. Committed outputs are made under CI=1, so they hold no bars.
    """
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    if "PYTEST_CURRENT_TEST" in os.environ:
        return False
    return in_kernel() or sys.stderr.isatty()


def show(bundle: dict, metadata: dict | None = None) -> None:
    """Display one output that has several forms, a dictionary of MIME types."""
    from IPython.display import display

    display(bundle, metadata=metadata or {}, raw=True)
