"""Adapters with names of their own, and several at once, go both ways between peft and minipeft."""

import peft
import pytest
import torch

import minipeft
from tests.closeness import assert_close

from .exchange import CONFIG, WEIGHTS, open_in_peft, options_for
from .models import build, logits
from .peers import Twins, quiet, scramble, twins


@pytest.mark.parametrize("adapter", ["default", "french", "law-2_b"])
def test_other_names_live_in_subfolders(family, adapter, tmp_path):
    pair = twins(family, options_for(family, "plain"), torch.float32, adapter)
    pair.ours.save_pretrained(tmp_path / "ours")
    pair.theirs.save_pretrained(tmp_path / "theirs")
    ours, theirs = (
        side if adapter == "default" else side / adapter
        for side in (tmp_path / "ours", tmp_path / "theirs")
    )
    assert (ours / WEIGHTS).read_bytes()  # the same place in both
    in_peft = open_in_peft(build(family), ours, "any")
    here = minipeft.PeftModel.from_pretrained(build(family), theirs, adapter_name="other")
    assert_close(logits(in_peft), logits(pair.theirs), "opened in peft")
    assert_close(logits(here.eval()), logits(pair.theirs), "opened here")
    assert here.active_adapter == "other"


def several(family: str) -> Twins:
    """Three adapters of different shapes in each library, with the same values."""
    pair = twins(family, options_for(family, "plain"), torch.float32)
    for seed, (name, case) in enumerate({"french": "patterns", "law": "head saved"}.items()):
        options = options_for(family, case)
        pair.ours.add_adapter(name, minipeft.LoraConfig(**options))
        pair.theirs.add_adapter(name, peft.LoraConfig(**options))
        pair.ours.set_adapter(name)
        pair.theirs.set_adapter(name)
        ours, theirs = pair.trained()
        scramble(theirs, seed=10 + seed)
        assert sorted(ours) == sorted(theirs)
        with torch.no_grad():
            for key, values in theirs.items():
                ours[key].copy_(values)
    return pair


def test_several_adapters_at_once(family, tmp_path):
    pair = several(family)
    pair.ours.save_pretrained(tmp_path / "ours")
    with quiet():
        pair.theirs.save_pretrained(tmp_path / "theirs")
    opened = open_in_peft(build(family), tmp_path / "ours")
    here = minipeft.PeftModel.from_pretrained(build(family), tmp_path / "theirs")
    for name in ("french", "law"):
        opened.load_adapter(tmp_path / "ours" / name, name)
        here.load_adapter(tmp_path / "theirs" / name, name)
    for name in ("law", "default", "french"):
        for model in (pair.ours, pair.theirs, opened, here):
            model.set_adapter(name)
        expected = logits(pair.theirs)
        for model in (pair.ours, opened.eval(), here.eval()):
            assert_close(logits(model), expected, name)


def test_selected_adapters_alone_are_saved(tmp_path):
    pair = several("llama")
    pair.ours.save_pretrained(tmp_path, selected_adapters=["french"])
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert [name for name in files if not name.endswith(".md")] == [
        f"french/{CONFIG}",
        f"french/{WEIGHTS}",
    ]
