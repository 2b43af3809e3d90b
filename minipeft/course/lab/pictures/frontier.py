"""What was learned against what was forgotten, drawn by several lessons."""

from collections.abc import Mapping

from ..drawing import lines


def frontier(runs: Mapping[str, list], mine: tuple[float, float], near: float):
    """Lessons 00 and 03: what was learned against what was forgotten, by method and rate.

    Args:
        runs: of `recorded.learning_and_forgetting`.
        mine: (learned, forgotten) of the lesson's own run.
        near: the caption tells what was forgotten by those who learned to this.

    Returns:
        (figure, alt text, data), as `figure` takes them.
    """
    series = {m: ([p.learned for p in ps], [p.forgotten for p in ps]) for m, ps in runs.items()}
    series["your run"] = ([mine[0]], [mine[1]])
    fig = lines(
        series,
        log="xy",
        xlabel="new task: loss above its floor",
        ylabel="own world: above its floor",
        colors={"last block": "partial", "your run": "wrong"},
        styles={"your run": "D"},
    )
    learned = [p for points in runs.values() for p in points if p.learned < near]
    said = "; ".join(f"{p.method} at rate {p.rate} {p.forgotten:.2f}" for p in learned)
    alt = (
        f"Your run: {mine[0]:.2f} above the new task's floor, {mine[1]:.1f} above the own world's. "
    )
    alt += f"Recorded, within {near} of the task's floor, above the own world's: {said}."
    return fig, alt, {m: ys for m, (_, ys) in series.items()}
