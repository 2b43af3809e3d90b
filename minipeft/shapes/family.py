"""A family of models: the fields of its `config.json` that say its shape, and its modules."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from torch import nn

from minipeft.core.errors import nearest
from minipeft.shapes.config_json import REQUIRED, divided, read_sizes
from minipeft.shapes.meta_model import MAKERS, MetaModel

# The families that are written here; families.toml explains its entries.
FAMILIES: dict[str, dict[str, Any]] = {}
for model_type, table in tomllib.loads(
    Path(__file__).with_name("families.toml").read_text("utf-8")
).items():
    FAMILIES[model_type] = FAMILIES.get(table.get("like"), {}) | table
SHORT = {"d": "hidden_size", "f": "intermediate_size", "L": "num_hidden_layers", "V": "vocab_size"}


class Family:
    """One model of a family, by its sizes, which are attributes; `config` of its MetaModel.

    Raises ValueError for a head or a size that isn't known, is missing or doesn't fit.
    """

    def __init__(
        self, model_type: str, task: str | None, num_labels: int, fields: dict[str, Any]
    ) -> None:
        self.table = FAMILIES[model_type]
        self.tasks = tuple(self.table["tasks"])
        if task is not None and task not in self.tasks:
            raise ValueError(
                f"head={task!r} is not built for {model_type!r}; {nearest(task, self.tasks)}"
            )
        known, (sizes, own) = self.names(model_type), read_table(model_type)
        given = {known[name]: value for name, value in fields.items() if name in known}
        self.model_type, self.task, self.num_labels = model_type, task or self.tasks[0], num_labels
        vars(self).update(read_sizes(sizes, own, given))
        for line in self.table["derived"].strip().splitlines():
            name, _, formula = line.partition(" = ")
            setattr(self, name, eval(formula, {"divided": divided} | self.scope()))

    @classmethod
    def names(cls, model_type: str) -> dict[str, str]:
        """What a field may be called -> its one name here."""
        sizes, own_names = read_table(model_type)
        return {name: name for name in sizes} | {own: name for name, own in own_names.items()}

    def config_fields(self) -> dict[str, Any]:
        """The fields of its `config.json` that decide the shape."""
        sizes, own = read_table(self.model_type)
        return {own.get(name, name): getattr(self, name) for name in sizes}

    def scope(self) -> dict[str, Any]:
        """The sizes by the names that the tables have for them."""
        return vars(self) | {short: getattr(self, name, None) for short, name in SHORT.items()}

    def build(self) -> MetaModel:
        """The modules on the meta device, under the names that they have in transformers."""
        made: dict[str, nn.Module | nn.Parameter] = {}
        scope = MAKERS | self.scope() | {"made": made}
        prefix = "" if self.task == "FEATURE_EXTRACTION" else self.table["base"]
        for where, part in ((prefix, "inside"), ("", "heads")):
            for row in self.table[part].strip().splitlines():
                names, module, condition = (entry.strip() for entry in f"{row}|1".split("|")[:3])
                for name in paths(names, scope) if eval(condition, scope) else ():
                    made[where + name] = eval(module, scope)
        words, output = prefix + self.table["words"], self.table["output"]
        if output in made and getattr(self, "tie_word_embeddings", True):
            made[output].weight = made[words].weight
        return MetaModel(made.items(), self, words, output if output in made else None)


def read_table(model_type: str) -> tuple[dict[str, object], dict[str, str]]:
    """A family's sizes with their defaults, and the names that its config.json has for them."""
    table = FAMILIES[model_type]
    sizes, own = dict.fromkeys(table["required"].split(), REQUIRED), {}
    for field in table["optional"].split():
        name, _, default = field.partition("=")
        sizes[name] = ast.literal_eval(default)
    for name in [name for name in sizes if ":" in name]:
        own[name.partition(":")[2]] = name.partition(":")[0]
    return {name.rpartition(":")[2]: default for name, default in sizes.items()}, own


def paths(names: str, sizes: dict[str, Any]) -> list[str]:
    """layers.0.a, layers.0.b, layers.1.a, ... for "layers[L].{a,b}"."""
    if found := re.search(r"\[(\w+)\]", names):
        choices = [f".{number}" for number in range(sizes[found[1]])]
    elif found := re.search(r"\{([^}]+)\}", names):
        choices = found[1].split(",")
    else:
        return [names]
    start, end = names[: found.start()], names[found.end() :]
    return [path for choice in choices for path in paths(start + choice + end, sizes)]
