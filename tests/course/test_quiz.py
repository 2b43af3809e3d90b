import re

import pytest

from minipeft.course import Question, quiz
from minipeft.course.lab.screen import in_kernel, watched

RIGHT = Question(
    "Is B = 0 < A?",
    options={"yes": "so step 0 is the base", "no": "that would change step 0 & more"},
    answer="yes",
)


def options_of(page):
    return re.findall(r"<summary>(.*?)</summary><p[^>]*>(.*?)</p>", page)


def test_each_option_holds_its_verdict_and_the_misconception(shown):
    quiz(RIGHT)
    page = shown.bundles[0][0]["text/html"]
    assert "1. Is B = 0 &lt; A?" in page
    assert dict(options_of(page)) == {
        "yes": "Right. so step 0 is the base",
        "no": "Not quite. that would change step 0 &amp; more",
    }
    folded = re.sub("<details.*?</details>|<script.*", "", page, flags=re.DOTALL)
    assert "Right" not in folded and "Not quite" not in folded


def test_options_of_one_question_close_each_other(shown):
    other = Question("Another?", options=RIGHT.options, answer="no")
    quiz(RIGHT, other)
    groups = re.findall('<details name="(.*?)">', shown.bundles[0][0]["text/html"])
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_keys_are_left_to_the_quiz(shown):
    quiz(RIGHT)
    page = shown.bundles[0][0]["text/html"]
    assert "data-lm-suppress-shortcuts" in page and "ArrowDown" in page


def test_the_right_answer_moves_and_each_run_is_the_same(shown):
    options = {f"option {n}": "why" for n in range(3)}
    questions = [Question(f"Number {n}?", options=options, answer="option 0") for n in range(3)]
    places = set()
    for question in questions:
        for place in range(3):
            assert set(question.shuffled(place)) == set(options)
            assert question.shuffled(place)[place] == "option 0"
    for _ in range(2):
        quiz(*questions)
    assert shown.bundles[0] == shown.bundles[1]
    for block in shown.bundles[0][0]["text/plain"].split("?\n")[1:]:
        places.add(block.splitlines().index("   - option 0"))
    assert places == {0, 1, 2}


def test_words_alone(shown):
    quiz(RIGHT, RIGHT)
    assert len(shown.bundles) == 1
    plain = shown.bundles[0][0]["text/plain"]
    assert plain.startswith("1. Is B = 0 < A?\n   - ") and "\n2. Is" in plain
    assert {"   - yes", "   - no"} < set(plain.splitlines())


@pytest.mark.parametrize(
    ("options", "answer", "says"),
    [
        ({"a": "x", "b": "y"}, "c", "answer='c'"),
        ({"a": "x"}, "a", "at least two"),
        ({"a": "x", "b": " "}, "a", "'b' has no explanation"),
    ],
)
def test_bad_questions(options, answer, says):
    with pytest.raises(ValueError, match=says):
        Question("?", options=options, answer=answer)


def test_no_questions():
    with pytest.raises(ValueError, match="at least one"):
        quiz()


@pytest.mark.parametrize(("ci", "expected"), [("1", False), ("true", False), ("false", True)])
def test_nobody_watches_under_ci(monkeypatch, ci, expected):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("CI", ci)
    assert watched() is expected
    assert not in_kernel()


def test_nobody_watches_a_test():
    assert not watched()
