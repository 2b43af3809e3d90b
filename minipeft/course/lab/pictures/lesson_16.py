"""The pictures of lesson 16: an image as tokens, the patch grid, and what four methods learned."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...lessons.patches import Grid, multiplications
from ...lessons.vision_recorded import Adapted
from ..drawing import draw_lines
from ..figure import COLORS, plt

Picture = tuple[object, str, dict]  # (figure, alt text, data), as `figure` takes them
STYLE = {
    "full": ("full", "-o"),
    "lora": ("lora", "-s"),
    "bitfit": ("bitfit", "-D"),
    "head": ("partial", "-^"),
    "from scratch": ("floor", ":v"),
}  # method: (colour, form)
METHOD_COLORS = {method: color for method, (color, _) in STYLE.items()}
METHOD_STYLES = {method: form for method, (_, form) in STYLE.items()}


def tokens_picture(image: Tensor, patches: Tensor, digit: int) -> Picture:
    """One image with its grid, and below it the same pixels as a row of tokens.

    Args:
        image: (side, side). patches: (count, pixels of one patch), row by row.
    """
    side, count = len(image), len(patches)
    width = int(patches.shape[1] ** 0.5)
    grid = Grid(side, width)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(1, 2.2))
    left.imshow(image.numpy(), cmap="Greys", vmin=-1, vmax=1, extent=(0, side, side, 0))
    draw_grid(left, grid, numbers=True)
    left.set_title(f"{side} x {side} pixels, patches of {width} x {width}")
    columns = -(-(count + 1) // 2)
    for place in range(count + 1):
        x, y = 1.25 * (place % columns), 2.2 * (place // columns)
        box = (x, x + 1, y + 1, y)
        if place:
            pixels = patches[place - 1].reshape(width, width).numpy()
            right.imshow(pixels, cmap="Greys", vmin=-1, vmax=1, extent=box)
        edge = COLORS["lora"] if place else COLORS["wrong"]
        right.add_patch(plt.Rectangle((x, y), 1, 1, fill=False, edgecolor=edge))
        name = str(place) if place else "class"
        right.text(x + 0.5, y + 1.45, name, ha="center", fontsize=8, color=edge)
    right.set(xlim=(-0.2, 1.25 * columns), ylim=(4.2, -0.6), aspect="equal")
    right.set_title(f"{count + 1} tokens: the class token, then the patches by rows")
    for ax in (left, right):
        ax.axis("off")
    alt = f"A handwritten {digit} of {side} x {side} pixels under a grid of {grid.per_side} x "
    alt += f"{grid.per_side} patches; beside it the {count} patches in one row after the class "
    alt += f"token, {count + 1} tokens in all."
    return fig, alt, {"pixels": image.flatten(), "mean of each patch": patches.mean(1)}


def draw_grid(ax, grid: Grid, numbers: bool = False) -> None:
    """The edges of the patches; pixels that are in none lie outside."""
    end, thin = grid.per_side * grid.patch, 1.2 if grid.per_side < 20 else 0.4
    edges = [place * grid.patch for place in range(grid.per_side + 1)]
    for lines in (ax.hlines, ax.vlines):
        lines(edges, 0, end, color=COLORS["lora"], linewidth=thin)
    for number in range(grid.patches if numbers else 0):
        row, column = divmod(number, grid.per_side)
        x, y = (column + 0.08) * grid.patch, (row + 0.32) * grid.patch
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(x, y, str(number + 1), color=COLORS["lora"], fontsize=7, bbox=behind)


def grid_picture(image: Tensor, grid: Grid, config) -> Picture:
    """The widget: an image under a patch grid, and where a ViT's multiplications go.

    Args:
        image: (pixels, pixels), shown enlarged to the grid's size.
        config: of the ViT, whatever its own image and patch are.
    """
    work = multiplications(config, grid)
    share = work["attention"] / sum(work.values())
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 1.5))
    left.imshow(image.numpy(), cmap="Greys", vmin=-1, vmax=1, extent=(0, grid.image, grid.image, 0))
    draw_grid(left, grid)
    left.axis("off")
    dropped = f", {grid.lost} pixels left over" if grid.lost else ""
    left.set_title(f"{grid.per_side} x {grid.per_side} patches{dropped}")
    colors = {"matrices": COLORS["base"], "attention": COLORS["wrong"]}
    for height, (name, count) in enumerate(work.items()):
        right.barh([height], [count / 1e9], 0.55, color=colors[name])
        text = f" {count / 1e9:,.1f}" if count >= 1e8 else f" {count / 1e9:,.3f}"
        right.text(count / 1e9, height, text, va="center")
    right.set_yticks([0, 1], ["matrices\n(grow as N)", "attention\n(grows as N²)"])
    right.set(xlabel="multiplications, billions", xlim=(0, 1.2 * max(work.values()) / 1e9))
    right.set(title=f"{grid.tokens:,} tokens: attention takes {share:.1%}", ylim=(-0.6, 1.6))
    right.grid(axis="y", visible=False)
    alt = f"{grid.image} pixels in patches of {grid.patch}: {grid.per_side} x {grid.per_side} = "
    alt += f"{grid.patches:,} patches{dropped}, {grid.tokens:,} tokens, {grid.entries:,} attention "
    alt += f"entries to a head. Attention takes {share:.1%} of the multiplications."
    return fig, alt, {"patches": grid.patches, "attention entries": grid.entries, **work}


def learned_picture(best: Mapping[int, Mapping[str, Adapted]]) -> Picture:
    """Accuracy on the new digits by the number of images, each method at its own best rate."""
    counts = list(best)
    points = {m: [best[count][m] for count in counts] for m in best[counts[0]]}
    series = {
        m: (counts, *map(list, zip(*(point.new for point in row), strict=True)))
        for m, row in points.items()
    }
    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    settings = {"xlabel": "images of each new digit", "ylabel": "accuracy on the new digits"}
    draw_lines(
        ax, series, log="x", ticks=counts, colors=METHOD_COLORS, styles=METHOD_STYLES, **settings
    )
    told = "; ".join(
        f"{m} " + ", ".join(f"{p.new[1]:.2f} with {p.count}" for p in row)
        for m, row in points.items()
    )
    alt = f"Accuracy on the new digits, mean of three seeds, by images of each digit: {told}."
    return fig, alt, {m: [p.new[1] for p in row] for m, row in points.items()}


def forgotten_picture(points: Mapping[str, Sequence[Adapted]], before: float) -> Picture:
    """What was learned against what is left of the old digits, along the rates of each method."""
    fig, ax = plt.subplots(figsize=(7.2, 3.8))
    for method, row in points.items():
        x, y = [p.new[1] for p in row], [p.old[1] for p in row]
        color, falls = COLORS[METHOD_COLORS[method]], y[-1] < y[0]
        ax.plot(x, y, METHOD_STYLES[method], color=color)
        place = {"xytext": (0, -8 if falls else 6), "textcoords": "offset points"}
        place |= {"ha": "center", "va": "top" if falls else "bottom"}
        ax.annotate(method, (x[-1], y[-1]), color=color, **place)
    ax.axhline(before, color=COLORS["floor"], linestyle=":", zorder=0)
    title = f"{row[0].count} images of each; down each line the rate grows"
    ax.set(xlabel="accuracy on the new digits", ylabel="old head on the old digits", title=title)
    ax.margins(x=0.06, y=0.12)
    ends = "; ".join(
        f"{m} from {row[0].new[1]:.2f} new and {row[0].old[1]:.2f} old at rate {row[0].rate:g} to "
        f"{row[-1].new[1]:.2f} and {row[-1].old[1]:.2f} at {row[-1].rate:g}"
        for m, row in points.items()
    )
    alt = f"Accuracy on new and old digits along the rates, the base at {before:.2f} old: {ends}."
    data = {f"new, {m}": [p.new[1] for p in row] for m, row in points.items()}
    return fig, alt, data | {f"old, {m}": [p.old[1] for p in row] for m, row in points.items()}
