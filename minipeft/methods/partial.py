"""Partial fine-tuning: h = (W0 + dW) x in some of the base's own modules, and h = W0 x elsewhere.

The last k blocks, or the layer norms alone: the two baselines of Houlsby et al. 2019,
"Parameter-Efficient Transfer Learning for NLP", section 3.4; the first is FTTop2 in Hu et al. 2021,
"LoRA", table 3. Trained: those parameters in full, as copies in the base's own dtype that stand in
its places while the adapter is attached. The base itself stays whole.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import nn

from minipeft.core.config import PeftConfig
from minipeft.core.errors import check_choice, check_list, check_whole, nearest
from minipeft.core.modules import is_norm, modules_by_name
from minipeft.core.patterns import is_below, matches


@dataclass
class PartialConfig(PeftConfig):
    """Which of the base's own parameters are trained. The options add up.

    last_layers: the last k blocks in full, their norms too.
    blocks: the names of blocks, or of any modules, in place of last_layers: for a model with
        several lists of blocks, such as an encoder and a decoder. Else filled in when attached.
    norms: every normalization layer (a module whose class has "Norm" in its name).
    modules_to_save: further modules, such as the head: alone, a linear probe. Tied ones (a head
        and the embeddings) must be named together.

    Raises ValueError for numbers and names that the model doesn't have.
    """

    last_layers: int = 0
    blocks: list[str] | None = None
    norms: bool = False
    modules_to_save: list[str] | None = None

    peft_type: ClassVar[str] = "PARTIAL"
    file_prefix: ClassVar[str] = "base_model.model."

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("last_layers", self.last_layers, 0)
        check_choice("norms", self.norms, [True, False])
        check_list("blocks", self.blocks, str)
        check_list("modules_to_save", self.modules_to_save, str)
        if self.last_layers and self.blocks and len(self.blocks) != self.last_layers:
            raise ValueError(
                f"last_layers={self.last_layers!r} and blocks={self.blocks!r} are two answers to "
                "one question; give one of them"
            )
        if not (self.last_layers or self.blocks or self.norms or self.modules_to_save):
            raise ValueError(
                "last_layers=0, norms=False: nothing would be trained; choose last_layers=1, "
                "norms=True, or modules_to_save=[...] with the name of the head"
            )

    def with_model_defaults(self, model: nn.Module) -> Self:
        """The same with `blocks` written out in full."""
        modules = modules_by_name(model)
        for option in ("blocks", "modules_to_save"):
            for name in getattr(self, option) or []:
                if not any(matches(path, [name]) for path in modules):
                    known = {path.rpartition(".")[2] for path in modules} | modules.keys() - {""}
                    raise ValueError(
                        f"{option}={name!r} matches no module of {type(model).__name__}; "
                        f"{nearest(name, known)}"
                    )
        if self.norms and not any(is_norm(module) for module in modules.values()):
            raise ValueError(
                f"norms=True: {type(model).__name__} has no normalization layer; choose "
                "last_layers=1, or name what is to be trained in blocks=[...]"
            )
        blocks = [path for path in modules if matches(path, self.blocks)]
        if self.last_layers and not blocks:
            blocks = last_blocks(model, self.last_layers)
        return replace(self, blocks=blocks or None)

    def trains(self, path: str, module: nn.Module, name: str, targeted: bool) -> bool:
        return is_below(path, self.blocks or []) or (self.norms and is_norm(module))


def last_blocks(model: nn.Module, k: int) -> list[str]:
    """The names of the last k blocks. Raises ValueError unless one list has at least k."""
    lists = block_lists(model)
    if len(lists) != 1:
        found = ", ".join(f"{path} with {len(blocks)}" for path, blocks in lists.items())
        example = [blocks[-1] for blocks in lists.values()][-1:] or ["second"]
        raise ValueError(
            f"last_layers={k!r}: {type(model).__name__} has {len(lists) or 'no'} lists of blocks"
            f"{f' ({found})' if found else ''}; name what is to be trained, as in blocks={example}"
        )
    path, blocks = lists.popitem()
    if k > len(blocks):
        raise ValueError(f"last_layers={k!r}: {path} has {len(blocks)} blocks, the most there is")
    return blocks[-k:]


def block_lists(model: nn.Module) -> dict[str, list[str]]:
    """The outermost numbered lists that hold parameters, by name: the names of their blocks."""
    lists: dict[str, list[str]] = {}
    for path, module in modules_by_name(model).items():
        alike = len({type(block) for block in module.children()}) == 1
        numbered = isinstance(module, nn.ModuleList) or (
            isinstance(module, nn.Sequential) and alike
        )
        trainable = next(module.parameters(), None) is not None
        if path and numbered and trainable and not is_below(path, lists):
            lists[path] = [f"{path}.{name}" for name, _ in module.named_children()]
    return lists
