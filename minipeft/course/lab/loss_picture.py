"""The loss curve, drawn the same way wherever it appears."""

from .figure import COLORS, label_lines, plt


def loss_picture(histories: dict, floor: float | None = None, width=6.4, height=3.4):
    """A figure of training loss against step for several histories, by name.

    Single steps are thin and pale, the mean of the steps around each is bold.
    """
    fig, ax = plt.subplots(figsize=(width, height))
    for name, history in histories.items():
        color = COLORS.get(name, COLORS["lora"])
        steps = range(1, history.steps + 1)
        ax.plot(steps, history.losses, color=color, alpha=0.25, linewidth=0.8)
        ax.plot(steps, history.smoothed(), color=color, label=name)
    if floor is not None:
        ax.axhline(floor, color=COLORS["floor"], linestyle=":", label="floor")
    label_lines(ax)
    ax.set_xlabel("step")
    ax.set_ylabel("loss (nats per token)")
    return fig
