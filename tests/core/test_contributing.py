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


def test_no_other_file_names_a_method():
    """A method's name in the core would be a second place to change for a new method."""
    package = Path(minipeft.__file__).parent
    core = ["model", "several/mixed"]
    core += [f"core/{name}" for name in ("adapter", "adapted", "replacements", "targets", "files")]
    for name in core:
        text = (package / f"{name}.py").read_text("utf-8")
        for method in METHODS:
            assert f'"{method}"' not in text, f"{name}.py knows {method}"
        assert "minipeft.methods." not in text, name
