"""The rows of the byte ledger: each a number of bytes, and what is counted."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from minipeft.budget.saved_tensors import Run, estimated, run
from minipeft.budget.training_setup import DTYPES, TrainingSetup
from minipeft.core.adapter import Adapter
from minipeft.core.config import PeftConfig, nearest_config
from minipeft.core.linear import is_4bit, is_linear, shape_of
from minipeft.core.meta_adapter import beside_base, meta_adapter, meta_copy
from minipeft.interop.files import file_bytes
from minipeft.quant.model import layers_to_quantize, packed, prepare_model_for_kbit_training
from minipeft.shapes.meta_model import MetaModel
from minipeft.shapes.naming import model_for
from minipeft.shapes.published import config_of, find_architecture

Row = tuple[str, int, str]  # its name, its bytes, and what is counted


class Ledger:
    """What one training setup takes for one model and config.

    Raises ValueError or TypeError where the three don't go together.
    """

    def __init__(self, wanted: Any, config: PeftConfig | None, setup: TrainingSetup) -> None:
        real = isinstance(wanted, nn.Module)
        if real:
            config_of(wanted)
        setup = setup.on({} if real else find_architecture(wanted).fields)
        if setup.training and setup.quantization and config is None:
            raise ValueError(
                f"quantization={setup.quantization!r} freezes the weights, so nothing would be "
                f"trained; give a config ({nearest_config(None)}), or choose training=False"
            )
        self.setup = setup
        self.model = model_for(wanted, config, run=True)
        self.head = getattr(self.model, "get_output_embeddings", lambda: None)()
        self.gpu = not (real and next(wanted.parameters()).device.type == "cpu")
        self.model.to(DTYPES.get(setup.dtype or (None if real else "bfloat16")))
        if setup.quantization:
            quantize_meta(self.model, setup)
        if setup.prepared:
            prepare_model_for_kbit_training(self.model, use_gradient_checkpointing=False)
        self.packed = [module for module in self.model.modules() if is_4bit(module)]
        floating = (p for p in self.model.parameters() if p.is_floating_point())
        self.dtype = next(floating).dtype  # of hidden states, too
        self.weights = size(self.model.parameters())
        self.constants = size(buffer for layer in self.packed for buffer in layer.buffers())
        self.adapter = None if config is None else self.attached(config)
        held = self.model.parameters() if config is None else self.held()
        trained = {id(t): t for t in held if t.requires_grad and setup.training}
        self.trained = list(trained.values())
        self.run = self.measured()

    def under(self, setup: TrainingSetup) -> "Ledger | None":
        """The same model and run under another setup; None if that asks for another run."""
        changed = {key for key, value in vars(setup).items() if value != getattr(self.setup, key)}
        if changed - {"optimizer", "checkpointing", "gradient_dtype", "state_dtype", "master_copy"}:
            return None
        twin = copy.copy(self)
        twin.setup = setup
        return twin

    def attached(self, config: PeftConfig) -> Adapter:
        """The adapter, attached to the frozen model."""
        adapter = meta_adapter(self.model, config)
        for module in beside_base(adapter):
            module.to(DTYPES.get(self.setup.adapter_dtype))
        self.model.requires_grad_(False)
        adapter.attach()
        return adapter

    def measured(self) -> Run:
        """The forward pass; a closed formula where the model can't be run on the meta device."""
        why = "transformers, which would build it, isn't installed"
        if not isinstance(self.model, MetaModel):
            try:
                return run(self.model, self.setup, self.gpu)
            except Exception as error:  # code of transformers that looks at numbers
                if type(self.model).__module__.startswith("minipeft."):
                    raise
                why = f"{type(self.model).__name__} can't be run without numbers: {error}"
        answers = self.setup.batch * self.setup.answer_length
        logits = 0 if self.head is None else answers * shape_of(self.head)[0]
        return estimated(self.model.config, self.setup, self.dtype.itemsize, logits, why)

    def rows(self) -> Iterator[Row]:
        """All rows, in order; those that this setup doesn't have are 0."""
        wide = f"{self.dtype.itemsize} bytes each ({str(self.dtype)[6:]})"
        if self.packed:
            wide = f"linear layers 4 bits each, the rest {wide}"
            if self.dtype.itemsize == 2:
                wide += "; prepare_model_for_kbit_training makes that 4: prepared=True"
        yield "weights", self.weights, wide
        yield "quantization constants", self.constants, "an absmax for each 64 weights"
        yield "adapter", size(self.held()), "what stands beside the base, its own dtypes"
        yield from self.states()
        yield from self.passes()
        yield "key/value cache", self.run.cache, f"{str(self.dtype)[6:]}; only while generating"
        file = 0 if self.adapter is None else file_bytes(self.adapter.state_dict())
        yield "adapter file", file, "adapter_model.safetensors: on disk, not in the total"

    def held(self) -> list[Tensor]:
        """All that the adapter holds beside the base, trained or not."""
        if self.adapter is None:
            return []
        buffers = [b for module in beside_base(self.adapter) for b in module.buffers()]
        return [parameter for _, parameter in self.adapter.named_parameters()] + buffers

    def states(self) -> Iterator[Row]:
        """What the optimizer works with, for each trained number."""
        setup, tensors = self.setup, self.trained
        width = DTYPES[setup.gradient_dtype].itemsize if setup.gradient_dtype else None
        gradients = sum(t.numel() * (width or t.itemsize) for t in tensors)
        note = "as wide as what is trained" if width is None else f"{width} bytes each"
        yield "gradients", gradients, note
        note = f"{setup.optimizer}, means in {setup.state_dtype}"
        yield "optimizer", setup.state_bytes(tensors), note
        narrow = [t for t in tensors if t.itemsize == 2] if setup.master_copy else []
        yield "master copy", 4 * sum(t.numel() for t in narrow), "4 bytes each, if asked for"

    def passes(self) -> Iterator[Row]:
        """What a forward and a backward pass keep in memory for a while."""
        setup, run = self.setup, self.run
        how = "each layer's input" if setup.checkpointing else "all that backward reads"
        how += f", {setup.attention} attention"
        kept = run.inputs if setup.checkpointing else run.kept
        yield "activations", kept, f"an estimate: {run.estimate}" if run.estimate else how
        layer = run.layer if setup.checkpointing else 0
        yield "recomputation", layer, "one checkpointed layer, while it is made again"
        note = "their logarithms, kept by the loss" if setup.training else "of every token read"
        yield "logits", run.by_loss, note
        note = "logits and gradients on their way, a matrix out of 4 bits: the most at once"
        yield "temporary", max(self.at_the_loss(), self.in_a_layer()), note
        yield "optimizer step", self.in_a_step(), "torch's copy of v; adamw_fused has none"

    def at_the_loss(self) -> int:
        """As the backward pass begins: the logits, their gradient and that of their logarithms."""
        return 3 * self.run.logits if self.setup.training else 0

    def in_a_layer(self) -> int:
        """The logits still, two gradients as wide as the MLP, and a matrix out of 4 bits."""
        numbers = max((one.in_features * one.out_features for one in self.packed), default=0)
        if not self.setup.training:
            return numbers * self.dtype.itemsize
        layers = (m for m in self.model.modules() if is_linear(m) and m is not self.head)
        widest = max((shape_of(layer)[0] for layer in layers), default=0)
        return (numbers + 2 * self.run.rows * widest) * self.dtype.itemsize + self.run.logits

    def in_a_step(self) -> int:
        """What torch's AdamW makes of v: for all tensors at once on a GPU, else for one."""
        numbers = [tensor.numel() for tensor in self.trained]
        if self.setup.optimizer != "adamw" or not numbers:
            return 0
        return self.setup.state_width * (sum(numbers) if self.gpu else max(numbers))

    def moments(self, rows: dict[str, int]) -> dict[str, dict[str, int]]:
        """What is there at three moments of a step, by row; gradients are dropped after each step.

        The backward pass uses up activations and makes gradients, so that both are never there in
        full, unless steps are accumulated: of the gradients, what goes beyond them is counted.
        """
        stay = ("weights", "quantization constants", "adapter", "optimizer", "master copy")
        fixed = {name: rows[name] for name in (*stay, "key/value cache")}
        beyond = max(0, rows["gradients"] - rows["activations"])
        changing = {
            "at the loss": {
                "activations": rows["activations"],
                "logits": rows["logits"],
                "temporary": self.at_the_loss(),
            },
            "in the backward pass": {
                "gradients": beyond,
                "activations": rows["activations"],
                "recomputation": rows["recomputation"],
                "temporary": self.in_a_layer(),
            },
            "at the optimizer's step": {
                "gradients": rows["gradients"],
                "optimizer step": rows["optimizer step"],
                "temporary": self.run.logits,
            },
        }
        return {moment: fixed | there for moment, there in changing.items()}


def quantize_meta(model: nn.Module, setup: TrainingSetup) -> None:
    """quantize_model on the meta device, quicker: layers of one shape are like the first."""
    made: dict[tuple, nn.Module] = {}
    for path in layers_to_quantize(model, list(setup.skip)):
        layer = model.get_submodule(path)
        kind = (*shape_of(layer), layer.weight.dtype, layer.bias is not None)
        if kind not in made:
            made[kind] = packed(path, layer, {"double_quant": setup.quantization == "nf4_double"})
        model.set_submodule(path, twin := meta_copy(made[kind]))
        twin.bias = layer.bias


def size(tensors: Iterable[Tensor]) -> int:
    """The bytes of these tensors, each once."""
    return sum({id(tensor): tensor.numel() * tensor.itemsize for tensor in tensors}.values())
