"""How long does it take to put a weight into NF4 and to get it back, beside bitsandbytes?

    python -m benchmarks.nf4 [--device cuda] [--out results.json]

Eager is plain PyTorch, operation by operation; compiled is the same through torch.compile. On a GPU
dequantizing is held against a copy that reads and writes as many bytes: nothing can be faster.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.record import Options, Row, main, timed
from minipeft.quant import dequantize_nf4, quantize_nf4

SIDE, TINY_SIDE = 4096, 128


def rows(options: Options) -> Iterator[Row]:
    """Quantizing, then dequantizing, eager and compiled."""
    import bitsandbytes.functional as bnb

    side = TINY_SIDE if options.tiny else SIDE
    torch.manual_seed(0)
    weight = torch.randn(side, side, device=options.device, dtype=options.dtype) * 0.02
    quantized, (codes, state) = quantize_nf4(weight), bnb.quantize_4bit(weight, quant_type="nf4")
    why_eager = cannot_compile(weight)
    ways = {"eager": {}} if why_eager else {"eager": {}, "compiled": {"compiled": True}}
    name = str(options.dtype).removeprefix("torch.")
    limits = {"eager": (1.05, 0.30), "compiled": (0.60, 0.30)}
    calls = {way: lambda f=fields: quantize_nf4(weight, **f) for way, fields in ways.items()}
    calls["bitsandbytes"] = lambda: bnb.quantize_4bit(weight, quant_type="nf4")
    yield from measured(options, f"NF4 quantize {side} x {side}, {name}", calls, limits)
    limits = {"eager": (3.2, 1.00), "compiled": (1.40, 1.00)}
    calls = {way: lambda f=fields: dequantize_nf4(quantized, **f) for way, fields in ways.items()}
    calls["bitsandbytes"] = lambda: bnb.dequantize_4bit(codes, state)
    if options.cuda:
        limits["compiled"] = (1.00, None)
        calls["copy"] = copy_of_as_many_bytes(quantized.nbytes + weight.nbytes, options.device)
    yield from measured(options, f"NF4 dequantize {side} x {side}, {name}", calls, limits)
    if why_eager:
        yield Row("NF4 compiled", "bitsandbytes", note=why_eager)


def measured(options: Options, what: str, calls: dict, limits: dict) -> Iterator[Row]:
    """A row for each way; where there is a copy, at most 1 / 0.8 of its time."""
    times = options.turns(calls)
    for way in [name for name in limits if name in calls]:
        yield timed(f"{what}, {way}", times, "bitsandbytes", *limits[way], ours=way)
        if "copy" in calls:
            at_most = 1 / 0.8 if way == "compiled" else None
            yield timed(f"{what}, {way}", times, "copy", at_most, ours=way)


def cannot_compile(weight: Tensor) -> str:
    """Why torch.compile fails here, such as for want of a C++ compiler; empty where it works."""
    try:
        dequantize_nf4(quantize_nf4(weight, compiled=True), compiled=True)
    except Exception as error:
        return f"torch.compile doesn't work here: {str(error).strip().splitlines()[0]}"
    return ""


def copy_of_as_many_bytes(moved: int, device: str):
    """A call that reads half of `moved` bytes and writes the other half."""
    source, target = (torch.empty(moved // 2, dtype=torch.uint8, device=device) for _ in range(2))
    return lambda: target.copy_(source)


if __name__ == "__main__":
    main("nf4", rows, __doc__)
