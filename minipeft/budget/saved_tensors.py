"""Activations: the tensors that autograd saves while the adapted model runs on the meta device.

The model runs as it is, so each method's own code says what its backward pass needs. Storages are
counted once, however many views of one are saved; parameters and buffers are there anyway. Of equal
layers in a row the first three run: each further one saves as many bytes as the third.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from minipeft.budget.kernels import Kernels, without_autocast
from minipeft.budget.training_setup import TrainingSetup
from minipeft.core.modules import alike, tensor_kind

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
class Layer:
    """A layer that ran: what it was given and of which kind that is, its inputs, what it saved.

    times: how many layers it stands for, with the equal ones after it.
    """

    given: list[Any]
    kind: list[Any]
    inputs: Storages
    saved: Storages = field(default_factory=dict)
    output: Any = None
    times: int = 1


@dataclass
class SavedTensors:
    """Collects the storages that autograd saves, and for each layer its own.

    own: the storages of parameters and buffers. kept: what is saved outside of layers.
    """

    own: Storages
    kept: Storages = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    rows: int = 0

    def __post_init__(self) -> None:
        self.current = self.kept

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """A block within which what is saved is collected."""
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor)

    def pack(self, tensor: Tensor) -> Tensor:
        """The hook of torch.autograd.graph.saved_tensors_hooks."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            self.current[storage._cdata] = storage
        return tensor

    def watch(self, layers: list[nn.Module]) -> None:
        """From now on run these layers by `through`; equal ones in a row have one number."""
        changes = [not alike(one, other) for one, other in pairwise(layers)]
        for layer, number in zip(layers, accumulate([0, *changes]), strict=False):
            layer.forward = partial(self.through, number, layer.forward)

    def through(self, number: int, forward: Callable, *args: Any, **options: Any) -> Any:
        """What a layer gives back; after two equal ones that were given alike, the same again.

        Of these two the first saved what all share, such as a mask, and so the second did not.
        """
        given = tree_leaves((args, options))
        made = tree_leaves([one.output for one in self.layers[-1:]])
        passed_on = {id(x) for x in made if isinstance(x, Tensor)}
        kinds = [tensor_kind(x) if id(x) in passed_on else id(x) for x in given]
        kind = [number, len(self.kept), *kinds]
        if [one.kind for one in self.layers[-2:]] == [kind, kind]:
            self.layers[-1].times += 1
            return self.layers[-1].output
        x = args or (options.get("hidden_states"),)
        x = [t for t in x if isinstance(t, Tensor) and t.is_floating_point()]
        self.rows = max([self.rows, *(t.shape[:-1].numel() for t in x[:1])])
        self.layers.append(layer := Layer(given, kind, storages(x)))
        self.current = layer.saved
        layer.output = forward(*args, **options)
        self.current = self.kept
        if not torch.is_grad_enabled():
            caches = [one for one in given if hasattr(one, "get_seq_length")]
            layer.saved |= storages(tensors_in(caches))
        return layer.output

    def bytes(self) -> tuple[int, int, int]:
        """(kept, inputs, layer) as in Run."""
        kept = inputs = most = 0
        saved: Storages = {}
        given: Storages = {}
        for one in self.layers:
            kept += one.times * total(one.saved, but=saved)
            inputs += one.times * total(one.inputs, but=given)
            most = max(most, total(one.saved, but=one.inputs))
            saved |= one.saved
            given |= one.inputs
        return kept + total(self.kept, but=saved), inputs + total(self.kept, but=given), most


def storages(tensors: Any) -> Storages:
    """The memory behind these tensors, each piece once."""
    found = (tensor.untyped_storage() for tensor in tensors)
    return {storage._cdata: storage for storage in found}


def total(found: Storages, but: Storages) -> int:
    """Bytes of those that aren't in `but`."""
    return sum(storage.nbytes() for key, storage in found.items() if key not in but)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The transformer layers, as checkpointing sees them: elements of the outermost lists."""
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [m for n, m in lists.items() if not any(n.startswith(f"{other}.") for other in lists)]
    return [layer for list_ in outer for layer in list_]


def run(model: nn.Module, setup: TrainingSetup, gpu: bool) -> Run:
    """One forward pass on the meta device: with its loss, or of a text and the cache it leaves."""
    inputs, training = inputs_for(model, setup), setup.training
    getattr(model, "gradient_checkpointing_disable", lambda: None)()  # `inputs` says what it keeps
    if hasattr(model.config, "use_cache") and not (training and hasattr(model, "prompt_encoder")):
        model.config.use_cache = not training  # an unread cache would copy keys and values
    if not training and hasattr(model, "new_cache"):
        inputs["past_key_values"] = model.new_cache()
    saved = SavedTensors(storages([*model.parameters(), *model.buffers()]))
    saved.watch(layers_of(model.train(training)))
    kernels = Kernels(gpu, setup.attention == "eager")
    with torch.set_grad_enabled(training), without_autocast(), kernels, saved.hooks():
        logits = logits_of(model, model(**inputs))
    kept, inputs, layer = saved.bytes()
    if not training:
        size = sum(one.nbytes for one in logits)
        return Run(cache=kept, by_loss=size, logits=size)
    by_loss, size = SavedTensors(saved.own), 0
    with by_loss.hooks():
        for one in logits:
            # transformers' losses compute in 32 bits
            answers = one.float() if hasattr(type(model), "loss_function") else one
            answers = answers.flatten(0, -2)
            F.cross_entropy(answers, torch.zeros(len(answers), dtype=torch.int64, device="meta"))
            size += answers.nbytes
    return Run(kept, inputs, layer, by_loss.bytes()[0], size, saved.rows)


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
