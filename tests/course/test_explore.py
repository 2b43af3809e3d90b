import matplotlib.pyplot as plt
import pytest

from minipeft.course import explore
from minipeft.course.lab.explore import Explorer


def draw(r=8, alpha=16.0, kind="a", on=True):
    fig, ax = plt.subplots()
    ax.plot([0, r], [0, alpha])
    return fig, f"A line from zero to {alpha} over {r}, kind {kind}.", {"line": [0.0, alpha / r]}


SLIDERS = {"r": (1, 32), "alpha": (1.0, 64.0), "kind": {"small": "a", "large": "b"}, "on": True}


def source(explorer):
    return explorer.picture.value


def test_moving_a_slider_changes_picture_and_words():
    explorer = Explorer(draw, SLIDERS)
    before = source(explorer)
    assert before.startswith('<img alt="A line from zero to 16.0 over 8')
    assert "base64," in before
    explorer.controls["r"].value = 9
    assert source(explorer) != before
    assert "over 9" in explorer.words.value and "1.78" in explorer.words.value
    explorer.controls["r"].value = 8
    assert source(explorer) == before


def test_controls_do_not_redraw_while_dragged():
    explorer = Explorer(draw, SLIDERS)
    for name in ("r", "alpha", "kind"):
        assert explorer.controls[name].continuous_update is False


@pytest.mark.parametrize(
    ("choice", "kind", "ends"),
    [
        ((1, 32), "IntSlider", (1, 32)),
        ((2, 32, 2), "IntSlider", (2, 32)),
        ((0.5, 32.0), "FloatSlider", (0.5, 32.0)),
        ((1, 64, "log"), "FloatLogSlider", (1, 64)),
        ([4, 8, 16], "SelectionSlider", (4, 16)),
        ({"four": 4, "eight": 8}, "SelectionSlider", (4, 8)),
    ],
)
def test_kinds_of_sliders(choice, kind, ends):
    tried = []

    def noting(r=8):
        tried.append(r)
        return draw(r)

    explorer = Explorer(noting, {"r": choice})
    assert type(explorer.controls["r"]).__name__ == kind
    assert explorer.controls["r"].value == 8
    explorer.try_ends()
    assert tried[0] == 8
    assert [pytest.approx(end) for end in ends if end != 8] == tried[1:]


def test_start_in_the_middle_without_a_default():
    def bare(r, kind):
        return draw(r, kind=kind)

    explorer = Explorer(bare, {"r": (1, 31), "kind": ["a", "b", "c"]})
    assert explorer.values == {"r": 16, "kind": "b"}


def test_where_nobody_watches_the_picture_and_its_words_are_all(shown):
    explore(draw, **SLIDERS)
    (picture, metadata), (words, _) = shown.bundles
    assert picture["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"].startswith("A line from zero to 16.0")
    assert words["text/plain"] == (
        "Figure: A line from zero to 16.0 over 8, kind a.\n"
        "At r = 8, alpha = 16, kind = a, on = True:\n"
        "  line  n 2, first 0, last 2.00, min 0, max 2.00, mean 1.00"
    )
    assert "Run this cell to move r and alpha" in words["text/html"]
    assert "<style>" not in words["text/html"]
    assert plt.get_fignums() == []


def test_an_error_at_one_end_is_found_before_anything_is_shown(shown):
    def fails(r=8):
        return draw(r, alpha=1 / (32 - r))

    with pytest.raises(ZeroDivisionError):
        explore(fails, r=(1, 32))
    assert shown.bundles == []


def test_an_error_after_a_move_is_shown_in_words():
    def fails(r=8):
        if r == 9:
            raise RuntimeError("no <rank> nine")
        return draw(r)

    explorer = Explorer(fails, {"r": (1, 32)})
    explorer.controls["r"].value = 9
    assert "This position fails" in explorer.words.value
    assert "RuntimeError: no &lt;rank&gt; nine" in explorer.words.value
    explorer.controls["r"].value = 10
    assert "over 10" in explorer.words.value


@pytest.mark.parametrize(
    ("sliders", "says"),
    [
        ({}, "at least one slider"),
        ({"rank": (1, 2)}, "no argument 'rank'; it has r, alpha"),
        ({"r": (32, 1)}, "is no range"),
        ({"r": (1, 2, 3, 4)}, "is no range"),
        ({"r": (0, 9, "log")}, "is no range"),
        ({"r": "1-32"}, "is no range"),
        ({"r": []}, "is no range"),
        ({"r": (10, 32)}, "r starts at 8, outside 10 to 32"),
        ({"r": [1, 2, 4]}, "r starts at 8, which is not one of"),
    ],
)
def test_bad_sliders(sliders, says, shown):
    with pytest.raises(ValueError, match=says):
        explore(draw, **sliders)
    assert shown.bundles == []


def test_missing_words_are_refused(shown):
    with pytest.raises(ValueError, match="does not describe"):
        explore(lambda r=1: (plt.figure(), "", {"x": [1]}), r=(1, 2))


def test_a_person_gets_the_widget_after_its_twin(shown, monkeypatch):
    monkeypatch.setattr("minipeft.course.lab.explore.watched", lambda: True)
    explore(draw, **SLIDERS)
    (picture, _), (words, _), (widget, _) = shown.bundles
    assert "image/png" in picture and "minipeft-twin" in words["text/html"]
    assert "<style>" in words["text/html"]
    assert "minipeft-live" in widget._dom_classes


def test_the_picture_never_grows_wider_than_its_place():
    assert "max-width: 100%" in source(Explorer(draw, SLIDERS))
