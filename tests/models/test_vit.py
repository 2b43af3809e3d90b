"""Our ViT against transformers', bare and with LoRA, in float64."""

import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import minipeft
from minipeft.models.vit import ViT, ViTConfig, load_pretrained
from minipeft.models.vit_names import our_names
from tests.closeness import assert_all_close, assert_close

EXACT = {"rtol": 1e-10, "atol": 1e-10}
DIGITS = {  # scikit-learn's: 8 x 8 pixels of one channel, cut into squares of 2 x 2
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 1,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "num_labels": 10,
}
CASES = {
    "digits": {},
    "colours, one patch": {"num_channels": 3, "patch_size": 8},
    "no biases in attention": {"qkv_bias": False, "layer_norm_eps": 1e-2},
}


def reference(case="digits", kind="ForImageClassification", **changes):
    """A random transformers model; norms, biases and the class token are random, too."""
    config = transformers.ViTConfig(**{**DIGITS, **CASES[case], **changes})
    torch.manual_seed(1)
    model = getattr(transformers, f"ViT{kind}")(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def renamed(tensors):
    return {ours: tensors[name] for name, ours in our_names(tensors).items()}


def ours_like(theirs):
    model = ViT(ViTConfig.from_config(theirs.config.to_dict())).double().eval()
    model.load_state_dict(renamed(theirs.state_dict()))
    return model


def images(case="digits"):
    config = DIGITS | CASES[case]
    shape = (5, config["num_channels"], 8, 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def gradients(model, answer):
    answer.pow(2).mean().add(answer.sin().sum()).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("case", CASES)
def test_logits_and_all_gradients(case):
    theirs = reference(case)
    ours, mine, their_input = ours_like(theirs), images(case), images(case)
    mine.requires_grad_()
    their_input.requires_grad_()
    logits, expected = ours(pixel_values=mine), theirs(pixel_values=their_input).logits
    torch.testing.assert_close(logits, expected, **EXACT)
    found, wanted = gradients(ours, logits), renamed(gradients(theirs, expected))
    assert found.keys() == wanted.keys()
    torch.testing.assert_close(found, wanted, **EXACT)
    torch.testing.assert_close(mine.grad, their_input.grad, **EXACT)


def test_hidden_states_of_the_bare_model(tmp_path):
    theirs = reference(kind="Model")
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path, num_labels=4, dtype=torch.float64)
    hidden = theirs(images()).last_hidden_state
    torch.testing.assert_close(ours.vit(images()), hidden, **EXACT)
    assert ours(images()).shape == (5, 4) and ours.config.num_labels == 4
    with pytest.raises(ValueError, match="holds no classifier: num_labels="):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "20KB"}])
def test_checkpoints_of_transformers_load(tmp_path, options):
    theirs = reference()
    theirs.save_pretrained(tmp_path, **options)
    ours = load_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(ours(images()), theirs(images()).logits, **EXACT)
    assert all(p.requires_grad and not p.is_meta for p in ours.parameters()) and not ours.training
    again = load_pretrained(tmp_path, num_labels=10, dtype=torch.float64)  # a new head, always
    assert not torch.equal(again.classifier.weight, ours.classifier.weight)
    assert torch.equal(again.vit.layernorm.weight, ours.vit.layernorm.weight)


def test_ours_loads_in_transformers(tmp_path):
    ours = ours_like(reference())
    save_file(ours.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = ours.config.to_dict() | {"architectures": ["ViTForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(theirs(images()).logits, ours(images()), **EXACT)


NEW = {
    "encoder.layer": "layers",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def test_names_of_transformers_5_are_read_as_well(tmp_path):
    reference().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    before, tensors = load_pretrained(tmp_path)(images()), {}
    for name, tensor in load_file(file).items():
        for old, new in NEW.items():
            name = name.replace(old, new)
        tensors[name] = tensor
    assert any("mlp.fc2" in name for name in tensors)
    save_file(tensors, file)
    assert torch.equal(load_pretrained(tmp_path)(images()), before)


def test_config_survives_a_trip_through_transformers(tmp_path):
    config = ViTConfig(**DIGITS | CASES["no biases in attention"])
    theirs = transformers.ViTConfig.from_dict(config.to_dict())
    assert ViTConfig.from_config(theirs.to_dict()) == config
    theirs.save_pretrained(tmp_path)  # names the labels and doesn't count them
    assert ViTConfig.from_config(tmp_path) == config
    assert ViTConfig() == ViTConfig.from_config(transformers.ViTConfig().to_dict())


def test_a_fresh_model_starts_small():
    torch.manual_seed(0)
    model = ViT(ViTConfig(**DIGITS))
    for name, parameter in model.named_parameters():
        if "layernorm" not in name and not name.endswith("bias"):
            assert 0.01 < parameter.std() < 0.03, name
    logits = model(images())  # float64 images, float32 weights
    assert logits.shape == (5, 10) and logits.dtype == torch.float32 and logits.abs().max() < 1


LORA = {
    "r": 3,
    "lora_alpha": 5,
    "target_modules": r".*\.(query|value|q_proj|v_proj)",
    "modules_to_save": ["classifier"],
}


@pytest.fixture
def adapted():
    """Ours and theirs with the same random adapter, and theirs' trained tensors by our names."""
    base = reference()
    ours = minipeft.get_peft_model(ours_like(base), minipeft.LoraConfig(**LORA))
    theirs = peft.get_peft_model(base, peft.LoraConfig(**LORA)).double().eval()
    ours = ours.double().eval()
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn_like(parameter))
                named[peft_name(name)].copy_(parameter)
    return ours, theirs


def peft_name(name):
    name = name.replace("classifier.", "classifier.modules_to_save.default.")
    name = name.replace(".tuner.lora_A.", ".lora_A.default.")
    name = name.replace(".tuner.lora_B.", ".lora_B.default.")
    return "base_model.model." + name.removeprefix("base_model.")


old_names_only = pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) > 4, reason="adapters name layers as transformers 4"
)


@old_names_only
def test_lora_equals_pefts(adapted):
    ours, theirs = adapted
    logits, expected = ours(images()), theirs(images()).logits
    torch.testing.assert_close(logits, expected, **EXACT)
    found, wanted = gradients(ours, logits), gradients(theirs, expected)
    assert len(found) == 3 * 2 * 2 + 2
    torch.testing.assert_close({peft_name(n): g for n, g in found.items()}, wanted, **EXACT)


@old_names_only
def test_lora_files_travel_both_ways(adapted, tmp_path):
    ours, theirs = adapted
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    files = [load_file(tmp_path / who / "adapter_model.safetensors") for who in ("ours", "theirs")]
    assert_all_close(*files)
    expected = theirs(images()).logits
    opened = peft.PeftModel.from_pretrained(reference(), tmp_path / "ours").double().eval()
    assert_close(opened(images()).logits, expected)
    opened = minipeft.PeftModel.from_pretrained(ours_like(reference()), tmp_path / "theirs")
    assert_close(opened(images()), expected)


def test_published_count_of_vit_b_16():
    """peft's guide to image classification: LoRA on query and value, a head of 101 dishes."""
    with torch.device("meta"):
        model = ViT(ViTConfig(num_labels=101))
    config = minipeft.LoraConfig(
        r=16, target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    counted = minipeft.get_peft_model(model, config).get_nb_trainable_parameters()
    assert counted == (667_493, 86_543_818)
