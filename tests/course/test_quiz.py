import pytest

from minipeft.course import Question, quiz
from minipeft.course.lab.quiz import QuestionView
from minipeft.course.lab.screen import in_kernel, watched

RIGHT = Question(
    "Is B = 0 < A?",
    options={"yes": "so step 0 is the base", "no": "that would change step 0 & more"},
    answer="yes",
)


def test_choosing_shows_the_verdict_and_the_misconception():
    view = QuestionView(1, RIGHT)
    assert view.buttons.value is None and view.verdict.value == ""
    view.buttons.value = "no"
    assert "Not quite." in view.verdict.value
    assert "that would change step 0 &amp; more" in view.verdict.value
    view.buttons.value = "yes"
    assert "Right." in view.verdict.value and "step 0 is the base" in view.verdict.value
    view.buttons.value = None
    assert view.verdict.value == ""


def test_one_output_with_a_widget_and_its_static_twin(shown):
    quiz(RIGHT, RIGHT)
    ((bundle, _),) = shown.bundles
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<details>") == 2
    assert "1. Is B = 0 &lt; A?" in bundle["text/html"]
    plain = bundle["text/plain"]
    assert plain.startswith("1. Is B = 0 < A?\n   - yes\n   - no\n2. ")


def test_the_twin_is_the_same_each_time(shown):
    quiz(RIGHT)
    quiz(RIGHT)
    first, second = (bundle for bundle, _ in shown.bundles)
    assert all(first[kind] == second[kind] for kind in ("text/html", "text/plain"))


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
