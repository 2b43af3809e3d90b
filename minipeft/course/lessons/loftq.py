"""LoftQ's start: an adapter that makes up for what quantization took away.

    Q_t = quantize(W - B A),  B A = the best rank-r matrix for W - Q_t,  again and again

Li et al. 2023, "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models" (section 3).
"""

import torch
from torch import Tensor, nn

from minipeft.quant import dequantize_nf4, quantize_nf4


@torch.no_grad()
def loftq(weight: Tensor, r: int, iterations: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """weight (out, in) -> Q (out, in), dequantized, A (r, in) and B (out, r): W is about Q + B A.

    With one iteration Q is plain NF4, which anybody's copy of the base has. Double quantization.
    """
    A, B = weight.new_zeros(r, weight.shape[1]), weight.new_zeros(weight.shape[0], r)
    for _ in range(iterations):
        Q = dequantize_nf4(quantize_nf4(weight - B @ A, double_quant=True))
        U, S, Vh = torch.linalg.svd(weight - Q, full_matrices=False)
        root = S[:r].sqrt()
        B, A = U[:, :r] * root, root[:, None] * Vh[:r]
    return Q, A, B


@torch.no_grad()
def start_by_loftq(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give the LoRA layers of a quantized model LoftQ's A and B, after one iteration.

    weights: path of each adapted layer -> its weight (out, in) before quantization.
    """
    for path, weight in weights.items():
        tuner = model.get_base_model().get_submodule(path).tuner
        _, A, B = loftq(weight, len(tuner.lora_A.weight))
        tuner.lora_A.weight.copy_(A)
        tuner.lora_B.weight.copy_(B / tuner.scaling)
