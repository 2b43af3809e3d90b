"""PiSSA beside peft, which changes the base where ours keeps A0 and B0: the same numbers and files.

peft works in 32 bits here (LoraLayer.pissa_init, peft/tuners/lora/layer.py) and writes the residual
into the base, so the two agree to the rounding of 32 bits, and not further.
"""

import pytest
import torch

import minipeft
from minipeft.core.linear import dense_weight
from tests.closeness import assert_all_close, assert_close

from .exchange import open_in_peft
from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import (
    copy_values,
    gradients,
    scramble,
    trained_by_peft,
    trained_by_us,
    twins,
    wrap_ours,
)
from .snapshots import unchanged


def options(family: str, **more) -> dict:
    targets = list(FAMILIES[family].targets)
    start = {"init_lora_weights": "pissa", "lora_alpha": 6}
    return {"r": 3, "target_modules": targets} | start | more


def pair_of(family: str, **more):
    return twins(family, options(family, **more), torch.float32, scrambled=False)


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}], ids=["alpha / r", "rslora"])
def test_the_start_is_peft_s(family, more):
    """A0 and B0 are the same; ours is the base bit for bit, where peft's is it to rounding."""
    pair = pair_of(family, **more)
    ours, theirs = pair.trained()
    assert_all_close(ours, theirs)
    assert torch.equal(logits(pair.ours), logits(build(family)))
    assert_close(logits(pair.theirs), logits(build(family)))


def test_a0_and_b0_are_the_best_approximation_of_their_rank():
    """Eckart and Young: what is left has the other singular values, and no more."""
    model = wrap_ours(toy(), {"r": 3, "init_lora_weights": "pissa", "target_modules": ["first"]})
    layer = model.base_model.first
    weight, tuner = dense_weight(layer.base_layer), layer.tuner
    A, B = tuner.lora_A.weight.detach(), tuner.lora_B.weight.detach()
    left = torch.linalg.svdvals(weight - tuner.scaling * B @ A)
    expected = torch.linalg.svdvals(weight)[3:]
    assert_close(left[: len(expected)], expected)
    assert left[len(expected) :].max() < 1e-5 * expected.max()


def test_outputs_and_gradients_are_peft_s(family):
    """From the same A and B, away from the start."""
    pair = pair_of(family)
    ours, theirs = pair.trained()
    scramble(theirs)
    copy_values(theirs, ours)
    assert_close(*pair.answers())
    assert_all_close(gradients(pair.ours, ours), gradients(pair.theirs, theirs), rtol=1e-4)


def test_training_beside_peft(family):
    pair = pair_of(family)
    trained = pair.trained()
    for model, values in zip((pair.ours, pair.theirs), trained, strict=True):
        optimizer = torch.optim.SGD([values[name] for name in sorted(values)], lr=0.05)
        for _ in range(4):
            gradients(model, values)
            optimizer.step()
    assert_close(*pair.answers(), rtol=1e-4)


def test_files_go_both_ways(family, tmp_path):
    pair = pair_of(family)
    for trained in pair.trained():
        scramble(trained)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    assert_close(logits(open_in_peft(build(family), tmp_path / "ours")), logits(pair.ours))
    opened = minipeft.PeftModel.from_pretrained(build(family), tmp_path / "theirs")
    assert_close(logits(opened), logits(pair.theirs))


def test_a_plain_lora_of_twice_the_rank_fits_the_base_itself(family, tmp_path):
    """As peft's conversion: it opens anywhere, and no decomposition is needed."""
    model = wrap_ours(build(family), options(family))
    scramble(trained_by_us(model))
    with unchanged(model):
        model.save_pretrained(tmp_path, path_initial_model_for_weight_conversion="here")
    theirs = open_in_peft(build(family), tmp_path)
    assert theirs.peft_config["default"].init_lora_weights is True
    shapes = {value.shape for name, value in trained_shapes(theirs) if "lora_A" in name}
    assert {shape[0] for shape in shapes} == {6}
    assert_close(logits(theirs), logits(model))


def trained_shapes(model) -> list[tuple[str, torch.Tensor]]:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return list(trained_by_peft(model).items())


def test_dropout_leaves_the_residual_alone():
    """Only B A sees the dropped input: the residual W0 - s B0 A0 is the base's, in peft too."""
    given = {"r": 2, "lora_dropout": 0.5, "init_lora_weights": "pissa", "target_modules": ["first"]}
    model = wrap_ours(toy(), given)
    scramble(trained_by_us(model))
    layer = model.base_model.first.train()
    x = toy().embedding(TOKENS).detach()
    torch.manual_seed(4)
    found = layer(x)
    torch.manual_seed(4)
    dropped = torch.nn.functional.dropout(x, 0.5)
    tuner = layer.tuner
    residual = dense_weight(layer.base_layer) - tuner.scaling * tuner.start_B @ tuner.start_A
    update = tuner.scaling * tuner.lora_B.weight @ tuner.lora_A.weight
    expected = x @ residual.T + layer.base_layer.bias + dropped @ update.T
    assert_close(found, expected)


@pytest.mark.parametrize("bad, words", [
    ({"use_dora": True}, "use_dora=True"),
    ({"lora_alpha": 0}, "lora_alpha=0"),
    ({"init_lora_weights": "pizza"}, "'pissa'"),
])  # fmt: skip
def test_bad_options(bad, words):
    with pytest.raises(ValueError, match=words):
        minipeft.LoraConfig(**{"target_modules": ["first"], "init_lora_weights": "pissa"} | bad)


def test_gaussian_is_peft_s(family):
    """A ~ N(0, 1 / r^2), B = 0: the spread, over many numbers, on both sides."""
    pair = twins(family, options(family, r=2, init_lora_weights="gaussian"), scrambled=False)
    for trained in pair.trained():
        first = torch.cat([v.flatten() for name, v in trained.items() if "lora_A" in name])
        assert abs(first.std() * 2 - 1) < 0.1 and abs(first.mean()) < 0.1
        assert not any(v.any() for name, v in trained.items() if "lora_B" in name)
