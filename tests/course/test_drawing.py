"""The pictures that lessons draw in one call."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from minipeft.course import COLORS, lines, panels
from minipeft.course.lab.pictures import block_picture, detour_picture, frontier
from minipeft.course.lessons.recorded import learning_and_forgetting


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_lines_have_the_colours_of_their_methods_and_names_at_their_ends():
    fig = lines({"lora": [3, 2, 1], "full": [3, 1, 0.5], "mine": [1, 1, 1]}, [1, 2, 4])
    (ax,) = fig.axes
    assert drawn(ax)["lora"].get_color() == COLORS["lora"]
    assert drawn(ax)["full"].get_color() == COLORS["full"]
    assert {text.get_text() for text in ax.texts} == {"lora", "full", "mine"}
    assert list(drawn(ax)["lora"].get_xdata()) == [1, 2, 4]


def test_a_series_may_bring_its_own_places_and_a_spread():
    fig = lines({"point": ([2], [5.0]), "band": ([1, 2], [0, 1], [1, 2], [2, 3])}, [1, 2])
    (ax,) = fig.axes
    assert list(drawn(ax)["point"].get_xdata()) == [2]
    assert len(ax.collections) == 1 and list(drawn(ax)["band"].get_ydata()) == [1, 2]


def test_logarithmic_axes_show_plain_numbers():
    fig = lines({"a": [0.02, 30.0]}, [1, 256], log="xy", ticks=[1, 16, 256])
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "16", "256"]
    assert "0.1" in [label.get_text() for label in ax.get_yticklabels()]


def test_levels_are_lines_across_with_a_name():
    fig = lines({"a": [2.0, 1.0]}, levels={"floor": 0.5})
    (ax,) = fig.axes
    assert list(drawn(ax)["floor"].get_ydata()) == [0.5, 0.5]
    assert "floor" in {text.get_text() for text in ax.texts}


def test_labels_of_panels_stand_at_the_ends_after_all_are_drawn():
    part = {"x": [1, 2], "log": "y"}
    fig = panels(
        {"series": {"a": [1, 1.0]}, **part}, {"series": {"b": [1, 1e-3]}, **part}, same_y=True
    )
    for ax in fig.axes:
        (text,) = ax.texts
        end = ax.get_lines()[0].get_ydata()[-1]
        height = ax.transAxes.inverted().transform(ax.transData.transform((1, end)))[1]
        assert text.xy[1] == pytest.approx(height, abs=1e-6)


def test_bars_carry_their_heights():
    fig = panels({"bars": {"base": 9.8, "lora": 0.276}}, {"series": {"a": [1, 2]}})
    assert {text.get_text() for text in fig.axes[0].texts} == {"9.80", "0.276"}


def test_a_single_point_is_named_where_it_is():
    fig = lines({"line": [1.0, 2.0, 3.0], "mine": ([1], [2.0])})
    (ax,) = fig.axes
    (text,) = [text for text in ax.texts if text.get_text() == "mine"]
    assert text.xy[0] < 0.2


def test_matrices_are_drawn_to_scale():
    names = ("q", "k", "v", "o", "gate", "up", "down")
    shapes = [(6, 6), (2, 6), (2, 6), (6, 6), (16, 6), (16, 6), (6, 16)]
    fig = block_picture(dict(zip(names, shapes, strict=True)))
    sizes = [(p.get_height(), p.get_width()) for p in fig.axes[0].patches]
    unit = sizes[0][0] / 6
    assert np.allclose(np.array(sizes) / unit, shapes)
    assert detour_picture(12, 8, 2).axes


def test_recorded_runs_hold_every_method_and_rate_with_three_seeds():
    for task in ("pirate", "instruction"):
        runs = learning_and_forgetting(task)
        assert list(runs) == ["lora", "full", "last block"]
        for points in runs.values():
            assert [p.rate for p in points] == sorted(p.rate for p in points) and len(points) == 4
            for p in points:
                assert p.spread[0] <= p.learned <= p.spread[1]
                assert all(math.isfinite(v) and v > 0 for v in (p.learned, p.forgotten, p.size))
        assert runs["lora"][0].trained < runs["last block"][0].trained < runs["full"][0].trained
    with pytest.raises(ValueError, match="no sweep of task 'pirat'; nearest: 'pirate'"):
        learning_and_forgetting("pirat")


def test_the_caption_of_the_frontier_tells_the_numbers():
    runs = learning_and_forgetting("pirate")
    _, alt, data = frontier(runs, mine=(0.07, 2.1), near=0.3)
    assert "Your run: 0.07" in alt
    told = [p for points in runs.values() for p in points if p.learned < 0.3]
    assert all(f"{p.method} at rate {p.rate} {p.forgotten:.2f}" in alt for p in told)
    assert set(data) == {"lora", "full", "last block", "your run"}
