"""The pages of students and of the class: accessible, in the light and in the dark, and escaped."""

from datetime import datetime

import pytest

from minipeft.grading.desk.by_hand import Entry
from minipeft.grading.desk.folder import file_names
from minipeft.grading.desk.late import Rule
from minipeft.grading.desk.marks import marks
from minipeft.grading.limits import Limits
from minipeft.grading.pages.group import Group, class_page, needs_help
from minipeft.grading.pages.html import shown
from minipeft.grading.pages.reading import reading_page
from minipeft.grading.pages.student import student_page
from minipeft.grading.results import Result, Verdict
from minipeft.grading.similarity import Pair, alike, prints

from .handing_in import EXERCISE
from .test_desk import handed

RULE = Rule(datetime(2026, 11, 30), 1, 10)
TEXT = "B is zero,\n\nso <b>A</b> gets = nothing\u202e.\n" + "long" * 200


def verdicts(right):
    return {
        task.name: Verdict(True, task.why, task.points)
        if place < right
        else Verdict(False, task.misconceptions[place % 3].message, 0.5, ["a part"])
        for place, task in enumerate(EXERCISE.tasks)
    }


@pytest.fixture(scope="module")
def pages():
    """Name -> HTML of every kind of page."""
    results = {
        "ada": Result("ada", verdicts(9), texts={"explain_start": TEXT}, ran="11 cells were run."),
        "bob <b>": Result("bob <b>", verdicts(2), note="cell 3: it took longer", claim="ada"),
        "zoë": Result("zoë", verdicts(0), note="nothing was handed in", graded=False),
    }
    pairs = [(handed(s, timestamp="2026-12-02 10:00:00"), r) for s, r in results.items()]
    entries = {
        ("bob <b>", "merge"): Entry(1.0, "half <i>right</i>"),
        ("ada", "late days"): Entry(0),
    }
    entries["ada", "explain_start"] = Entry(1.5, "Good.")
    final = marks(pairs, EXERCISE, entries, RULE)
    names = file_names([mark.student for mark in final])
    found = [Pair("ada", "bob <b>", 40, 0.9)]
    group = Group(final, EXERCISE, names, found, ["essay.docx"], {"seed": 5})
    made = {m.student: student_page(m, EXERCISE, RULE, Limits()) for m in final}
    waiting = marks(pairs, EXERCISE, {}, RULE)
    made["waiting"] = student_page(waiting[0], EXERCISE, RULE, Limits())
    made["reading"] = reading_page(waiting, EXERCISE)
    made["class"] = class_page(group)
    empty = marks([(handed("x"), results["zoë"])], EXERCISE, {}, Rule())
    made["class of one"] = class_page(Group(empty, EXERCISE, ["x.html"]))
    return made, final


def test_what_a_student_wrote_is_shown_and_runs_nowhere(pages):
    for text in pages[0].values():
        assert "<script" not in text and "<b>" not in text and "<i>right" not in text
        assert "\u202e" not in text
    assert "so &lt;b&gt;A&lt;/b&gt; gets = nothing" in pages[0]["ada"]


def test_a_students_page_says_what_was_run_and_what_was_lost(pages):
    ada, bob, waiting = pages[0]["ada"], pages[0]["bob <b>"], pages[0]["waiting"]
    assert "11 cells were run" in ada and "The limits were" in ada
    assert (
        "1.5 of 2" in ada
        and "Good." in ada
        and EXERCISE.by_hand[0].rubric[0][1][:20] in ada.replace("&#x27;", "'")
    )
    assert "1 of 2" in bob and "Points entered by a person" in bob and "Right are: a part" in bob
    assert "Late by 3 days, 1 of them free" in bob
    assert "which is not yours" in bob
    assert "Waits for a person" in waiting and "wait for a person" in waiting


def test_the_class_page_answers_an_instructors_questions(pages):
    text = pages[0]["class"]
    for words in ("Distribution", "the median is", "hardest first", "Who needs help", "essay.docx"):
        assert words in text
    assert "Twice, 3a. Count any model" in text
    assert "bob &lt;b&gt;: its sheet is that of &#x27;ada&#x27;" in text
    assert "a reason to look, never a proof" in text
    group = Group(pages[1], EXERCISE, [])
    assert [line.split(",")[0] for line in needs_help(group)] == ["zoë", "bob &lt;b&gt;"]


def test_rubric_and_answers_at_three_levels_stand_beside_the_answers(pages):
    for part in EXERCISE.by_hand:
        assert sum(points for points, _ in part.rubric) == part.points
        assert len(part.levels) >= 3
        assert [p for p, _ in part.levels] == sorted({p for p, _ in part.levels}, reverse=True)
        for points, _ in part.levels:
            assert f"An answer of {points:g} points" in pages[0]["reading"]
    assert "ada (waits)" in pages[0]["reading"]


def test_a_line_stays_a_line():
    assert shown("a\nb\u202ec\x00") == "a b c "


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_axe_finds_no_violation_in_the_light_nor_in_the_dark(pages, browser):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        backgrounds = set()
        for name, text in pages[0].items():
            page.set_content(text)
            found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
            assert found.violations_count == 0, (name, scheme, found.generate_report())
            backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(backgrounds) == 1
        assert ("255, 255, 255" in backgrounds.pop()) is (scheme == "light")
        context.close()


GIVEN = "def lora_forward(x, weight, A, B, alpha):\n    pass\n"
OWN = """
def lora_forward(x, weight, A, B, alpha):
    # my own way
    rank_of_it = A.shape[0]
    low_rank_part = torch.matmul(torch.matmul(x, A.t()), B.t())
    return torch.matmul(x, weight.t()) + low_rank_part * (alpha / rank_of_it)
"""
OTHER = """
def lora_forward(x, weight, A, B, alpha):
    factor = alpha / len(A)
    return torch.nn.functional.linear(x, weight) + factor * torch.einsum('bi,ri,or->bo', x, A, B)
"""


def test_copies_are_found_and_what_all_have_says_nothing():
    layout = OWN.replace("    # my own way\n", "").replace("    return", "\n    return  # copied")
    sources = {"ada": OWN, "mal": layout, "zoe": OTHER, **{f"s{n}": GIVEN for n in range(9)}}
    pairs = alike({name: prints([source]) for name, source in sources.items()})
    assert [(pair.first, pair.second) for pair in pairs] == [("ada", "mal")]
    assert pairs[0].share == 1
    everyone = {f"s{n}": prints([OWN]) for n in range(9)}
    assert alike(everyone) == []
    assert alike({"ada": prints([OWN]), "mal": prints([OWN])}, known=prints([OWN])) == []


def test_code_that_cannot_be_read_is_compared_as_far_as_it_goes():
    assert prints(["def f(:\n  'unclosed", OWN]) != []
    assert prints([]) == []
