"""The byte ledger as a picture."""

from matplotlib.figure import Figure

# Okabe and Ito's hues ("Color Universal Design", 2008), told apart with colour-blind eyes too.
COLORS = {
    "weights": "#666666",
    "quantization constants": "#4A2570",
    "adapter": "#0072B2",
    "gradients": "#56B4E9",
    "optimizer": "#E69F00",
    "master copy": "#A86200",
    "optimizer step": "#F5C710",
    "activations": "#009E73",
    "recomputation": "#7CCBA2",
    "logits": "#CC79A7",
    "temporary": "#8C2D4F",
    "key/value cache": "#D55E00",
}


def bars(rows: dict[str, int], title: str) -> Figure:
    """A bar for each row, the first one on top, with its size beside it."""
    figure = Figure(figsize=(6.4, 0.6 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    gigabytes = [count / 1e9 for count in rows.values()]
    drawn = axes.barh(list(rows), gigabytes, color=[COLORS[name] for name in rows])
    axes.bar_label(drawn, [f" {size:.2f} GB" for size in gigabytes])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("GB (10^9 bytes)")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
