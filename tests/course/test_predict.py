import json
import os
import subprocess
import sys

import pytest
import torch

from minipeft.course import load_predictions, predict, reveal
from minipeft.course.lab import predict as predictions


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A student's folder of their own, and a kernel that remembers nothing."""
    monkeypatch.setenv("MINIPEFT_HOME", str(tmp_path / "student"))
    monkeypatch.setattr(predictions, "_session", [])
    return tmp_path / "student"


def test_guess_then_answer(capsys):
    predict("03-loss", 2.0, confidence=0.8, unit="nats")
    reveal("03-loss", torch.tensor(2.5))
    assert capsys.readouterr().out == (
        "Your prediction: 2.00 nats (80% sure)\n"
        "Answer:          2.50 nats\n"
        "Your prediction: 2.00 nats, 20% too small\n"
    )


def test_example_is_shown_but_not_recorded(home, capsys):
    predict("03-loss", guess=None, example=3, unit="nats")
    reveal("03-loss", 3.1)
    out = capsys.readouterr().out
    assert "put yours in place of None. Example: 3 nats." in out
    assert "Example guess:   3 nats, close enough" in out
    assert load_predictions() == []
    assert not home.exists()


def test_no_prediction_is_answered_kindly(capsys):
    reveal("03-loss", 3.1)
    assert "You made no prediction here" in capsys.readouterr().out
    assert load_predictions() == []


@pytest.mark.parametrize("none_again", [False, True])
def test_none_then_a_guess_then_the_answer(capsys, none_again):
    predict("03-loss", guess=None, example=9.0, unit="nats")
    predict("03-loss", guess=3.0, example=9.0, unit="nats")
    if none_again:  # the cell was run again with its None back
        predict("03-loss", guess=None, example=9.0, unit="nats")
    reveal("03-loss", 3.1)
    assert capsys.readouterr().out.endswith("Your prediction: 3.00 nats, close enough\n")
    assert [(p.guess, p.truth) for p in load_predictions()] == [(3.0, 3.1)]


@pytest.mark.parametrize(
    ("guess", "truth", "says"),
    [(90, 51, "39 percentage points too large"), (40.0, 51.5, "11.5 percentage points too small")],
)
def test_per_cents_differ_by_percentage_points(capsys, guess, truth, says):
    predict("share", guess, unit="%")
    reveal("share", truth)
    assert says in capsys.readouterr().out


def test_a_guess_may_be_a_tensor_of_one_number(capsys):
    predict("loss", torch.tensor(2.5))
    reveal("loss", 2.5)
    assert "2.50, right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("guess", "truth", "says"),
    [
        (5, 5, "right"),
        (100, 105.0, "close enough"),
        (50, 105.0, "2.10 times too small"),
        (1000, 100, "10.0 times too large"),
        (0, 5, "off by 5"),
        (-1.5, 5.0, "off by 6.50"),
        (150, 100, "50% too large"),
        ("A", "a ", "right"),
        ("A", "B", "not this time"),
        (True, True, "right"),
        (True, False, "not this time"),
    ],
)
def test_distance_in_words(guess, truth, says, capsys):
    predict("k", guess)
    reveal("k", truth)
    assert capsys.readouterr().out.splitlines()[-1].endswith(f", {says}")


def test_the_last_guess_before_the_answer_counts():
    predict("a", 1.0, confidence=0.5)
    predict("a", 2.0, confidence=0.9)
    predict("b", "yes")
    reveal("a", 2.05)
    predict("a", 2.05, confidence=1.0)  # after the fact
    reveal("a", 2.05)
    a, b = load_predictions()
    assert (a.key, a.guess, a.confidence, a.truth, a.hit) == ("a", 2.0, 0.9, 2.05, True)
    assert (b.guess, b.truth, b.hit) == ("yes", None, None)


def test_another_kernel_finds_them(home):
    predict("a", 1.0)
    script = "from minipeft.course import *; reveal('a', 9.0); predict('b', 'β')"
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))
    assert [(p.key, p.truth) for p in load_predictions()] == [("a", 9.0), ("b", None)]
    assert len((home / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_damaged_lines_are_passed_over(home):
    predict("a", 1.0)
    with (home / "predictions.jsonl").open("ab") as file:
        file.write(b'{"key": "b", "gu\n\xff\xfe\n[1, 2]\n"text"\n')
    predict("c", 2.0)
    assert [p.key for p in load_predictions()] == ["a", "c"]


def test_nothing_is_written_where_nobody_watches(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MINIPEFT_HOME")
    monkeypatch.chdir(tmp_path)
    predict("a", 1.0)
    reveal("a", 1.0)
    assert list(tmp_path.iterdir()) == []
    assert "right" in capsys.readouterr().out


def test_written_lines_are_plain_json(home):
    predict("a", 1.5, confidence=0.7, unit="nats")
    assert json.loads((home / "predictions.jsonl").read_text()) == {
        "key": "a",
        "guess": 1.5,
        "confidence": 0.7,
        "unit": "nats",
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"guess": float("nan")}, "guess=nan"),
        ({"guess": torch.ones(2)}, "guess is a Tensor.*use quotes, as in guess=.A."),
        ({"guess": [1, 2]}, r"guess is a list.*use quotes"),
        ({"guess": 1, "confidence": 80}, "confidence=80.*0.8"),
        ({"guess": 1, "confidence": -0.1}, "confidence=-0.1"),
    ],
)
def test_bad_input(home, wrong, says):
    with pytest.raises(ValueError, match=says):
        predict("a", **wrong)
    assert not home.exists()


def test_an_answer_that_is_no_number_is_refused():
    predict("a", 1.0)
    with pytest.raises(ValueError, match="truth=nan"):
        reveal("a", float("nan"))
