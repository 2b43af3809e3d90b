import pytest


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
