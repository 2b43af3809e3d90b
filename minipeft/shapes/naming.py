"""Which names a config uses: the family's own, or those that are the same in every family."""

from typing import Any

from torch import nn

from minipeft.core.config import LayerConfig, PeftConfig
from minipeft.core.errors import nearest
from minipeft.core.targets import endings, unmatched_names
from minipeft.shapes.architectures import Architecture
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
    """The model, or an architecture's modules, under the names that `config` uses.

    Raises ValueError for a name that is in neither set, and where the two are mixed.
    """
    own = wanted if isinstance(wanted, nn.Module) else architecture_for(wanted, config).model
    return canonical_model(wanted, config) if strange(own, config) else own


def canonical_model(wanted: Any, config: PeftConfig) -> nn.Module:
    """The modules under canonical names. Raises ValueError unless `config` has no other."""
    try:
        architecture = architecture_for(wanted, config)
    except ValueError:  # a model of no known family has no other names
        if isinstance(wanted, nn.Module):
            return wanted
        raise
    own = wanted if isinstance(wanted, nn.Module) else architecture.model
    unknown, still = strange(own, config), strange(architecture.canonical, config)
    if not still:
        return architecture.canonical
    for option, name in unknown:
        if (option, name) in still:
            known = endings(dict(own.named_modules()), config)
            known |= endings(dict(architecture.canonical.named_modules()), config)
            raise ValueError(
                f"{option}={name!r} matches no module of {architecture.model_type!r}; "
                f"{nearest(name, known)}"
            )
    raise ValueError(
        f"{still[0][0]}={still[0][1]!r} is a name of {architecture.model_type!r} itself, and "
        f"{unknown[0][1]!r} one of all families; choose one kind for all"
    )


def strange(model: nn.Module, config: PeftConfig | None) -> list[tuple[str, str]]:
    """The names in a config that match nothing in the model, each with its option."""
    if not isinstance(config, LayerConfig):
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    found = list(unmatched_names(modules, config))
    return [pair for pair in found if str(pair[1]).lower() != "all-linear"]
