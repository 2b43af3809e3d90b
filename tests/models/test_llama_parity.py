"""Our decoder against transformers', on random checkpoints that transformers saved."""

import json

import pytest
import torch
import transformers

from minipeft.models.llama import Llama, LlamaConfig, load_pretrained
from tests.closeness import RTOL, assert_all_close, assert_close

SMALL = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CASES = {
    "mha": ("Llama", {}),
    "gqa": ("Llama", {"num_key_value_heads": 2}),
    "one key/value head": ("Llama", {"num_key_value_heads": 1}),
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "untied": ("Llama", {"tie_word_embeddings": False}),
    "llama3 rope": ("Llama", {"rope_scaling": LLAMA3, "rope_theta": 500_000.0}),
    "head_dim": ("Llama", {"head_dim": 16, "num_key_value_heads": 3}),
    "llama biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "epsilon": ("Llama", {"rms_norm_eps": 1e-2}),
    "qwen2 biases": ("Qwen2", {"num_key_value_heads": 2}),
    "qwen2 tied": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {"num_key_value_heads": 2, "sliding_window": None}),
}


def save_reference(folder, family, changes, **options):
    """A random transformers model, saved; every tensor, norms and biases too, is random."""
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **changes})
    torch.manual_seed(1)
    reference = getattr(transformers, f"{family}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(std=0.3)
    reference.save_pretrained(folder, **options)
    return reference.eval()


def tokens(length=60):
    return torch.randint(97, (2, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_logits_equal_those_of_transformers(tmp_path, case, dtype):
    reference = save_reference(tmp_path, *CASES[case]).to(dtype)
    model = load_pretrained(tmp_path, dtype=dtype)
    with torch.no_grad():
        ours, theirs = model(tokens()), reference(tokens()).logits
    assert ours.dtype == dtype and theirs.std() > 0.2  # a comparison of something
    assert_close(ours, theirs, rtol=RTOL[torch.float32])  # that of their norms


def test_gradients_equal_those_of_transformers(tmp_path):
    reference = save_reference(tmp_path, *CASES["qwen2 tied"]).double()
    model = load_pretrained(tmp_path, dtype=torch.float64)
    model(tokens()).logsumexp(-1).sum().backward()
    reference(tokens()).logits.logsumexp(-1).sum().backward()
    theirs = dict(reference.named_parameters())
    assert {name for name, _ in model.named_parameters()} == theirs.keys()
    mine = {name: parameter.grad for name, parameter in model.named_parameters()}
    other = {name: parameter.grad for name, parameter in theirs.items()}
    assert_all_close(mine, other, rtol=RTOL[torch.float32])


@pytest.mark.parametrize("case", ["tied", "untied", "qwen2 biases"])
def test_sharded_checkpoints_load(tmp_path, case):
    reference = save_reference(tmp_path, *CASES[case], max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    with torch.no_grad():
        assert_close(load_pretrained(tmp_path)(tokens()), reference(tokens()).logits)


@pytest.mark.parametrize("case", CASES)
def test_names_shapes_and_tying_are_those_of_transformers(tmp_path, case):
    reference = save_reference(tmp_path, *CASES[case])
    model = load_pretrained(tmp_path)
    assert {n: p.shape for n, p in model.named_parameters()} == {
        n: p.shape for n, p in reference.named_parameters()
    }
    assert set(model.state_dict()) == set(reference.state_dict())
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == reference.config.tie_word_embeddings
    assert model.config.model_type == reference.config.model_type
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())


@pytest.mark.parametrize("case", CASES)
def test_config_survives_a_trip_through_transformers(tmp_path, case):
    save_reference(tmp_path, *CASES[case])
    config = LlamaConfig.from_config(tmp_path)
    theirs = getattr(transformers, f"{CASES[case][0]}Config").from_dict(config.to_dict())
    assert LlamaConfig.from_config(theirs.to_dict()) == config
    assert LlamaConfig.from_config(json.loads(json.dumps(config.to_dict()))) == config


def test_transformers_5_writes_rope_parameters(tmp_path):
    """The same scaling under the new name, with the base frequency inside."""
    save_reference(tmp_path, *CASES["llama3 rope"])
    file = tmp_path / "config.json"
    old = LlamaConfig.from_config(file)
    raw = json.loads(file.read_text())
    if "rope_scaling" in raw:  # transformers 4 wrote it
        raw["rope_parameters"] = {**raw.pop("rope_scaling"), "rope_theta": raw.pop("rope_theta")}
    assert LlamaConfig.from_config(raw) == old
    raw["rope_parameters"]["type"] = raw["rope_parameters"].pop("rope_type")
    assert LlamaConfig.from_config(raw) == old
    raw["rope_parameters"] = {"rope_type": "default", "rope_theta": 500_000.0}
    assert LlamaConfig.from_config(raw).rope_scaling is None


def test_later_tokens_never_reach_earlier_ones():
    torch.manual_seed(0)
    model = Llama(LlamaConfig.from_config({"model_type": "llama", **SMALL}))
    long = tokens()
    assert_close(model(long)[:, :20], model(long[:, :20]))
