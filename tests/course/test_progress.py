"""The bar and the live picture, as a person would get them."""

import pytest

from minipeft.course import History, track
from minipeft.course.lab import progress
from minipeft.course.lab.progress import Progress


class Screen:
    """A live kernel's displays, each as the list of bundles that it showed."""

    def __init__(self):
        self.displays, self.now = [], 100.0

    def display(self, bundle, raw, display_id):
        assert raw and display_id
        self.displays.append([bundle])
        return Handle(self.displays[-1])

    def last(self, kind):
        """What stands in the end in the one display of this MIME type."""
        (shown,) = [bundles for bundles in self.displays if kind in bundles[0]]
        return shown[-1]


class Handle:
    """What `display(..., display_id=True)` gives."""

    def __init__(self, bundles):
        self.bundles = bundles

    def update(self, bundle, raw):
        assert raw
        self.bundles.append(bundle)


@pytest.fixture
def screen(monkeypatch):
    """A live kernel, with the clock in our hands."""
    import IPython.display

    screen = Screen()
    monkeypatch.setattr(IPython.display, "display", screen.display)
    monkeypatch.setattr(progress, "watched", lambda: True)
    monkeypatch.setattr(progress, "in_kernel", lambda: True)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: screen.now)
    return screen


def step(history, bar, loss):
    history.losses.append(loss)
    bar.update()


def test_one_picture_is_redrawn_at_most_twice_a_second(screen):
    history = History()
    with Progress(history, steps=10, seconds=None, show=True) as bar:
        for i in range(10):
            screen.now += 0.1
            step(history, bar, 3.0 - i / 10)
    bars, pictures = screen.displays
    assert len(pictures) == 3  # the first, one after half a second, one at the end
    assert pictures[-1]["image/png"].startswith(b"\x89PNG")
    assert pictures[-1]["text/plain"] == str(history)
    assert bars[-1]["text/plain"] == "training 10 of 10 steps, loss 2.100"
    assert '<progress value="10" max="10">' in bars[-1]["text/html"]


def test_no_bar_or_picture_is_a_widget(screen):
    with Progress(History(losses=[1.0]), 3, None, show=True) as bar:
        bar.update()
    kinds = {kind for bundles in screen.displays for bundle in bundles for kind in bundle}
    assert kinds == {"text/html", "text/plain", "image/png"}


def test_with_a_time_limit_the_bar_counts_seconds(screen):
    history = History()
    with Progress(history, steps=None, seconds=2.0, show=True) as bar:
        for _ in range(4):
            history.seconds += 0.75
            step(history, bar, 1.0)
    assert screen.last("text/html")["text/plain"] == "training 2 of 2 s, loss 1.000"


def test_an_error_in_the_loop_is_not_hidden_and_the_bar_says_how_far_it_came(screen):
    history = History()
    with pytest.raises(ZeroDivisionError), Progress(history, 3, None, show=True) as bar:
        step(history, bar, 1.0)
        _ = 1 / 0
    assert "1 of 3 steps" in screen.last("text/html")["text/plain"]


def test_show_false_is_silent(screen):
    with Progress(History(losses=[1.0]), 3, None, show=False) as bar:
        bar.update()
    assert screen.displays == []


def test_track_counts_what_a_loop_has_done(screen):
    seen = []
    for rank in track([1, 4, 16], "ranks"):
        screen.now += 1
        seen.append((rank, screen.last("text/html")["text/plain"]))
    assert [rank for rank, _ in seen] == [1, 4, 16]
    assert [text for _, text in seen] == ["ranks 0 of 3, 1", "ranks 1 of 3, 4", "ranks 2 of 3, 16"]
    assert screen.last("text/html")["text/plain"] == "ranks 3 of 3"


def test_track_is_silent_where_nobody_watches(capsys):
    assert list(track(range(3), "ranks")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_the_bar_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr(progress, "watched", lambda: True)
    history = History()
    with Progress(history, steps=2, seconds=None, show=True) as bar:
        step(history, bar, 2.0)
        step(history, bar, 1.0)
    error = capsys.readouterr().err
    assert "2/2" in error and "loss 1.000" in error
