"""What each four-bit type costs the base on its own world, beside noise of the same size.

    python scripts/four_bits.py            # about four minutes of CPU

writes minipeft/course/data/four_bit_losses.json, which lesson 10 draws; it repeats two points of
it live. Every linear layer but the head is quantized and brought back. Losses are in nats per token
above the floor, on three sets of texts that the base has never seen; `error` is the sum of
(W' - W)^2 over the sum of W^2, all layers together.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minipeft.core.disk import atomic_write  # noqa: E402
from minipeft.course.base import DATA  # noqa: E402
from minipeft.course.lessons.four_bits import (  # noqa: E402
    LOSSES,
    MICROSCALED,
    TEXTS,
    base_with,
    loss_above_floor,
    microscaled,
    noisy,
    relative_error,
)
from minipeft.quant.nf4 import dequantize, quantize  # noqa: E402

CODED = ("nf4", "uniform4", "int4", "e2m1", "fp4", "e3m0", "int8")
NOISE = (0.005, 0.01, 0.02, 0.04, 0.08)  # sizes, as errors
SEEDS = (0, 1, 2)


def changes() -> dict[tuple[str, int], Callable[[Tensor], Tensor]]:
    """What is done to each weight, by (name, seed)."""
    found: dict = {("base", 0): lambda w: w}
    for name in CODED:
        found[name, 0] = lambda w, name=name: dequantize(quantize(w, name))
    found["nf4, double", 0] = lambda w: dequantize(quantize(w, "nf4", double_quant=True))
    found["int4, one absmax", 0] = lambda w: dequantize(quantize(w, "int4", w.numel()))
    for name in MICROSCALED:
        found[name, 0] = lambda w, name=name: microscaled(w, name)
    for error in NOISE:
        for seed in SEEDS:
            found[f"noise {error}", seed] = noisy(error, seed)
    return found


def run(name: str, seed: int, change: Callable[[Tensor], Tensor], texts: tuple) -> dict:
    """One change of the base: how large it is, and the loss on each set of texts."""
    model, weights, changed = base_with(change)
    return {
        "name": name,
        "seed": seed,
        "error": round(relative_error(weights, changed), 6),
        "above_floor": [round(loss_above_floor(model, seed_of), 5) for seed_of in texts],
    }


def main() -> None:
    """Run all of it, and write the file."""
    torch.set_num_threads(1)
    runs = []
    for (name, seed), change in changes().items():
        runs.append(run(name, seed, change, TEXTS))
        print(runs[-1], flush=True)
    lines = ",\n  ".join(json.dumps(entry) for entry in runs)
    atomic_write(Path(str(DATA)) / LOSSES, f'{{"runs": [\n  {lines}\n]}}\n'.encode())


if __name__ == "__main__":
    main()
