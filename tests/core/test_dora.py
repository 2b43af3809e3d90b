"""DoRA beside peft: numbers, starts, merges, files, and what the norm's constancy means."""

import peft
import pytest
import torch

import minipeft
from minipeft.core.linear import shape_of
from tests.closeness import assert_all_close, assert_close

from .exchange import open_in_peft
from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import assert_same_model, gradients, quiet, scramble, trained_by_us, twins
from .snapshots import unchanged

OPTIONS = {
    "plain": {},
    "rslora": {"use_rslora": True, "lora_alpha": 5},
    "patterns": {"rank_pattern": {r".*\.1\..*": 2}, "alpha_pattern": {r".*\.0\..*": 3}},
    "all biases": {"bias": "all"},
    "all-linear": {"target_modules": "all-linear"},
}


def options(family: str, case: str = "plain") -> dict:
    targets = list(FAMILIES[family].targets)
    return {"r": 3, "use_dora": True, "lora_alpha": 7, "target_modules": targets} | OPTIONS[case]


@pytest.mark.parametrize("case", OPTIONS)
def test_outputs_and_gradients_are_peft_s(family, case):
    assert_same_model(twins(family, options(family, case)))


def test_dropout_is_peft_s(family):
    """W0 x stays whole; what DoRA adds sees the dropped input (peft/tuners/lora/dora.py)."""
    pair = twins(family, options(family) | {"lora_dropout": 0.4})
    for model in (pair.ours, pair.theirs):
        model.train()
    found = []
    for model in (pair.ours, pair.theirs):
        torch.manual_seed(5)
        found.append(logits(model))
    assert_close(*found, "one draw")


@pytest.mark.parametrize("adapter", ["default", "french"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_files_go_both_ways(family, adapter, dtype, tmp_path):
    """In a bf16 base the adapter stays in 32 bits on both sides."""
    head = {"modules_to_save": [FAMILIES[family].head]}
    pair = twins(family, options(family) | head, dtype, adapter)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    inside = "" if adapter == "default" else adapter
    opened = open_in_peft(build(family, dtype), tmp_path / "ours" / inside)
    assert_close(logits(opened), logits(pair.ours), "ours in peft")
    opened = minipeft.PeftModel.from_pretrained(build(family, dtype), tmp_path / "theirs" / inside)
    assert_close(logits(opened), logits(pair.theirs), "peft's here")


def test_merging_is_peft_s_merge(family):
    pair = twins(family, options(family))
    with quiet():
        theirs = pair.theirs.merge_and_unload().state_dict()
    ours = pair.ours.merge_and_unload().state_dict()
    assert_all_close(ours, theirs)


def test_m_starts_as_the_norm_of_each_output_s_weights(family):
    model = minipeft.get_peft_model(build(family), minipeft.LoraConfig(**options(family)))
    for path, layer in model.adapters["default"].layers.items():
        weight = layer.base_layer.weight
        rows = weight.T if layer.base_layer.__class__.__name__ == "Conv1D" else weight
        m = layer.tuner.lora_magnitude_vector
        assert m.shape == (shape_of(layer.base_layer)[0],)
        assert_close(m.detach(), torch.linalg.vector_norm(rows, dim=1), path)


def test_the_count_is_lora_s_and_one_for_each_output(family):
    lora = minipeft.LoraConfig(**options(family) | {"use_dora": False})
    plain = minipeft.get_peft_model(build(family), lora)
    dora = minipeft.get_peft_model(build(family), minipeft.LoraConfig(**options(family)))
    layers = dora.adapters["default"].layers.values()
    outputs = sum(shape_of(layer.base_layer)[0] for layer in layers)
    difference = dora.get_nb_trainable_parameters()[0] - plain.get_nb_trainable_parameters()[0]
    assert difference == outputs


def test_the_norm_is_a_constant_on_the_way_back():
    """Section 4.3: the gradient is that of a detached norm, and not the full one."""
    model = minipeft.get_peft_model(
        toy().double(), minipeft.LoraConfig(r=2, use_dora=True, target_modules=["first"])
    )
    scramble(trained_by_us(model))
    layer = model.base_model.first
    A, B = layer.tuner.lora_A.weight, layer.tuner.lora_B.weight
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layer(x).sin().sum().backward()

    def dense(detached: bool) -> torch.Tensor:
        whole = layer.base_layer.weight + layer.tuner.scaling * B @ A
        norm = torch.linalg.vector_norm(whole, dim=1)
        scale = layer.tuner.lora_magnitude_vector / (norm.detach() if detached else norm)
        y = x @ (scale[:, None] * whole).T + layer.base_layer.bias
        return torch.autograd.grad(y.sin().sum(), A)[0]

    assert_close(A.grad, dense(detached=True), "detached")
    assert not torch.allclose(A.grad, dense(detached=False))


def test_a_row_of_zeros_stays_zero():
    base = toy()
    with torch.no_grad():
        base.first.weight[3] = 0
    config = minipeft.LoraConfig(r=2, use_dora=True, target_modules=["first"])
    with unchanged(base):
        model = minipeft.get_peft_model(base, config)
        assert torch.equal(model(TOKENS), base(TOKENS))
        gradients_of = torch.autograd.grad(model(TOKENS).sum(), trained_by_us(model).values())
        assert all(gradient.isfinite().all() for gradient in gradients_of)
        model.unload()


def test_autocast_is_near_peft_s(family):
    pair = twins(family, options(family), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = pair.answers()
    assert (ours - theirs).float().norm() < 0.05 * theirs.float().norm()


def test_training_beside_peft(family):
    """Four AdamW steps: m, A and B move alike."""
    pair = twins(family, options(family))
    trained = pair.trained()
    for model, values in zip((pair.ours, pair.theirs), trained, strict=True):
        optimizer = torch.optim.AdamW([values[name] for name in sorted(values)], lr=1e-2)
        for _ in range(4):
            gradients(model, values)
            optimizer.step()
    assert_all_close(*trained)


def test_an_option_that_is_no_bool():
    with pytest.raises(ValueError, match=r"use_dora='yes'.*True"):
        minipeft.LoraConfig(target_modules=["first"], use_dora="yes")


def test_a_file_of_dora_says_so(tmp_path):
    config = minipeft.LoraConfig(r=2, use_dora=True, target_modules=["first"])
    minipeft.get_peft_model(toy(), config).save_pretrained(tmp_path)
    assert peft.LoraConfig.from_pretrained(tmp_path).use_dora
