"""P-tuning: f([P; E(x)]) with P = MLP(Z), or P = MLP([LSTM forwards(Z); LSTM backwards(Z)]).

Liu et al. 2021, "GPT Understands, Too", section 3.2.
Trained: Z (n, d) and the encoder; a file holds P (n, d), for the encoder has done its work then.
"""

import functools
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from minipeft.core.errors import check_choice, check_dropout, check_whole
from minipeft.methods.prompt_config import PromptLearningConfig
from minipeft.methods.prompt_tuning import VirtualTokens


@dataclass
class PromptEncoderConfig(PromptLearningConfig):
    """Options of P-tuning, under peft's names; the sizes are in PromptLearningConfig.

    encoder_reparameterization_type: "MLP" (three linear layers) or "LSTM" (and two after it).
    encoder_hidden_size: the width inside; the model's if None.
    encoder_num_layers, encoder_dropout: of the LSTM; the MLP doesn't read them, as in peft.

    Raises ValueError for a value out of range.
    """

    encoder_reparameterization_type: str = "MLP"
    encoder_hidden_size: int | None = None
    encoder_num_layers: int = 2
    encoder_dropout: float = 0.0

    peft_type: ClassVar[str] = "P_TUNING"
    encodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = self.encoder_reparameterization_type
        check_choice("encoder_reparameterization_type", kind, ["MLP", "LSTM"])
        check_whole("encoder_num_layers", self.encoder_num_layers, 1)
        if self.encoder_hidden_size is not None:
            check_whole("encoder_hidden_size", self.encoder_hidden_size, 1)
        check_dropout("encoder_dropout", self.encoder_dropout)

    def with_model_defaults(self, model: nn.Module) -> Self:
        config = super().with_model_defaults(model)
        return replace(config, encoder_hidden_size=self.encoder_hidden_size or config.token_dim)

    def prompt(self, model: nn.Module) -> VirtualTokens:
        return PromptEncoder(model, self)


class PromptEncoder(VirtualTokens):
    """P (n, d) from Z (n, d); P itself where it is only used (inference_mode).

    Under autocast the encoder runs in 16 bits, except an LSTM that torch does not have in 16 bits
    for the device at hand (on a CPU: bfloat16 needs AVX512): the LSTM then runs in its own dtype.
    """

    def __init__(self, model: nn.Module, config: PromptEncoderConfig) -> None:
        super().__init__(model, config.num_virtual_tokens, config.token_dim)
        dim, hidden = config.token_dim, config.encoder_hidden_size
        self.lstm_head = self.mlp_head = None
        if config.inference_mode:
            return
        if config.encoder_reparameterization_type == "MLP":
            inner = [nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
            self.mlp_head = nn.Sequential(*inner, nn.Linear(hidden, dim))
        else:
            layers, both = config.encoder_num_layers, 2 * hidden  # forwards and backwards
            self.lstm_head = nn.LSTM(
                dim, hidden, layers, dropout=config.encoder_dropout, bidirectional=True
            )
            self.mlp_head = nn.Sequential(nn.Linear(both, both), nn.ReLU(), nn.Linear(both, dim))

    def forward(self) -> Tensor:
        learned = self.embedding.weight  # (n, d)
        if self.lstm_head is not None:
            learned = self._lstm(learned)  # (n, 2 hidden)
        return learned if self.mlp_head is None else self.mlp_head(learned)  # (n, d)

    def _lstm(self, z: Tensor) -> Tensor:
        device = z.device.type
        autocast = torch.is_autocast_enabled(device)
        if autocast and not has_lstm(device, torch.get_autocast_dtype(device)):
            with torch.autocast(device, enabled=False):
                return self.lstm_head(z)[0]
        return self.lstm_head(z)[0]


# Traced, the function would not find out. This is torch.compiler.disable as torch uses it itself:
# it imports the compiler, which takes a second, at the first call.
@_disable_dynamo
@functools.cache
def has_lstm(device: str, dtype: torch.dtype) -> bool:
    """Whether torch can run an LSTM under autocast to `dtype` on this device: it tries one."""
    x, weight = torch.zeros(1, 1, 1, device=device), torch.zeros(4, 1, device=device)
    try:
        with torch.autocast(device, dtype=dtype), torch.no_grad():
            torch.lstm(x, (x, x), [weight, weight], False, 1, 0.0, False, False, False)
    except RuntimeError:
        return False
    return True
