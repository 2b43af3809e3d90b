"""P-tuning: f([P; E(x)]) with P = MLP(Z), or P = MLP([LSTM forwards(Z); LSTM backwards(Z)]).

Liu et al. 2021, "GPT Understands, Too", section 3.2.
Trained: Z (n, d) and the encoder; a file holds P (n, d), for the encoder has done its work then.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor, nn

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

    def completed(self, model: nn.Module) -> Self:
        config = super().completed(model)
        return replace(config, encoder_hidden_size=self.encoder_hidden_size or config.token_dim)

    def prompt(self, model: nn.Module) -> VirtualTokens:
        return PromptEncoder(model, self)


class PromptEncoder(VirtualTokens):
    """P (n, d) from Z (n, d); P itself where it is only used (inference_mode)."""

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
            learned, _ = self.lstm_head(learned)  # (n, 2 hidden)
        return learned if self.mlp_head is None else self.mlp_head(learned)  # (n, d)
