"""Bars and a live loss picture, shown only where a person watches.

In a notebook a bar is HTML in an output that is rewritten, and no widget: a lesson that is saved
and opened again shows how far it came, where a widget would be "model not found".
"""

import html
import time
from collections.abc import Iterable, Iterator

from .screen import in_kernel, watched

SECONDS_BETWEEN_BARS = 0.1
SECONDS_BETWEEN_PICTURES = 0.5


def track(items: Iterable, what: str = "", show: bool = True) -> Iterator:
    """Yield the items, with a bar that counts them: for loops that take more than some seconds."""
    items = list(items)
    with Bar(len(items), what, show and watched()) as bar:
        for done, item in enumerate(items):
            bar.set(done, str(item) if isinstance(item, str | int | float) else "")
            yield item
        bar.set(len(items))


class Bar:
    """Context manager: how much of `total` is done, in a notebook or a terminal."""

    def __init__(self, total: float, what: str, visible: bool, unit: str = ""):
        self.total, self.what, self.unit = total, what, unit
        self.visible, self.done, self.note = visible, 0, ""
        self.handle = self.tqdm = None
        self.drawn = -1.0

    def __enter__(self):
        if self.visible and in_kernel():
            from IPython.display import display

            self.handle = display(self._bundle(), raw=True, display_id=True)
        elif self.visible:
            from tqdm import tqdm

            self.tqdm = tqdm(total=self.total, unit=self.unit, desc=self.what)
        return self

    def set(self, done: float, note: str = "") -> None:
        """Show that so much is done; redrawn at most ten times a second."""
        self.done, self.note = done, note
        if self.tqdm is not None:
            self.tqdm.set_postfix_str(note, refresh=False)
            self.tqdm.update(round(done - self.tqdm.n, 1))
        elif self.handle and time.perf_counter() - self.drawn > SECONDS_BETWEEN_BARS:
            self.drawn = time.perf_counter()
            self.handle.update(self._bundle(), raw=True)

    def __exit__(self, *error):
        if self.tqdm is not None:
            self.tqdm.close()
        elif self.handle:
            self.handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict:
        counted = f"{self.done:g} of {self.total:g} {self.unit}".strip()
        text = ", ".join(filter(None, [f"{self.what} {counted}".strip(), self.note]))
        meter = f'<progress value="{self.done:g}" max="{self.total:g}"></progress>'
        return {"text/html": f"{meter} {html.escape(text)}", "text/plain": text}


class Progress:
    """Context manager that follows a History while it grows: a bar, and in a kernel a picture."""

    def __init__(self, history, steps: int | None, seconds: float | None, show: bool):
        self.history = history
        self.steps, self.seconds = steps, seconds
        self.visible = show and watched()
        # With a time limit alone the bar counts seconds, since the steps are not known.
        total, unit = (steps, "steps") if steps else (round(seconds, 1), "s")
        self.bar = Bar(total, "training", self.visible, unit)
        self.handle = None
        self.last_picture = 0.0

    def __enter__(self):
        self.bar.__enter__()
        return self

    def update(self) -> None:
        """Call after every step."""
        if not self.visible:
            return
        done = self.history.steps if self.steps else min(self.seconds, self.history.seconds)
        self.bar.set(done, f"loss {self.history.losses[-1]:.3f}")
        if in_kernel() and time.perf_counter() - self.last_picture > SECONDS_BETWEEN_PICTURES:
            self._draw()
            self.last_picture = time.perf_counter()

    def __exit__(self, *error):
        self.bar.__exit__(*error)
        if self.visible and in_kernel() and self.history.steps:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        from .figure import png
        from .loss_picture import loss_picture

        bundle = {
            "image/png": png(loss_picture({"training": self.history}, width=5, height=2.2)),
            "text/plain": str(self.history),
        }
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)
