"""A notebook's one committed form: what two runs of the same code leave must be the same bytes.

Gone are: widget state and widget views (random ids; without state GitHub refuses the notebook),
version numbers, times of execution, and the tracebacks of expected errors (paths of one machine).
Kept are: cell ids, tags, folded sources, execution counts and everything that a reader sees.
"""

import copy
import math
import re

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
CELL_NOISE = ("execution", "ExecuteTime", "collapsed", "scrolled", "trusted")
BADGE = re.compile(r"<!-- runtime -->.*?<!-- /runtime -->", re.DOTALL)


def normalised(notebook):
    """A copy of the notebook in its committed form."""
    notebook = copy.deepcopy(notebook)
    metadata = notebook.metadata
    metadata.pop("widgets", None)
    metadata.pop("signature", None)
    metadata["kernelspec"] = dict(KERNEL)
    metadata["language_info"] = dict(LANGUAGE)
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    for cell in notebook.cells:
        for name in CELL_NOISE:
            cell.metadata.pop(name, None)
        folded = cell.metadata.pop("jupyter", {}).get("source_hidden")
        if folded:  # a quiz, whose source holds the answers
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell.outputs)
    _write_badge(notebook)
    return notebook


def in_order(notebook) -> bool:
    """Whether every code cell that holds code was executed, from the first to the last."""
    counts = [
        c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source.strip()
    ]
    return counts == list(range(1, len(counts) + 1))


def badge_text(notebook) -> str | None:
    """A student's time and the machine's, as in "about 45 minutes, 40 s of CPU"; None before a run.

    Prose at 180 words a minute, code at 4 seconds a line, waiting for the cells to run, and what a
    cell's metadata says under "minutes": how long its task takes to think about. Rounded up to
    five minutes.
    """
    seconds = notebook.metadata.get("minipeft", {}).get("cpu_seconds")
    if seconds is None:
        return None
    text = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    code = [c.source for c in notebook.cells if c.cell_type == "code" and not is_folded(c)]
    words = sum(len(BADGE.sub("", source).split()) for source in text)
    lines = sum(bool(line.strip()) for source in code for line in source.splitlines())
    tasks = sum(cell.metadata.get("minutes", 0) for cell in notebook.cells)
    minutes = 5 * math.ceil((words / 180 + lines * 4 / 60 + seconds / 60 + tasks) / 5)
    spent = f"{seconds} s" if seconds < 120 else f"{seconds / 60:g} minutes"
    return f"about {minutes} minutes, {spent} of CPU"


def is_folded(cell) -> bool:
    """Whether the cell's source is out of sight until someone asks for it."""
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def _write_badge(notebook) -> None:
    text = badge_text(notebook)
    first = notebook.cells[0] if notebook.cells else None
    if text and first and first.cell_type == "markdown":
        first.source = BADGE.sub(f"<!-- runtime -->{text}<!-- /runtime -->", first.source)


def _outputs(outputs: list) -> list:
    """Outputs without noise; what a kernel happened to send in pieces is one piece."""
    kept = []
    for output in outputs:
        if kept and output.output_type == "stream" and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
            continue
        if output.output_type == "error":
            output.traceback = [f"{output.ename}: {output.evalue}"]
        if "data" in output:
            output.data.pop(WIDGET_VIEW, None)
            if not output.data:
                continue
            output.metadata.pop(WIDGET_VIEW, None)
        kept.append(output)
    return kept
