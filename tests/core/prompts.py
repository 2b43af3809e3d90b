"""Soft prompts under test: the cases, twins of peft's and ours, our own Llama, and its words."""

import torch
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from tokenizers.pre_tokenizers import WhitespaceSplit

import minipeft
from minipeft.models.llama import Llama, LlamaConfig

from .models import VOCABULARY, batch, build
from .peers import Twins, copy_values, scramble, trained_by_us, twins, wrap_ours

N = 3  # virtual tokens
CASES = {
    "prompt": ("PromptTuningConfig", {}),
    "prefix": ("PrefixTuningConfig", {}),
    "prefix mlp": ("PrefixTuningConfig", {"prefix_projection": True, "encoder_hidden_size": 7}),
    "p-tuning mlp": ("PromptEncoderConfig", {"encoder_hidden_size": 7}),
    "p-tuning lstm": (
        "PromptEncoderConfig",
        {"encoder_reparameterization_type": "LSTM", "encoder_hidden_size": 5},
    ),
}
KINDS = ("prompt", "prefix", "p-tuning lstm")  # where the encoder makes no difference
TASKS = {"llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bert": "SEQ_CLS"}


def options_of(family: str, case: str) -> dict:
    """What peft needs to be told; without a task type it would leave the prompt out."""
    return {"task_type": TASKS[family], "num_virtual_tokens": N} | CASES[case][1]


def prompt_twins(
    family: str, case: str, dtype: torch.dtype = torch.float64, adapter: str = "default"
) -> Twins:
    """Twins with the same random prompt. peft keeps prompts in 32 bits unless told otherwise."""
    options, config = options_of(family, case), CASES[case][0]
    pair = twins(family, options, dtype, adapter, scrambled=False, config=config)
    if dtype == torch.float64:
        pair.theirs.double()
    ours, theirs = pair.trained()
    scramble(theirs)
    copy_values(theirs, ours)
    return pair


def scrambled(
    family: str,
    case: str,
    dtype: torch.dtype = torch.float64,
    base: torch.nn.Module | None = None,
) -> minipeft.PeftModel:
    """A model of ours, on a base of the family, with a random prompt."""
    base = build(family, dtype) if base is None else base
    model = wrap_ours(base, options_of(family, case), config=CASES[case][0])
    scramble(trained_by_us(model))
    return model


def own_llama(dtype: torch.dtype = torch.float64) -> Llama:
    """minipeft's own Llama with the weights of the family "llama"."""
    theirs = build("llama", dtype)
    ours = Llama(LlamaConfig.from_config(theirs.config.to_dict())).to(dtype).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours


def own_prompt(case: str) -> tuple[minipeft.PeftModel, Twins]:
    """The same prompt on our own Llama, and the twins on that of transformers."""
    pair = prompt_twins("llama", case)
    ours = wrap_ours(own_llama(), options_of("llama", case), config=CASES[case][0])
    prompt = pair.ours.base_model.prompt_encoder
    ours.base_model.prompt_encoder.load_state_dict(prompt.state_dict())
    return ours, pair


def labelled(family: str) -> dict[str, torch.Tensor]:
    """`batch()` with labels: the next tokens, padding left out, or a class for each text."""
    inputs = batch()
    if family == "bert":
        return inputs | {"labels": torch.tensor([2, 0])}
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    return inputs | {"labels": labels}


def words() -> Tokenizer:
    """A tokenizer whose words are w0, w1, ..., each one token."""
    tokenizer = Tokenizer(tokenizer_models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer
