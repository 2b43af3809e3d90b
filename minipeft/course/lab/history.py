"""What a training run leaves behind: numbers that can be saved, compared and drawn."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar


@dataclass(repr=False)
class History:
    """A training run.

    Attributes:
        losses: training loss of each step, nats per counted token.
        tokens: counted tokens seen in all steps.
        seconds: wall time, evaluations included.
        evaluations: pairs (step, held-out loss in nats per counted token).
    """

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    evaluations: list[tuple[int, float]] = field(default_factory=list)

    latest: ClassVar["History | None"] = None  # of the last call of `train`, interrupted or not

    @property
    def steps(self) -> int:
        """Updates made."""
        return len(self.losses)

    @property
    def first(self) -> float:
        """Mean training loss of the first tenth of the steps."""
        return _mean(self.losses[: max(1, self.steps // 10)])

    @property
    def last(self) -> float:
        """Mean training loss of the last tenth of the steps, steadier than the last step's."""
        return _mean(self.losses[-max(1, self.steps // 10) :])

    def smoothed(self, reach: int = 5) -> list[float]:
        """Mean of the losses up to `reach` steps before and after each step, of the same length."""
        return [
            _mean(self.losses[max(0, step - reach) : step + reach + 1])
            for step in range(self.steps)
        ]

    def __str__(self) -> str:
        # No wall time: it differs on every machine, and this line ends up in committed outputs.
        text = (
            f"{self.steps} steps, training loss {self.first:.2f} -> {self.last:.2f} nats per token"
        )
        if self.evaluations:
            before, after = self.evaluations[0][1], self.evaluations[-1][1]
            text += f", held-out {before:.2f} -> {after:.2f}"
        return text

    __repr__ = __str__  # the last expression of a cell should not print a thousand losses

    def plot(self, alt: str, method: str = "lora", floor: float | None = None, **others) -> None:
        """Show the loss curve through `figure`.

        Args:
            alt: what the picture shows, in words.
            method: a key of COLORS, for this history's colour and label.
            floor: the smallest loss possible, in nats per token, as a dotted line.
            others: further histories by method, as in `full=other_history`.
        """
        from .figure import figure
        from .loss_picture import loss_picture

        histories = {method: self, **others}
        fig = loss_picture(histories, floor)
        figure(fig, alt=alt, data={name: run.losses for name, run in histories.items()})

    def save(self, path) -> None:
        """Write the history as JSON, whole or not at all."""
        from ...core.disk import atomic_write

        atomic_write(Path(path), json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, path) -> "History":
        """Read what `save` wrote."""
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        fields["evaluations"] = [tuple(pair) for pair in fields["evaluations"]]
        return cls(**fields)


class Interrupted(KeyboardInterrupt):
    """Someone stopped a training. In a notebook only one line shows, no traceback."""

    def __init__(self, history: History):
        super().__init__(
            f"Stopped after {history.steps} steps at loss {history.last:.2f}; "
            "minipeft.course.History.latest is the run so far."
        )

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
