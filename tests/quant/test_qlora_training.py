"""QLoRA in training beside Hugging Face peft on bitsandbytes' layers, and what it must not keep."""

import peft
import pytest
import torch
from torch import nn

import minipeft
from minipeft.models.llama import Llama, LlamaConfig
from tests.closeness import assert_all_close, assert_close
from tests.core.peers import copy_values, scramble, trained_by_peft, trained_by_us
from tests.core.snapshots import assert_says, unchanged

from .bases import DEVICES, LINEAR, in_bitsandbytes, in_ours, llama, logits, loss, undone

OPTIONS = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR}
ADAMW = 2e-4  # where a gradient is small, its rounding is a large part of AdamW's step
STEPS = 4


def adapted(base: nn.Module) -> minipeft.PeftModel:
    """Ours, with the same random LoRA each time."""
    torch.manual_seed(0)
    model = minipeft.get_peft_model(base, minipeft.LoraConfig(**OPTIONS)).train()
    scramble(trained_by_us(model))
    return model


def gradients(model: minipeft.PeftModel) -> list[torch.Tensor]:
    return [parameter.grad for parameter in trained_by_us(model).values()]


def frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything that isn't trained."""
    state = model.state_dict()
    return {name: state[name].clone() for name in state if "lora" not in name}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("double_quant", [False, True])
def test_training_beside_peft_on_bitsandbytes(device, double_quant):
    """Losses, gradients and trained tensors of each AdamW step, both with checkpointing."""
    base = in_ours(llama().to(device), double_quant=double_quant)
    ours = adapted(minipeft.prepare_model_for_kbit_training(base))
    base = peft.prepare_model_for_kbit_training(
        in_bitsandbytes(llama().to(device), double_quant),
        gradient_checkpointing_kwargs={"use_reentrant": True},  # its default
    )
    theirs = peft.get_peft_model(base, peft.LoraConfig(**OPTIONS)).train()
    mine, other = trained_by_us(ours), trained_by_peft(theirs)
    copy_values(mine, other)
    before = frozen(ours)
    optimizers = [torch.optim.AdamW(side.values(), lr=1e-3) for side in (mine, other)]
    for step in range(STEPS):
        values = [loss(model) for model in (ours, theirs)]
        assert_close(*values, f"loss of step {step}")
        for value, optimizer in zip(values, optimizers, strict=True):
            optimizer.zero_grad()
            value.backward()
        slopes = ({n: p.grad for n, p in side.items()} for side in (mine, other))
        assert_all_close(*slopes, rtol=ADAMW)
        for optimizer in optimizers:
            optimizer.step()
        assert_all_close(mine, other, rtol=ADAMW)
    assert_close(logits(ours), logits(theirs))
    for name, values in frozen(ours).items():
        assert torch.equal(values, before[name]), name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", [in_ours, in_bitsandbytes, lambda model: model])
def test_prepared_as_peft_does(form, dtype, checkpointing):
    ours, theirs = form(llama(dtype)), form(llama(dtype))
    theirs.is_loaded_in_4bit = True  # by this mark peft knows what to checkpoint
    assert minipeft.prepare_model_for_kbit_training(ours, checkpointing) is ours
    peft.prepare_model_for_kbit_training(theirs, checkpointing, {"use_reentrant": False})
    assert ours.is_gradient_checkpointing == theirs.is_gradient_checkpointing == checkpointing
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.dtype == other.dtype, name
        assert not mine.requires_grad and not other.requires_grad
        assert torch.equal(mine, other)
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("how", [None, {"use_reentrant": False}, {"use_reentrant": True}])
def test_either_way_of_checkpointing_trains(how):
    """The reentrant one, which is peft's default, needs an input with a gradient."""
    found = []
    for checkpointing in (False, True):
        base = minipeft.prepare_model_for_kbit_training(in_ours(llama()), checkpointing, how)
        found.append(adapted(base))
        loss(found[-1]).backward()
    for kept, again in zip(*map(gradients, found), strict=True):
        assert torch.equal(kept, again)


def test_our_own_llama_is_prepared_too():
    config = LlamaConfig.from_config(llama().config.to_dict())
    model = minipeft.prepare_model_for_kbit_training(in_ours(Llama(config)))
    assert model.model.gradient_checkpointing
    with pytest.raises(ValueError, match="use_reentrant"):
        minipeft.prepare_model_for_kbit_training(model, True, {"use_reentrant": True})


def test_prepared_too_late_or_without_checkpoints():
    model = adapted(in_ours(llama()))
    with unchanged(model), pytest.raises(ValueError) as error:
        minipeft.prepare_model_for_kbit_training(model)
    assert_says(error, "prepare_model_for_kbit_training", "get_peft_model")
    plain = nn.Sequential(nn.Linear(4, 4).half())
    with unchanged(plain), pytest.raises(ValueError) as error:
        minipeft.prepare_model_for_kbit_training(plain)
    assert_says(error, "Sequential", "use_gradient_checkpointing=False")
    minipeft.prepare_model_for_kbit_training(plain, use_gradient_checkpointing=False)
    assert plain[0].weight.dtype == torch.float32


def test_no_dense_weight_waits_for_the_backward_pass():
    """What is saved is what a dense base saves, less its weight matrices, to the byte."""

    def saved(base):
        """Each piece of memory once."""
        found, model = {}, adapted(base)

        def hold(tensor):
            found[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            answer = loss(model)
        return answer, list(found.values())

    (_kept, dense), (_too, packed) = saved(undone(llama())), saved(in_ours(llama()))
    numbers = {64 * 64, 64 * 32, 64 * 128}
    matrices = [t for t in dense if t.dim() == 2 and t.numel() in numbers]
    # The hook does see them; nothing asks for the gradient of the first q, k and v's input.
    assert len(matrices) == 2 * len(LINEAR) - 3
    counted = [sum(t.untyped_storage().nbytes() for t in side) for side in (dense, packed)]
    assert counted[0] - counted[1] == sum(t.untyped_storage().nbytes() for t in matrices)
