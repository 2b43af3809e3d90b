"""The pictures of lesson 13: what a step reads, weighed adapters, published files, a cache."""

from collections.abc import Mapping, Sequence

from ...lessons.weighing_recorded import Weighed
from ..drawing import lines
from ..figure import COLORS, plt

MARKS = {"switched": "o", "mixed": "s"}
WAY_COLORS = {"one by one": "wrong", "by adapter": "second", "mixed": "lora"}
Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them


def read_picture(distinct: Sequence[int], gigabytes: Mapping[str, Sequence[float]]) -> Picture:
    """What one step of a batch reads, by the number of distinct adapters in it.

    gigabytes: {way of serving: GB at each of `distinct`}.
    """
    fig = lines(
        gigabytes,
        distinct,
        log="xy",
        ticks=distinct,
        ylim=(8, 900),
        colors=WAY_COLORS,
        xlabel="distinct adapters among 32 requests",
        ylabel="GB of weights read in a step",
    )
    ends = ", ".join(f"{way} {values[-1]:.0f}" for way, values in gigabytes.items())
    starts = ", ".join(f"{way} {values[0]:.0f}" for way, values in gigabytes.items())
    alt = f"GB that one step of 32 requests reads with {distinct[0]} adapter: {starts}; "
    alt += f"with {distinct[-1]}: {ends}."
    return fig, alt, {way: list(values) for way, values in gigabytes.items()}


def weighed_picture(found: Sequence[Sequence[Weighed]]) -> Picture:
    """Recorded: two adapters in every way of having both, one panel for each pair of tasks."""
    fig, axes = plt.subplots(1, len(found), figsize=(10.8, 3.7), sharey=True, sharex=True)
    parts, data = [], {}
    for ax, points in zip(axes, found, strict=True):
        names = [*points[0].pair, "own world"]
        for row, point in enumerate(reversed(points)):
            for place, color in enumerate(("lora", "second", "base")):
                height = row + 0.2 * (1 - place)
                low, mean, high = point.losses[place]
                ax.plot([low, high], [height] * 2, color=COLORS[color], linewidth=1.5)
                ax.plot(mean, height, "os^"[place], color=COLORS[color], markersize=5)
        for place, color in enumerate(("lora", "second", "base")):
            ax.plot([], [], "os^"[place], color=COLORS[color], label=names[place])
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
        ax.set(xscale="log", xlabel="loss above the floor")
        ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
        ax.set_yticks(range(len(points)), [point.way for point in reversed(points)])
        told = "; ".join(f"{p.way} {p.losses[0][1]:.2f} and {p.losses[1][1]:.2f}" for p in points)
        parts.append(f"{' and '.join(points[0].pair)}: {told}")
        for place, name in enumerate(names):
            data[f"{points[0].label}: {name}"] = [point.losses[place][1] for point in points]
    alt = f"Loss above the floor on both tasks. {'. '.join(parts)}."
    return fig, alt, data


def weights_picture(
    switched: Mapping[str, float], weighed: Mapping[str, float], weights: Sequence[float]
) -> Picture:
    """The widget: losses under one weighted sum, beside those under each task's own adapter.

    switched, weighed: {adapter's task or "own world": loss above the floor}. weights: of those
    adapters, in their order.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.4))
    for place, name in enumerate(weighed):
        low, high = sorted((switched[name], weighed[name]))
        ax.plot([place] * 2, [low, high], color=COLORS["muted"], linewidth=2, zorder=0)
        ax.plot(place, switched[name], "o", color=COLORS["base"], markersize=9)
        ax.plot(place, weighed[name], "s", color=COLORS["lora"], markersize=9)
        ax.text(place + 0.08, weighed[name], f"{weighed[name]:.2f}", va="center")
    for label, mark, color in (("switched", "o", "base"), ("weighed", "s", "lora")):
        ax.plot([], [], mark, color=COLORS[color], markersize=9, label=label)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.set(yscale="log", ylim=(0.01, 20), ylabel="loss above the floor", xlim=(-0.4, 2.6))
    ax.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    ax.set_xticks(range(len(weighed)), list(weighed))
    sums = " + ".join(
        f"{weight:g} x {name}" for name, weight in zip(weighed, weights, strict=False)
    )
    ax.set_xlabel(f"W0 + {sums}")
    told = ", ".join(f"{name} {loss:.2f}" for name, loss in weighed.items())
    before = ", ".join(f"{name} {loss:.2f}" for name, loss in switched.items())
    alt = f"Loss above the floor under {sums}: {told}; each under its own adapter: {before}."
    return fig, alt, {"weighed": list(weighed.values()), "switched": list(switched.values())}


def published_picture(sizes: Mapping[str, float], refused: Mapping[str, bool]) -> Picture:
    """One bar for each published adapter, by what its file takes in 16 bits.

    sizes: {name: MB}. refused: {name: whether a server with vLLM's defaults refuses it}.
    """
    names = sorted(sizes, key=sizes.__getitem__)
    fig, ax = plt.subplots(figsize=(8.6, 3.6))
    for height, name in enumerate(names):
        ax.barh(height, sizes[name], 0.7, color=COLORS["wrong" if refused[name] else "lora"])
        ax.text(sizes[name] * 1.1, height, f"{sizes[name]:,.1f}", va="center", fontsize=8)
    for label, color in (("taken", "lora"), ("refused", "wrong")):
        ax.plot([], [], "s", color=COLORS[color], label=f"{label} at vLLM's defaults")
    ax.legend(loc="lower right")
    ax.set(xscale="log", xlim=(0.1, 9000), xlabel="MB in 16 bits (1 MB = 10⁶ bytes)")
    ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False, axis="y")
    some = sum(refused[name] for name in names)
    alt = f"Files of {len(names)} published adapters, from {sizes[names[0]]:.1f} MB "
    alt += f"({names[0]}) to {sizes[names[-1]]:,.0f} MB ({names[-1]}); {some} of them are refused."
    return fig, alt, {name: sizes[name] for name in names}


def cache_picture(moved: Mapping[str, Sequence[float]], start: int) -> Picture:
    """How far the keys of each position are from the base's, relative, under two adapters.

    start: the first position at which the aLoRA is active.
    """
    fig = lines(
        moved,
        colors={"LoRA": "wrong", "aLoRA": "lora"},
        styles={"LoRA": "--s", "aLoRA": "-o"},
        xlabel="position in the text",
        ylabel="keys: distance from the base's",
    )
    ax = fig.axes[0]
    ax.axvline(start + 0.5, color=COLORS["floor"], linestyle=":")
    ax.text(start + 0.6, ax.get_ylim()[1] * 0.95, "invocation", va="top", color=COLORS["base"])
    same = sum(value == 0 for value in moved["aLoRA"])
    alt = f"Keys of {len(moved['LoRA'])} positions. Under the aLoRA the first {same} are the "
    alt += f"base's own, under LoRA {sum(value == 0 for value in moved['LoRA'])}."
    return fig, alt, {name: list(values) for name, values in moved.items()}
