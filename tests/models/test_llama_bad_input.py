"""Wrong folders, files, configs and prompts: one clear error each."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minipeft.models.llama import KeyValueCache, Llama, LlamaConfig, load_pretrained

CONFIG = {
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def folder(tmp_path):
    model = Llama(LlamaConfig.from_config(CONFIG))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "lama"}, "'lama'.*nearest: 'llama'"),
        ({"model_type": None}, "model_type None"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "'linear'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "lacks low_freq_factor"),
        ({"rope_parameters": "yarn"}, "rope_parameters.*'yarn'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window 4096"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8}, "sliding"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ({"quantization_config": {"bits": 4}}, "quantized"),
        ({"hidden_size": None}, "lacks hidden_size"),
        ({"hidden_size": 0}, "hidden_size .* 0"),
        ({"hidden_size": "16"}, "hidden_size .* '16'"),
        ({"hidden_size": 18}, "18 is not a multiple of num_attention_heads 4"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"head_dim": 5}, "head_dim .* 5"),
        ({"head_dim": "8"}, "head_dim .* '8'"),
    ],
)
def test_config_that_is_not_built_here(change, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig.from_config({**CONFIG, **change})


def test_missing_folder_config_and_weights(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_pretrained(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors"):
        load_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_config_that_is_not_a_json_object(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.json"):
        load_pretrained(folder)


def test_truncated_weights(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 4, 100, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
            load_pretrained(folder)


def rewrite(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda t: t.pop("model.norm.weight"), "lacks 1 .*model.norm.weight"),
        (lambda t: t.pop("lm_head.weight"), "lacks 1 .*lm_head.weight"),
        (
            lambda t: t.update({"model.layers.1.mlp.gate_prj.weight": torch.zeros(1)}),
            "gate_prj.*nearest: .*gate_proj",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.zeros(17)}),
            r"model.norm.weight has shape \(17,\) .*\(16,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit(folder, edit, message):
    rewrite(folder, edit)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_rotary_frequencies_of_early_checkpoints_are_no_error(folder):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda t: t.update({name: torch.zeros(2)}))
    load_pretrained(folder)


@pytest.mark.parametrize(
    "index, error, message",
    [
        ({"weight_map": {"a": "model-1.safetensors"}}, FileNotFoundError, "shard model-1"),
        ({"weight_map": {"a": "../model.safetensors"}}, ValueError, "outside the folder"),
        ({"weight": {}}, ValueError, "not a safetensors index"),
        ([], ValueError, "not a safetensors index"),
    ],
)
def test_broken_index(folder, index, error, message):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(error, match=message):
        load_pretrained(folder)


@pytest.mark.parametrize("tokens", [torch.zeros(3, dtype=torch.long), torch.zeros(2, 3)])
def test_input_that_is_no_table_of_ids(tokens):
    model = Llama(LlamaConfig.from_config(CONFIG))
    with pytest.raises(ValueError, match="whole numbers of shape"):
        model(tokens)


def filled(length=4):
    cache = KeyValueCache()
    for layer in range(2):
        cache.update(*torch.zeros(2, 2, 2, length, 4), layer)
    return cache


IDS, VECTORS = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, 16)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({}, "input_ids and inputs_embeds, not neither"),
        ({"input_ids": IDS, "inputs_embeds": VECTORS}, "not both"),
        ({"inputs_embeds": VECTORS[:, :, :15]}, r"shape \(batch, length, 16\).*\(2, 3, 15\)"),
        ({"inputs_embeds": IDS}, r"inputs_embeds .*int64 of shape \(2, 3\)"),
        ({"inputs_embeds": VECTORS.long()}, r"inputs_embeds .*int64"),
        ({"input_ids": IDS, "attention_mask": IDS[:, :2]}, r"attention_mask .*\(2, 3\).*\(2, 2\)"),
        ({"input_ids": IDS, "attention_mask": VECTORS}, r"attention_mask .*\(2, 3, 16\)"),
        (
            {"input_ids": IDS, "attention_mask": IDS, "past_key_values": filled()},
            r"attention_mask should have shape \(2, 7\), \(batch, past \+ length\).*\(2, 3\)",
        ),
        ({"input_ids": IDS, "position_ids": IDS[:, :1]}, r"position_ids .*\(2, 1\)"),
        ({"input_ids": IDS, "position_ids": VECTORS[..., 0]}, r"position_ids .*float32"),
        ({"input_ids": IDS, "past_key_values": ((VECTORS, VECTORS),)}, "KeyValueCache.* tuple"),
        ({"input_ids": IDS[:1], "past_key_values": filled()}, r"layer 0 holds \(2, 2, 4, 4\)"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    model = Llama(LlamaConfig.from_config(CONFIG))
    with pytest.raises(ValueError, match=message):
        model(**inputs)


@pytest.mark.parametrize("options", [{"use_reentrant": True}, {"use_rentrant": False}, {"x": 1}])
def test_other_ways_to_checkpoint_are_refused(options):
    model = Llama(LlamaConfig.from_config(CONFIG))
    with pytest.raises(ValueError, match=r"gradient_checkpointing_kwargs=.*'use_reentrant': False"):
        model.gradient_checkpointing_enable(options)
    assert not model.model.gradient_checkpointing
