"""LoRA equals Hugging Face peft: same targets, same outputs, same gradients, in float64."""

import peft
import pytest
import torch

from tests.closeness import assert_close

from .models import FAMILIES, HIDDEN, LAYERS, build, logits
from .peers import (
    assert_same_model,
    our_targets,
    quiet,
    trained_by_us,
    twins,
    wrap_ours,
    wrap_theirs,
)


def some_targets(family: str) -> list[str]:
    return list(FAMILIES[family].targets[:3])


OPTIONS = {
    "plain": {"r": 4, "lora_alpha": 12},
    "rank 1": {"r": 1, "lora_alpha": 3},
    "fractional alpha": {"r": 3, "lora_alpha": 0.7},
    "rslora": {"r": 4, "lora_alpha": 12, "use_rslora": True},
    "biases of targets": {"r": 2, "bias": "lora_only"},
    "all biases": {"r": 2, "bias": "all"},
    "one layer": {"r": 2, "layers_to_transform": 1},
    "some layers": {"r": 2, "layers_to_transform": [0, LAYERS - 1]},
    "random start": {"r": 2, "init_lora_weights": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_option(family, options):
    assert_same_model(twins(family, {"target_modules": some_targets(family)} | options))


def test_regex_targets(family):
    pair = twins(family, {"r": 2, "target_modules": FAMILIES[family].regex})
    assert_same_model(pair)
    assert all(".1." in name for name in our_targets(pair.ours))


def test_whole_names_and_suffixes_with_dots(family):
    names = sorted(
        our_targets(twins(family, {"r": 2, "target_modules": some_targets(family)}).ours)
    )
    chosen = [names[0], ".".join(names[-1].split(".")[-2:])]  # one whole name, one two-part ending
    assert_same_model(twins(family, {"r": 2, "target_modules": chosen}))


def test_all_linear(family):
    task = {"bert": "SEQ_CLS"}.get(family)  # without it, the classifier counts as one more layer
    pair = twins(family, {"r": 2, "target_modules": "all-linear", "task_type": task})
    assert_same_model(pair)
    assert not any(FAMILIES[family].head in name for name in our_targets(pair.ours))


def test_all_linear_takes_the_classifier_where_no_task_is_named():
    pair = twins("bert", {"r": 2, "target_modules": "all-linear"})
    assert_same_model(pair)
    assert "classifier" in our_targets(pair.ours)


def test_all_linear_is_not_case_sensitive():
    assert_same_model(twins("llama", {"r": 2, "target_modules": "All-Linear"}))


@pytest.mark.parametrize("excluded", ["names", "regex"])
def test_exclude_modules(family, excluded):
    targets = some_targets(family)
    exclude = [targets[1]] if excluded == "names" else rf".*\.0\..*{targets[0]}"
    options = {"r": 2, "target_modules": targets, "exclude_modules": exclude}
    assert_same_model(twins(family, options))
    assert_same_model(twins(family, options | {"target_modules": "all-linear", "task_type": None}))


def test_rank_and_alpha_patterns(family):
    first, second, _ = targets = some_targets(family)
    block = FAMILIES[family].layers
    options = {
        "r": 3,
        "lora_alpha": 6,
        "target_modules": targets,
        "rank_pattern": {rf"{block}\.0\..*{first}": 1, first: 4},  # the first that fits counts
        "alpha_pattern": {second: 2.5, rf".*\.{LAYERS - 1}\..*": 9},
    }
    pair = twins(family, options)
    assert_same_model(pair)
    ranks = {
        values.shape[0] for name, values in trained_by_us(pair.ours).items() if "lora_A" in name
    }
    assert ranks == {1, 3, 4}
    assert_same_model(twins(family, options | {"use_rslora": True}))


@pytest.mark.parametrize("pattern", ["the list's name", "several names", "no such list"])
def test_layers_pattern(family, pattern):
    name = FAMILIES[family].layers
    patterns = {"the list's name": name, "several names": ["blocks", name], "no such list": "no"}
    options = {"target_modules": some_targets(family), "r": 2, "layers_to_transform": [1]}
    options |= {"layers_pattern": patterns[pattern]}
    if pattern != "no such list":
        assert_same_model(twins(family, options))
        return
    for wrap in (wrap_ours, wrap_theirs):
        with pytest.raises(ValueError):
            wrap(build(family), options)


SAVED = {
    "llama": [["lm_head"], ["embed_tokens"], ["model.norm", "lm_head"]],
    "gpt2": [["lm_head"], ["ln_f"], ["mlp"]],
    "bert": [["classifier"], ["pooler", "classifier"]],
}


@pytest.mark.parametrize("choice", range(3))
def test_modules_to_save(family, choice):
    """BERT's pooler holds a `dense` of its own: inside a saved module it is no target."""
    saved = SAVED[family][choice % len(SAVED[family])]
    targets = list(FAMILIES[family].targets)
    pair = twins(family, {"r": 2, "target_modules": targets, "modules_to_save": saved})
    assert_same_model(pair)
    assert any(saved[-1] in name for name in trained_by_us(pair.ours))


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", None])
def test_a_classification_task_trains_its_head_too(task):
    pair = twins("bert", {"r": 2, "target_modules": ["query"], "task_type": task})
    assert_same_model(pair)
    heads = [name for name in trained_by_us(pair.ours) if name.startswith("classifier")]
    assert len(heads) == (2 if task in ("SEQ_CLS", "TOKEN_CLS") else 0)


def test_a_task_adds_its_head_to_the_modules_that_the_user_names():
    options = {"target_modules": ["query"], "task_type": "SEQ_CLS", "modules_to_save": ["pooler"]}
    assert_same_model(twins("bert", {"r": 2} | options))


def test_everything_at_once(family):
    first, second, third = some_targets(family)
    options = {
        "r": 4,
        "lora_alpha": 5,
        "use_rslora": True,
        "target_modules": [first, second, third],
        "exclude_modules": [third],
        "rank_pattern": {first: 2},
        "alpha_pattern": {second: 3},
        "layers_to_transform": [0, 2],
        "bias": "lora_only",
        "modules_to_save": [FAMILIES[family].head],
    }
    assert_same_model(twins(family, options))


def test_dropout_draws_the_same_mask(family):
    """One draw for each layer, on the input of A, as in peft: one seed gives one mask."""
    pair = twins(family, {"r": 4, "lora_dropout": 0.4, "target_modules": some_targets(family)})
    still = pair.answers()
    assert_close(*still, "eval: no dropout")
    pair.ours.train()
    pair.theirs.train()
    torch.manual_seed(5)
    ours = logits(pair.ours)
    torch.manual_seed(5)
    theirs = logits(pair.theirs)
    assert_close(ours, theirs, "train: the same mask")
    assert not torch.allclose(ours, still[0])
    pair.ours.eval()
    assert torch.equal(logits(pair.ours), still[0])


def test_dropout_keeps_the_mean():
    """E[dropout(x)] = x: averaged over many masks the adapted layer gives its value without one."""
    layer = torch.nn.Sequential(torch.nn.Linear(HIDDEN, HIDDEN)).double()
    model = wrap_ours(layer, {"r": 4, "lora_dropout": 0.3, "target_modules": ["0"]})
    with torch.no_grad():
        model.base_model[0].tuner.lora_B.weight.normal_()
    x = torch.randn(HIDDEN).double()
    model.eval()
    expected = model(x)
    model.train()
    draws = model(x.expand(20_000, HIDDEN))  # one mask for each row
    error = (draws.mean(0) - expected).abs() / (draws.std(0) / 20_000**0.5)
    assert error.max() < 5  # standard errors


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_adapters_have_the_precision_that_peft_gives_them(dtype):
    pair = twins("llama", {"r": 2, "target_modules": ["q_proj", "down_proj"]}, dtype)
    ours, theirs = pair.trained()
    assert {v.dtype for v in ours.values()} == {v.dtype for v in theirs.values()}
    assert_close(*pair.answers(), "logits")


def test_embeddings_are_the_one_target_that_peft_has_and_we_do_not():
    """peft can adapt nn.Embedding; here a target is a linear layer (modules_to_save trains it)."""
    options = {"r": 2, "target_modules": ["embed_tokens"]}
    with quiet():
        peft.get_peft_model(build("llama"), peft.LoraConfig(**options))
    with pytest.raises(ValueError, match=r"embed_tokens.*Embedding"):
        wrap_ours(build("llama"), options)
