"""What is measured: random Llamas of transformers, the same in every library, and their steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Size:
    """A Llama and a batch for it. The feed-forward part is 2.75 times as wide, unless told."""

    width: int
    layers: int
    batch: int
    length: int
    vocabulary: int = 1024
    inner: int | None = None

    def __str__(self) -> str:
        return f"{self.model}, batch {self.batch} x {self.length}"

    @property
    def model(self) -> str:
        return f"d={self.width} L={self.layers}"

    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            intermediate_size=self.inner or self.width * 11 // 4,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.width // (64 if self.width < 2048 else 128)),
            max_position_embeddings=max(2048, self.length),
            attn_implementation="sdpa",
            use_cache=False,
        )


SMALL = Size(256, 4, 8, 64)
LARGE = Size(1024, 4, 2, 256)
TINY = Size(64, 2, 2, 8, vocabulary=64, inner=128)


@dataclass(frozen=True)
class Place:
    """Where models live, and in which precision."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def llama(self, size: Size) -> LlamaForCausalLM:
        """The same random model each time."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)  # so that it never takes twice its bytes
        torch.manual_seed(0)
        try:
            with torch.device(self.device):
                return LlamaForCausalLM(size.config())
        finally:
            torch.set_default_dtype(before)

    def twins(self, size: Size) -> Callable[[], tuple[nn.Module, nn.Module]]:
        """What makes two equal bases, one for each library."""
        return lambda: (self.llama(size), self.llama(size))

    def tokens(self, size: Size) -> Tensor:
        """Random token ids (batch, length)."""
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randint(size.vocabulary, (size.batch, size.length), generator=generator)
        return drawn.to(self.device)


class Step:
    """A training step: loss, backward, AdamW, and what the method does after each step.

    update: False leaves AdamW out.
    """

    def __init__(self, model: nn.Module, tokens: Tensor, update: bool = True) -> None:
        self.model, self.tokens, self.number = model.train(), tokens, 0
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        update = update and bool(self.trained)
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4) if update else None

    def loss(self) -> Tensor:
        return self.model(input_ids=self.tokens, labels=self.tokens).loss

    def __call__(self) -> None:
        self.loss().backward()
        if self.optimizer is not None:
            self.optimizer.step()
        self.number += 1
        if hasattr(self.model, "update_and_allocate"):  # peft's has it for AdaLoRA alone
            self.model.update_and_allocate(self.number)
        for parameter in self.trained:
            parameter.grad = None


class Forward:
    """A forward pass without gradients, in eval mode -> logits."""

    def __init__(self, model: nn.Module, tokens: Tensor, **options: Any) -> None:
        self.model, self.tokens, self.options = model.eval(), tokens, options

    @torch.no_grad()
    def __call__(self) -> Tensor:
        return self.model(input_ids=self.tokens, **self.options).logits


def frozen_base(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The floor of every adapter: nothing is trained, but gradients pass through all layers."""
    model.requires_grad_(False)
    model.enable_input_require_grads()
    return model


def check_same(ours: Step, theirs: Step, dtype: torch.dtype) -> None:
    """Raise RuntimeError unless both compute the same loss: else there is nothing to compare."""
    with torch.no_grad():
        mine, other = ours.loss().item(), theirs.loss().item()
    if not abs(mine - other) <= (1e-4 if dtype == torch.float32 else 2e-2) * abs(other):
        raise RuntimeError(f"the losses differ: {mine} here, {other} there")
