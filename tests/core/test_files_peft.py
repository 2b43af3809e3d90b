"""Adapter folders go both ways between Hugging Face peft and minipeft, with equal logits."""

import copy
import json

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import minipeft
from tests.closeness import assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft, options_for
from .models import FAMILIES, build, logits
from .peers import quiet, scramble, trained_by_peft, trained_by_us, twins, wrap_theirs

CASES = [
    *("plain", "all-linear", "rslora", "patterns", "regex", "biases of targets", "all biases"),
    *("head saved", "norms saved", "head and all biases", "some layers", "excluded", "gaussian"),
]


@pytest.mark.parametrize("case", CASES)
def test_ours_opens_in_peft(family, case, tmp_path):
    pair = twins(family, options_for(family, case), torch.float32)
    pair.ours.save_pretrained(tmp_path)
    theirs = open_in_peft(build(family), tmp_path)
    assert_close(logits(theirs), logits(pair.ours), "opened in peft")
    assert_close(logits(theirs), logits(pair.theirs), "peft's own")


@pytest.mark.parametrize("case", CASES)
def test_theirs_opens_here(family, case, tmp_path):
    pair = twins(family, options_for(family, case), torch.float32)
    pair.theirs.save_pretrained(tmp_path)
    ours = minipeft.PeftModel.from_pretrained(build(family), tmp_path)
    assert_close(logits(ours.eval()), logits(pair.theirs), "opened here")


@pytest.mark.parametrize("case", CASES)
def test_the_files_hold_the_same(family, case, tmp_path):
    """Same names, shapes, types and bits in the weights; same metadata."""
    pair = twins(family, options_for(family, case), torch.float32)
    pair.ours.save_pretrained(tmp_path / "ours")
    with quiet():
        pair.theirs.save_pretrained(tmp_path / "theirs")
    ours, theirs = (load_file(tmp_path / side / WEIGHTS) for side in ("ours", "theirs"))
    unread = unread_by_peft(family, case, set(theirs) - set(ours))
    assert sorted(ours) == sorted(set(theirs) - unread)
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype and torch.equal(values, theirs[name]), name
    with safe_open(tmp_path / "ours" / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def unread_by_peft(family: str, case: str, extra: set[str]) -> set[str]:
    """Keys that peft writes and never reads.

    With bias="all" it takes every entry of the state dict whose name ends in ".bias", and so also
    the untrained bias that a module in modules_to_save had before
    (peft/tuners/tuners_utils.py, `_get_learnable_bias_state_dict`): `...original_module.bias`, and
    the trained one a second time under the wrapper's name.
    """
    if case != "head and all biases":
        return set()
    return {name for name in extra if ".original_module." in name or ".modules_to_save." in name}


@pytest.mark.parametrize("case", CASES)
def test_the_config_says_the_same_to_peft(family, case, tmp_path):
    pair = twins(family, options_for(family, case), torch.float32)
    pair.ours.save_pretrained(tmp_path / "ours")
    with quiet():
        pair.theirs.save_pretrained(tmp_path / "theirs")
    ours, theirs = (peft.PeftConfig.from_pretrained(tmp_path / s) for s in ("ours", "theirs"))
    assert type(ours) is peft.LoraConfig
    changed = {k: v for k, v in ours.to_dict().items() if v != theirs.to_dict()[k]}
    changed.pop("auto_mapping", None)  # peft's note of the model's class; nothing reads it for LoRA
    if case == "all-linear":  # either side may write the names out in its own way
        changed.pop("target_modules", None)
    if case == "norms saved":  # we write whole names: peft's match by bare endings is greedy
        changed.pop("modules_to_save", None)
    assert not changed
    text = (tmp_path / "ours" / CONFIG).read_text()
    assert json.loads(text)["inference_mode"] is True
    assert text.rstrip() == json.dumps(json.loads(text), indent=2, sort_keys=True)


@pytest.mark.parametrize("direction", ["ours to theirs", "theirs to ours"])
def test_a_classifier_takes_its_head_along(direction, tmp_path):
    options = {"r": 3, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
    pair = twins("bert", options, torch.float32)
    if direction == "ours to theirs":
        pair.ours.save_pretrained(tmp_path)
        opened = open_in_peft(build("bert"), tmp_path)
    else:
        pair.theirs.save_pretrained(tmp_path)
        opened = minipeft.PeftModel.from_pretrained(build("bert"), tmp_path)
    assert_close(logits(opened.eval()), logits(pair.theirs), direction)


def test_patterns_that_overlap_survive_the_file(family, tmp_path):
    """Of two keys that name one layer the first counts, and a file's keys are sorted.

    peft sorts them, too (peft/config.py: `json.dumps(..., sort_keys=True)`), and then refuses its
    own file. Ours writes such a pattern out layer by layer: it opens on both sides.
    """
    first = FAMILIES[family].targets[0]
    options = options_for(family, "plain") | {
        "rank_pattern": {first: 1, r".*\.2\..*": 5},
        "alpha_pattern": {r".*\.2\..*": 4, ".*": 2},
    }
    pair = twins(family, options, torch.float32)
    pair.theirs.save_pretrained(tmp_path / "theirs")
    with quiet(), pytest.raises(RuntimeError, match="size mismatch"):
        peft.PeftModel.from_pretrained(build(family), tmp_path / "theirs")
    pair.ours.save_pretrained(tmp_path / "ours")
    expected = logits(pair.theirs)
    assert_close(logits(open_in_peft(build(family), tmp_path / "ours")), expected, "peft")
    here = minipeft.PeftModel.from_pretrained(build(family), tmp_path / "ours")
    assert_close(logits(here.eval()), expected, "here")


def test_a_file_of_peft_with_names_that_match_nothing(tmp_path):
    """peft wants one name of a list to match; the tensors say what the adapter really holds."""
    options = {
        "r": 3,
        "target_modules": ["q_proj", "query_key_value", "v_proj"],
        "exclude_modules": ["lm_haed"],
        "modules_to_save": ["lm_head", "score"],
        "rank_pattern": {"query": 2},
    }
    theirs = wrap_theirs(build("llama"), options).eval()
    scramble(trained_by_peft(theirs))
    with quiet():
        theirs.save_pretrained(tmp_path)
    ours = minipeft.PeftModel.from_pretrained(build("llama"), tmp_path)
    assert_close(logits(ours), logits(theirs), "opened here")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_files(family, dtype, tmp_path):
    """A file of 16-bit tensors: both libraries widen the adapter to fp32 and give equal logits."""
    pair = twins(family, options_for(family, "head saved"), torch.float32)
    pair.ours.to(dtype)
    pair.theirs.to(dtype)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    for side in ("ours", "theirs"):
        assert {v.dtype for v in load_file(tmp_path / side / WEIGHTS).values()} == {dtype}
        ours = minipeft.PeftModel.from_pretrained(build(family), tmp_path / side, is_trainable=True)
        theirs = peft.PeftModel.from_pretrained(build(family), tmp_path / side, is_trainable=True)
        assert_close(logits(ours.eval()), logits(theirs.eval()), side)
        assert {v.dtype for v in trained_by_us(ours).values()} == {
            v.dtype for v in trained_by_peft(theirs).values()
        }


def test_a_bf16_base_reads_an_fp32_file(family, tmp_path):
    pair = twins(family, options_for(family, "plain"), torch.float32)
    pair.theirs.save_pretrained(tmp_path)
    ours = minipeft.PeftModel.from_pretrained(build(family, torch.bfloat16), tmp_path)
    theirs = peft.PeftModel.from_pretrained(build(family, torch.bfloat16), tmp_path)
    assert_close(logits(ours.eval()), logits(theirs.eval()), "bf16 base")


def test_a_rank_above_a_small_layer_opens_from_peft(tmp_path):
    """peft allows r above the layer's smaller side; a new adapter here doesn't, a file may."""
    base = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Linear(3, 6)).double()
    config = peft.LoraConfig(r=5, target_modules=["0", "1"], init_lora_weights=False)
    theirs = peft.get_peft_model(copy.deepcopy(base), config)
    theirs.save_pretrained(tmp_path)
    x = torch.randn(4, 6, dtype=torch.float64)
    ours = minipeft.PeftModel.from_pretrained(base, tmp_path)
    assert_close(ours(x), theirs(x))
