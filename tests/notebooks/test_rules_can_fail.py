"""A made-up lesson keeps every rule; with one thing spoilt, the rule for it fails."""

import inspect

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scripts.normalise import normalised
from scripts.notebooks import code_digest
from tests.notebooks import reading, test_code, test_executed, test_prose, test_structure

RULES = {
    name: rule
    for module in (test_structure, test_prose, test_executed, test_code)
    for name, rule in vars(module).items()
    if name.startswith("test_") and list(inspect.signature(rule).parameters) == ["path"]
}
TITLE = """# 03 · Made up

**Does it hold?**

<!-- runtime --><!-- /runtime -->

## You will be able to
- tell"""
PROSE = "word " * 1300
FIGURES = 'assert holds, "this should hold on every machine"\nfigure(f, alt=f"Ends at {loss}.")'
QUIZ = "# folded\nquiz(Question(a), Question(b), Question(c))"
RECAP = "## Recap\n$$h = W x$$"


def lesson():
    """A lesson by the rules."""
    picture = new_output(
        "display_data", data={"image/png": "AAAA"}, metadata={"image/png": {"alt": "A line."}}
    )
    printed = new_output("stream", name="stdout", text="1.0625 of 25,330\n")
    page = new_output("display_data", data={"text/html": quiz_page("RNN", "NRN", "NNR")})
    parts = [
        ("title", TITLE),
        ("start", 'import math\nhere = start("03")', []),
        ("guess", 'predict("03-a", guess=None)', []),
        ("answer", 'reveal("03-a", measured)', [printed]),
        ("prose", PROSE),
        ("figures", FIGURES, [picture] * 3),
        *[(f"more-{i}", "text") for i in range(13)],
        ("break", "## Break it\nabout 1.06 of 25,330"),
        ("try", "## Try it"),
        ("questions", "## Quick questions"),
        ("quiz", QUIZ, [page]),
        ("recap", RECAP),
        ("libraries", "## What the real libraries do differently"),
        ("references", "## References\narXiv 2106.09685, page 12345"),
    ]
    cells, count = [], 0
    for name, source, *outputs in parts:
        count += len(outputs)
        cells.append(
            new_code_cell(source, id=name, execution_count=count, outputs=outputs[0])
            if outputs
            else new_markdown_cell(source, id=name)
        )
    notebook = new_notebook(cells=cells)
    next(c for c in cells if c.id == "quiz").metadata["jupyter"] = {"source_hidden": True}
    return finished(notebook)


def quiz_page(*questions: str) -> str:
    """What a quiz shows: for each question the verdicts of its options, R or N."""
    said = {"R": "Right", "N": "Not"}
    options = ["".join(f"<details><p x>{said[v]}</p></details>" for v in q) for q in questions]
    return "minipeft-quiz" + "".join(f"<b>?</b>{verdicts}" for verdicts in options)


def finished(notebook):
    """As the tool leaves it."""
    notebook.metadata["minipeft"] = {"cpu_seconds": 40, "code": code_digest(notebook)}
    return normalised(notebook)


def broken_rules(notebook, folder) -> set[str]:
    path = folder / "03_made_up.ipynb"
    nbformat.write(notebook, path)
    reading.read.cache_clear()
    failed = set()
    for name, rule in RULES.items():
        try:
            rule(path)
        except AssertionError:
            failed.add(name)
    return failed


def spoil(name, **changes):
    """A lesson whose cell `name` is otherwise, brought up to date by the tool."""
    notebook = lesson()
    next(cell for cell in notebook.cells if cell.id == name).update(changes)
    return finished(notebook)


def outputs(*texts, stream="stdout"):
    return [new_output("stream", name=stream, text=text) for text in texts]


def test_the_made_up_lesson_keeps_every_rule(tmp_path):
    assert len(RULES) >= 20
    assert broken_rules(lesson(), tmp_path) == set()


@pytest.mark.parametrize(
    ("rule", "cell", "changes"),
    [
        ("headings_in_order", "break", {"source": "text"}),
        ("headings_in_order", "break", {"source": RECAP}),
        ("has_its_parts", "recap", {"source": "## Recap\nnothing to remember"}),
        ("has_its_parts", "quiz", {"source": "quiz(Question(a))"}),
        ("has_its_parts", "figures", {"source": "holds"}),
        ("opens_with_title_question_and_running_time", "title", {"source": "# Made up?"}),
        ("each_answer_comes_after_its_prediction", "start", {"source": 'reveal("03-a", x)'}),
        ("each_answer_comes_after_its_prediction", "answer", {"source": 'reveal("03-b", 1)'}),
        ("cells_are_many_and_small", "figures", {"source": "assert x\n" * 31}),
        ("imports_stand_in_the_first_cell", "figures", {"source": "import torch"}),
        ("each_assert_has_a_sentence", "figures", {"source": "assert holds"}),
        ("each_assert_has_a_sentence", "figures", {"source": "assert holds, loss"}),
        ("captions_are_computed", "figures", {"source": 'figure(f, alt="It falls to 2.")'}),
        ("captions_are_computed", "figures", {"source": 'x = "Falls."\nh.plot(alt=x)'}),
        ("captions_are_computed", "figures", {"source": 'figure(f, "It falls.", d)'}),
        (
            "captions_are_computed",
            "figures",
            {"source": 'def draw():\n    return f, "It falls.", d\nexplore(draw)'},
        ),
        ("an_answer_is_measured", "answer", {"source": 'reveal("03-a", 1.0625)'}),
        ("quizzes_are_folded", "quiz", {"metadata": {}}),
        ("quizzes_are_folded", "quiz", {"source": "quiz(Question(a))"}),
        (
            "quizzes_are_folded",
            "quiz",
            {"outputs": [new_output("display_data", data={"text/html": quiz_page("RNN", "RNN")})]},
        ),
        ("drawing_is_left_to_helpers", "figures", {"source": "ax.plot(x)\nax.set(y)\nplt.x()"}),
        ("length_of_the_text", "prose", {"source": "short"}),
        ("length_of_the_text", "prose", {"source": PROSE * 2}),
        ("figures_are_few_and_have_words", "figures", {"outputs": []}),
        ("cell_ids_can_be_read", "prose", {"id": "a1b2c3d4"}),
        (
            "says_train_steps_not_seconds",
            "start",
            {"source": 'start("03"); train(m, b, seconds=9)'},
        ),
        ("numbers_in_the_text_were_printed", "break", {"source": "## Break it\n1.07"}),
        ("numbers_in_the_text_were_printed", "break", {"source": "## Break it\n25,331"}),
        ("executed_in_order", "quiz", {"execution_count": 9}),
        ("executed_in_order", "quiz", {"execution_count": None}),
        ("no_errors_and_no_stderr", "start", {"outputs": outputs("hm", stream="stderr")}),
        ("no_warnings_paths_or_addresses", "start", {"outputs": outputs("UserWarning: hm")}),
        ("no_warnings_paths_or_addresses", "start", {"outputs": outputs("in /home/ann/x/y.py")}),
        ("no_warnings_paths_or_addresses", "start", {"outputs": outputs("<x at 0x7f0011223344>")}),
        ("hardly_any_output_is_ignored", "quiz", {"metadata": {"tags": ["nbval-ignore-output"]}}),
    ],
)
def test_each_rule_can_fail(rule, cell, changes, tmp_path):
    broken = broken_rules(spoil(cell, **changes), tmp_path)
    assert any(name.startswith(f"test_{rule}") for name in broken)


def test_what_was_not_executed_again_is_stale(tmp_path):
    notebook = lesson()
    notebook.cells[1].source += "  # edited"
    assert broken_rules(notebook, tmp_path) == {"test_fresh"}
    notebook = lesson()
    notebook.metadata["widgets"] = {}
    assert broken_rules(notebook, tmp_path) == {"test_normalised"}
