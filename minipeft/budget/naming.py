"""Which names a config uses: the family's own, or those that are the same in every family."""

from typing import Any

from torch import nn

from minipeft.budget.architectures import Architecture
from minipeft.budget.published import architecture_of, find_architecture
from minipeft.configs import LayerConfig, PeftConfig
from minipeft.errors import nearest
from minipeft.targets import endings, strangers


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
    unknown = strange(own, config)
    if not unknown:
        return own
    try:
        architecture = architecture_of(own) if own is wanted else architecture_for(wanted, config)
    except ValueError:
        return own  # a model of no known family has no other names
    still = strange(architecture.canonical, config)
    for option, name in unknown:
        if (option, name) in still:
            models = own, architecture.canonical
            known = set().union(*(endings(dict(model.named_modules())) for model in models))
            raise ValueError(
                f"{option}={name!r} matches no module of {architecture.model_type!r}; "
                f"{nearest(name, known)}"
            )
    if still:
        raise ValueError(
            f"{still[0][0]}={still[0][1]!r} is a name of {architecture.model_type!r} itself, and "
            f"{unknown[0][1]!r} one of all families; choose one kind for all"
        )
    return architecture.canonical


def strange(model: nn.Module, config: PeftConfig | None) -> list[tuple[str, str]]:
    """The names in a config that match nothing in the model, each with its option."""
    if not isinstance(config, LayerConfig):
        return []
    modules = dict(model.named_modules(remove_duplicate=False))
    found = list(strangers(modules, config))
    return [pair for pair in found if str(pair[1]).lower() != "all-linear"]
