"""Damaged, foreign and missing adapter files: refused with one clear error, the base untouched."""

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import minipeft

from .models import build, toy
from .peers import quiet, scramble, trained_by_us, wrap_ours, wrap_theirs
from .snapshots import assert_says, unchanged

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
OPTIONS = {
    "r": 2,
    "target_modules": ["first", "second"],
    "modules_to_save": ["norm"],
    "bias": "all",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A sound adapter folder, for a test to damage."""
    model = wrap_ours(toy(), OPTIONS)
    scramble(trained_by_us(model))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def refused(folder: Path, error: type[Exception], *words: str, base=toy) -> None:
    """Both ways of loading refuse, name these words, and leave their model alone."""
    fresh = base()
    with unchanged(fresh), pytest.raises(error) as caught:
        minipeft.PeftModel.from_pretrained(fresh, folder)
    assert_says(caught, *words)
    model = wrap_ours(base(), {"r": 2, "target_modules": "all-linear"})
    scramble(trained_by_us(model))
    with unchanged(model), pytest.raises(error) as caught:
        model.load_adapter(folder, "loaded")
    assert_says(caught, *words)


def test_no_such_folder(tmp_path):
    refused(tmp_path / "nowhere", FileNotFoundError, "nowhere", CONFIG)


def test_folder_without_a_config(folder):
    (folder / CONFIG).unlink()
    refused(folder, FileNotFoundError, CONFIG, str(folder))


def test_the_folder_above_names_the_adapters_below(folder):
    model = wrap_ours(toy(), OPTIONS, "french")
    model.save_pretrained(folder.parent / "several")
    refused(folder.parent / "several", FileNotFoundError, CONFIG, "french")


def test_folder_without_weights(folder):
    (folder / WEIGHTS).unlink()
    refused(folder, FileNotFoundError, WEIGHTS)


def test_weights_as_a_pickle_are_not_opened(folder):
    """adapter_model.bin may run code when it is read."""
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    refused(folder, FileNotFoundError, "adapter_model.bin", WEIGHTS)


def test_a_file_in_place_of_the_folder(folder):
    refused(folder / CONFIG, OSError, CONFIG)


NOT_A_CONFIG = {
    "empty": b"",
    "half": b'{"peft_type": "LORA", "r": ',
    "text": b"r = 8",
    "a list": b"[1, 2]",
    "a number": b"8",
    "not UTF-8": b'{"peft_type": "LORA\xff"}',
    "binary": b"\x00\x01\x02",
}


@pytest.mark.parametrize("content", NOT_A_CONFIG.values(), ids=NOT_A_CONFIG.keys())
def test_config_that_is_no_json_object(folder, content):
    (folder / CONFIG).write_bytes(content)
    refused(folder, ValueError, CONFIG)


def rewrite(folder: Path, **fields: object) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | fields))


@pytest.mark.parametrize("method", ["LOHA", "lora", "", None, 3, ["LORA"]])
def test_unknown_method(folder, method):
    rewrite(folder, peft_type=method)
    refused(folder, ValueError, "peft_type", repr(method), "IA3" if method == 3 else "LORA")


UNSUPPORTED = {
    "use_qalora": True,
    "lora_bias": True,
    "layer_replication": [[0, 1]],
    "target_parameters": ["norm.weight"],
    "trainable_token_indices": [1, 2],
    "alora_invocation_tokens": [1],
    "invented_in_2030": 4,
}


@pytest.mark.parametrize(("option", "value"), UNSUPPORTED.items())
def test_option_that_would_change_the_numbers(folder, option, value):
    """Passed over, it would give other numbers without a word."""
    rewrite(folder, **{option: value})
    refused(folder, ValueError, option, repr(value))


@pytest.mark.parametrize("option", ["use_qalora"])
def test_features_of_peft_that_are_not_here_yet(tmp_path, option):
    theirs = wrap_theirs(build("llama"), {"r": 2, "target_modules": ["q_proj"], option: True})
    theirs.save_pretrained(tmp_path)
    if option in minipeft.LoraConfig.__dataclass_fields__:
        pytest.skip(f"{option} is known here")
    refused(tmp_path, ValueError, option, "True", base=lambda: build("llama"))


BAD_FIELDS = {
    "r": (0, ("r", "0")),
    "lora_dropout": (7, ("lora_dropout", "7")),
    "bias": ("some", ("bias", "some", "lora_only")),
    "target_modules": (["frist"], ("frist", "first")),
    "modules_to_save": (["nrom"], ("norm.weight", "norm.bias")),
    "lora_alpha": ("high", ("lora_alpha", "high")),
}


@pytest.mark.parametrize("option", BAD_FIELDS)
def test_fields_out_of_range(folder, option):
    value, words = BAD_FIELDS[option]
    rewrite(folder, **{option: value})
    refused(folder, ValueError, *words)


@pytest.mark.parametrize("length", [0, 4, 8, 60, -1, -200])
def test_truncated_weights(folder, length):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:length])
    refused(folder, ValueError, WEIGHTS)


@pytest.mark.parametrize("junk", [b"not safetensors at all, but long enough", b"\xff" * 64])
def test_weights_that_are_something_else(folder, junk):
    (folder / WEIGHTS).write_bytes(junk)
    refused(folder, ValueError, WEIGHTS)


def change(folder: Path, edit) -> None:
    """Damage the tensors: `edit` gets the dictionary."""
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


FIRST_A = "base_model.model.first.lora_A.weight"


def test_safetensors_of_a_whole_model(folder):
    save_file(toy().state_dict(), folder / WEIGHTS)
    refused(folder, ValueError, "embedding.weight", "base_model.model.")


def test_no_tensors_at_all(folder):
    change(folder, dict.clear)
    refused(folder, ValueError, "first.lora_A.weight")


def test_a_missing_tensor(folder):
    """peft loads such a file with a warning and leaves the layer at its random start."""
    change(folder, lambda tensors: tensors.pop(FIRST_A))
    refused(folder, ValueError, "first.lora_A.weight")


def test_a_tensor_too_many(folder):
    change(
        folder, lambda tensors: tensors.update({FIRST_A.replace("first", "third"): torch.ones(2)})
    )
    refused(folder, ValueError, "third.lora_A.weight", "first.lora_A.weight")


@pytest.mark.parametrize("shape", [(3, 8), (2, 9), (8, 2), (16,), (1, 2, 8), ()])
def test_a_tensor_of_another_shape(folder, shape):
    change(folder, lambda tensors: tensors.update({FIRST_A: torch.zeros(shape)}))
    refused(folder, ValueError, "first.lora_A.weight", str(shape), "(2, 8)")


def test_an_adapter_of_a_wider_base(folder):
    refused(folder, ValueError, "(16,)", "(24,)", "base", base=lambda: toy(width=12))


def test_an_adapter_of_another_family(tmp_path):
    wrap_ours(build("bert"), {"r": 2, "target_modules": ["query"]}).save_pretrained(tmp_path)
    refused(tmp_path, ValueError, "query", "k_proj", base=lambda: build("llama"))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_tensors_that_are_no_real_numbers(folder, dtype):
    change(folder, lambda tensors: tensors.update({FIRST_A: torch.ones(2, 8, dtype=dtype)}))
    refused(folder, ValueError, "first.lora_A.weight", str(dtype).removeprefix("torch."))


def test_peft_s_greedy_endings_of_saved_modules():
    """A known bug of peft: `modules_to_save` matches by bare endings (peft/utils/other.py,
    `_set_trainable`: `key.endswith(target_key)`), so "norm" also trains every "input_layernorm".
    Here a name begins at a dot, as it does for target_modules in both libraries.
    """
    options = {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["norm"]}
    theirs = wrap_theirs(build("llama"), options)
    assert any("input_layernorm.modules_to_save" in name for name, _ in theirs.named_modules())
    ours = wrap_ours(build("llama"), options)
    saved = [name for name in trained_by_us(ours) if "norm" in name]
    assert saved == ["model.norm.weight"]


def test_what_peft_does_with_a_missing_tensor(tmp_path):
    """Why ours is strict: peft opens half an adapter, and the answer is silently another one."""
    theirs = wrap_theirs(build("llama"), {"r": 2, "target_modules": ["q_proj"]})
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    tensors.popitem()
    save_file(tensors, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with quiet():
        peft.PeftModel.from_pretrained(build("llama"), tmp_path)
    refused(tmp_path, ValueError, "lora_", base=lambda: build("llama"))
