"""The options of a method, which are the fields of `adapter_config.json`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from minipeft.core.disk import atomic_write, read_json
from minipeft.core.errors import check_choice, check_list, check_regex, nearest

# Every method by its `peft_type`: a config class enters itself when it is defined.
METHODS: dict[str, type["PeftConfig"]] = {}

# What people write, and what papers and other libraries say, for what is called otherwise here.
OTHER_NAMES = {
    "rank": ("init_r", "r"),
    "lora_r": ("init_r", "r"),
    "lora_rank": ("init_r", "r"),
    "alpha": ("lora_alpha",),
    "scale": ("lora_alpha",),
    "dropout": ("lora_dropout", "vera_dropout"),
    "targets": ("target_modules",),
    "modules": ("target_modules",),
}
CONFIG = "adapter_config.json"

# Written by Hugging Face peft beside the options of a method. They change no number of an adapter
# that is trained: the first line is notes, the others are about how training starts or saves
# memory.
NOTES_OF_PEFT = {
    *("auto_mapping", "megatron_core", "peft_version", "qalora_group_size", "revision"),
    *("corda_config", "eva_config", "loftq_config", "lora_ga_config", "runtime_config"),
    *("tokenizer_kwargs", "velora_config"),
}

# The values of peft's TaskType. A misspelt one would leave a new head frozen.
TASK_TYPES = [
    "CAUSAL_LM",
    "FEATURE_EXTRACTION",
    "QUESTION_ANS",
    "SEQ_2_SEQ_LM",
    "SEQ_CLS",
    "TOKEN_CLS",
]


def nearest_config(given: object) -> str:
    """The end of an error message: the config classes with names closest to that of `given`."""
    return nearest(type(given).__name__, (kind.__name__ for kind in METHODS.values()))


@dataclass
class PeftConfig:
    """The fields that every method has. Each method adds its own, under the names peft gives them.

    task_type: what the base does, one of TASK_TYPES, or None. With "SEQ_CLS", "TOKEN_CLS" and
        "QUESTION_ANS" the model's new head is trained and saved too.
    base_model_name_or_path: which base the adapter was trained on, for the file.
    inference_mode: True in files; such an adapter is loaded frozen unless asked otherwise.
    """

    task_type: str | None = None
    base_model_name_or_path: str | None = None
    inference_mode: bool = False

    peft_type: ClassVar[str]  # the method's name in adapter_config.json
    file_prefix: ClassVar[str] = "base_model."  # of what is trained inside the base
    not_in_files: ClassVar[tuple[str, ...]] = ()  # options that peft's class doesn't know
    # By option, the values in files that only say how training starts: read as the default.
    starts: ClassVar[dict[str, tuple]] = {}

    def __post_init__(self) -> None:
        if self.task_type is not None and self.task_type not in TASK_TYPES:
            raise ValueError(
                f"task_type={self.task_type!r} is not known; "
                f"{nearest(str(self.task_type).upper(), TASK_TYPES)}"
            )

    def __init_subclass__(cls, **options: Any) -> None:
        """Enter a class that names a `peft_type` of its own in METHODS.

        Raises ValueError where another class has that name: its files would open as this one's.
        """
        super().__init_subclass__(**options)
        if "peft_type" not in vars(cls):
            return
        known = METHODS.get(cls.peft_type, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"peft_type={cls.peft_type!r} belongs to {known.__module__}.{known.__qualname__}; "
                f"choose a name that is none of {', '.join(sorted(METHODS))}"
            )
        METHODS[cls.peft_type] = cls

    def __new__(cls, *args: Any, **options: Any) -> "PeftConfig":
        fields = [option.name for option in dataclasses.fields(cls)]
        for name in options:
            if name not in fields:
                known = next((n for n in OTHER_NAMES.get(name, ()) if n in fields), None)
                hint = f"it is called {known!r}" if known else nearest(name, fields)
                raise TypeError(f"{cls.__name__} has no option {name!r}; {hint}")
        return super().__new__(cls)

    def to_dict(self) -> dict[str, Any]:
        """The options by name, `peft_type` among them, as peft's files have them."""
        fields = dataclasses.asdict(self) | {"peft_type": self.peft_type}
        return {name: value for name, value in fields.items() if name not in self.not_in_files}

    def to_json(self, **changes: Any) -> str:
        """The text of `adapter_config.json`: sorted keys, indent 2, sets as sorted lists."""
        fields = self.to_dict() | changes
        return json.dumps(fields, indent=2, sort_keys=True, default=sorted) + "\n"

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write `adapter_config.json` alone. Raises OSError, the old file then being whole."""
        atomic_write(Path(save_directory) / CONFIG, self.to_json().encode())

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, subfolder: str | None = None, **options: Any
    ) -> "PeftConfig":
        """The config in an adapter folder, as the class of its method; see `read_config`.

        options: peft's others say how to fetch it; here it lies in a folder. Those of the config
        itself can't be given, in peft neither: set them afterwards.
        """
        for name in options:
            if name in {field.name for field in dataclasses.fields(cls)}:
                raise TypeError(f"from_pretrained({name}=...): set config.{name} afterwards")
        return read_config(Path(pretrained_model_name_or_path, subfolder or ""))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "PeftConfig":
        """A config from the fields of a file.

        An option that this class doesn't have is passed over where it is off (None, False, empty)
        or only matters in training, and refused where it is on: leaving it out would give other
        numbers without a word.
        """
        known = {option.name for option in dataclasses.fields(cls)}
        for name, value in fields.items():
            if name not in known | NOTES_OF_PEFT | {"peft_type"} and value:
                raise ValueError(
                    f"adapter_config.json asks for {name}={value!r}, which {cls.__name__} "
                    f"doesn't have; {nearest(name, known)}"
                )
        return cls(
            **{
                name: value
                for name, value in fields.items()
                if name in known and value not in cls.starts.get(name, ())
            }
        )

    def with_model_defaults(self, model: nn.Module) -> Self:
        """This config with the options that the model decides. Raises ValueError for others."""
        return self

    @property
    def is_plain_low_rank(self) -> bool:
        """Whether the method is h = W0 x + s B A x and no more, so that `from_factors` works."""
        return False

    def from_factors(
        self, factors: dict[str, tuple[Tensor, Tensor]]
    ) -> tuple["PeftConfig", dict[str, Tensor]]:
        """The config and the file's tensors of h = W0 x + B A x, with these A and B by layer."""
        raise NotImplementedError(f"{self.peft_type} is more than low-rank A and B")

    def soft_prompt(self, model: nn.Module, new: bool) -> nn.Module | None:
        """The SoftPrompt that the method learns beside the model's layers, or None.

        new: it starts to learn, else a file's tensors will be copied in.
        """
        return None

    def trains(self, path: str, module: nn.Module, name: str, targeted: bool) -> bool:
        """Whether the base's own parameter `name` of the module called `path` is trained."""
        return False

    def penalty(self, tuners: dict[str, nn.Module]) -> Tensor | float:
        """What the method adds to the loss: the sum of what its tuners add."""
        penalties = [tuner.penalty() for tuner in tuners.values()]
        return sum((penalty for penalty in penalties if penalty is not None), 0.0)

    def after_step(self, tuners: dict[str, nn.Module], step: int) -> None:
        """What the method does after each optimizer step, such as moving ranks between layers."""


def read_config(folder: str | Path, **changes: Any) -> PeftConfig:
    """The config of an adapter folder, as the class of its method; `changes` override its fields.

    Raises FileNotFoundError where there is none (and names the adapters one level down), and
    ValueError where it is not JSON or of a method that isn't known here.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        below = [
            str(found.parent.relative_to(folder)) for found in Path(folder).glob(f"*/{CONFIG}")
        ]
        hint = (
            f"adapters in subfolders: {', '.join(sorted(below))}" if below else "no adapter there"
        )
        raise FileNotFoundError(f"{path} is missing; {hint}")
    fields = read_json(path)
    method = fields.get("peft_type")
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"{path}: peft_type={method!r} is not known; {nearest(method, METHODS)}")
    return METHODS[method].from_dict(fields | changes)


@dataclass
class LayerConfig(PeftConfig):
    """What the methods that sit on linear layers share: which layers, and what is trained beside.

    target_modules: a list of names (each matches a module's whole dotted name or its end after a
        dot), one string (a regular expression for the whole name), or "all-linear". None takes
        those that peft takes in the model's family (methods/families.py).
    exclude_modules: the same forms; what matches is left alone.
    layers_to_transform: only these layer numbers; layers_pattern: the name of the list of layers.
    bias: "none", "<method>_only" (the targets' biases too; in lower case) or "all" (every bias
        of the model).
    modules_to_save: names of modules that are trained in full and saved beside the adapter.
    fan_in_fan_out: how the targets store their weight; set from the layers when attached.
    """

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    bias: str = "none"
    modules_to_save: list[str] | None = None
    fan_in_fan_out: bool = False

    file_prefix: ClassVar[str] = "base_model.model."
    needs_targets: ClassVar[bool] = True
    patterns: ClassVar[tuple[str, ...]] = ()  # options of the form {name or regex: value}
    families: ClassVar[dict[str, tuple[str, ...]]] = {}  # target_modules by the base's model_type

    @property
    def own_bias(self) -> str:
        """The value of `bias` that trains the targets' biases."""
        return f"{self.peft_type.lower()}_only"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_list("modules_to_save", self.modules_to_save, str)
        if type(self.layers_to_transform) is not int:
            check_list("layers_to_transform", self.layers_to_transform, int)
        for name in ("target_modules", "exclude_modules", "layers_pattern"):
            value = getattr(self, name)
            check_regex(name, value) if isinstance(value, str) else check_list(name, value, str)
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError(
                f"layers_pattern={self.layers_pattern!r} needs layers_to_transform, the numbers"
            )
        if isinstance(self.target_modules, str) and self.layers_to_transform is not None:
            raise ValueError(
                f"layers_to_transform={self.layers_to_transform!r} goes with a list of names; put "
                f"the numbers into the expression target_modules={self.target_modules!r} itself"
            )
        check_choice("bias", self.bias, ["none", "all", self.own_bias])

    def with_model_defaults(self, model: nn.Module) -> Self:
        """With the family's usual modules where none are named, as in peft."""
        family = getattr(getattr(model, "config", None), "model_type", None)
        if self.target_modules is None and family in self.families:
            return dataclasses.replace(self, target_modules=list(self.families[family]))
        return self

    def trains(self, path: str, module: nn.Module, name: str, targeted: bool) -> bool:
        """The biases that `bias` asks for; in_proj_bias of nn.MultiheadAttention is one, too."""
        return "bias" in name and (self.bias == "all" or (self.bias == self.own_bias and targeted))

    def accepts(self, module: nn.Module) -> bool:
        """Whether the method also sits on this module, which is no linear layer."""
        return False

    def checked_against(self, layers: dict[str, nn.Module]) -> Self:
        """This config for a new adapter on these layers, by dotted name.

        Raises ValueError where an option doesn't fit a layer.
        """
        return self

    def shared(self, layers: dict[str, nn.Module]) -> nn.Module | None:
        """The module that all tuners on these layers have as `shared`, or None."""
        return None

    def tuner(self, path: str, layer: nn.Module) -> nn.Module | None:
        """A new tuner for the layer called `path`, or None where it needs none."""
        raise NotImplementedError
