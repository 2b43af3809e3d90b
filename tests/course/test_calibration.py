"""The plot of all guesses: ratios by lesson, shares within a factor of two, confidence."""

import numpy as np
import pytest

from minipeft.course.lab import predict as predicting
from minipeft.course.lab.calibration import answered, by_confidence, made_up, ratios, told
from minipeft.course.lab.figure import digest, plt
from minipeft.course.lab.pictures.lesson_18 import calibration_picture
from minipeft.course.lab.predict import Prediction, load_predictions, predict, reveal


def guess(key, guess, truth, hit, confidence=None):
    return Prediction(key, guess, confidence, "", truth, hit)


GUESSES = [
    guess("03-a", 8.0, 2.0, False, 0.9),
    guess("03-b", 1.0, 1.5, False, 0.6),
    guess("04-c", -3.0, -3.1, True, 0.9),
    guess("04-d", 0.0, 5.0, False),
    guess("05-e", 2.0, -2.0, False),
    guess("05-f", "A", "B", False, 0.55),
    guess("05-g", True, True, True, 1.0),
    guess("06-h", 7.0, None, None),
]


def test_ratios_are_those_of_numbers_of_one_sign():
    found = ratios(GUESSES)
    assert [(r.lesson, round(r.ratio, 3), r.near) for r in found] == [
        ("03", 4.0, False),
        ("03", 0.667, True),
        ("04", 0.968, True),
    ]


def test_confidence_is_compared_with_the_share_that_was_right():
    found = by_confidence(GUESSES)
    assert [(s.n, s.right) for s in found] == [(2, 0.0), (3, pytest.approx(2 / 3))]
    assert [s.stated for s in found] == [pytest.approx(0.575), pytest.approx(2.8 / 3)]


def test_it_is_told_in_words():
    assert told(GUESSES).splitlines() == [
        "7 guesses with their answers",
        "numbers within a factor of 2: 2 of 5",  # a guess of 0 and one of the other sign are not
        "words that were right: 1 of 2",
        "57% sure: 0% right of 2",
        "93% sure: 67% right of 3",
    ]
    assert told([]) == "No guess of yours with its answer is recorded here."
    assert told(GUESSES[-1:]).endswith("1 wait for their answer.")


@pytest.mark.parametrize("mine", [[], GUESSES, GUESSES[5:6], GUESSES[-1:]])
def test_the_picture_is_drawn_whatever_is_recorded(mine):
    fig, alt, data = calibration_picture(mine, made_up())
    assert digest(data) and "made-up" in alt
    assert ("right, you" in data) == bool(by_confidence(mine))
    assert ("guess / answer, you" in data) == bool(ratios(mine))
    plt.close(fig)


def test_the_made_up_student_is_too_sure_and_the_same_each_time():
    student = made_up()
    assert student == made_up() != made_up(seed=1)
    assert len({one.key.partition("-")[0] for one in student}) == 19
    sure = by_confidence(made_up(seed=2))
    assert np.mean([s.stated - s.right for s in sure]) > 0.1
    assert all(abs(one.guess / one.truth - 1) < 0.1 for one in student if one.hit)


def test_recorded_guesses_come_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIPEFT_HOME", str(tmp_path))
    monkeypatch.setattr(predicting, "_session", [])
    predict("07-width", guess=40, confidence=0.8)
    predict("07-open", guess=3)
    reveal("07-width", 30.0)
    capsys.readouterr()
    found = load_predictions()
    assert [r.ratio for r in ratios(found)] == [pytest.approx(4 / 3)]
    assert len(answered(found)) == 1 and len(found) == 2
