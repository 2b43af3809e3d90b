"""Cells for a GPU: they say first what they will take, and run only where that much is free.

    attempt("QLoRA on LLaMA-7B", budget.needed_bytes, step)

`random_qlora` and `two_steps` are what such cells run, on a CPU as on a GPU: random weights take
the same bytes. What a GPU measured is shipped with its name; `recorded` shows it. To make the file:

    python -m benchmarks.qlora_memory --device cuda --out minipeft/course/data/gpu.json
    python -m benchmarks.qlora_step --device cuda --out minipeft/course/data/gpu.json
"""

import json
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from minipeft.budget.fits import both
from minipeft.course.base import DATA
from minipeft.methods.lora import LoraConfig
from minipeft.model import PeftModel, get_peft_model
from minipeft.models.llama import Llama, LlamaConfig
from minipeft.quant import PagedAdamW
from minipeft.quant.model import quantize_model
from minipeft.shapes.architectures import Architecture

Result = TypeVar("Result")
RECORDED = "gpu.json"
NONE_YET = "Not measured yet: this course ships no results of a GPU. What is above is predicted."


def free_bytes() -> int | None:
    """The free memory of the GPU in use; None where there is none."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.empty_cache()  # what an earlier cell has let go
    return torch.cuda.mem_get_info()[0]


def attempt(what: str, needed: int, run: Callable[[], Result]) -> Result | None:
    """Print the predicted peak of `run`, then call it if a GPU has that many bytes free.

    Returns what `run` returns, or None where it was not called. Lines that depend on the machine
    begin with "This machine:", so that tests can skip them.
    """
    print(f"{what}: a predicted peak of {both(needed)}")
    free = free_bytes()
    if free is None:
        print("This machine: there is no GPU, so this cell ends here.")
        return None
    if free < needed:
        print(f"This machine: its GPU has {both(free)} free, too little, so this cell ends here.")
        return None
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)  # a GPU's fast kernels are not
    try:
        return run()
    finally:
        torch.use_deterministic_algorithms(strict)


def random_qlora(architecture: Architecture, r: int, device: str, dtype: torch.dtype) -> PeftModel:
    """A Llama of this shape with random weights in NF4, and LoRA of rank r on all linear layers.

    Each block is put into four bits before the next is made, so there is never more than one dense
    block. Embeddings, norms and head are in `dtype`; blocks are checkpointed.
    """
    with torch.device("meta"):
        model = Llama(LlamaConfig(**architecture.fields)).to(dtype)
    blocks = list(model.model.layers)
    for part in (*blocks, model.model.embed_tokens, model.model.norm, model.lm_head):
        part.to_empty(device=device)
        for weight in part.parameters():
            nn.init.normal_(weight, std=0.02) if weight.ndim > 1 else nn.init.ones_(weight)
        if part in blocks:
            quantize_model(part, skip=[], compute_dtype=dtype)
    model.gradient_checkpointing_enable()
    config = LoraConfig(r=r, lora_alpha=16, target_modules="all-linear")
    return get_peft_model(model, config).train()


def two_steps(model: nn.Module, length: int) -> PagedAdamW:
    """Train on two random texts of `length` tokens; the optimizer, with its states."""
    device = next(model.parameters()).device
    optimizer = PagedAdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    for _ in range(2):
        tokens = torch.randint(model.config.vocab_size, (1, length), device=device)
        logits = model(tokens)[:, :-1].flatten(0, 1)  # (length - 1, vocabulary)
        F.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def recorded(file: str = RECORDED) -> list[str]:
    """What benchmarks measured on a GPU, a line each, its device and versions first."""
    path = DATA / file
    if not path.is_file():
        return [NONE_YET]
    record = json.loads(path.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = [row for part in record["parts"].values() for row in part]
    return [f"Recorded on {record['machine']['device']}, {versions}:", *map(_line, rows)]


def _line(row: dict) -> str:
    if row["ours"] is None:
        return f"{row['what']}: {row['note']}"
    ours = _amount(row["ours"]["median"], row["unit"])
    if row["other"] is None:
        return f"{row['what']}: {ours}"
    return f"{row['what']}: {ours}, {row['against']} {_amount(row['other']['median'], row['unit'])}"


def _amount(value: float, unit: str) -> str:
    return f"{value / 1e9:.2f} GB" if unit == "bytes" else f"{1000 * value:.0f} ms"
