"""transformers' Trainer with its defaults: trains, evaluates, saves the adapter alone, resumes."""

import tempfile
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

sizes = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}


def adapted(kind, **options):
    torch.manual_seed(0)
    model = kind(LlamaConfig(**sizes))
    torch.manual_seed(1)
    return get_peft_model(model, LoraConfig(r=4, **options))


texts = [{"input_ids": torch.arange(6) + i, "labels": torch.arange(6) + i} for i in range(16)]
classes = [{"input_ids": torch.arange(6) + i, "labels": i % 2} for i in range(16)]


def trainer(model, data, folder, **options):
    arguments = transformers.TrainingArguments(
        folder, report_to=[], disable_tqdm=True, use_cpu=True, save_steps=2, max_steps=4, **options
    )
    return transformers.Trainer(model, arguments, train_dataset=data, eval_dataset=data)


def run(kind, data, task, **options):
    with tempfile.TemporaryDirectory() as folder:
        whole = trainer(adapted(kind, task_type=task), data, folder, **options)
        print(f"{whole.train().training_loss:.4f} {whole.evaluate()['eval_loss']:.4f}")
        checkpoint = Path(folder) / "checkpoint-2"
        print(sorted(path.name for path in checkpoint.glob("*.safetensors")))
        again = trainer(adapted(kind, task_type=task), data, folder, **options)
        again.train(resume_from_checkpoint=str(checkpoint))
        print(f"{again.evaluate()['eval_loss']:.4f}")
        again.save_model(folder)
        torch.manual_seed(0)
        opened = PeftModel.from_pretrained(kind(LlamaConfig(**sizes)), folder)
        print(f"{trainer(opened, data, folder, **options).evaluate()['eval_loss']:.4f}")


run(LlamaForCausalLM, texts, "CAUSAL_LM")
run(LlamaForCausalLM, texts, "CAUSAL_LM", label_smoothing_factor=0.1)
run(LlamaForCausalLM, texts, "CAUSAL_LM", neftune_noise_alpha=5)
run(LlamaForSequenceClassification, classes, "SEQ_CLS")
best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2}
run(LlamaForCausalLM, texts, "CAUSAL_LM", learning_rate=0.5, **best)
