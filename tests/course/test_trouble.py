"""What a student reads in place of a traceback, in a real kernel and in parts."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from minipeft.course.lab import trouble
from minipeft.course.lab.history import History, Interrupted

FORMS = [
    'predict("03-zero", guess={}, example="B", confidence=None)',
    'predict("03-zero", guess={})  # mine',
    'here = 1\n\npredict(\n    "03-zero",\n    guess={},\n    unit="nats",\n)',
]


@pytest.fixture
def shell(monkeypatch, capsys):
    """A shell with the lines of `trouble`, and a way to see what a cell shows."""
    shell = InteractiveShell()
    shell.set_custom_exc((NameError, SyntaxError, KeyboardInterrupt), trouble._explain)
    shell.colors = "nocolor"
    shell.push({"predict": lambda *args, **options: None, "Interrupted": Interrupted})
    shell.push({"run": History(losses=[2.0, 1.0])})

    def shown(cell: str) -> str:
        shell.run_cell(cell, store_history=True)
        return capsys.readouterr().out.strip()

    return shown


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("guess", "says"),
    [
        ("A", 'Use quotes around a word: guess="A"'),
        ("only B", 'Use quotes around a word: guess="only B"'),
        ("20%", "Write the number alone, without '%': guess=20"),
        ("20 nats", "Write the number alone, without 'nats': guess=20"),
        ("1,024", "A number has no commas or spaces: guess=1_024"),
        ("1 024", "A number has no commas or spaces: guess=1_024"),
    ],
)
def test_a_guess_that_is_no_python_is_answered_in_one_line(shell, form, guess, says):
    assert shell(form.format(guess)) == says


def test_a_cell_that_was_not_run_is_named(shell):
    said = shell("chef.train")
    assert "NameError: name 'chef' is not defined" in said
    assert "Run All Above" in said


def test_other_mistakes_keep_their_traceback(shell):
    assert "SyntaxError" in shell("def (:")
    assert "ZeroDivisionError" in shell('predict("k", guess=1)\n1 / 0')
    said = shell('predict("k", guess=1, example=oops)')
    assert "NameError: name 'oops'" in said and "quotes" not in said


def test_stopping_a_cell_ends_in_one_line(shell):
    assert shell("raise KeyboardInterrupt") == "Stopped."
    said = shell("raise Interrupted(run)")
    assert said.startswith("Stopped after 2 steps at loss 1.00") and "\n" not in said
