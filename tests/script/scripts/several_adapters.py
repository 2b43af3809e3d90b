"""Adapters by name: add, switch, delete the active one, delete all, and go on."""

import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, TaskType, get_peft_model
from transformers import BertConfig, BertForSequenceClassification

torch.manual_seed(0)
base = BertForSequenceClassification(
    BertConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
).eval()
ids = torch.arange(3, 15).view(2, 6)
plain = base(ids).logits


def config(**options):
    return LoraConfig(r=2, init_lora_weights=False, **options)


model = get_peft_model(base, config(), "first")
model.add_adapter("second", config())
model.add_adapter("third", config(target_modules=["key"]))
print(model.active_adapters, sorted(model.peft_config))
model.set_adapter("second")
second = model.eval()(ids).logits
print(model.active_adapters, torch.equal(second, plain))
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    model.delete_adapter("second")
    print(model.active_adapters, sorted(model.peft_config))
    model.delete_adapter("third")
    print(model.active_adapters)
    model.delete_adapter("first")
print(model.active_adapters, sorted(model.peft_config))
model.add_adapter("fourth", config())
model.set_adapter("fourth")
print(model.active_adapters, torch.equal(model(ids).logits, plain))
with model.disable_adapter():
    print(torch.equal(model(ids).logits, plain))
print(type(model.unload()).__name__)

with tempfile.TemporaryDirectory() as folder:
    written = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=3, target_modules="all-linear", modules_to_save=["pooler"]
    )
    written.save_pretrained(folder)
    print([path.name for path in Path(folder).iterdir()])
    read = PeftConfig.from_pretrained(folder)
    fields = read.to_dict()
    for name in ("peft_type", "task_type", "r", "target_modules", "modules_to_save", "bias"):
        print(name, getattr(fields[name], "value", fields[name]))
    print(read.inference_mode, read.to_dict() == LoraConfig.from_pretrained(folder).to_dict())
