"""Which names a config uses: the family's own, or those that are the same in every family."""

from typing import Any

from torch import nn

from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.targets import endings, strangers
from minipeft.shapes.architectures import Architecture
from minipeft.shapes.canonical import fused_names, with_canonical_names
from minipeft.shapes.meta_model import meta_copy
from minipeft.shapes.published import find_architecture


def architecture_for(wanted: Any, config: PeftConfig | None) -> Architecture:
    """The architecture that is meant, with the head that the config's task asks for."""
    architecture = find_architecture(wanted)
    task = None if config is None else config.task_type
    if task in (None, architecture.head):
        return architecture
    if task not in architecture.shape.tasks:
        raise ValueError(
            f"task_type={task!r} has no head in {architecture.model_type!r} here; "
            f"{nearest(task, architecture.shape.tasks)}"
        )
    return architecture.but(head=task)


def model_for(wanted: Any, config: PeftConfig | None) -> nn.Module:
    """The model on the meta device, under the names that `config` uses.

    wanted: a model, of which this is a copy, or what find_architecture takes.
    Raises ValueError for a name that is in neither set, and where the two are mixed.
    """
    if isinstance(wanted, nn.Module):
        return named_for(meta_copy(wanted), config)
    architecture = architecture_for(wanted, config)
    return named_for(architecture.build(), config, architecture.model_type)


def named_for(model: nn.Module, config: PeftConfig | None, model_type: str = "") -> nn.Module:
    """The model, which is given canonical names as well if `config` has names that it lacks."""
    unknown, modules = strange(model, config), dict(model.named_modules())
    if not unknown:
        return model
    known, own = endings(modules, config), {path.rpartition(".")[2] for path in modules}
    still = strange(with_canonical_names(model), config)
    for option, name in still:
        hints = known | endings(dict(model.named_modules(remove_duplicate=False)), config)
        raise ValueError(
            f"{option}={name!r} matches no module of {model_type or type(model).__name__!r}; "
            f"{nearest(name, hints)}"
        )
    for name in sorted(fused_names(model) & own & named_in(config)):
        raise ValueError(
            f"target_modules={name!r} is a name of {model_type or type(model).__name__!r} itself, "
            f"and {unknown[0][1]!r} one of all families; choose one kind for all"
        )
    return model


def strange(model: nn.Module, config: PeftConfig | None) -> list[tuple[str, str]]:
    """The names in a config that match nothing in the model, each with its option."""
    if not isinstance(config, LayerConfig):
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    found = list(strangers(modules, config))
    return [pair for pair in found if str(pair[1]).lower() != "all-linear"]


def named_in(config: PeftConfig | None) -> set[str]:
    """The last names of a config's targets."""
    wanted = getattr(config, "target_modules", None) or []
    return {name.rpartition(".")[2] for name in ([wanted] if isinstance(wanted, str) else wanted)}
