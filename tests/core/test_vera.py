"""VeRA (Kopiczko et al. 2024) beside peft: outputs, gradients, the shared projections, files."""

import copy
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import minipeft
from minipeft.core.linear import shape_of
from tests.closeness import RTOL, assert_all_close, assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft
from .models import FAMILIES, TOKENS, build, logits, toy
from .peers import Twins, assert_same_model, quiet, scramble, trained_by_us, twins, wrap_ours
from .snapshots import assert_says, unchanged

CASES = {
    "plain": {},
    "biases of targets": {"bias": "vera_only"},
    "all biases": {"bias": "all"},
    "head saved": {"modules_to_save": ["head"]},
    "some layers": {"layers_to_transform": [0, 2]},
    "another key": {"projection_prng_key": 2**63, "d_initial": 3, "vera_dropout": 0.2},
    "no projections": {"save_projection": False, "projection_prng_key": -5},
    "random start": {"init_weights": False},
    "all-linear": {"target_modules": "all-linear"},
}


def vera_twins(family: str, case: str, **how) -> Twins:
    """Targets of several shapes: each reads its part of A and B."""
    options = {"r": 7, "target_modules": list(FAMILIES[family].targets)} | CASES[case]
    if case == "head saved":
        options["modules_to_save"] = [FAMILIES[family].head]
    return twins(family, options, config="VeraConfig", **how)


@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_projections_and_counts_are_peft_s(family, case):
    """GPT-2's Conv1D too: peft's VeRA takes it, and turns the update (peft/tuners/vera/layer.py).

    The closed form is r + out for each matrix; A and B are no parameters, here or there.
    """
    pair = vera_twins(family, case)
    assert pair.ours.get_nb_trainable_parameters() == pair.theirs.get_nb_trainable_parameters()
    assert_same_model(pair)
    adapter = pair.ours.adapters["default"]
    for name in ("vera_A", "vera_B"):  # the same draw, bit for bit
        theirs = getattr(pair.theirs.base_model, name)["default"]
        ours = getattr(adapter.shared, name)
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype, name
    for layer in adapter.layers.values():
        learned = sum(parameter.numel() for parameter in layer.tuner.parameters())
        assert learned == 7 + shape_of(layer.base_layer)[0]


FILES = ["plain", "biases of targets", "all biases", "head saved", "no projections", "all-linear"]


@pytest.mark.parametrize("case", FILES)
def test_files_go_both_ways(family, case, tmp_path):
    adapter = "voice" if case == "plain" else "default"
    pair = vera_twins(family, case, dtype=torch.float32, adapter=adapter)
    with quiet():  # it warns where the projections aren't saved
        pair.theirs.save_pretrained(tmp_path / "theirs")
        pair.ours.save_pretrained(tmp_path / "ours")
        ours, theirs = (
            tmp_path / side / adapter if adapter == "voice" else tmp_path / side
            for side in ("ours", "theirs")
        )
        in_peft = open_in_peft(build(family), ours)
    opened = minipeft.PeftModel.from_pretrained(build(family), theirs)
    assert_close(logits(in_peft), logits(pair.ours), "opened in peft")
    assert_close(logits(opened), logits(pair.theirs), "opened here")
    written, expected = load_file(ours / WEIGHTS), load_file(theirs / WEIGHTS)
    torch.testing.assert_close(written, expected, rtol=0, atol=0)
    assert ("base_model.vera_A" in written) == (case != "no projections")
    ours, theirs = (json.loads((folder / CONFIG).read_text()) for folder in (ours, theirs))
    del ours["target_modules"]  # the same layers, by other names or in another order
    assert ours == {name: theirs[name] for name in ours}


def test_excluded_modules_are_no_news_to_peft(family, tmp_path):
    """Its VeraConfig has no exclude_modules: the file names what is left."""
    suffixes = list(FAMILIES[family].targets)
    options = {"r": 4, "target_modules": suffixes, "exclude_modules": suffixes[1:2]}
    model = wrap_ours(build(family), options, config="VeraConfig")
    scramble(trained_by_us(model))
    model.save_pretrained(tmp_path)
    assert "exclude_modules" not in json.loads((tmp_path / CONFIG).read_text())
    assert_close(logits(open_in_peft(build(family), tmp_path)), logits(model))
    again = minipeft.PeftModel.from_pretrained(build(family), tmp_path)
    assert torch.equal(logits(again), logits(model))


def test_a_file_in_bf16_opens_in_32_bits(tmp_path):
    vera_twins("bert", "plain", dtype=torch.float32).ours.save_pretrained(tmp_path)
    tensors = {name: values.bfloat16() for name, values in load_file(tmp_path / WEIGHTS).items()}
    save_file(tensors, tmp_path / WEIGHTS)
    opened = minipeft.PeftModel.from_pretrained(build("bert"), tmp_path)
    held = opened.adapters["default"].state_dict().values()
    assert {values.dtype for values in held} == {torch.float32}
    assert_close(logits(opened), logits(open_in_peft(build("bert"), tmp_path)))


def test_merging_is_peft_s_merge(family):
    pair = vera_twins(family, "plain")
    for tuner in pair.ours.adapters["default"].tuners.values():
        A, B = tuner.factors()  # (r, in), (out, r)
        weight = torch.randn(len(B), A.shape[1], dtype=A.dtype)
        assert_close(weight + B @ A, tuner.merged(weight), "factors")
    theirs = pair.theirs.merge_and_unload().state_dict()
    assert_all_close(pair.ours.merge_and_unload().state_dict(), theirs)


def several() -> minipeft.PeftModel:
    """Adapters of other widths, ranks and keys on one base; peft asks for one key for all."""
    first = {"r": 4, "target_modules": ["first", "second"]}
    model = wrap_ours(toy(), first, "one", config="VeraConfig")
    second = {"r": 2, "target_modules": ["first"], "projection_prng_key": 9}
    model.add_adapter("two", minipeft.VeraConfig(**second))
    for seed, name in enumerate(("one", "two")):
        model.set_adapter(name)
        scramble(trained_by_us(model), seed)
    return model.eval()


def answers(model: minipeft.PeftModel) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("two", "one"):
        model.set_adapter(name)
        found[name] = model(TOKENS)
    return found


def test_every_layer_reads_the_same_two_tensors():
    model = several()
    for name, wide in {"one": (16, 16), "two": (8, 16)}.items():
        adapter = model.adapters[name]
        assert all(tuner.shared is adapter.shared for tuner in adapter.tuners.values())
        assert (adapter.shared.vera_A.shape[1], adapter.shared.vera_B.shape[0]) == wide


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_share_among_themselves_alone(duplicate):
    model = several()
    twin = duplicate(model)
    for name, answer in answers(model).items():
        assert torch.equal(answers(twin)[name], answer)
        ours, theirs = model.adapters[name].shared, twin.adapters[name].shared
        assert all(tuner.shared is theirs for tuner in twin.adapters[name].tuners.values())
        assert ours.vera_A.data_ptr() != theirs.vera_A.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_projections_move_with_the_model(dtype):
    """Those of the adapter that isn't in force, too."""
    model = several()
    before = answers(model)
    model.to(dtype)
    for name, answer in answers(model).items():
        shared = model.adapters[name].shared
        assert shared.vera_A.dtype == shared.vera_B.dtype == answer.dtype == dtype
        rtol = max(RTOL[dtype], RTOL[torch.float32])  # `before` is in 32 bits
        assert_close(answer, before[name].to(dtype), name, rtol=rtol)


def test_a_16_bit_base_has_its_projections_in_32():
    model = wrap_ours(toy().bfloat16(), {"r": 4, "target_modules": ["first"]}, config="VeraConfig")
    shared = model.adapters["default"].shared
    assert shared.vera_A.dtype == torch.float32 and model(TOKENS).dtype == torch.bfloat16


def test_mixed_batches_hold_vera_too():
    model = several()
    alone = answers(model)
    mixed = model(TOKENS, adapter_names=["two", "one"])
    expected = torch.stack([alone["two"][0], alone["one"][1]])
    assert_close(mixed, expected, "mixed")


def test_attaching_leaves_the_global_generator_alone():
    base, state = toy(), torch.get_rng_state()
    wrap_ours(base, {"r": 4, "target_modules": ["first"]}, config="VeraConfig")
    assert torch.equal(torch.get_rng_state(), state)


BAD = [
    ({"r": 0}, ["r=0", "whole number", "smallest is 1"]),
    ({"r": True}, ["r=True", "whole number"]),
    ({"projection_prng_key": 0.5}, ["projection_prng_key=0.5", "whole number"]),
    ({"projection_prng_key": 2**64}, ["projection_prng_key=18446744073709551616", "too large"]),
    ({"save_projection": None}, ["save_projection=None", "True, False"]),
    ({"init_weights": "gaussian"}, ["init_weights='gaussian'", "True, False"]),
    ({"vera_dropout": 1}, ["vera_dropout=1", "[0, 1)"]),
    ({"d_initial": float("nan")}, ["d_initial=nan", "finite number"]),
    ({"bias": "lora_only"}, ["bias='lora_only'", "'vera_only'"]),
    ({"target_modules": ["frist"]}, ["frist", "'first'"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=lambda value: str(value)[:40])
def test_bad_options_change_nothing(options, words):
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap_ours(base, {"target_modules": ["first"]} | options, config="VeraConfig")
    assert_says(error, *words)


def test_a_file_without_its_projections_is_refused(tmp_path):
    several().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "one" / WEIGHTS)
    del tensors["base_model.vera_B"]
    save_file(tensors, tmp_path / "one" / WEIGHTS)
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path / "one")
    assert_says(error, "lacks 'base_model.vera_B'")
