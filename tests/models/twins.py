"""Twins: transformers' decoder and ours with the same random float64 weights.

transformers' own norm computes in float32 even in a float64 model, so PyTorch's RMSNorm stands in
for it: then all that is left between the two is rounding in float64.
"""

import torch
import transformers
from torch import nn

from minipeft.models.llama import Llama, LlamaConfig

EXACT = {"rtol": 1e-10, "atol": 1e-10}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES = {
    "gqa": ("Llama", {"num_key_value_heads": 2}),
    "mha": ("Llama", {}),
    "llama3 rope": ("Llama", {"num_key_value_heads": 1, "rope_scaling": LLAMA3}),
    "llama biases, tied": ("Llama", {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2}),
}
WIDTH, VOCABULARY, LAYERS = 24, 40, 2
MASK = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [1] * 8, [0] * 6 + [1, 1]])  # left padding
POSITIONS = (MASK.cumsum(1) - 1).clamp(min=0)


def twins(case="gqa"):
    """(ours, theirs): the same random float64 weights in both."""
    family, changes = CASES[case]
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 36,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 64,
        "attn_implementation": "sdpa",
    }
    config = getattr(transformers, f"{family}Config")(**{**sizes, **changes})
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    for owner in list(theirs.modules()):
        for name, module in owner.named_children():
            if module.__class__.__name__.endswith("RMSNorm"):
                eps = module.variance_epsilon
                setattr(owner, name, nn.RMSNorm(WIDTH, eps, dtype=torch.float64))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours = Llama(LlamaConfig.from_config(config.to_dict())).double().eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tokens(length=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (len(MASK), length), generator=generator)


def gradients(model, logits):
    """Of a smooth function of the logits, for every parameter."""
    model.zero_grad()
    (logits.pow(2).mean() + logits.sin().sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], **EXACT, msg=name)
