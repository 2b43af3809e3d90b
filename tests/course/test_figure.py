import base64
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from minipeft.course import COLORS, History, figure, label_lines
from minipeft.course.lab.numerals import rounded

ALT = "A line that rises from one to three."


def line(*y):
    fig, ax = plt.subplots()
    ax.plot(y, label="line")
    return fig, ax


def test_picture_caption_and_digest(shown):
    fig, _ = line(1, 2, 3)
    figure(fig, alt=ALT, data={"loss": [1.0, 2.5, 3.0], "floor": 0.1234})
    (picture, metadata), (words, _) = shown.bundles
    assert picture["image/png"].startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": ALT}}
    numbers = "  loss   n 3, first 1.00, last 3.00, min 1.00, max 3.00, mean 2.17\n  floor  0.123"
    assert words["text/plain"] == f"Figure: {ALT}\n{numbers}"
    assert not plt.fignum_exists(fig.number)


def test_the_caption_is_prose_and_the_digest_is_folded(shown):
    figure(line(1)[0], alt="A line where x < 1 & y is one.", data={"a<b": [1]})
    page = shown.bundles[1][0]["text/html"]
    before, folded = page.split("<details>")
    assert "Figure: A line where x &lt; 1 &amp; y is one." in before
    assert "white-space: normal" in before and "a&lt;b" in folded and "a<b" not in page


def test_nbconvert_shows_the_alt_text(shown):
    figure(line(1, 2)[0], alt=ALT, data={"x": [1, 2]})
    bundle, metadata = shown.bundles[0]
    picture = base64.b64encode(bundle["image/png"]).decode()
    output = new_output("display_data", data={"image/png": picture}, metadata=metadata)
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(
        new_notebook(cells=[new_code_cell("", outputs=[output])])
    )
    assert f'alt="{ALT}"' in page


@pytest.mark.parametrize(
    "numbers",
    [
        [[1, 2], [3, 4]],
        np.arange(1, 5),
        range(1, 5),
        torch.arange(1.0, 5.0, requires_grad=True),
        torch.arange(1, 5, dtype=torch.bfloat16),
    ],
)
def test_numbers_of_every_kind(shown, numbers):
    figure(line(1)[0], alt=ALT, data={"x": numbers})
    whole = "n 4, first 1, last 4, min 1, max 4, mean 2.50"
    measured = "n 4, first 1.00, last 4.00, min 1.00, max 4.00, mean 2.50"
    is_float = hasattr(numbers, "is_floating_point") and numbers.is_floating_point()
    assert (measured if is_float else whole) in shown.bundles[1][0]["text/plain"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (100.0, "100.0"),
        (99.96, "100.0"),
        (99.94, "99.9"),
        (1.0, "1.00"),
        (0.99999, "1.00"),
        (100, "100"),
        (108_544, "108,544"),
        (np.int64(7), "7"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.00123, "0.00123"),
        (1.5e-7, "1.50e-07"),
        (2.5e7, "2.50e+07"),
    ],
)
def test_the_kind_of_number_decides_how_it_is_written(value, written):
    assert rounded(value) == written


@pytest.mark.parametrize(
    ("alt", "data", "says"),
    [
        ("", {"x": [1]}, "alt=''"),
        (None, {"x": [1]}, "alt=None"),
        ("a figure", {"x": [1]}, "does not describe"),
        (ALT, {}, "no data"),
        (ALT, {"x": []}, "'x' is empty"),
        (ALT, {"x": [1, float("nan"), 2]}, "'x' holds nan at position 1"),
        (ALT, {"x": [float("inf")]}, "'x' holds inf at position 0"),
        (ALT, {"x": "text"}, "'x' is not a list of numbers"),
    ],
)
def test_bad_input_shows_nothing(shown, alt, data, says):
    with pytest.raises(ValueError, match=says):
        figure(line(1, 2)[0], alt=alt, data=data)
    assert shown.bundles == []


def test_the_same_figure_has_the_same_bytes(shown):
    for _ in range(2):
        figure(line(1, 2)[0], alt=ALT, data={"x": [1]})
    assert shown.bundles[:2] == shown.bundles[2:]


def test_labels_stand_at_the_line_ends_and_apart():
    fig, ax = plt.subplots()
    for name, end in [("a", 1.0), ("b", 1.001), ("c", 3.0)]:
        ax.plot([0, end], label=name)
    ax.plot([0, 2])  # unnamed: gets no label
    label_lines(ax, gap=0.06)
    heights = {text.get_text(): text.xy[1] for text in ax.texts}
    assert list(heights) == ["a", "b", "c"]
    assert heights["b"] - heights["a"] == pytest.approx(0.06)
    wanted = ax.transAxes.inverted().transform(ax.transData.transform((0, 3.0)))[1]
    assert heights["c"] == pytest.approx(wanted)
    plt.close(fig)


def test_unknown_colour_names_the_nearest():
    with pytest.raises(KeyError, match="'lora'"):
        COLORS["lorra"]


def test_history_draws_itself(shown):
    run = History(losses=[3.0, 2.0, 1.0])
    run.plot(alt=ALT, method="lora", full=run, floor=0.5)
    assert len(shown.bundles) == 2
    assert shown.bundles[1][0]["text/plain"].count("n 3, first 3.00, last 1.00") == 2


def test_matplotlib_and_widgets_wait_until_they_are_needed():
    script = (
        "import minipeft.course, sys; "
        "early = {'matplotlib', 'ipywidgets', 'IPython'} & set(sys.modules); "
        "sys.exit(f'imported too early: {early}' if early else 0)"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
