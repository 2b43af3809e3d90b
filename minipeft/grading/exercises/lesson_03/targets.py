"""Task 4: which layers of a model a list of targets means."""

from collections.abc import Callable

import numpy as np

from ...tasks import Cases, Misconception, Task, by_case


def find_targets(names: list[str], targets: list[str]) -> list[str]:
    """The names that equal a target or end in "." and a target, as peft matches a list."""
    return keep(names, targets, lambda name, target: f".{name}".endswith(f".{target}"))


def keep(names: list[str], targets: list[str], matches: Callable, strict: bool = True) -> list[str]:
    """The names, in their order, that match any target. Raises ValueError if strict and none."""
    found = [name for name in names if any(matches(name, target) for target in targets)]
    if strict and not found:
        raise ValueError(f"no layer is called {targets}")
    return found


def names_of_a_model(generator: np.random.Generator) -> list[str]:
    """Module names as they occur, with those that a careless match hits as well."""
    names = []
    for layer in range(int(generator.integers(2, 5))):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        names += [f"{attention}.{leaf}" for leaf in ("q_proj", "k_proj", "v_proj", "o_proj")]
        names += [f"{attention}.qkv_proj", f"{attention}.q_proj_norm.linear"]
        names += [f"{mlp}.{leaf}" for leaf in ("gate_proj", "up_proj", "down_proj", "v_proj")]
    names += ["visual.q_proj.lora_A", "lm_head"]
    return [str(name) for name in generator.permutation(names)]


def cases(generator: np.random.Generator) -> Cases:
    """A short target, a long one, a name without dots, one that is nowhere, and a mixture."""
    chosen = (
        ["q_proj", "v_proj"],
        ["self_attn.v_proj"],
        ["lm_head", "down_proj"],
        ["query"],
        ["q_proj", "query"],
    )
    return [[names_of_a_model(generator), list(targets)] for targets in chosen]


def always_raise(names, targets):
    """An answer that is none."""
    raise ValueError


SHORT, LONG, NONE = "targets of one part", "targets of several parts", "an error for no match"

TARGETS = Task(
    name="find_targets",
    title="4. Find the targets",
    points=2,
    cases=cases,
    answer=find_targets,
    parts=by_case(SHORT, LONG, SHORT, NONE, SHORT),
    weights={SHORT: 2},
    trivial=[always_raise, lambda names, targets: names],
    misconceptions=[
        Misconception(
            lambda names, targets: keep(names, targets, lambda name, target: target in name),
            "You look for the target anywhere in the name. That also hits `q_proj_norm.linear` and "
            "whatever lies below a layer of that name. Compare the end, at a dot.",
        ),
        Misconception(
            lambda names, targets: keep(names, targets, str.endswith),
            "`endswith` without the dot also takes `qkv_proj` for `v_proj`. The match must begin "
            "at a dot or at the start of the name.",
        ),
        Misconception(
            lambda names, targets: keep(names, targets, lambda n, t: n.split(".")[-1] == t),
            "You compare the last part only, so a longer target such as `self_attn.v_proj` finds "
            "nothing. Compare as many parts as the target has.",
        ),
        Misconception(
            lambda names, targets: keep(
                names, targets, lambda n, t: f".{n}".endswith(f".{t}"), False
            ),
            "When nothing matches, you return an empty list, and someone will train nothing for a "
            "night. Raise a ValueError.",
        ),
        Misconception(
            lambda names, targets: keep(names, targets, lambda n, t: t in n.split(".")),
            "You accept the target as any part of the path, so what lies below such a layer is "
            "taken too. It must be the end of the path.",
        ),
    ],
    why="A name is a path. Comparing whole parts from its end finds the same layer in every block "
    "and never a relative of it, and an error for no match saves a night of training nothing.",
)
