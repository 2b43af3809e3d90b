"""Activations: the tensors that autograd saves while the adapted model runs on the meta device.

The model runs as it is, so each method's own code says what its backward pass needs. Storages are
counted once, however many views of one are saved; parameters and buffers are there anyway.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minipeft.budget.kernels import Kernels, without_autocast
from minipeft.budget.training_setup import TrainingSetup

Storages = dict[int, torch.UntypedStorage]


@dataclass
class Run:
    """What a forward pass leaves behind, in bytes.

    kept: by the model, until the backward pass. inputs, layer: with checkpointing, and by one layer
    while it is computed again. by_loss, logits: by the loss, and of the logits that go into it.
    rows: of the widest hidden state, texts times tokens. cache: keys and values, when generating.
    estimate: why these are no measurement, or "".
    """

    kept: int = 0
    inputs: int = 0
    layer: int = 0
    by_loss: int = 0
    logits: int = 0
    rows: int = 0
    cache: int = 0
    estimate: str = ""


@dataclass
class SavedTensors:
    """Collects the storages that autograd saves, and for each layer its own.

    own: the storages of parameters and buffers. layers: what each layer saves, and its inputs.
    """

    own: Storages
    kept: Storages = field(default_factory=dict)
    layers: list[tuple[Storages, Storages]] = field(default_factory=list)
    current: Storages | None = None
    rows: int = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """The hook of torch.autograd.graph.saved_tensors_hooks."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            (self.kept if self.current is None else self.current)[storage._cdata] = storage
        return tensor

    def enter(self, layer: nn.Module, args: tuple, options: dict) -> None:
        """A layer begins: checkpointing would keep its floating-point inputs alone."""
        x = args or (options.get("hidden_states"),)
        given = [t for t in x if isinstance(t, Tensor) and t.is_floating_point()]
        self.rows = max([self.rows, *(t.shape[:-1].numel() for t in given[:1])])
        self.current = {}
        self.layers.append((self.current, storages(given)))

    def leave(self, *_: Any) -> None:
        """A layer ends."""
        self.current = None

    def bytes(self) -> tuple[int, int, int]:
        """(kept, inputs, layer) as in Run."""
        everything, inputs, layer = dict(self.kept), dict(self.kept), 0
        for saved, given in self.layers:
            everything |= saved
            inputs |= given
            layer = max(layer, total({k: s for k, s in saved.items() if k not in given}))
        return total(everything), total(inputs), layer


def storages(tensors: Any) -> Storages:
    """The memory behind these tensors, each piece once."""
    found = (tensor.untyped_storage() for tensor in tensors)
    return {storage._cdata: storage for storage in found}


def total(found: Storages) -> int:
    """Bytes."""
    return sum(storage.nbytes() for storage in found.values())


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The transformer layers, as checkpointing sees them: elements of the outermost lists."""
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [m for n, m in lists.items() if not any(n.startswith(f"{other}.") for other in lists)]
    return [layer for list_ in outer for layer in list_]


def run(model: nn.Module, setup: TrainingSetup, gpu: bool) -> Run:
    """One forward pass of a model on the meta device, and its loss."""
    inputs, kernels = inputs_for(model, setup), Kernels(gpu, setup.attention == "eager")
    if not setup.training:
        return generated(model.eval(), inputs, kernels)
    getattr(model, "gradient_checkpointing_disable", lambda: None)()  # `inputs` says what it keeps
    if hasattr(model.config, "use_cache") and not hasattr(model, "prompt_encoder"):
        model.config.use_cache = False  # an unread cache would copy keys and values
    saved = SavedTensors(storages([*model.parameters(), *model.buffers()]))
    hooks = []
    for layer in layers_of(model.train()):
        hooks.append(layer.register_forward_pre_hook(saved.enter, with_kwargs=True))
        hooks.append(layer.register_forward_hook(saved.leave))
    try:
        packing = torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor)
        with without_autocast(), kernels, packing:
            output = model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    by_loss, size = SavedTensors(saved.own), 0
    with torch.autograd.graph.saved_tensors_hooks(by_loss.pack, lambda tensor: tensor):
        for logits in logits_of(model, output):
            # transformers' losses compute in 32 bits
            answers = logits.float() if hasattr(type(model), "loss_function") else logits
            answers = answers.flatten(0, -2)
            F.cross_entropy(answers, torch.zeros(len(answers), dtype=torch.int64, device="meta"))
            size += answers.numel() * answers.itemsize
    return Run(*saved.bytes(), total(by_loss.kept), size, saved.rows)


def generated(model: nn.Module, inputs: dict[str, Tensor], kernels: Kernels) -> Run:
    """The logits of a text and the cache that it leaves."""
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = True
    cache = model.new_cache() if hasattr(model, "new_cache") else None
    with torch.no_grad(), without_autocast(), kernels:
        output = model(**inputs, **({} if cache is None else {"past_key_values": cache}))
    logits = logits_of(model, output)
    size = sum(one.numel() * one.itemsize for one in logits)
    made = getattr(output, "past_key_values", None) if cache is None else cache
    return Run(by_loss=size, logits=size, cache=total(storages(tensors_in(made))))


def logits_of(model: nn.Module, output: Any) -> list[Tensor]:
    """The logits in a model's output; a base without a head has none."""
    if isinstance(output, Tensor):
        return [] if hasattr(model, "layers") or hasattr(model, "encoder") else [output]
    names = ("logits", "start_logits", "end_logits")
    return [one for name in names if (one := getattr(output, name, None)) is not None]


def tensors_in(thing: Any, depth: int = 9) -> list[Tensor]:
    """The tensors in a cache of any class."""
    if isinstance(thing, Tensor):
        return [thing]
    if not isinstance(thing, dict | list | tuple):
        thing = getattr(thing, "__dict__", {})
    parts = thing.values() if isinstance(thing, dict) else thing
    return [one for part in parts for one in tensors_in(part, depth - 1)] if depth else []


def inputs_for(model: nn.Module, setup: TrainingSetup) -> dict[str, Tensor]:
    """A batch on the meta device: tokens, or a picture or spectrogram of the model's size."""
    config, batch = model.config, setup.batch
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    name = "input_ids" if hasattr(config, "vocab_size") else "pixel_values"
    name = getattr(model, "main_input_name", name)
    sizes = [batch, setup.length]
    if name == "pixel_values":
        side = config.image_size
        sizes = [batch, config.num_channels, *(side if isinstance(side, list) else (side, side))]
    elif name == "input_features":
        sizes = [batch, config.num_mel_bins, 2 * config.max_source_positions]
    kind = torch.int64 if name == "input_ids" else dtype
    inputs = {name: torch.zeros(sizes, dtype=kind, device="meta")}
    if getattr(config, "is_encoder_decoder", False):
        sizes = (batch, setup.answer_length)
        inputs["decoder_input_ids"] = torch.zeros(sizes, dtype=torch.int64, device="meta")
    return inputs


def estimated(config: Any, setup: TrainingSetup, width: int, logits: int, why: str) -> Run:
    """A closed formula for a model that can't be run: Korthikanti et al. 2022, equation 1.

    s b h (34 + 5 a s / h) bytes for each layer: s tokens of b texts, h channels, a heads, 16 bits,
    an MLP of 4 h; here for other sizes, too. It is that of full fine-tuning: an adapter keeps less.
    """
    length = max(setup.length, setup.answer_length)
    rows, heads, hidden = setup.batch * length, config.num_attention_heads, config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    layers = config.num_hidden_layers
    layers += getattr(config, "num_decoder_layers", getattr(config, "decoder_layers", 0))
    layer = rows * ((8 * hidden + 2 * inner) * width + 2 * hidden)
    if setup.attention == "eager":
        layer += setup.batch * heads * length * length * (2 * width + 1)
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    keys = (getattr(config, "num_key_value_heads", None) or heads) * head_dim
    found = {"by_loss": logits * width, "logits": logits * width, "rows": rows, "estimate": why}
    if not setup.training:
        return Run(cache=2 * layers * rows * keys * width, **found)
    return Run(layers * layer, layers * rows * hidden * width, layer, **found)
