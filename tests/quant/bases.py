"""A tiny Llama of transformers, and the same in four bits: in ours, in bitsandbytes', or undone."""

import tempfile
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

import minipeft
from minipeft.quant import Linear4bit

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = torch.randint(40, (2, 9), generator=torch.Generator().manual_seed(4))  # (batch, length)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def llama(dtype: torch.dtype = torch.float32, layers: int = 2) -> LlamaForCausalLM:
    """The same random model each time; rows are whole blocks, for bitsandbytes on a CPU."""
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        attn_implementation="eager",
        use_cache=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return model.to(dtype)


def in_ours(model: nn.Module, **options) -> nn.Module:
    return minipeft.quantize_model(model, **options)


def in_bitsandbytes(
    model: LlamaForCausalLM, double_quant: bool = True, compute_dtype: torch.dtype | None = None
) -> nn.Module:
    """As transformers puts a checkpoint into bitsandbytes' layers."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=compute_dtype or model.dtype,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return LlamaForCausalLM.from_pretrained(
            folder,
            quantization_config=config,
            device_map=str(model.device),
            dtype=model.dtype,
            attn_implementation="eager",
        ).train()  # in training mode it never repacks for a CPU


def undone(model: nn.Module, **options) -> nn.Module:
    """Dense layers again, with what four bits have left of their weights."""
    return replaced(in_ours(model, **options), dense_twin)


def dense_twin(layer: Linear4bit) -> nn.Linear:
    twin = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    twin.weight, twin.bias = nn.Parameter(layer.dequantize()), layer.bias
    return twin


def replaced(model: nn.Module, twin: Callable[[Linear4bit], nn.Module]) -> nn.Module:
    for path, layer in list(model.named_modules()):
        if isinstance(layer, Linear4bit):
            model.set_submodule(path, twin(layer))
    return model


def logits(model: nn.Module) -> torch.Tensor:
    """(batch, length, vocabulary)"""
    return model(input_ids=TOKENS.to(next(model.parameters()).device)).logits


def loss(model: nn.Module) -> torch.Tensor:
    answers = logits(model)
    return answers.square().mean() + answers.sin().mean()
