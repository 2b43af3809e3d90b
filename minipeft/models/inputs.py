"""What a decoder can be given: one clear error for anything else."""


def check_inputs(
    config, input_ids, attention_mask, position_ids, past_key_values, inputs_embeds
) -> None:
    """Raise ValueError unless types and shapes fit each other; see `Llama` for each of them."""
    if (input_ids is None) == (inputs_embeds is None):
        given = "neither" if input_ids is None else "both"
        raise ValueError(f"give exactly one of input_ids and inputs_embeds, not {given}")
    if inputs_embeds is None:
        if input_ids.dim() != 2 or input_ids.is_floating_point():
            raise ValueError(
                "input_ids should be whole numbers of shape (batch, length), but they are "
                f"{_described(input_ids)}"
            )
        batch, length = input_ids.shape
    else:
        hidden = config.hidden_size
        if (
            inputs_embeds.dim() != 3
            or inputs_embeds.shape[2] != hidden
            or not inputs_embeds.is_floating_point()
        ):
            raise ValueError(
                f"inputs_embeds should be numbers of shape (batch, length, {hidden}), but they "
                f"are {_described(inputs_embeds)}"
            )
        batch, length, _ = inputs_embeds.shape
    past = 0
    if past_key_values is not None:
        if not hasattr(past_key_values, "get_seq_length"):
            kind = type(past_key_values).__name__
            raise ValueError(f"past_key_values should be a KeyValueCache, but it is a {kind}")
        past = past_key_values.get_seq_length()
    if attention_mask is not None and attention_mask.shape != (batch, past + length):
        raise ValueError(
            f"attention_mask should have shape {(batch, past + length)}, (batch, past + length), "
            f"but it is {_described(attention_mask)}"
        )
    if position_ids is not None and (
        position_ids.shape not in ((batch, length), (1, length)) or position_ids.is_floating_point()
    ):
        raise ValueError(
            f"position_ids should be whole numbers of shape {(batch, length)}, (batch, length), "
            f"but they are {_described(position_ids)}"
        )


def _described(tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
