"""What each method's tuner keeps for the backward pass, beside what its layer keeps.

One function for each tuner, after its forward: h is what the frozen layer made of x. Change both
together.
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from minipeft.budget.tape import Tape, Value
from minipeft.methods.adalora import AdaLoraLayer
from minipeft.methods.bitfit import BitFitLayer
from minipeft.methods.bottleneck import BottleneckLayer
from minipeft.methods.diff_pruning import DiffPruningLayer
from minipeft.methods.dora import DoraLayer
from minipeft.methods.ia3 import IA3Layer
from minipeft.methods.lora import LoraLayer
from minipeft.methods.pissa import PissaLayer
from minipeft.methods.soft_prompt import SoftPrompt
from minipeft.methods.stream import StreamReader
from minipeft.methods.vera import VeraLayer

TRAINED = {"weight"}


def matrix(tuner: nn.Module, rows: int, columns: int) -> Value:
    """A matrix that the tuner makes of its parameters."""
    return Value(rows, columns, width_of(tuner), grad=True)


def width_of(tuner: nn.Module) -> int:
    """Bytes of each number that the tuner computes with."""
    return next(tuner.parameters()).dtype.itemsize


def low_rank(tape: Tape, x: Value, h: Value, tuner: LoraLayer) -> Value:
    """h + s B A dropout(x): x for the gradient of A, A x for that of B."""
    x = tape.dropout(tape.cast(x, width_of(tuner)), tuner.dropout.p)
    tape.keep(tape.linear(x, tuner.lora_A.out_features, TRAINED))
    return h.like(grad=True)


def dora(tape: Tape, x: Value, h: Value, tuner: DoraLayer) -> Value:
    """g (h + s B A x): that sum for the gradient of g, g itself and the norm in it.

    Where all is in one dtype of 32 bits or more, A x is made once more instead of kept.
    """
    wide = tape.dropout(tape.cast(x, width_of(tuner)), tuner.dropout.p)
    low = tape.linear(wide, tuner.lora_A.out_features, TRAINED)
    tape.keep(h, *(matrix(tuner, h.features, 1) for _ in ("norm", "g")))
    if wide is not x or x.width < 4:
        tape.keep(low)
    return h.like(grad=True)


def adalora(tape: Tape, x: Value, h: Value, tuner: AdaLoraLayer) -> Value:
    """h + B (s E * A) x: s E * A is a matrix of its own."""
    r = len(tuner.lora_A)
    x = tape.dropout(tape.cast(x, width_of(tuner)), tuner.dropout.p)
    tape.keep(matrix(tuner, r, 1), *([matrix(tuner, r, x.features)] if x.grad else []))
    tape.keep(tape.linear(x, r, TRAINED))
    return h.like(grad=True)


def pissa(tape: Tape, x: Value, h: Value, tuner: PissaLayer) -> Value:
    """h + s [B - B0, B0] [A; A - A0] x: LoRA with twice the rank and matrices of its own."""
    r = 2 * tuner.lora_A.out_features
    x = tape.dropout(tape.cast(x, width_of(tuner)), tuner.dropout.p)
    tape.keep(*([matrix(tuner, r, x.features)] if x.grad else []))
    tape.keep(tape.linear(x, r, TRAINED), matrix(tuner, h.features, r))
    return h.like(grad=True)


def vera(tape: Tape, x: Value, h: Value, tuner: VeraLayer) -> Value:
    """h + b * B (d * A x): A x for the gradient of d, B (...) for that of b; A and B are frozen."""
    x = tape.dropout(tape.cast(x, width_of(tuner)), tuner.dropout.p)
    low = tape.linear(x, len(tuner.vera_lambda_d))
    up = tape.linear(low.like(grad=True), h.features)
    tape.keep(low, up)
    return h.like(grad=True)


def ia3(tape: Tape, x: Value, h: Value, tuner: IA3Layer) -> Value:
    """l * h, or W0 (l * x): what is scaled, for the gradient of l."""
    tape.keep(x if tuner.feedforward else h)
    return h.like(grad=True)


def bias(tape: Tape, x: Value, h: Value, tuner: BitFitLayer) -> Value:
    """h + b: nothing."""
    return h.like(grad=True)


def diff_pruning(tape: Tape, x: Value, h: Value, tuner: DiffPruningLayer) -> Value:
    """h + (z * w) x: matrices for the gate (sigmoid, before and after the clamp) and z * w."""
    made = 2 + len(tuner.gates) + x.grad  # the product too, where it's needed for x
    tape.keep(*(matrix(tuner, h.features, x.features) for _ in range(made)))
    return tape.add(h, tape.linear(tape.cast(x, width_of(tuner)), h.features, TRAINED))


def bottleneck(tape: Tape, x: Value, h: Value, tuner: BottleneckLayer) -> Value:
    """h + s up(act(down(z))): z, and the inner numbers before and after act, unless it's relu."""
    shown, tape.shown = tape.shown, None
    z = h
    if tuner.style == "parallel":
        z = shown or x
    elif tuner.style == "pfeiffer" and shown:
        z = tape.add(shown, h)
    z = tape.cast(z, width_of(tuner))
    kind = "relu" if tuner.act.__name__ in ("relu", "tanh") else "gelu"
    low = tape.activation(tape.linear(z, tuner.adapter_down.out_features, TRAINED), kind)
    return tape.add(h, tape.linear(low, h.features, TRAINED))


def show(tape: Tape, x: Value, h: Value, tuner: StreamReader) -> Value:
    """A norm that shows its input to the adapter of its block."""
    tape.shown = x
    return h


def encoder(tape: Tape, prompt: SoftPrompt) -> None:
    """A soft prompt's own MLP: what comes out of each relu or tanh. (An LSTM is left out.)"""
    for mlp in prompt.children():
        layers = list(mlp) if isinstance(mlp, nn.Sequential) else []
        for layer, after in pairwise(layers):
            if isinstance(after, nn.ReLU | nn.Tanh):
                tape.keep(matrix(prompt, prompt.rows, layer.out_features))


TUNED: dict[type, Callable[[Tape, Value, Value, nn.Module], Value]] = {
    DoraLayer: dora,
    PissaLayer: pissa,
    LoraLayer: low_rank,
    AdaLoraLayer: adalora,
    VeraLayer: vera,
    IA3Layer: ia3,
    BitFitLayer: bias,
    DiffPruningLayer: diff_pruning,
    BottleneckLayer: bottleneck,
    StreamReader: show,
}


def tuned(tape: Tape, x: Value, h: Value, tuner: nn.Module | None) -> Value:
    """The adapted output."""
    if tuner is None:
        return h
    kind = next(kind for kind in TUNED if isinstance(tuner, kind))
    return TUNED[kind](tape, x, h, tuner)
