"""Which triplets (B_i, E_i, A_i) of AdaLoRA stay: the most important of all layers, in a budget.

Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", sections 3.2
and 3.3, with the schedule of its authors' code, which peft uses as well. After optimizer step t:
    I(w) = |w dL/dw|, of each number w in A, E and B
    mean <- beta1 mean + (1 - beta1) I           spread <- beta2 spread + (1 - beta2) |I - mean|
    s(w) = mean * spread                         S_i = s(E_i) + average of s(A_i) + of s(B_i)
    budget = target + (init - target) (1 - (t - tinit) / (total_step - tfinal - tinit))^3
E_i becomes 0 where S_i is not among the `budget` highest; A_i and B_i stay, so it may come back.
"""

import torch
from torch import Tensor, nn

from minipeft.core.layer import Tuner


class Triplets(Tuner):
    """What AdaLoRA learns for one layer, (B_i, E_i, A_i) for i = 1 ... r, and how it is scored.

    held: which of the init_r triplets are here: all in a new adapter, a file's may be fewer.
    """

    def __init__(self, out_features: int, in_features: int, held: list[bool]) -> None:
        super().__init__()
        r = sum(held)
        self.lora_A = nn.Parameter(torch.randn(r, in_features))
        self.lora_E = nn.Parameter(torch.randn(r, 1))
        self.lora_B = nn.Parameter(torch.randn(out_features, r))
        self.held = held
        self.register_buffer("kept", torch.ones(r, dtype=torch.bool), persistent=False)
        self.importance: dict[str, tuple[Tensor, Tensor]] = {}  # mean and spread, by name

    @property
    def rank(self) -> int:
        """How many triplets the last allocation kept."""
        return int(self.kept.sum())

    @property
    def pattern(self) -> list[bool]:
        """Which of the init_r triplets are kept, in the form of `rank_pattern`."""
        kept = iter(self.kept.tolist())
        return [held and next(kept) for held in self.held]

    def file_tensors(self) -> dict[str, Tensor]:
        tensors = super().file_tensors()
        if not self.kept.all():
            rows = {name: tensors[name][self.kept] for name in ("lora_A", "lora_E")}
            tensors |= rows | {"lora_B": tensors["lora_B"][:, self.kept]}
        return tensors

    def penalty(self) -> Tensor:
        """How far the rows of A and the columns of B are from orthonormal, as Frobenius norms."""
        A, B = self.lora_A, self.lora_B
        one = torch.eye(len(A), device=A.device, dtype=A.dtype)
        return torch.norm(A @ A.T - one) + torch.norm(B.T @ B - one)

    @torch.no_grad()
    def measure(self, beta1: float, beta2: float) -> None:
        """Move `mean` and `spread`; what has no gradient has had no part in the step: I = 0."""
        for name, weight in self.named_parameters():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            sensitivity = (weight * gradient).abs()
            zero = torch.zeros_like(weight)
            mean, spread = self.importance.get(name, (zero, zero))
            mean = sensitivity.lerp(mean, beta1)
            self.importance[name] = mean, (sensitivity - mean).abs().lerp(spread, beta2)

    def scores(self) -> Tensor:
        """S_i of each triplet: (r,)."""
        s = {name: mean * spread for name, (mean, spread) in self.importance.items()}
        return s["lora_E"].squeeze(1) + (s["lora_A"].mean(1) + s["lora_B"].mean(0))

    @torch.no_grad()
    def mask(self) -> None:
        """Set E_i to 0 where a triplet isn't kept."""
        self.lora_E.masked_fill_(~self.kept[:, None], 0)


def check_rank_pattern(pattern: object, init_r: int) -> None:
    """Raise ValueError unless it is None or says of each of init_r triplets whether it is kept."""
    if not isinstance(pattern, dict | None):
        raise ValueError(f"rank_pattern={pattern!r} must be {{'<layer>.lora_E': [True, ...]}}")
    for name, kept in (pattern or {}).items():
        if not (isinstance(kept, list) and [type(one) for one in kept] == [bool] * init_r):
            raise ValueError(f"rank_pattern[{name!r}]={kept!r} must be {init_r} bools, as init_r")


def triplets_left(step: int, first: int, last: int, most: int, least: int) -> int:
    """The budget after `step`, first <= step <= last: it falls from `most` to `least` triplets."""
    left = 1 - (step - first) / (last - first)
    return int((most - least) * left**3 + least)


def measure_all(tuners: dict[str, Triplets], step: int, beta1: float, beta2: float) -> None:
    """Score every triplet after a step. Raises RuntimeError where all gradients are missing."""
    if all(tuner.lora_E.grad is None for tuner in tuners.values()):
        raise RuntimeError(
            f"no gradient at step {step}: call update_and_allocate after backward() and "
            "before zero_grad(), with a trainable adapter"
        )
    for tuner in tuners.values():
        tuner.measure(beta1, beta2)


def keep_best(tuners: dict[str, Triplets], most: int) -> None:
    """Keep the `most` triplets with the highest scores of all layers, and mask the others."""
    if not all(tuner.importance for tuner in tuners.values()):
        raise RuntimeError("no scores to allocate by: call update_and_allocate after every step")
    scores = {path: tuner.scores() for path, tuner in tuners.items()}
    every = torch.cat([score.cpu() for score in scores.values()])
    surplus = len(every) - most
    bar = every.kthvalue(surplus).values.item() if surplus > 0 else -1.0  # no score is below 0
    for path, tuner in tuners.items():
        tuner.kept = scores[path] > bar
        tuner.mask()
