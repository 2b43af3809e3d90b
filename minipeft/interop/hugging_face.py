"""What other libraries expect of a PeftModel: peft's keywords, `base_model.model`, the Trainer.

Nothing here is needed to understand an adapter. It lets a script written for Hugging Face peft run
unchanged: keywords that mean nothing here are accepted, others are refused with the reason, and a
name that is missing here never reaches the base, where it would mean something else.
"""

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from minipeft.core.errors import nearest

# Keywords of peft's loading that say how a file is fetched or where tensors wait: one that lies in
# a local folder is read at once, and each tensor goes to its layer's device.
MEANINGLESS = {
    *("revision", "cache_dir", "token", "use_auth_token", "local_files_only", "force_download"),
    *("proxies", "library_name", "library_version", "user_agent", "etag_timeout", "endpoint"),
    *("repo_type", "torch_device", "low_cpu_mem_usage", "device_map", "max_memory"),
    *("offload_folder", "offload_dir", "offload_index", "save_function", "max_shard_size"),
}
# Keywords with the values that change nothing, and why others are refused.
REFUSED = {
    "autocast_adapter_dtype": ([True], "an adapter has 32 bits here, whatever its base has"),
    "ephemeral_gpu_offload": ([False, None], "nothing is moved between devices here"),
    "ignore_mismatched_sizes": ([False, None], "a tensor left out would stay at random"),
    "key_mapping": ([None], "rename the tensors in the file instead"),
    "mixed": ([False], "adapters of several methods go by set_adapter or adapter_names"),
    "push_to_hub": ([False, None], "nothing is uploaded here"),
    "safe_serialization": ([True], "a pickle can run code when it is opened"),
    "save_embedding_layers": (["auto", False], "name the embeddings in modules_to_save"),
}
# Attributes of peft's PeftModel that minipeft's lacks, and what to use instead.
MISSING = {
    "base_model_torch_dtype": "next(model.parameters()).dtype",
    "create_or_update_model_card": None,
    "disable_adapter_layers": "disable_adapter()",
    "enable_adapter_layers": "disable_adapter(), a block that ends by itself",
    "get_layer_status": "adapters",
    "get_model_status": "adapters",
    "get_prompt": "adapters",
    "get_prompt_embedding_to_save": "get_peft_model_state_dict(model)",
    "has_active_enabled_adapter": "attached",
    "inject_adapter": "add_adapter",
    "prepare_model_for_gradient_checkpointing": "gradient_checkpointing_enable()",
    "push_to_hub": "save_pretrained",
    "set_requires_grad": "load_adapter(is_trainable=True)",
    "subtract_mutated_init": "save_pretrained(path_initial_model_for_weight_conversion=)",
    "supports_lora_conversion": None,
    "targeted_module_names": "adapters",
    # of transformers' own models, which peft's wrapper has under the same name or not at all
    "disable_adapters": "disable_adapter()",
    "enable_adapters": "disable_adapter(), a block that ends by itself",
    "get_adapter_state_dict": "get_peft_model_state_dict(model)",
}


class LoadResult(NamedTuple):
    """The answer of peft's loading functions, as of torch's load_state_dict; always empty lists."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_keywords(
    function: str,
    keywords: dict[str, Any],
    also: Iterable[str] = (),
    base: nn.Module | None = None,
) -> None:
    """Raise for keywords that peft's function of this name has and that would change something.

    also: those that the caller reads itself. TypeError for an unknown one, ValueError for a value
    that can't be had here, with the reason. (On a base of 32 bits an adapter has as many anyway.)
    """
    known = MEANINGLESS | REFUSED.keys() | set(also)
    for name, value in keywords.items():
        if name not in known:
            raise TypeError(f"{function} has no keyword {name!r}; {nearest(name, known)}")
        harmless, reason = REFUSED.get(name, ([value], ""))
        if name == "autocast_adapter_dtype" and not has_16_bits(base):
            continue
        if not any(value is choice or value == choice for choice in harmless):
            raise ValueError(f"{function}({name}={value!r}): {reason}; choose {harmless[0]!r}")


def has_16_bits(base: nn.Module | None) -> bool:
    """Whether a floating-point parameter of a model has fewer than 32 bits."""
    parameters = base.parameters() if isinstance(base, nn.Module) else ()
    return any(p.is_floating_point() and p.itemsize < 4 for p in parameters)


def check_present(name: str, base: nn.Module) -> None:
    """Raise AttributeError for a name of peft that is missing here, before the base is asked."""
    if name not in MISSING:
        return
    instead = f"; here it is {MISSING[name]}" if MISSING[name] else ""
    own = f". The base's own is get_base_model().{name}" if hasattr(base, name) else ""
    raise AttributeError(f"minipeft's PeftModel has no {name!r}, which peft has{instead}{own}")


class BaseModel:
    """What `peft_model.base_model` is: the user's own model, which is also its `model`.

    peft has a wrapper there, so code written for it says `peft_model.base_model.model` and means
    the user's model, not what that model calls `model` itself. Every other name is the model's.
    """

    def __init__(self, model: nn.Module) -> None:
        object.__setattr__(self, "model", model)

    @property
    def __class__(self) -> type:  # for isinstance(peft_model.base_model, nn.Module)
        return type(self.model)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":  # not made yet: while it is copied
            raise AttributeError(name)
        return getattr(self.model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.model, name, value)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.model(*inputs, **options)

    def __getitem__(self, key: Any) -> nn.Module:
        return self.model[key]

    def __repr__(self) -> str:
        return repr(self.model)


def enter_trainer(kind: type) -> None:
    """Let transformers' Trainer treat `kind` as it treats peft's PeftModel.

    Trainer asks by isinstance, of the class that its module calls PeftModel; a tuple there is both.
    Only then does it read the base's signature, save the adapter alone and resume from it. Nothing
    happens while the Trainer isn't imported; a Trainer asks its model for attributes before it
    asks for the class, so a PeftModel calls this then.
    """
    trainer = sys.modules.get("transformers.trainer")
    if trainer is None or not hasattr(trainer, "Trainer"):  # or still being imported
        return
    known = getattr(trainer, "PeftModel", ())
    kinds = known if isinstance(known, tuple) else (known,)
    if kind in kinds:
        return
    trainer.PeftModel = (*kinds, kind)
    if not trainer.is_peft_available():  # peft itself isn't installed: then it is all ours
        trainer.is_peft_available = lambda: True
        trainer._is_peft_model = lambda model: isinstance(model, trainer.PeftModel)
