import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def no_open_figures():
    """Each test starts and leaves pyplot without figures, whatever an earlier test left open."""
    plt.close("all")
    yield
    plt.close("all")


class Shown:
    """What a notebook would have displayed, as (bundle, metadata)."""

    def __init__(self):
        self.bundles = []

    def __call__(self, *objects, metadata=None, raw=False, **options):
        assert raw or hasattr(objects[0], "comm"), "the course displays bundles and widgets"
        self.bundles += [(bundle, metadata or {}) for bundle in objects]


@pytest.fixture
def shown(monkeypatch):
    """Catch what would be displayed."""
    import IPython.display

    shown = Shown()
    monkeypatch.setattr(IPython.display, "display", shown)
    return shown
