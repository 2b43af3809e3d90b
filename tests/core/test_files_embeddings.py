"""Embeddings of the base in a file of peft: a frozen copy is left unread, other numbers are not."""

import copy

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import minipeft
from minipeft.command.inspect import inspect_adapter
from tests.closeness import assert_close

from .exchange import WEIGHTS, open_in_peft
from .models import VOCABULARY, build, logits
from .peers import quiet, scramble, trained_by_peft, wrap_theirs
from .snapshots import assert_says, unchanged
from .test_tied import tied

HEAD = "base_model.model.lm_head.base_layer.weight"
CASES = {  # options of the adapter; what peft's save_pretrained gets
    "head adapted": ({"target_modules": ["q_proj", "lm_head"]}, {}),
    "by regex": ({"target_modules": r".*(v_proj|lm_head)"}, {}),
    "biases": ({"target_modules": ["q_proj", "lm_head"], "bias": "all"}, {}),
    "beside a saved one": (
        {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["embed_tokens"]},
        {},
    ),
    "asked for": ({"target_modules": ["q_proj"]}, {"save_embedding_layers": True}),
    "asked for, saved": (
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        {"save_embedding_layers": True},
    ),
}


def by_peft(folder, base: nn.Module, options: dict, **saving: object) -> torch.Tensor:
    """Write an adapter of peft, and give the logits of what peft itself opens."""
    theirs = wrap_theirs(copy.deepcopy(base), {"r": 2} | options)
    scramble(trained_by_peft(theirs))
    with quiet():
        theirs.save_pretrained(folder, **saving)
    return logits(open_in_peft(copy.deepcopy(base), folder))


def fields(base: nn.Module) -> dict:
    return base.config.to_dict() | {"architectures": [type(base).__name__]}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("base", ["llama", "gpt2", "tied"])
def test_a_file_with_the_base_s_own_embeddings_opens(base, name, tmp_path):
    options, saving = copy.deepcopy(CASES[name])
    base = tied() if base == "tied" else build(base)
    if type(base).__name__.startswith("GPT2"):
        own = {"q_proj": "c_attn", "embed_tokens": "wte"}
        options = {
            option: [own.get(name, name) for name in value] if isinstance(value, list) else value
            for option, value in options.items()
        }
        options["target_modules"] = (
            options["target_modules"] if name != "by regex" else r".*(c_attn|lm_head)"
        )
    right = by_peft(tmp_path, base, options, **saving)
    report = inspect_adapter(tmp_path, fields(base))
    assert report.fits, report.table()
    ours = minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_close(logits(ours), right)
    saved = set(options.get("modules_to_save", []))
    held = ours.peft_config["default"].modules_to_save or []
    assert {path.rpartition(".")[2] for path in held} == saved


def test_several_adapters_bring_the_same_head(tmp_path):
    options = {"r": 2, "target_modules": ["q_proj", "lm_head"]}
    theirs = wrap_theirs(build("llama"), options)
    theirs.add_adapter("other", peft.LoraConfig(**options, init_lora_weights=False))
    with quiet():
        theirs.save_pretrained(tmp_path)
    ours = minipeft.PeftModel.from_pretrained(build("llama"), tmp_path)
    ours.load_adapter(tmp_path / "other", "other")
    for name in ("default", "other"):
        ours.set_adapter(name)
        theirs.set_adapter(name)
        assert_close(logits(ours), logits(theirs.eval()), name)
    state = load_file(tmp_path / "other" / WEIGHTS)
    assert HEAD in state
    minipeft.set_peft_model_state_dict(ours, state, "other")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_the_base_in_another_dtype(dtype, tmp_path):
    by_peft(tmp_path, build("llama"), {"target_modules": ["lm_head"]})
    minipeft.PeftModel.from_pretrained(build("llama").to(dtype), tmp_path)


def test_a_head_in_four_bits(tmp_path):
    """The file's dense weight is the one that was quantized; another one is refused."""
    by_peft(tmp_path, build("llama"), {"target_modules": ["lm_head"]})
    minipeft.PeftModel.from_pretrained(minipeft.quantize_model(build("llama"), skip=[]), tmp_path)
    other = minipeft.quantize_model(build("llama", seed=1), skip=[])
    with pytest.raises(ValueError, match="lm_head"):
        minipeft.PeftModel.from_pretrained(other, tmp_path)


@pytest.mark.parametrize("base", ["llama", "tied"])
def test_added_tokens_come_with_the_adapter(base, tmp_path):
    """peft copies them into the base; here they are the adapter's, as with modules_to_save."""

    def resized(fill: float) -> nn.Module:
        model = tied() if base == "tied" else build(base)
        model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
        with torch.no_grad():
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.weight[VOCABULARY:] = fill
        return model

    target = "c_attn" if base == "tied" else "q_proj"
    theirs = wrap_theirs(resized(0.5), {"r": 2, "target_modules": [target]})
    scramble(trained_by_peft(theirs))
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=True)
    right, plain = logits(theirs.eval()), logits(resized(0.0))
    ours = minipeft.PeftModel.from_pretrained(resized(0.0), tmp_path / "theirs")
    assert_close(logits(ours), right)
    ours.save_pretrained(tmp_path / "ours")
    with quiet():
        assert_close(logits(open_in_peft(resized(0.0), tmp_path / "ours")), right)
    assert torch.equal(logits(ours.unload()), plain)
    small = tied() if base == "tied" else build(base)
    report = inspect_adapter(tmp_path / "theirs", fields(small))
    assert not report.fits
    assert f"resize_token_embeddings({VOCABULARY + 3})" in report.table()
    with unchanged(small), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(small, tmp_path / "theirs")
    assert_says(error, str(VOCABULARY + 3), "resize_token_embeddings")


@pytest.mark.parametrize("change", ["trained", "resized"])
def test_other_numbers_under_an_adapted_head_are_refused(change, tmp_path):
    """An adapter adds to the base's weight; peft would have copied another one into the base."""
    base = build("llama")
    by_peft(tmp_path, base, {"target_modules": ["q_proj", "lm_head"]})
    tensors = load_file(tmp_path / WEIGHTS)
    if change == "trained":
        tensors[HEAD][3, 4] += 1
    else:
        tensors[HEAD] = torch.cat([tensors[HEAD], tensors[HEAD][:2]])
    save_file(tensors, tmp_path / WEIGHTS)
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_says(error, "lm_head", "base.get_submodule('lm_head').weight.data.copy_")
    assert inspect_adapter(tmp_path, fields(base)).fits == (change == "trained")
    if change == "trained":  # what the error says to do
        base.get_submodule("lm_head").weight.data.copy_(tensors[HEAD])
        minipeft.PeftModel.from_pretrained(base, tmp_path)


def test_embeddings_that_share_their_weight_are_not_untied_in_silence(tmp_path):
    """The file has other numbers for the embeddings, and nothing for the head that shares them."""
    base = tied()
    by_peft(tmp_path, base, {"target_modules": ["c_attn"]}, save_embedding_layers=True)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["base_model.model.transformer.wte.weight"] += 1
    del tensors["base_model.model.lm_head.weight"]
    save_file(tensors, tmp_path / WEIGHTS)
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_says(error, "transformer.wte", "lm_head", "shares")
