"""The bar and the live picture, as a person would get them."""

import pytest

from minipeft.course import History
from minipeft.course.lab import progress
from minipeft.course.lab.progress import Progress


class Handle:
    """What `display(..., display_id=True)` gives."""

    def __init__(self):
        self.bundles = []

    def update(self, bundle, raw):
        assert raw
        self.bundles.append(bundle)


@pytest.fixture
def screen(monkeypatch):
    """A live kernel, with the clock in our hands."""
    import IPython.display

    handle = Handle()
    first = []

    def display(bundle, raw, display_id):
        assert raw and display_id
        first.append(bundle)
        return handle

    handle.first, handle.now = first, 100.0
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress, "watched", lambda: True)
    monkeypatch.setattr(progress, "in_kernel", lambda: True)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: handle.now)
    return handle


def step(history, bar, loss):
    history.losses.append(loss)
    bar.update()


def test_one_picture_is_redrawn_at_most_twice_a_second(screen, capsys):
    history = History()
    with Progress(history, steps=10, seconds=None, show=True) as bar:
        for i in range(10):
            screen.now += 0.1
            step(history, bar, 3.0 - i / 10)
    assert len(screen.first) == 1
    assert len(screen.bundles) == 2  # once after half a second, once at the end
    assert screen.bundles[-1]["image/png"].startswith(b"\x89PNG")
    assert screen.bundles[-1]["text/plain"] == str(history)
    error = capsys.readouterr().err
    assert "10/10" in error and "loss 2.100" in error


def test_with_a_time_limit_the_bar_counts_seconds(screen, capsys):
    history = History()
    with Progress(history, steps=None, seconds=2.0, show=True) as bar:
        for _ in range(4):
            history.seconds += 0.75
            step(history, bar, 1.0)
    assert bar.bar.n == 2.0
    assert "2.0/2.0" in capsys.readouterr().err


def test_an_error_in_the_loop_closes_the_bar_and_is_not_hidden(screen):
    history = History()
    with pytest.raises(ZeroDivisionError), Progress(history, 3, None, show=True) as bar:
        step(history, bar, 1.0)
        _ = 1 / 0
    assert bar.bar.disable or bar.bar.pos == 0


def test_show_false_is_silent(screen, capsys):
    with Progress(History(losses=[1.0]), 3, None, show=False) as bar:
        bar.update()
    assert screen.first == [] and capsys.readouterr() == ("", "")
