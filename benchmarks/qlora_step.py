"""How long is a QLoRA step, and how much memory does it take, beside peft on bitsandbytes?

    python -m benchmarks.qlora_step [--device cuda] [--out results.json]

All linear layers but the head are in NF4 with double quantization; LoRA adapters stand on them. On
a GPU: a model of 7 billion parameters, batches of 1 to 16, with gradient checkpointing.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

import minipeft
from benchmarks.adapters import LORA, pair
from benchmarks.memory import peak
from benchmarks.models import LARGE, Place, Size, Step, check_same
from benchmarks.nf4 import cannot_compile
from benchmarks.record import Options, Row, counted, main, timed

AGAINST = "peft + bitsandbytes"
SEVEN_BILLION = Size(4096, 32, 1, 512, vocabulary=32000, inner=11008)
BATCHES = (1, 4, 16)


def rows(options: Options) -> Iterator[Row]:
    """Time and peak memory, at each size."""
    large = [replace(SEVEN_BILLION, batch=batch) for batch in BATCHES] if options.cuda else [LARGE]
    sizes = options.sizes(*large)
    ours, theirs = pair(lambda: quantized_twins(options.place, sizes[0]), **LORA)
    if options.cuda:
        for model in (ours, theirs):
            model.gradient_checkpointing_enable({"use_reentrant": False})
    for size in sizes:
        try:
            yield from measured(options, size, ours, theirs)
        except torch.cuda.OutOfMemoryError:
            yield Row(f"QLoRA step, {size}", AGAINST, note="the GPU has too little memory for it")


def measured(options: Options, size: Size, ours: nn.Module, theirs: nn.Module) -> Iterator[Row]:
    """One size, dequantized eagerly and through torch.compile: seconds, then bytes."""
    mine, other = (Step(model, options.place.tokens(size)) for model in (ours, theirs))
    check_same(mine, other, options.dtype)
    steps = {"eager": lambda: dequantizing(mine, compiled=False), AGAINST: other}
    why_eager = cannot_compile(torch.ones(64, 64, device=options.device))
    if not why_eager:
        steps["compiled"] = lambda: dequantizing(mine, compiled=True)
    times = options.turns(steps)
    peaks = {name: peak(step, [], options.device).beyond for name, step in steps.items()}
    limits = (1.00, None) if options.cuda else (1.05, 0.95)
    for way in [name for name in ("eager", "compiled") if name in steps]:
        yield timed(f"QLoRA step, {way}, {size}", times, AGAINST, *limits, ours=way)
        what = f"QLoRA step's peak memory beyond the weights, {way}, {size}"
        most = 1.00 if options.cuda else None
        yield counted(what, peaks[way], peaks[AGAINST], AGAINST, most, None)
    if why_eager:
        yield Row(f"QLoRA step, compiled, {size}", AGAINST, note=why_eager)


def dequantizing(step: Step, compiled: bool) -> None:
    """A step in which minipeft's layers dequantize in this way."""
    for layer in step.model.modules():
        if isinstance(layer, minipeft.Linear4bit):
            layer.compiled = compiled
    step()


def quantized_twins(place: Place, size: Size) -> tuple[nn.Module, nn.Module]:
    """The same base in minipeft's 4 bits and in bitsandbytes'."""
    ours = minipeft.quantize_model(place.llama(size), double_quant=True, compute_dtype=place.dtype)
    return ours, with_bitsandbytes(place.llama(size), place)


def with_bitsandbytes(model: nn.Module, place: Place) -> nn.Module:
    """bitsandbytes' layers in place of all linear ones but the head, as transformers puts them."""
    import bitsandbytes as bnb

    for path, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or path == "lm_head":
            continue
        packed = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=False,
            compute_dtype=place.dtype,
            quant_type="nf4",
            device="meta",
        )
        packed.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
        )
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, packed.to(place.device))  # this quantizes
    model.is_loaded_in_4bit = True  # by this mark peft knows such a model
    return model


if __name__ == "__main__":
    main("qlora_step", rows, __doc__)
