"""Configs, images and folders that no ViT fits: one clear error each."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minipeft.models.vit import ViT, ViTConfig, load_pretrained

DIGITS = {
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 1,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 36,
    "num_labels": 10,
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "deit"}, "model_type 'deit'"),
        ({"model_type": None}, "model_type None"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' .*'gelu'"),
        ({"hidden_dropout_prob": 0.1}, r"hidden_dropout_prob 0\.1"),
        ({"hidden_size": 26}, "hidden_size 26 is not a multiple of num_attention_heads 4"),
        ({"patch_size": 3}, "image_size 8 is not a multiple of patch_size 3"),
        ({"image_size": [8, 8]}, r"image_size .*\[8, 8\]"),
        ({"num_labels": 0}, "num_labels .* 0"),
        ({"quantization_config": {"bits": 4}}, "quantized"),
    ],
)
def test_config_that_is_not_built_here(change, message):
    with pytest.raises(ValueError, match=message):
        ViTConfig.from_config({"model_type": "vit", **DIGITS, **change})


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 8, 8), (2, 1, 8, 10), (2, 1, 16, 16)])
def test_images_of_another_size(shape):
    with pytest.raises(ValueError, match=r"pixel_values .*\(1, 8, 8\) behind the batch"):
        ViT(ViTConfig(**DIGITS))(torch.zeros(shape))


def test_tensors_that_do_not_fit(tmp_path):
    model = ViT(ViTConfig(**DIGITS))
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"vit.extra": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"does not have: vit\.extra"):
        load_pretrained(tmp_path)
    save_file(tensors | {"classifier.bias": torch.zeros(11)}, file)
    with pytest.raises(ValueError, match=r"classifier.bias has shape \(11,\)"):
        load_pretrained(tmp_path)
