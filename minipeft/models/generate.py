"""Text from a language model, one token at a time."""

import torch


@torch.no_grad()
def generate(
    model,
    tokenizer,
    prompt: str,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """Continue `prompt` and give back the whole text, prompt included.

    Each next token is the most likely one at temperature 0, else drawn from
    softmax(logits / temperature) with a random stream of its own, so the global one stays put.
    Stops at the model's end-of-text token. Works alike on a bare model and on a PeftModel.

    Raises:
        ValueError: a negative temperature, no tokens asked for, or an empty prompt without a
            begin-of-text token.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, but it is {temperature!r}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be 1 or more, but it is {max_new_tokens!r}")
    tokens = tokenizer.encode(prompt).ids
    if not tokens:
        raise ValueError("the prompt holds no token to start from")
    weight = next(model.parameters())
    random = torch.Generator(device=weight.device).manual_seed(seed)
    stops = end_tokens(model)
    was_training = model.training
    model.eval()  # dropout would change the text
    try:
        for _ in range(max_new_tokens):
            logits = model(torch.tensor([tokens], device=weight.device))[0, -1]  # (vocab,)
            token = pick(logits, temperature, random)
            if token in stops:
                break
            tokens.append(token)
    finally:
        model.train(was_training)
    return tokenizer.decode(tokens, skip_special_tokens=True)


def pick(logits, temperature: float, random: torch.Generator) -> int:
    """One token id: the most likely, or a draw."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    return int(torch.multinomial(probabilities, 1, generator=random))


def end_tokens(model) -> set[int]:
    """The ids that end a text, from the config of the model or of the base inside a PeftModel."""
    config = getattr(model, "config", None) or getattr(model.base_model, "config", None)
    end = getattr(config, "eos_token_id", None)
    return set(end) if isinstance(end, list | tuple) else {end} - {None}
