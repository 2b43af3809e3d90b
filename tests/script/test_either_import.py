"""Scripts of students, each run under `import peft` and again under `import minipeft as peft`."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest
import transformers

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))


def output(script: Path, library: str) -> list[str]:
    """The lines that a script prints with `peft` read as `library`."""
    text = re.sub(r"^from peft import", f"from {library} import", script.read_text(), flags=re.M)
    assert library in text
    told = io.StringIO()
    with contextlib.redirect_stdout(told), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(text, f"{script.name} with {library}", "exec"), {"__name__": "__main__"})
    # Timings, and what the Trainer logs beside them.
    return [line for line in told.getvalue().splitlines() if not line.startswith("{")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_same_output(script):
    transformers.logging.set_verbosity_error()
    theirs = output(script, "peft")
    assert output(script, "minipeft") == theirs
    assert len(theirs) > 10
