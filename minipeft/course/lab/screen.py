"""Who is looking: a person at a notebook, a terminal, or nobody (tests, CI, `make notebooks`)."""

import os
import sys


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


def show_widget(widget, twin: dict, metadata: dict | None = None) -> None:
    """Display a widget together with its static twin, as one output with several forms.

    JupyterLab picks the widget. GitHub, nbconvert and a notebook that was not run yet pick
    the twin, a dictionary of MIME types. Both forms are one output, so they cannot drift apart.
    """
    from IPython.display import display

    bundle = widget._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**bundle, **twin}, metadata=metadata or {}, raw=True)
