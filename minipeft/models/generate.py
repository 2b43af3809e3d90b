"""Text from a language model, one token at a time, for one prompt or a batch of them."""

from numbers import Integral

import torch
from torch import Tensor, nn

from minipeft.core.errors import check_list
from minipeft.core.modules import evaluating
from minipeft.models.cache import empty_cache
from minipeft.models.sampling import check_sampling, pick


@torch.no_grad()
def generate(
    model: nn.Module,
    tokenizer,
    prompt: str | list[str],
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int | list[int] = 0,
    top_k: int | None = None,
    top_p: float | None = None,
    adapter_names: list[str] | None = None,
    use_cache: bool = True,
) -> str | list[str]:
    """Continue `prompt` and give back the whole text, prompt included; a list for a list.

    Each next token is the most likely one at temperature 0, else drawn from
    softmax(logits / temperature), cut by `top_k` and `top_p`. A row ends at the model's end-of-text
    token. In a batch each row is what it would be alone. Works alike on a bare model, on a
    PeftModel, and on a causal model of transformers.

    Args:
        seed: of each row's own random stream (the global one stays put). The same prompt twice is
            the same text twice; a list of seeds, one per row, tells them apart.
        adapter_names: which adapter serves which row; handed to the model at every step.
        use_cache: keep keys and values, where the model can, so that a step costs one token and
            not the whole text. The same text either way.

    Raises:
        ValueError: a negative temperature, no tokens asked for, top_k or top_p out of range, a
            prompt without a token, or lists that differ in length.
    """
    check_sampling(temperature, top_k, top_p)
    prompts = _texts(prompt)
    seeds = list(seed) if isinstance(seed, list | tuple) else [seed] * len(prompts)
    _check_request(prompts, seeds, adapter_names, max_new_tokens)
    rows = [_tokens(tokenizer, text) for text in prompts]
    device = next(model.parameters()).device
    streams = [torch.Generator(device=device).manual_seed(int(number)) for number in seeds]
    step = Stepper(model, *left_padded(rows, device), adapter_names, use_cache)
    stops, open_rows = end_tokens(model), set(range(len(rows)))
    with evaluating(model):
        for _ in range(max_new_tokens):
            tokens = pick(step.logits(), streams, temperature, top_k, top_p)
            open_rows -= {i for i in open_rows if tokens[i] in stops}
            for i in open_rows:
                rows[i].append(tokens[i])
            if not open_rows:
                break
            step.append(tokens)
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in rows]
    return texts[0] if isinstance(prompt, str) else texts


class Stepper:
    """The texts so far, and the model's logits for the token after each of them.

    ids: (batch, length), the shorter texts behind padding, so that all end at the last place.
    mask: 1 where a token is text, 0 in the padding, (batch, length); None where there is none.
    """

    def __init__(self, model, ids: Tensor, mask: Tensor | None, adapter_names, use_cache: bool):
        self.model, self.ids, self.mask = model, ids, mask
        self.options = {} if adapter_names is None else {"adapter_names": adapter_names}
        self.cache = empty_cache(model) if use_cache else None
        if self.cache is not None:
            self.options["past_key_values"] = self.cache

    def logits(self) -> Tensor:
        """Read what is new to the model; (batch, vocab) at the last place."""
        remembered = 0 if self.cache is None else self.cache.get_seq_length()
        past = self.ids.shape[1] - 1 if remembered else 0
        options = dict(self.options)
        if self.mask is not None:
            # A soft prompt that the first step put in front is remembered, too, and is no padding.
            virtual = remembered - past
            positions = (self.mask.cumsum(1) - 1).clamp(min=0) + virtual
            options["attention_mask"] = nn.functional.pad(self.mask, (virtual, 0), value=1)
            options["position_ids"] = positions[:, past:]
        answer = self.model(self.ids[:, past:], **options)
        return getattr(answer, "logits", answer)[:, -1]

    def append(self, tokens: list[int]) -> None:
        """One more token for each row; those of a row that has ended are never looked at."""
        column = torch.tensor(tokens, device=self.ids.device)[:, None]
        self.ids = torch.cat((self.ids, column), dim=1)
        if self.mask is not None:
            self.mask = nn.functional.pad(self.mask, (0, 1), value=1)


def _tokens(tokenizer, prompt: str) -> list[int]:
    if not (tokens := tokenizer.encode(prompt).ids):
        raise ValueError(f"the prompt {prompt!r} holds no token to start from")
    return tokens


def left_padded(rows: list[list[int]], device) -> tuple[Tensor, Tensor | None]:
    """Token lists as one table, and its mask unless all are of one length."""
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=device)
    if all(len(row) == length for row in rows):
        return ids, None
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return ids, torch.tensor(mask, device=device)


def end_tokens(model) -> set[int]:
    """The ids that end a text, from the config of the model or of the base inside a PeftModel."""
    config = getattr(model, "config", None) or getattr(model.base_model, "config", None)
    end = getattr(config, "eos_token_id", None)
    return set(end) if isinstance(end, list | tuple) else {end} - {None}


def _texts(prompt: object) -> list[str]:
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list | tuple) or not all(isinstance(text, str) for text in prompt):
        raise ValueError(f"prompt={prompt!r} must be a text or a list of texts")
    if not prompt:
        raise ValueError("prompt=[] holds no text; give one or more")
    return list(prompt)


def _check_request(prompts, seeds, adapter_names, max_new_tokens) -> None:
    check_list("adapter_names", adapter_names, str)
    for name, values in (("seed", seeds), ("adapter_names", adapter_names)):
        if values is not None and len(values) != len(prompts):
            raise ValueError(
                f"{name} has {len(values)} entries for {len(prompts)} prompts; give one for each"
            )
    for name, value in [("max_new_tokens", max_new_tokens), *(("seed", seed) for seed in seeds)]:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name} must be a whole number, but it is {value!r}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be 1 or more, but it is {max_new_tokens!r}")
