"""The residual stream x of a block, for an adapter whose layer does not read x.

In x + MLP(norm(x)) the MLP reads norm(x) alone; x itself is what goes into the norm.
"""

import inspect
import re
from collections.abc import Iterable

from torch import Tensor, nn

from minipeft.core.layer import Tuner
from minipeft.core.linear import is_linear
from minipeft.core.modules import is_norm, modules_by_name
from minipeft.core.patterns import Patterns, matches


class Stream(nn.Module):
    """x of each block, kept from the norm that reads x until the adapter that needs x.

    blocks: those in which a norm shows x.
    """

    def __init__(self, blocks: Iterable[str] = ()) -> None:
        super().__init__()
        self.blocks = frozenset(blocks)
        self.held: dict[str, Tensor] = {}

    def take(self, block: str) -> Tensor | None:
        """x (batch, length, d), which is then forgotten; None for a block without a shown x.

        Raises RuntimeError where the norm has not run yet: a guess would give other numbers.
        """
        if block not in self.blocks:
            return None
        if block not in self.held:
            raise RuntimeError(
                f"an adapter in {block} runs before the norm that shows it x: name the norm in "
                "front of it as well (and let gradient checkpointing repeat whole blocks)"
            )
        return self.held.pop(block)


class StreamReader(Tuner):
    """h = norm(x), whose x is kept for the adapter of the same block. Trains nothing."""

    shared: Stream  # set when the adapter is built: one for all its tuners
    why_apart = "a nonlinear adapter reads the norm's input"

    def __init__(self, block: str) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, base: nn.Module) -> Tensor:
        self.shared.held[self.block] = x
        return base(x)


def is_map(module: nn.Module) -> bool:
    """Whether a module, such as `mlp`, maps one tensor to one by linear layers."""
    kinds = [taken.kind for taken in inspect.signature(module.forward).parameters.values()]
    one = kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD]
    return one and linear_layers(module) not in ([], [module])


def linear_layers(module: nn.Module) -> list[nn.Module]:
    """The linear layers in a module, itself included."""
    return [layer for layer in module.modules() if is_linear(layer)]


def block_of(path: str) -> str:
    """A name up to its first number: "layers.1" for "layers.1.mlp.down_proj", or ""."""
    return re.match(r"((.*?\.)?\d+(?=\.))?", path)[0]


def check_shown(layers: dict[str, nn.Module], reads: dict[str, int]) -> None:
    """Raise ValueError for a norm among `layers` whose x fits no adapter of its block.

    reads: how many numbers each adapter reads, by its name.
    """
    for path, norm in [item for item in layers.items() if is_norm(item[1])]:
        width = next(norm.parameters()).numel()
        near = {name: size for name, size in reads.items() if block_of(name) == block_of(path)}
        if set(near.values()) != {width}:
            raise ValueError(
                f"{path} shows its input to the adapter of its block, but none that reads "
                f"{width} numbers is on {list(near)}; name 'mlp', 'down_proj' or the like as well"
            )


def check_untrained(model: nn.Module, targets: Patterns, saved: Patterns) -> None:
    """Raise ValueError for a norm that is a target and in modules_to_save as well."""
    for path, module in modules_by_name(model).items():
        if is_norm(module) and matches(path, targets) and matches(path, saved):
            raise ValueError(
                f"{path} is one of target_modules={targets!r} (it shows its input to the adapter) "
                f"and of modules_to_save={saved!r}; it can be one of them, not both"
            )
