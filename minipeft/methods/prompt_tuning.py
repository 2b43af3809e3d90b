"""Prompt tuning: f([P; E(x)]), with learned vectors P before the embeddings E(x) of the tokens.

Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", section 2.
Trained: P (n, d), n d numbers; E and f are frozen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, cat, nn
from torch.utils.hooks import RemovableHandle

from minipeft.core.errors import check_choice
from minipeft.methods.prompt_config import PromptLearningConfig
from minipeft.methods.prompted_models import above, pools_at_padding
from minipeft.methods.soft_prompt import SoftPrompt


@dataclass
class PromptTuningConfig(PromptLearningConfig):
    """Options of prompt tuning, under peft's names; the sizes are in PromptLearningConfig.

    prompt_tuning_init: how P starts: "RANDOM" (N(0, 1)), "SAMPLE_VOCAB" (the embeddings of random
        tokens) or "TEXT" (those of a text's tokens, repeated or cut to n).
    prompt_tuning_init_text, tokenizer_name_or_path: the text, and the tokenizer.json, or its
        folder, that makes tokens of it. Nothing is downloaded.

    Raises ValueError for a value out of range, FileNotFoundError without the tokenizer.
    """

    prompt_tuning_init: str = "RANDOM"
    prompt_tuning_init_text: str | None = None
    tokenizer_name_or_path: str | None = None

    peft_type: ClassVar[str] = "PROMPT_TUNING"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = ["RANDOM", "SAMPLE_VOCAB", "TEXT"]
        check_choice("prompt_tuning_init", self.prompt_tuning_init, choices)
        for name in ("prompt_tuning_init_text", "tokenizer_name_or_path"):
            if self.prompt_tuning_init == "TEXT" and not getattr(self, name):
                raise ValueError(f"prompt_tuning_init='TEXT' needs {name}, or choose 'RANDOM'")

    def prompt(self, model: nn.Module) -> SoftPrompt:
        return VirtualTokens(model, self.num_virtual_tokens, self.token_dim)

    @torch.no_grad()
    def start(self, prompt: SoftPrompt, model: nn.Module) -> None:
        table = model.get_input_embeddings()
        if self.prompt_tuning_init == "RANDOM":
            return
        if self.prompt_tuning_init == "TEXT":
            ids = self.text_tokens(table.num_embeddings)
        else:
            ids = torch.randint(table.num_embeddings, (self.num_virtual_tokens,))
        prompt.embedding.weight = nn.Parameter(table(ids.to(table.weight.device)))

    def text_tokens(self, vocabulary: int) -> Tensor:
        """The ids (n,) of the text's tokens, repeated or cut to n."""
        file = Path(self.tokenizer_name_or_path)
        file = file / "tokenizer.json" if file.is_dir() else file
        if not file.is_file():
            raise FileNotFoundError(f"tokenizer_name_or_path={str(file)!r} is no tokenizer.json")
        text = self.prompt_tuning_init_text
        try:
            ids = Tokenizer.from_file(str(file)).encode(text).ids
        except Exception as error:  # the one class that tokenizers raises
            raise ValueError(
                f"{file} can't read prompt_tuning_init_text={text!r}: {error}"
            ) from error
        if not ids or max(ids) >= vocabulary:
            raise ValueError(
                f"prompt_tuning_init_text={text!r} gives the tokens {ids}, the model knows 0 to "
                f"{vocabulary - 1}; choose its own tokenizer, and some text"
            )
        places = torch.arange(self.num_virtual_tokens) % len(ids)
        return torch.tensor(ids)[places]


class VirtualTokens(SoftPrompt):
    """P (n, d), which every layer reads like n tokens before the text.

    The model's logits are (batch, n + length, vocab), as in peft.
    """

    takes = "inputs_embeds"
    why_apart = "its vectors stand beside the tokens, in no weight of the base"

    def passes_over(self, module: nn.Module) -> bool:
        """True for a decoder's classifier, which counts padding: the decoder inside takes P."""
        return pools_at_padding(module)

    def attach(self, model: nn.Module) -> None:
        super().attach(model)
        self.cut: RemovableHandle | None = None
        if any(pools_at_padding(model.get_submodule(path)) for path in above(self.reader)):
            self.cut = model.get_submodule(self.reader).register_forward_hook(self.without_rows)

    def detach(self, model: nn.Module) -> None:
        super().detach(model)
        if self.cut is not None:
            self.cut.remove()

    def without_rows(self, reader: nn.Module, args: tuple, output: Any) -> Any:
        """The decoder's output without the positions of P, for the classifier around it."""
        if isinstance(output, tuple):
            return (output[0][:, self.rows :], *output[1:])
        output.last_hidden_state = output.last_hidden_state[:, self.rows :]
        return output

    def begin(self, reader: nn.Module, inputs: dict) -> None:
        tokens = inputs.pop("input_ids", None)
        if tokens is not None:
            inputs["inputs_embeds"] = reader.get_input_embeddings()(tokens)
        text = inputs["inputs_embeds"]  # (batch, length, d)
        prompt = self().to(text).expand(len(text), -1, -1)  # (batch, n, d)
        inputs["inputs_embeds"] = cat((prompt, text), dim=1)  # (batch, n + length, d)
        for name, fill in (("labels", -100), ("token_type_ids", 0)):
            values = inputs.get(name)  # one for each token, or labels of whole texts
            if (
                values is not None
                and values.shape == text.shape[:2]
                and not values.is_floating_point()
            ):
                inputs[name] = nn.functional.pad(values, (self.rows, 0), value=fill)
        for name in ("start_positions", "end_positions", "mc_token_ids"):  # places in the text
            if inputs.get(name) is not None:
                inputs[name] = inputs[name] + self.rows
        places = inputs.get("position_ids")  # of the text, moved by n already
        if places is not None:
            virtual = torch.arange(self.rows, device=places.device).expand(len(places), -1)
            inputs["position_ids"] = cat((virtual, places), dim=1)
