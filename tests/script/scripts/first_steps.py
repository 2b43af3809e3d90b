"""A LoRA of a causal model, trained by hand, saved, opened and merged."""

import tempfile

import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    PeftType,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )


ids = torch.arange(12).view(2, 6)
config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, lora_alpha=8, lora_dropout=0.0)
print(config.peft_type, config.peft_type == PeftType.LORA, config.task_type, config.target_modules)
torch.manual_seed(1)
model = get_peft_model(base(), config)
model.print_trainable_parameters()
print(sorted(model.peft_config["default"].target_modules), model.active_adapters)
print(model.active_adapter, model.base_model.model is model.get_base_model())
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
for step in range(3):
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, f"{loss.item():.4f}")
state = get_peft_model_state_dict(model)
for name in sorted(state):
    print(name, tuple(state[name].shape), f"{state[name].norm().item():.3f}")

model.eval()
with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    before = model(input_ids=ids).logits
    model.save_pretrained(folder, safe_serialization=True, selected_adapters=["default"])
    read = PeftConfig.from_pretrained(folder)
    print(type(read).__name__, read.r, read.inference_mode, read.task_type)
    again = PeftModel.from_pretrained(
        base(), folder, torch_device="cpu", low_cpu_mem_usage=True, autocast_adapter_dtype=True
    )
    print(torch.allclose(again(input_ids=ids).logits, before, atol=1e-5), again.training)
    fresh = get_peft_model(
        base(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    )
    result = set_peft_model_state_dict(fresh, get_peft_model_state_dict(again))
    print(result.unexpected_keys)
    print(torch.allclose(fresh.eval()(input_ids=ids).logits, before, atol=1e-5))
    result = again.load_adapter(folder, "second", is_trainable=False)
    print(result.missing_keys, result.unexpected_keys, list(again.peft_config))
    merged = again.merge_and_unload(safe_merge=True)
    print(type(merged).__name__, torch.allclose(merged(input_ids=ids).logits, before, atol=1e-5))
    again = PeftModel.from_pretrained(base(), folder, config=read, is_trainable=True)
    again.print_trainable_parameters()

small = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32))
model = get_peft_model(small, LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True))
model.print_trainable_parameters()
