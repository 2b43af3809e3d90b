"""Whole models in four bits: each linear layer becomes a Linear4bit, one after the other.

    W (out, in) in 16 or 32 bits -> codes and constants, about 4.127 bits for each weight

The dense W is let go before the next layer's turn, so a model never lies in memory twice; from a
checkpoint folder it never lies there whole.

Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", section 3.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minipeft.core.errors import check_list, nearest
from minipeft.core.linear import (
    CastLinear,
    dense_weight,
    is_4bit,
    is_conv1d,
    is_linear,
    with_weight,
)
from minipeft.core.modules import HOOKS
from minipeft.core.patterns import is_below, matches
from minipeft.core.replacements import places, tied_to
from minipeft.core.targets import HEADS, is_called
from minipeft.quant.checkpoint_note import note_quantization
from minipeft.quant.linear4bit import Linear4bit

HEAD = "lm_head"  # the one name in `skip` that a model needn't have
PLAIN = (nn.Linear.forward, CastLinear.forward)  # x W^T + b and no more


def quantize_model(
    model: nn.Module | str | Path,
    skip: Sequence[str] | None = (HEAD,),
    double_quant: bool = True,
    block_size: int = 64,
    compute_dtype: torch.dtype | None = None,
    quant_type: str = "nf4",
    compiled: bool = False,
    progress: bool | None = None,
) -> nn.Module:
    """Put a Linear4bit in place of every linear layer; the model is changed and given back.

    model: any model; or the folder of a Llama-family checkpoint, whose tensors are read one at a
        time, and those that stay dense in `compute_dtype` (None: float32).
    skip: layers that stay dense, or modules that hold them, by the ends of their names as in
        `target_modules`, beside the model's head: its output embeddings, or a classifier's layer.
        [] quantizes the head as well. (transformers leaves the head out of a list of one's own.)
    progress: True for a bar, False for none, None for one where a terminal shows it (needs tqdm).
    The others: as in Linear4bit.

    Three kinds of layers always stay dense: those that the model's class wants in 32 bits
    (`_keep_in_fp32_modules`), those whose `weight` other code reads (T5's wo, out_proj of
    nn.MultiheadAttention), and subclasses of nn.Linear with a forward of their own. A model of
    transformers notes in its config what it holds, so that its `save_pretrained` writes a folder
    that transformers opens.

    Raises TypeError for what is no model, ValueError for a name that matches nothing, an adapted
    model, a tied layer, an option or weight that can't be quantized; the model is then as it was.
    """
    options = {
        "block_size": block_size,
        "double_quant": double_quant,
        "compute_dtype": compute_dtype,
        "quant_type": quant_type,
        "compiled": compiled,
    }
    packed("the options", nn.Linear(1, 1, device="meta"), options)
    if isinstance(model, str | Path):
        return read_quantized(Path(model), skip, options, progress)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it must be an nn.Module or a folder")
    paths, sites = layers_to_quantize(model, skip), places(model)
    for path in paths:
        check_weight(path, model.get_submodule(path), options)
    with progress_bar(len(paths), progress) as advance:
        for path in paths:
            layer = model.get_submodule(path)
            twin = packed(path, layer, options)
            for owner, attribute in sites[id(layer)]:
                setattr(owner, attribute, twin)
            advance()
    note_quantization(model)
    return model


def read_quantized(
    folder: Path, skip: Sequence[str] | None, options: dict[str, Any], progress: bool | None
) -> nn.Module:
    """A checkpoint straight to four bits: each layer once its own tensors are read."""
    from minipeft.models.checkpoint import load_weights
    from minipeft.models.llama import without_weights

    model = without_weights(folder)
    paths = set(layers_to_quantize(model, skip))
    with progress_bar(len(paths), progress) as advance:

        def ready(path: str, module: nn.Module) -> nn.Module:
            if path not in paths:
                return module
            advance()
            return packed(path, module, options)

        load_weights(model, folder, options["compute_dtype"] or torch.float32, ready)
    model.tie_weights()
    return model.eval()


def layers_to_quantize(model: nn.Module, skip: Sequence[str] | None) -> list[str]:
    """The names of the dense linear layers to quantize."""
    check_list("skip", skip, str)
    check_bare(model, "quantize_model")
    modules = dict(model.named_modules(remove_duplicate=False))
    for name in skip or []:
        if name != HEAD and not any(matches(path, [name]) for path in modules):
            known = {path.rpartition(".")[2] for path in modules if is_linear(modules[path])}
            raise ValueError(f"skip={name!r} matches no module; {nearest(name, known)}")
    tops = kept_dense(modules, skip)
    kept = {id(modules[path]) for path in modules if is_below(path, tops)}
    found = {
        id(layer): path
        for path, layer in reversed(modules.items())  # a shared layer goes by its first name
        if path and is_linear(layer) and not is_4bit(layer) and is_replaceable(modules, path)
    }
    chosen = {path: modules[path] for id_, path in reversed(found.items()) if id_ not in kept}
    if not chosen:
        raise ValueError(
            f"{type(model).__name__} has no dense linear layer but its head, those in {skip=}, and "
            "those whose weight is read past their forward"
        )
    for path, other in tied_to(model, chosen).items():
        raise ValueError(
            f"{path} shares a parameter with {other}, which four bits would untie: name it in skip"
        )
    return list(chosen)


def kept_dense(modules: dict[str, nn.Module], skip: Sequence[str] | None) -> list[str]:
    """The modules that stay dense: in `skip`, the head, those that a class keeps in 32 bits."""
    kept = [path for path in modules if matches(path, list(skip or []))]
    if skip:
        head = getattr(modules[""], "get_output_embeddings", lambda: None)()
        heads = [name for names in HEADS.values() for name in names] if head is None else [HEAD]
        kept += [path for path in modules if matches(path, heads) or modules[path] is head]
    for place, module in modules.items():
        for option in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"):
            if wanted := list(getattr(module, option, None) or []):
                inside = (path for path in modules if is_below(path, [place]) or not place)
                kept += [path for path in inside if matches(path, wanted)]
    return kept


def is_replaceable(modules: dict[str, nn.Module], path: str) -> bool:
    """Whether a layer is x W^T + b and no more, and the model only calls it."""
    layer, name = modules[path], path.rpartition(".")[2]
    parts = path.split(".")
    owners = (modules[".".join(parts[:depth])] for depth in range(len(parts)))
    read = any(name in weights_read_by(kind) for owner in owners for kind in type(owner).__mro__)
    plain = is_conv1d(layer) or type(layer).forward in PLAIN
    return plain and not read and is_called(modules, path)


@cache
def weights_read_by(kind: type) -> frozenset[str]:
    """The names of layers whose `weight` the methods of a class read, as their source says.

    T5 casts to `self.wo.weight.dtype`, nn.TransformerEncoderLayer hands `self.linear1.weight` to a
    fused kernel: codes of 4 bits are no such weight. Methods that initialize don't count.
    """
    if kind is nn.Module:
        return frozenset()
    methods = [m for name, m in vars(kind).items() if not re.search("init|reset", name)]
    sources = [source_of(method) for method in methods if inspect.isfunction(method)]
    read = r"\.(\w+)\.weight\b(?!\.device|\s*=[^=])"  # neither its device nor an assignment
    return frozenset(re.findall(read, "\n".join(sources)))


def source_of(method: Callable) -> str:
    """A function's source; where there is none, `weight` of every name in the function's code."""
    try:
        return inspect.getsource(method)
    except OSError:
        names = method.__code__.co_names
        return " ".join(f".{name}.weight" for name in names) if "weight" in names else ""


def check_bare(model: nn.Module, step: str) -> None:
    """Raise ValueError for a model with an adapter, ours or peft's, which is no bare base."""
    for module in model.modules():
        if hasattr(module, "base_layer") or hasattr(module, "peft_config"):
            raise ValueError(
                f"{type(model).__name__} carries an adapter already: {step} comes first, "
                "get_peft_model second"
            )


def check_weight(path: str, layer: nn.Module, options: dict[str, Any]) -> None:
    """Raise ValueError for a layer that can't be quantized, before any is."""
    if any(getattr(layer, name) for name in HOOKS) or "forward" in vars(layer):
        raise ValueError(
            f"{path} has hooks, or a forward that was replaced (accelerate does so), which a layer "
            "in four bits wouldn't have: quantize_model comes first, hooks second"
        )
    weight = dense_weight(layer)
    packed(path, with_weight(layer, weight.to("meta"), None), options)
    if not weight.is_meta and not weight.isfinite().all():
        raise ValueError(f"{path}.weight holds NaN or infinity: repair it before quantizing")


def packed(path: str, layer: nn.Module, options: dict[str, Any]) -> Linear4bit:
    """The layer in four bits. Raises ValueError with the layer's name in it."""
    try:
        return Linear4bit(layer, **options).train(layer.training)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@contextmanager
def progress_bar(total: int, show: bool | None) -> Iterator[Callable[[], Any]]:
    """A function to call after each layer, which moves the bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda: None
        return
    disable = None if show is None else not show  # None: tqdm looks for a terminal
    with tqdm(total=total, desc="quantizing", unit=" layers", disable=disable) as bar:
        yield bar.update


def prepare_model_for_kbit_training(
    model: nn.Module,
    use_gradient_checkpointing: bool = True,
    gradient_checkpointing_kwargs: dict[str, Any] | None = None,
) -> nn.Module:
    """Freeze a quantized model, cast its 16-bit tensors to 32, and turn gradient checkpointing on.

    As in peft, but for two things: gradients pass checkpoints without a hook on the embeddings
    ({"use_reentrant": False} unless you say otherwise), and a model is checkpointed in any case.

    Raises ValueError for a model that can't checkpoint, or that carries an adapter (it would be
    frozen, too); the model is then as it was.
    """
    check_bare(model, "prepare_model_for_kbit_training")
    if use_gradient_checkpointing:
        if not hasattr(model, "gradient_checkpointing_enable"):
            raise ValueError(
                f"{type(model).__name__} has no gradient_checkpointing_enable: "
                "use_gradient_checkpointing=False leaves it out"
            )
        how = {"use_reentrant": False} | (gradient_checkpointing_kwargs or {})
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        if how["use_reentrant"]:
            model.enable_input_require_grads()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        narrow = parameter.dtype in (torch.float16, torch.bfloat16)
        if narrow and type(parameter).__name__ != "Params4bit":  # codes, however stored
            parameter.data = parameter.data.float()
    return model
