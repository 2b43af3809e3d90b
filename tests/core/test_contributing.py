"""The new method that CONTRIBUTING shows is run as it stands there: the promise of one file."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

import minipeft
from minipeft.core.config import LayerConfig
from minipeft.core.layer import Tuner
from minipeft.core.linear import adapter_place
from minipeft.methods import METHODS
from tests.closeness import assert_close

from .models import FAMILIES, build, logits
from .peers import scramble, trained_by_us
from .snapshots import unchanged

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def scale_config(monkeypatch):
    """The config class that the example defines and registers, forgotten after the test."""
    monkeypatch.setitem(METHODS, "SCALE", None)  # so that the entry is undone after the test
    del METHODS["SCALE"]
    example = re.search(r"```python\n(.*?)```", CONTRIBUTING.read_text("utf-8"), re.DOTALL)[1]
    names = {
        "ClassVar": ClassVar,
        "LayerConfig": LayerConfig,
        "Tuner": Tuner,
        "adapter_place": adapter_place,
        "dataclass": dataclass,
        "nn": nn,
        "torch": torch,
        "__name__": __name__,
    }
    exec(compile(textwrap.dedent(example), "CONTRIBUTING.md", "exec"), names)
    return names["ScaleConfig"]


def test_it_attaches_trains_switches_merges_and_travels(scale_config, family, tmp_path):
    base = build(family, torch.float64)
    bare = logits(base).detach()
    targets = list(FAMILIES[family].targets)
    with unchanged(base):
        model = minipeft.get_peft_model(base, scale_config(target_modules=targets))
        assert torch.equal(logits(model), bare)  # s = 1
        assert model.get_nb_trainable_parameters()[0] == len(model.adapters["default"].layers)
        scramble(trained_by_us(model))
        adapted = logits(model).detach()
        assert not torch.allclose(adapted, bare)
        with model.disable_adapter():
            assert torch.equal(logits(model), bare)
        model.merge_adapter()
        assert_close(logits(model).detach(), adapted, "merged")
        model.unmerge_adapter()
        model.save_pretrained(tmp_path)
        model.unload()
    again = minipeft.PeftModel.from_pretrained(build(family, torch.float64), tmp_path)
    assert torch.equal(logits(again), adapted)


# How the methods are called in prose and in code; papers' names such as QLoRA are no such word.
NAMES = re.compile(
    r"(?<![\w-])(lora|rslora|dora|pissa|adalora|vera|\(?ia\)?[3³]|bottleneck|bitfit|lora_only"
    r"|diff.?pruning|prefix.?tuning|prompt.?tuning|p.?tuning|(lora|dora|ia3|vera)(config|layer))\b",
    re.IGNORECASE,
)
NEUTRAL = ("core", "several", "shapes", "budget", "quant", "model.py")


def neutral_files() -> list[Path]:
    """What knows no method; budget/discrepancies holds what papers claim about one."""
    package = Path(minipeft.__file__).parent
    places = [package / name for name in NEUTRAL]
    files = [
        file for place in places for file in ([place] if place.is_file() else place.rglob("*"))
    ]
    kinds = (".py", ".toml")
    return [f for f in files if f.suffix in kinds and f.stem != "discrepancies"]


def test_no_other_file_names_a_method():
    """A method's name elsewhere would be a second place to change for a new method."""
    assert len(neutral_files()) > 40
    known = set(METHODS)
    for path in neutral_files():
        text = path.read_text("utf-8")
        found = NAMES.search(text)
        assert not found, f"{path} names {found[0]!r}"
        assert not [method for method in known if f'"{method}"' in text], path


def test_the_rule_can_fail():
    names = ("LoRA's A", "a LoraConfig", "DoRA", "(IA)^3 or IA3", "prefix tuning", "lora_only")
    assert all(NAMES.search(name) for name in names)
    assert not any(NAMES.search(name) for name in ("QLoRA, section 3", "S-LoRA", "explorations"))
