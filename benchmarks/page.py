"""The page of a JSON of results: a table, two pictures, and how they were made.

python -m benchmarks.page benchmarks/results/cpu.json
"""

import json
import sys
from pathlib import Path

from benchmarks.pictures import draw_growth, draw_ratios
from minipeft.core.disk import atomic_write

HEAD = """# How fast is it? {title}

Measured by `{command}`, in {minutes:.0f} minutes, with {threads} threads, in {dtype}.
Machine: {machine}.
Versions: {versions}.

Ours / other is a ratio of times or of bytes: below 1, minipeft needs less. Contenders take turns;
each ratio is the median over the rounds, with the quartiles in brackets. [How it is
measured](../README.md).

![{alt}]({stem}.png)

| what | ours / other | at most | we want | ours | other | |
|---|---|---|---|---|---|---|
{rows}

## How cost grows

![{growth_alt}]({stem}_growth.png)
"""
RATIOS_ALT = (
    "One line for each row of the table: a dot at the median of ours / other, a bar from quartile "
    "to quartile, and a tick at the most that is allowed."
)
GROWTH_ALT = (
    "Time and memory of LoRA against rank, width, layers, length, adapters in a batch and adapters "
    "loaded, on logarithmic axes: minipeft, peft, and what arithmetic predicts."
)


def write_page(results: Path) -> None:
    """Write the page and its pictures beside the JSON."""
    record = json.loads(results.read_text(encoding="utf-8"))
    rows = [row for name, part in record["parts"].items() if name != "growth" for row in part]
    machine, stem = record["machine"], results.stem
    page = HEAD.format(
        title="On a GPU" if machine["device"] != "cpu" else "On a processor",
        command=record.get("command", "python -m benchmarks"),
        minutes=record.get("seconds", 0) / 60,
        threads=machine["threads"],
        dtype=machine["dtype"],
        machine=described(machine),
        versions=", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        alt=RATIOS_ALT,
        growth_alt=GROWTH_ALT,
        stem=stem,
        rows="\n".join(table_line(row) for row in rows),
    )
    atomic_write(results.with_suffix(".md"), page.encode())
    atomic_write(results.with_suffix(".png"), draw_ratios(rows))
    growth = draw_growth(record["parts"].get("growth", []))
    atomic_write(results.with_name(f"{stem}_growth.png"), growth)


def described(machine: dict) -> str:
    """The machine in words."""
    text = f"{machine['processor']} ({machine['cores']} cores, {machine['instructions']})"
    return text if machine["device"] == "cpu" else f"{machine['device']}, {text}"


def table_line(row: dict) -> str:
    """One row of the table."""
    what = f"{row['what']} / {row['against']}"
    if row["ours"] is None:
        return f"| {what} | not measured: {row['note']} | | | | | |"
    alone = row["other"] is None
    figure = row["ours"] if alone else row["ratio"]
    low, median, high = (
        amount(figure[key], row["unit"]) if alone else f"{figure[key]:.3f}"
        for key in ("low", "median", "high")
    )
    told = f"**{median}**" + (f" [{low}, {high}]" if low != high else "")
    limits = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("at_most", "goal")]
    amounts = [amount(row[k]["median"], row["unit"]) if row[k] else "" for k in ("ours", "other")]
    return f"| {what} | {told} | {' | '.join(limits + amounts)} | {verdict(row, figure)} |"


def verdict(row: dict, figure: dict) -> str:
    """A word on the limit."""
    if row["at_most"] is None:
        return ""
    if figure["median"] > row["at_most"]:
        return "misses"
    return "reached" if row["goal"] is not None and figure["median"] <= row["goal"] else "holds"


def amount(value: float, unit: str) -> str:
    """Seconds as ms or s, bytes as MB or GB."""
    small, large = ("ms", "s") if unit == "s" else ("MB", "GB")
    value = 1000 * value if unit == "s" else value / 1e6
    return f"{value:.3g} {small}" if value < 1000 else f"{value / 1000:.3g} {large}"


if __name__ == "__main__":
    write_page(Path(sys.argv[1]))
