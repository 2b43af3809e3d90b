"""What lesson 06 measures of LoRA's relatives: equations against the package, starts, ranks.

`dora_beside_lora` and `correlations` read what `scripts/sweep_dora.py` found.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from minipeft import AdaptedLinear, PeftConfig, PeftModel, get_peft_model, quantize_nf4
from minipeft.core.errors import nearest
from minipeft.course.lab.train import token_losses, train
from minipeft.course.lessons.magnitude import Moved
from minipeft.course.lessons.merging import layers_of
from minipeft.course.lessons.recorded import Tuned, mean_of, recorded_runs
from minipeft.quant.nf4 import dequantize_nf4

LETTERS = {  # a tensor's name in a file, and the letter that its paper gives it
    "lora_A.weight": "A", "lora_B.weight": "B", "lora_magnitude_vector": "m",
    "lora_A": "A", "lora_B": "B", "lora_E": "E",
    "vera_lambda_d": "d", "vera_lambda_b": "b", "start_A": "A0", "start_B": "B0",
}  # fmt: skip
Equation = Callable[[Tensor, Tensor, SimpleNamespace], Tensor]


def gap(config: PeftConfig, equation: Equation, seed: int = 0) -> float:
    """The largest relative difference between an equation and the package's layer.

    Compared are the output and the gradients of all trained tensors, in 64 bits, on a layer of
    24 inputs and 16 outputs whose adapter is not at its start.

    config: of an adapter on one layer, called "0".
    equation: (W0 (out, in), x (batch, in), t) -> (batch, out), where t has the tensors under the
        letters of LETTERS: t.A, t.B, t.m ...
    """
    torch.manual_seed(seed)
    base = nn.Sequential(nn.Linear(24, 16, bias=False))
    (layer,) = layers_of(get_peft_model(base, config).double()).values()
    trained = dict(layer.tuner.named_parameters())
    for tensor in trained.values():
        tensor.data += 0.3 * torch.randn_like(tensor)
    x, weights = torch.randn(5, 24).double(), torch.randn(5, 16).double()
    W0, letters = layer.base_layer.weight.detach(), SimpleNamespace(**tensors_of(layer))
    seen = []
    for h in layer(x), equation(W0, x, letters):
        gradients = torch.autograd.grad((h * weights).sum(), list(trained.values()))
        seen.append([h.detach(), *gradients])
    pairs = zip(*seen, strict=True)
    return max(((ours - theirs).norm() / theirs.norm()).item() for theirs, ours in pairs)


def tensors_of(layer: AdaptedLinear) -> dict[str, Tensor]:
    """The adapter's tensors by the letters of its paper; VeRA's shared A and B among them."""
    held = dict(layer.tuner.named_parameters()) | dict(layer.tuner.named_buffers())
    found = {LETTERS[name]: tensor for name, tensor in held.items() if name in LETTERS}
    if hasattr(layer.tuner, "projections"):
        found |= dict(zip("AB", layer.tuner.projections(), strict=True))
    return found


def ranks_while_training(
    model: PeftModel, batches: Iterable, steps: int, learning_rate: float
) -> list[dict[str, int]]:
    """Train an AdaLoRA. The rank of each layer by its path: at the start, and after each step."""

    def ranks() -> dict[str, int]:
        return {path: layer.tuner.rank for path, layer in layers_of(model).items()}

    allocate, seen = model.update_and_allocate, [ranks()]

    def watched(step: int) -> None:
        allocate(step)
        seen.append(ranks())

    model.update_and_allocate = watched
    try:
        train(model, batches, steps=steps, learning_rate=learning_rate)
    finally:
        del model.update_and_allocate
    return seen


def gradients_and_inputs(model: nn.Module, batch: tuple) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each linear layer but the head: dL/dW (out, in) and its inputs x (positions, in).

    model: a plain base, all of it trainable; its gradients are zero again afterwards.
    """
    linear = {path: m for path, m in model.named_modules() if isinstance(m, nn.Linear)}
    linear.pop("lm_head", None)
    inputs, hooks = {}, []
    for path, module in linear.items():
        hook = module.register_forward_hook(
            lambda module, given, out, path=path: inputs.update({path: given[0].flatten(0, -2)})
        )
        hooks.append(hook)
    loss, counted = token_losses(model, *batch)
    (loss / counted).backward()
    found = {p: (m.weight.grad.clone(), inputs[p].detach()) for p, m in linear.items()}
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    return found


STARTS = ("LoRA", "PiSSA", "OLoRA", "LoftQ", "CorDA", "EVA", "LoRA-GA")


@torch.no_grad()
def first_directions(
    start: str, W0: Tensor, G: Tensor, X: Tensor, r: int
) -> tuple[Tensor, Tensor | None]:
    """A (r, in) and B (out, r) of a start, orthonormal, without their sizes; None for B = 0.

    start: one of STARTS. W0 (out, in); G = dL/dW (out, in) and inputs X (positions, in) of the
        first batch.

    Raises ValueError for a start that is none of STARTS.
    """
    if start not in STARTS:
        raise ValueError(f"no start is called {start!r}; {nearest(start, STARTS)}")
    if start == "LoRA":
        return orthonormal(torch.randn(r, W0.shape[1])), None
    if start == "EVA":
        return torch.linalg.svd(X, full_matrices=False)[2][:r], None
    if start == "OLoRA":
        Q, R = torch.linalg.qr(W0)
        return orthonormal(R[:r]), Q[:, :r]
    C = X.T @ X / len(X)  # (in, in)
    C += 1e-4 * C.diagonal().mean() * torch.eye(len(C))
    of = {
        "PiSSA": lambda: W0,
        "LoftQ": lambda: W0 - dequantize_nf4(quantize_nf4(W0)),  # what four bits lose
        "CorDA": lambda: W0 @ C,
        "LoRA-GA": lambda: G,
    }[start]()
    U, _, V = torch.linalg.svd(of, full_matrices=False)
    if start == "LoRA-GA":
        return V[r : 2 * r], U[:, :r]  # A takes those directions that B does not
    return orthonormal(V[:r] @ torch.linalg.inv(C) if start == "CorDA" else V[:r]), U[:, :r]


def orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal rows with the span of the given ones, (r, in)."""
    return torch.linalg.qr(rows.T)[0].T


def captured(matrix: Tensor, A: Tensor, B: Tensor | None = None) -> float:
    """The share of a matrix's squared norm that a first step can reach: what is B X + Y A.

    A (r, in) and B (out, r) are orthonormal; with B = None, a zero, A does not move and X is 0.
    """
    missed = matrix - matrix @ A.T @ A
    if B is not None:
        missed = missed - B @ (B.T @ missed)
    return 1 - (missed.square().sum() / matrix.square().sum()).item()


@dataclass(frozen=True)
class Correlation:
    """Of dM and dD over the query matrices and five times, at one rate: the mean and its ends.

    points: (dM, dD) of the first seed, by time and then by block.
    """

    method: str
    rate: float
    mean: float
    low: float
    high: float
    points: list[Moved]

    def __str__(self) -> str:
        dM, dD = (statistics.mean(values) for values in zip(*self.points[-4:], strict=True))
        return (
            f"{self.method:<4} rate {self.rate:<6} correlation {self.mean:+.2f} "
            f"({self.low:+.2f} to {self.high:+.2f}); at the end dM {dM:.3f}, dD {dD:.3f}"
        )


def correlations(kind: str = "q_proj") -> list[Correlation]:
    """The recorded correlations for a kind of matrix, by method and rate."""
    runs = [run for run in recorded_runs("dora") if "correlation" in run]
    found = []
    for method, rate in dict.fromkeys((run["method"], run["rate"]) for run in runs):
        same = [run for run in runs if (run["method"], run["rate"]) == (method, rate)]
        values = [run["correlation"][kind] for run in same]
        points = [Moved(*pair) for pair in same[0]["moved"]]
        mean = statistics.mean(values)
        found.append(Correlation(method, rate, mean, min(values), max(values), points))
    return sorted(found, key=lambda one: (("full", "lora", "dora").index(one.method), one.rate))


def dora_beside_lora() -> dict[str, list[Tuned]]:
    """What `scripts/sweep_dora.py` found: for each method its learning rates, ascending.

    LoRA (r = 8) and full fine-tuning are those of `recorded.learning_and_forgetting`: the same
    task, steps and seeds.
    """
    runs = recorded_runs("dora")
    others = [run for run in recorded_runs() if run["task"] == "instruction"]
    found: dict[str, list[Tuned]] = {}
    for method in dict.fromkeys(("full", "lora", *(run["method"] for run in runs))):
        own = [r for r in (others if method in ("full", "lora") else runs) if r["method"] == method]
        rates = sorted({run["rate"] for run in own})
        found[method] = [mean_of([run for run in own if run["rate"] == rate]) for rate in rates]
    return found
