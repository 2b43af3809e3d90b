"""Diff pruning as a PyTorch module among others, and what it refuses."""

import pytest
import torch

import minipeft
from tests.closeness import RTOL, assert_close

from .models import TOKENS, build, logits, toy
from .peers import scramble, trained_by_us
from .snapshots import assert_says, unchanged

TARGETS = {"target_modules": ["first", "second"]}


def adapted(**options) -> minipeft.PeftModel:
    model = minipeft.get_peft_model(toy(), minipeft.DiffPruningConfig(**TARGETS | options))
    scramble(trained_by_us(model))
    return model.eval()


@pytest.mark.parametrize("pruned", [False, True])
def test_compiles_without_a_graph_break(pruned):
    model = adapted()
    if pruned:
        minipeft.prune(model.adapters["default"], keep=0.2)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for training in (False, True):
        model.train(training)
        torch.manual_seed(3)
        answer = model(TOKENS)
        torch.manual_seed(3)
        assert_close(compiled(TOKENS), answer)


@pytest.mark.parametrize("pruned", [False, True])
def test_half_precision_and_autocast(pruned):
    """Differences have 32 bits on a base of 16, and the answer has the base's."""
    config = minipeft.DiffPruningConfig(target_modules="all-linear")
    model = minipeft.get_peft_model(build("llama", torch.bfloat16), config)
    scramble(trained_by_us(model))
    if pruned:
        minipeft.prune(model.adapters["default"], keep=0.2)
    trained = trained_by_us(model)
    assert {values.dtype for values in trained.values()} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16
    logits(model).float().pow(2).mean().backward()
    assert all(values.grad.isfinite().all() for values in trained.values())
    model = adapted()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(TOKENS)
    assert answer.dtype == torch.bfloat16
    assert_close(answer.float(), model(TOKENS), "autocast", rtol=RTOL[torch.bfloat16])


def test_biases_beside_it():
    model = adapted(bias="diff_pruning_only")
    biases = {name for name in trained_by_us(model) if name.endswith("bias")}
    assert biases == {"first.base_layer.bias", "second.base_layer.bias"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sparsity_penalty": -1}, ["sparsity_penalty=-1", "[0, inf]"]),
        ({"sparsity_penalty": "much"}, ["sparsity_penalty='much'", "number"]),
        ({"alpha_init": float("nan")}, ["alpha_init=nan", "finite"]),
        ({"concrete_lower": 0.0}, ["concrete_lower=0.0", "-0.01"]),
        ({"concrete_upper": 1.0}, ["concrete_upper=1.0", "1.01"]),
        ({"temperature": 0}, ["temperature=0", "0.01"]),
        ({"structured": "group"}, ["structured='group'", "True, False"]),
        ({"nonzeros": {"first": 3}}, ["nonzeros={'first': 3}", "prune()"]),
        ({"nonzeros": {"first": -3}}, ["nonzeros['first']=-3", "smallest is 0"]),
        ({"bias": "lora_only"}, ["bias='lora_only'", "diff_pruning_only"]),
        ({"target_modules": ["frist"]}, ["'frist'", "'first'"]),
        ({"target_modules": ["embedding"]}, ["'embedding'", "Embedding"]),
        ({"target_modules": None}, ["target_modules=None", "'first'"]),
    ],
)
def test_bad_configs_change_nothing(options, words):
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.get_peft_model(base, minipeft.DiffPruningConfig(**TARGETS | options))
    assert_says(error, *words)


@pytest.mark.parametrize("keep", [0, 1.5, -0.1, "half", True])
def test_prune_refuses_shares_that_are_none(keep):
    model = adapted()
    with unchanged(model), pytest.raises(ValueError) as error:
        minipeft.prune(model.adapters["default"], keep)
    assert_says(error, f"keep={keep!r}")


def test_prune_refuses_what_is_merged_or_another_method():
    model = adapted()
    model.merge_adapter()
    with unchanged(model), pytest.raises(RuntimeError, match="unmerge_adapter"):
        minipeft.prune(model.adapters["default"], 0.1)
    model = minipeft.get_peft_model(toy(), minipeft.LoraConfig(r=2, **TARGETS))
    with unchanged(model), pytest.raises(TypeError) as error:
        minipeft.prune(model.adapters["default"], 0.1)
    assert_says(error, "DIFF_PRUNING", "not")
    with unchanged(model), pytest.raises(TypeError, match=r"adapters\["):
        minipeft.prune(model, 0.1)


def test_a_pruned_adapter_stays_frozen_or_trained():
    model = adapted()
    for values in trained_by_us(model).values():
        values.requires_grad_(False)
    minipeft.prune(model.adapters["default"], 0.1)
    assert not trained_by_us(model)


def test_a_file_that_fits_no_longer(tmp_path):
    model = adapted()
    minipeft.prune(model.adapters["default"], 0.1)
    model.save_pretrained(tmp_path)
    config = tmp_path / "adapter_config.json"
    kept = model.peft_config["default"].nonzeros["first"]
    config.write_text(config.read_text().replace(f'"first": {kept}', f'"first": {kept + 1}'))
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_says(error, "first.", str(kept), str(kept + 1))
