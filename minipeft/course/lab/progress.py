"""A progress bar and a live loss picture, shown only where a person watches."""

import time

from .screen import in_kernel, watched

SECONDS_BETWEEN_PICTURES = 0.5


class Progress:
    """Context manager that follows a History while it grows."""

    def __init__(self, history, steps: int | None, seconds: float | None, show: bool):
        self.history = history
        self.steps, self.seconds = steps, seconds
        self.visible = show and watched()
        self.bar = self.handle = None
        self.last_picture = 0.0

    def __enter__(self):
        if self.visible:
            from tqdm.auto import tqdm

            # With a time limit alone the bar counts seconds, since the steps are not known.
            total, unit = (self.steps, "step") if self.steps else (round(self.seconds, 1), "s")
            self.bar = tqdm(total=total, unit=unit, desc="training")
        return self

    def update(self) -> None:
        """Call after every step."""
        if not self.visible:
            return
        done = self.history.steps if self.steps else min(self.seconds, self.history.seconds)
        self.bar.update(round(done - self.bar.n, 1))
        self.bar.set_postfix_str(f"loss {self.history.losses[-1]:.3f}", refresh=False)
        if in_kernel() and time.perf_counter() - self.last_picture > SECONDS_BETWEEN_PICTURES:
            self._draw()
            self.last_picture = time.perf_counter()

    def __exit__(self, *error):
        if self.bar is not None:
            if in_kernel() and self.history.steps:
                self._draw()
            self.bar.close()

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
