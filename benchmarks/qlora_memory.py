"""Does a QLoRA training step of 65 billion weights fit into 48 GB, and was its peak predicted?

    python -m benchmarks.qlora_memory [--device cuda] [--out results.json]

Llamas of 7, 13 and 65 billion weights, made at random and put into four bits one decoder layer at a
time, on the GPU itself; LoRA of rank 64 on all linear layers, PagedAdamW, gradient checkpointing,
one text of 512 tokens. All of the GPU but 48 GB is taken before, so what needs more fails, and the
optimizer's states have to leave when there is no room. Measured is what tensors allocate at most;
paged states are no part of that, nor of the prediction beside it. On a processor a tiny model is
measured, and for the large ones it says what is predicted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import minipeft
from benchmarks.memory import Peak, held_by, peak
from benchmarks.models import LINEAR, Place
from benchmarks.record import Options, Row, counted, main
from minipeft.budget import Architecture, MemoryBudget, memory_budget
from minipeft.core.modules import WithoutInitialization
from minipeft.models.llama import Llama, LlamaConfig

ROOM = 48 * 10**9  # bytes


@dataclass(frozen=True)
class Shape:
    """A Llama and the text it is trained on."""

    name: str
    width: int
    layers: int
    inner: int
    vocabulary: int = 32000
    length: int = 512
    rank: int = 64

    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.width // 128),
        )

    def lora(self) -> minipeft.LoraConfig:
        return minipeft.LoraConfig(r=self.rank, lora_alpha=16, target_modules=LINEAR)

    def budget(self, dtype: torch.dtype) -> MemoryBudget:
        """What is predicted, from the shape alone."""
        return memory_budget(
            Architecture.from_config(self.config().to_dict()),
            self.lora(),
            batch=1,
            length=self.length,
            optimizer="paged_adamw",
            checkpointing=True,
            quantization="nf4_double",
            dtype=str(dtype).removeprefix("torch."),
        )


TINY = Shape("tiny Llama", 256, 3, 512, vocabulary=512, length=64, rank=8)
SMALL = Shape("small Llama", 1024, 4, 2816, vocabulary=1024, length=256)
LARGE = (
    Shape("7B", 4096, 32, 11008),
    Shape("13B", 5120, 40, 13824),
    Shape("65B", 8192, 80, 22016),
)


def rows(options: Options) -> Iterator[Row]:
    """Each shape's peak against the predicted one, and against the room there is."""
    if options.tiny or not options.cuda:
        yield from measured(TINY if options.tiny else SMALL, options)
    for shape in LARGE:
        if options.cuda and not options.tiny:
            with only(ROOM, options):
                yield from measured(shape, options)
        else:
            yield predicted(shape)


def predicted(shape: Shape) -> Row:
    """On a GPU, whose numbers have 16 bits."""
    budget = shape.budget(torch.bfloat16)
    needed, paged = budget.needed_bytes / 1e9, budget.paged_bytes / 1e9
    note = f"needs a GPU; predicted are {needed:.2f} GB, and {paged:.2f} GB that may be paged out"
    return Row(f"QLoRA step, {shape.name}", "48 GB", note=note)


def measured(shape: Shape, options: Options) -> Iterator[Row]:
    """The peak of the second step, when the optimizer's states are there."""
    what = f"QLoRA step's peak memory, {shape.name}"
    try:
        found = step_peak(shape, options)
    except torch.cuda.OutOfMemoryError as error:
        yield Row(what, "48 GB", note=f"it doesn't fit: {error}")
        return
    needed = shape.budget(options.dtype).needed_bytes
    limit = None if shape is TINY else 1.10
    yield counted(what, found.total, needed, "memory_budget", limit, None)
    if shape in LARGE:
        yield counted(what, found.total, ROOM, "48 GB", 1.00, None)


def step_peak(shape: Shape, options: Options) -> Peak:
    """Of the model, its adapter and what a step needs; the states of large tensors page."""
    base = random_llama(shape.config(), options.place)
    base.gradient_checkpointing_enable()
    model = minipeft.get_peft_model(base, shape.lora()).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = minipeft.PagedAdamW(trained, lr=2e-4)
    tokens = torch.randint(shape.vocabulary, (1, shape.length), device=options.device)

    def step() -> None:
        logits = model(tokens)[:, :-1].flatten(0, 1)  # (length - 1, vocabulary)
        F.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the optimizer's states
    return peak(step, [*held_by(model), *states(optimizer)], options.device)


def random_llama(config: LlamaConfig, place: Place) -> nn.Module:
    """In four bits, made one layer at a time: nowhere is there more than one dense layer."""
    torch.manual_seed(0)
    with torch.device("meta"), WithoutInitialization():
        model = Llama(config).to(place.dtype)
    for part in (*model.model.layers, model.model.embed_tokens, model.model.norm, model.lm_head):
        part.to_empty(device=place.device)
        for parameter in part.parameters():
            if parameter.dim() == 1:
                nn.init.ones_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)
        if part is not model.lm_head and next(part.children(), None) is not None:
            minipeft.quantize_model(part, skip=[], compute_dtype=place.dtype)
    return model


def states(optimizer: minipeft.PagedAdamW) -> Iterator[Tensor]:
    """Those that don't page."""
    for parameter, state in optimizer.state.items():
        if not optimizer.pages(parameter):
            yield from (value for value in state.values() if isinstance(value, Tensor))


@contextmanager
def only(room: int, options: Options) -> Iterator[None]:
    """Take all of the GPU but `room` bytes; what is left is for tensors, paged states and all."""
    torch.zeros(1, device=options.device)  # CUDA itself takes some, too
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(options.device)
    taken = torch.empty(max(0, free - room), dtype=torch.uint8, device=options.device)
    yield
    del taken


if __name__ == "__main__":
    main("qlora_memory", rows, __doc__)
