"""What peft has for linear layers, on the ViT of transformers: numbers and files beside it."""

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

import minipeft
from tests.closeness import assert_all_close, assert_close

from .exchange import open_in_peft
from .peers import copy_values, scramble, trained_by_peft, trained_by_us, wrap_ours, wrap_theirs

METHODS = {
    "LoRA": ("LoraConfig", {"r": 3, "lora_alpha": 5}),
    "rsLoRA": ("LoraConfig", {"r": 3, "use_rslora": True, "bias": "lora_only"}),
    "DoRA": ("LoraConfig", {"r": 3, "use_dora": True}),
    "AdaLoRA": ("AdaLoraConfig", {"init_r": 3, "target_r": 2, "total_step": 9}),
    "VeRA": ("VeraConfig", {"r": 5}),
    "IA3": ("IA3Config", {"feedforward_modules": ["dense"]}),
}


def vit() -> nn.Module:
    """Images of 8 x 8 pixels in four patches, three labels; the same weights each time."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 36}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(**sizes, num_attention_heads=4, image_size=8, patch_size=4, num_labels=3)
        return ViTForImageClassification(config).double().eval()


def answer(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    return model(pixel_values=pixels).logits  # (batch, labels)


def wrapped(method: str) -> tuple[minipeft.PeftModel, peft.PeftModel]:
    """Its trained classifier, too, and the same random values in both."""
    name, options = METHODS[method]
    given = {"target_modules": ["query", "value", "dense"], "modules_to_save": ["classifier"]}
    ours, theirs = (wrap(vit(), given | options, config=name) for wrap in (wrap_ours, wrap_theirs))
    for parameter_name, parameter in theirs.named_parameters():
        if ".ranknum." in parameter_name:  # see test_adalora_training.py
            parameter.requires_grad_(False)
    scramble(trained_by_peft(theirs))
    copy_values(trained_by_peft(theirs), trained_by_us(ours))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("method", METHODS)
def test_outputs_and_gradients_are_peft_s(method):
    ours, theirs = wrapped(method)
    assert_close(answer(ours), answer(theirs), "logits")
    for model in (ours, theirs):
        answer(model).sin().sum().backward()
    expected = trained_by_peft(theirs)
    mine = {name: parameter.grad for name, parameter in trained_by_us(ours).items()}
    assert_all_close(mine, {name: expected[name].grad for name in mine})


@pytest.mark.parametrize("method", METHODS)
def test_files_go_both_ways(method, tmp_path):
    ours, theirs = wrapped(method)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    opened = minipeft.PeftModel.from_pretrained(vit(), tmp_path / "theirs")
    assert_close(answer(opened), answer(theirs), "opened here")
    assert_close(answer(open_in_peft(vit(), tmp_path / "ours")), answer(ours), "in peft")
