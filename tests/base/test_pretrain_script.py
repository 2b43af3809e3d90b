"""The script that made the weights, run for a few steps."""

import importlib.util
import json
from pathlib import Path

import pytest

from minipeft.models.llama import load_pretrained

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "scripts" / "pretrain.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pretrain", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HELD_OUT_DOCUMENTS = 100
    module.TOKENIZER_DOCUMENTS = 2_000
    return module


def run(script, folder, steps, *more):
    options = ["--steps", str(steps), "--batch-size", "32", "--threads", "1", "--out", str(folder)]
    script.main([*options, *more])
    return json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))


def test_the_loss_falls_and_the_folder_loads(script, tmp_path):
    before = run(script, tmp_path / "short", 1)
    after = run(script, tmp_path / "long", 30)
    assert before["all"]["held_out_loss"] > 5.5  # log 1024 is 6.9
    assert after["all"]["held_out_loss"] < before["all"]["held_out_loss"] - 1.5
    assert after["steps"] == 30 and "--steps 30" in after["command"]
    assert str(tmp_path) not in json.dumps(after)  # the record names no folder of this machine
    load_pretrained(tmp_path / "long")
    assert {file.name for file in (tmp_path / "long").iterdir()} == {
        "config.json",
        "model.safetensors",
        "pretraining.json",
        "tokenizer.json",
    }


def test_the_same_seed_gives_the_same_weights(script, tmp_path):
    for name in ("one", "two"):
        run(script, tmp_path / name, 2)
    run(script, tmp_path / "other", 2, "--seed", "1")
    one, two, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "other")
    )
    assert one == two != other


def test_the_shipped_tokenizer_is_the_one_the_script_makes():
    """Trained anew on the same documents, it comes out the same to the last byte."""
    from minipeft.course.base import DATA
    from minipeft.course.world import World
    from minipeft.course.world.tokenizer import train_tokenizer

    spec = importlib.util.spec_from_file_location("pretrain_fresh", SCRIPT)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    documents = World().documents(fresh.TOKENIZER_DOCUMENTS, seed=fresh.HELD_OUT_SEED + 1)
    tokenizer = train_tokenizer((d.text for d in documents), fresh.VOCABULARY)
    shipped = (DATA / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(tokenizer.to_str()) == json.loads(shipped)
