"""What full fine-tuning takes, from the number of parameters alone: memory by state, and storage.

    bytes in memory = parameters (weights + gradients + Adam's means + master copy), bytes each
    bytes stored    = parameters * bytes of a weight * tasks

Neither has the activations, which depend on the batch (lesson 05). Sources of the conventions:
Dettmers et al. 2023, "QLoRA", section 1 (12: 780 GB for 65B); Rajbhandari et al. 2020, "ZeRO",
section 3.1 (16); the GPU memory page of transformers' documentation (18).
"""

from dataclasses import asdict, dataclass

from minipeft.core.errors import check_whole, nearest


@dataclass(frozen=True)
class Convention:
    """Bytes for each trained number."""

    weights: int
    gradients: int
    adam: int  # two running means, m and v
    master: int = 0  # the weights once more, in 32 bits

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(asdict(self).values())


CONVENTIONS = {
    "all in bf16 (8)": Convention(weights=2, gradients=2, adam=4),
    "bf16, Adam in fp32 (12)": Convention(weights=2, gradients=2, adam=8),
    "all in fp32 (16)": Convention(weights=4, gradients=4, adam=8),
    "mixed, as in ZeRO (16)": Convention(weights=2, gradients=2, adam=8, master=4),
    "mixed, fp32 gradients (18)": Convention(weights=2, gradients=4, adam=8, master=4),
}


def full_tuning(parameters: int, convention: str) -> dict[str, int]:
    """Bytes by state that training all parameters with Adam holds; not the activations.

    Raises ValueError for a convention that isn't in CONVENTIONS, or no positive whole number.
    """
    check_whole("parameters", parameters, 1)
    if convention not in CONVENTIONS:
        raise ValueError(f"no convention {convention!r}; {nearest(convention, CONVENTIONS)}")
    return {state: parameters * each for state, each in asdict(CONVENTIONS[convention]).items()}


def stored(parameters: int, tasks: int, width: int = 2) -> int:
    """Bytes of one fully tuned model for each task, `width` bytes a number."""
    for name, value in {"parameters": parameters, "tasks": tasks, "width": width}.items():
        check_whole(name, value, 1)
    return parameters * tasks * width
