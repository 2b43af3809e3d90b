"""Checkpoints straight to four bits, and four-bit checkpoints to and from transformers."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import minipeft
from minipeft.models.llama import Llama, LlamaConfig, load_pretrained
from minipeft.quant import Linear4bit
from tests.closeness import assert_close
from tests.core.snapshots import assert_says

from .bases import TOKENS, in_bitsandbytes, llama, logits

CASES = {
    "untied": ("Llama", {}),
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "biases": ("Qwen2", {}),
    "all biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
}
SHARDED = {"max_shard_size": "6KB"}  # a tensor or two in each


def save(folder, family="Llama", changes=None, dtype=torch.float32, **options):
    """A tiny model of a family in a folder."""
    sizes = llama().config.to_dict() | (changes or {})
    config = getattr(transformers, f"{family}Config")(
        **{name: sizes[name] for name in sizes if name not in ("model_type", "architectures")}
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).to(dtype)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(folder, **options)
    return model


def assert_same_state(ours: nn.Module, theirs: nn.Module) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == other.keys()
    for name, tensor in other.items():
        assert mine[name].dtype == tensor.dtype, name
        assert torch.equal(mine[name], tensor), name


@pytest.mark.parametrize("kind", [str, lambda folder: folder])
@pytest.mark.parametrize("options", [{}, SHARDED], ids=["whole", "sharded"])
@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_straight_to_four_bits(tmp_path, case, options, kind):
    save(tmp_path, *CASES[case], **options)
    straight = minipeft.quantize_model(kind(tmp_path))
    assert_same_state(straight, minipeft.quantize_model(load_pretrained(tmp_path)))
    tied = straight.lm_head.weight is straight.model.embed_tokens.weight
    assert tied == (case == "tied")
    assert not straight.training
    assert straight(TOKENS).isfinite().all()


def test_dtypes_and_options_of_a_checkpoint(tmp_path):
    """What stays dense has the compute dtype; without one it has 32 bits."""
    save(tmp_path, dtype=torch.bfloat16, **SHARDED)
    options = {"compute_dtype": torch.bfloat16, "skip": ["lm_head", "v_proj"], "block_size": 32}
    straight = minipeft.quantize_model(tmp_path, double_quant=False, **options)
    dense = load_pretrained(tmp_path, dtype=torch.bfloat16)
    assert_same_state(straight, minipeft.quantize_model(dense, double_quant=False, **options))
    assert straight.model.layers[0].self_attn.v_proj.weight.dtype == torch.bfloat16
    layer = straight.model.layers[1].mlp.up_proj
    assert (layer.compute_dtype, layer.quantized.dtype) == (torch.bfloat16, torch.bfloat16)
    assert minipeft.quantize_model(tmp_path).model.norm.weight.dtype == torch.float32


def test_a_bar_while_reading(tmp_path, capsys):
    save(tmp_path, **SHARDED)
    minipeft.quantize_model(tmp_path, progress=True)
    assert "14/14" in capsys.readouterr().err


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ours_opens_in_transformers(tmp_path, dtype, double_quant):
    """As a 4-bit checkpoint of its own, through bitsandbytes."""
    ours = minipeft.quantize_model(llama(dtype), double_quant=double_quant)
    theirs = in_bitsandbytes(llama(dtype), double_quant)
    theirs.config.save_pretrained(tmp_path)
    save_file(ours.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    opened = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path, device_map="cpu", dtype=dtype, attn_implementation="eager"
    )
    assert "bitsandbytes" in type(opened.model.layers[0].mlp.up_proj).__module__
    assert_same_state(opened, ours)
    if dtype == torch.float32:  # llama() rounds the rotary frequencies, from_pretrained doesn't
        assert torch.equal(logits(opened.train()), logits(ours.train()))


@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("own", [False, True], ids=["transformers' Llama", "our Llama"])
def test_transformers_opens_in_ours(tmp_path, own, double_quant):
    theirs = in_bitsandbytes(llama(), double_quant)
    theirs.save_pretrained(tmp_path)
    with torch.device("meta"):
        if own:
            ours = Llama(LlamaConfig.from_config(llama().config.to_dict()))
        else:
            ours = transformers.LlamaForCausalLM(llama().config)
    minipeft.quantize_model(ours)
    ours.load_state_dict(load_file(tmp_path / "model.safetensors"), assign=True)
    assert_same_state(ours, theirs)
    assert isinstance(ours.model.layers[0].mlp.up_proj, Linear4bit)
    if own:  # transformers' rotary frequencies are still on the meta device
        assert_close(ours(TOKENS), logits(theirs))


def broken(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t[NAME].__setitem__((2, 3), torch.nan), ["layers.1.mlp.up_proj", "(2, 3)"]),
        (lambda t: t.pop(NAME), ["lacks 1", NAME]),
        (lambda t: t.update({NAME: t[NAME][1:].clone()}), [NAME, "(127, 64)", "(128, 64)"]),
        (lambda t: t.update({"up_prj.weight": torch.zeros(1)}), ["up_prj.weight", "nearest"]),
    ],
)
def test_a_checkpoint_that_cannot_be_read(tmp_path, edit, words):
    save(tmp_path)
    broken(tmp_path, edit)
    with pytest.raises(ValueError) as error:
        minipeft.quantize_model(tmp_path)
    assert_says(error, *words)


def test_wrong_options_are_found_before_a_tensor_is_read(tmp_path, monkeypatch):
    save(tmp_path, *CASES["tied"])
    monkeypatch.setattr("minipeft.models.checkpoint.StoredTensor.read", None)  # a call would fail
    for options, words in (
        ({"block_size": 0}, ["block_size=0"]),
        ({"skip": ["q_porj"]}, ["skip='q_porj'", "'q_proj'"]),
        ({"skip": []}, ["lm_head", "model.embed_tokens", "skip"]),
    ):
        with pytest.raises(ValueError) as error:
            minipeft.quantize_model(tmp_path, **options)
        assert_says(error, *words)


def test_a_checkpoint_that_is_not_there_or_in_four_bits_already(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        minipeft.quantize_model(tmp_path / "nowhere")
    in_bitsandbytes(llama()).save_pretrained(tmp_path)
    assert "quantization_config" in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(ValueError, match="quantized"):
        minipeft.quantize_model(tmp_path)
