"""Diff pruning in files: whole while it trains, small once it is pruned."""

import torch

import minipeft

from .models import build, logits
from .peers import trained_by_us
from .test_diff_pruning import adapted


def steps(model: minipeft.PeftModel, count: int) -> None:
    optimizer = torch.optim.SGD(trained_by_us(model).values(), lr=0.05)
    for _ in range(count):
        optimizer.zero_grad()
        (logits(model).pow(2).mean() + model.penalty()).backward()
        optimizer.step()


def test_training_goes_on_from_a_file(family, tmp_path):
    """The file before `prune` holds w and the gates."""
    model = adapted(family, sparsity_penalty=0.01)
    steps(model, 2)
    model.save_pretrained(tmp_path)
    again = minipeft.PeftModel.from_pretrained(
        build(family, torch.float64), tmp_path, is_trainable=True
    ).eval()
    steps(model, 2), steps(again, 2)
    assert torch.equal(logits(again), logits(model))


def test_the_file_of_a_pruned_adapter_is_small(family, tmp_path):
    """Four bytes for each value and four for its position, beside names and config."""
    model = adapted(family, torch.float32)
    model.add_adapter("other", minipeft.DiffPruningConfig(target_modules="all-linear"))
    answer = logits(model)
    k = minipeft.prune(model.adapters["default"], keep=0.3)
    answer = logits(model)
    model.save_pretrained(tmp_path)
    tensors = {name: len(v) for name, v in model.adapters["default"].state_dict().items()}
    assert sum(tensors.values()) == 2 * k
    size = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert size < 8 * k + 200 * len(tensors)
    again = minipeft.PeftModel.from_pretrained(build(family), tmp_path)
    assert torch.equal(logits(again), answer) and not trained_by_us(again)
    assert again.peft_config["default"].nonzeros == model.peft_config["default"].nonzeros
    again.load_adapter(tmp_path / "other", "other")
    again.set_adapter("other")
    assert torch.equal(logits(again), logits(build(family)))
    again.set_adapter("default")
    assert torch.equal(logits(again), answer)
