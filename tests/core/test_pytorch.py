"""An adapted model is a PyTorch model like any other: copied, pickled, checkpointed, compiled."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import minipeft
from tests.closeness import assert_all_close, assert_close

from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import gradients, scramble, trained_by_us, twins, wrap_ours
from .snapshots import unchanged

OPTIONS = {
    "r": 2,
    "target_modules": ["first", "second"],
    "bias": "all",
    "modules_to_save": ["norm"],
}


def trained_toy() -> minipeft.PeftModel:
    model = wrap_ours(toy(), OPTIONS)
    model.add_adapter("other", minipeft.LoraConfig(r=1, target_modules=["first"]))
    scramble(trained_by_us(model))
    return model


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


def torch_saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, torch_saved])
@pytest.mark.parametrize("merged", [False, True])
def test_copies_answer_alike_and_share_nothing(duplicate, merged):
    model = trained_toy()
    if merged:
        model.merge_adapter()
    answer, twin = model(TOKENS), duplicate(model)
    assert torch.equal(twin(TOKENS), answer)
    assert list(twin.adapters) == ["default", "other"]
    assert twin.merged == merged
    with unchanged(model):
        if merged:
            twin.unmerge_adapter()
        scramble(trained_by_us(twin))
        twin.set_adapter("other")
        assert torch.equal(twin(TOKENS), toy()(TOKENS))
        base = twin.unload()
    assert torch.equal(base(TOKENS), toy()(TOKENS))
    for name, values in base.state_dict().items():
        assert torch.equal(values, toy().state_dict()[name]), name
    assert torch.equal(model(TOKENS), answer)


def test_state_dict_round_trip():
    model, other = trained_toy(), trained_toy()
    scramble(trained_by_us(other), seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(TOKENS), model(TOKENS))


class Shared(nn.Module):
    """One linear layer that the model reaches under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"projection": nn.Linear(8, 8)})
        self.decoder = nn.ModuleDict({"projection": self.encoder["projection"]})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder["projection"](self.encoder["projection"](x).tanh())


def test_a_layer_under_two_names_is_adapted_under_both():
    """One layer, one adapter: adapting only the first name would train half of what is said."""
    base = Shared()
    with unchanged(base):
        model = wrap_ours(base, {"r": 2, "target_modules": ["projection"]})
        scramble(trained_by_us(model))
        assert base.encoder["projection"] is base.decoder["projection"]
        assert isinstance(base.decoder["projection"], minipeft.AdaptedLinear)
        assert len(trained_by_us(model)) == 2
        x = torch.randn(3, 8)
        adapted = model(x)
        model.merge_adapter()
        assert_close(model(x), adapted, "merged")
        model.unload()


def test_a_layer_under_two_names_can_be_named_by_either(tmp_path):
    for name in ("encoder.projection", "decoder.projection"):
        model = wrap_ours(Shared(), {"r": 2, "target_modules": [name]})
        assert isinstance(model.base_model.encoder["projection"], minipeft.AdaptedLinear)
        assert isinstance(model.base_model.decoder["projection"], minipeft.AdaptedLinear)
        model.save_pretrained(tmp_path / name)
        minipeft.PeftModel.from_pretrained(Shared(), tmp_path / name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_base_trains_an_fp32_adapter(family, dtype):
    model = wrap_ours(build(family, dtype), {"r": 2, "target_modules": "all-linear"})
    trained = trained_by_us(model)
    assert {values.dtype for values in trained.values()} == {torch.float32}
    scramble(trained)
    answer = logits(model)
    assert answer.dtype == dtype
    answer.float().pow(2).mean().backward()
    for name, values in trained.items():
        assert values.grad.dtype == torch.float32, name
        assert values.grad.isfinite().all() and values.grad.any(), name


def test_autocast_is_peft_s(family):
    """Under autocast every product runs in 16 bits, on both sides in the same order."""
    options = {"r": 2, "target_modules": list(FAMILIES[family].targets)}
    pair = twins(family, options, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = pair.answers()
    assert_close(ours, theirs, "autocast", rtol=0.0)
    ours.float().sum().backward()
    theirs.float().sum().backward()
    our_trained, their_trained = pair.trained()
    assert_all_close(*({n: v.grad for n, v in t.items()} for t in (our_trained, their_trained)))


def test_gradient_checkpointing_of_transformers(family):
    """Non-reentrant checkpointing needs no trained input; gradients are those without it."""
    options = {"r": 2, "target_modules": list(FAMILIES[family].targets), "lora_dropout": 0.3}
    model = wrap_ours(build(family, torch.float64), options)
    trained = trained_by_us(model)
    scramble(trained)
    model.train()
    torch.manual_seed(3)
    plain = {name: g.clone() for name, g in gradients(model, trained).items()}
    model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(3)
    checkpointed = gradients(model, trained)
    assert_all_close(checkpointed, plain)


def test_gradient_checkpointing_of_plain_pytorch():
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first", "second"]})
    scramble(trained_by_us(model))
    model(TOKENS).pow(2).mean().backward()
    plain = {name: v.grad.clone() for name, v in trained_by_us(model).items()}
    model.zero_grad()
    checkpoint(model, TOKENS, use_reentrant=False).pow(2).mean().backward()
    for name, values in trained_by_us(model).items():
        assert torch.equal(values.grad, plain[name])


@pytest.mark.parametrize("use_dora", [False, True])
def test_compiles_without_a_graph_break(use_dora):
    """backend="eager" traces as for any backend, and needs no C++ compiler on the machine."""
    options = {"r": 2, "target_modules": ["first", "second"], "use_dora": use_dora}
    model = wrap_ours(toy(), options)
    scramble(trained_by_us(model))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert_close(compiled(TOKENS), model(TOKENS), "compiled")
    model.merge_adapter()
    assert_close(compiled(TOKENS), model(TOKENS), "compiled, then merged")


def test_an_adapted_layer_shows_its_weight_and_bias():
    """Other code asks a linear layer for its dtype and device there."""
    model = wrap_ours(toy(), {"r": 2, "target_modules": ["first"]})
    layer, plain = model.base_model.first, toy().first
    assert torch.equal(layer.weight, plain.weight)
    assert torch.equal(layer.bias, plain.bias)
