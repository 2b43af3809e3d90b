"""Does a layer's input hold its rows sample after sample? A mixed batch relies on it.

Mixtures of experts gather tokens, recurrent networks and XLNet put the length first: there sample i
is no block of rows. Nothing in a tensor says so. So the bare base runs twice on random input, the
second time with its samples in reverse order: each layer's blocks of rows must then be reversed.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from minipeft.core.modules import without_hooks

MAIN_INPUTS = ("input_ids", "inputs_embeds", "inputs", "pixel_values", "input_features")
PROBE = (4, 7)  # samples and tokens: two numbers that no one takes for each other


def main_input(
    model: nn.Module, inputs: tuple, options: dict[str, Any]
) -> tuple[str | int, Tensor]:
    """Where the samples of a call are (a position or a name), and the tensor, one sample a row.

    Raises ValueError where a call brings none.
    """
    named = (getattr(model, "main_input_name", None), *MAIN_INPUTS, *options)
    places = [(place, inputs[place]) for place in range(len(inputs))]
    places += [(name, options[name]) for name in named if name in options]
    for place, value in places:
        if isinstance(value, Tensor) and value.dim() > 0:
            return place, value
    raise ValueError("adapter_names: this call brings no tensor whose rows are the samples")


def check_names(model: nn.Module, names: list[str], inputs: tuple, options: dict) -> None:
    """Raise ValueError unless names and samples of a call are equally many."""
    samples = len(main_input(model, inputs, options)[1])
    if len(names) != samples:
        raise ValueError(
            f"{len(names)} adapter_names for a batch of {samples} samples; give one for each, such "
            "as '__base__' for the bare base"
        )


def check_sample_after_sample(
    model: nn.Module, layers: dict[str, nn.Module], inputs: tuple, options: dict[str, Any]
) -> set[str]:
    """Which of these layers of the bare base a call reaches, each with samples in blocks of rows.

    Raises ValueError for a layer whose rows are not sample after sample.
    """
    inputs, options, samples = probe(model, inputs, options)
    seen = rows_of(model, layers, inputs, options)
    backward = rows_of(
        model,
        layers,
        tuple(flipped(value, samples) for value in inputs),
        {name: flipped(value, samples) for name, value in options.items()},
    )
    for path in layers:
        pairs = zip(seen[path], backward[path], strict=False)
        equal = len(seen[path]) == len(backward[path])
        if not equal or not all(are_reversed(x, y, samples) for x, y in pairs):
            raise ValueError(
                f"adapter_names: what {path} reads is not sample after sample (experts gather "
                "tokens, some models put the length first), so its rows can't be told apart; run "
                "each adapter's samples in a batch of their own"
            )
    return {path for path in layers if seen[path]}


def probe(model: nn.Module, inputs: tuple, options: dict) -> tuple[tuple, dict[str, Any], int]:
    """The arguments of a small call of the same kind, with random input, and its samples."""
    place, main = main_input(model, inputs, options)
    takes = inspect.signature(model.forward).parameters
    any_name = any(taken.kind is taken.VAR_KEYWORD for taken in takes.values())
    options = {name: value for name, value in options.items() if name in takes or any_name}
    generator = torch.Generator().manual_seed(0)
    if main.is_floating_point():
        drawn = torch.randn(main.shape, generator=generator).to(main)
        if isinstance(place, int):
            return (*inputs[:place], drawn, *inputs[place + 1 :]), options, len(main)
        return inputs, options | {place: drawn}, len(main)
    table = getattr(model, "get_input_embeddings", lambda: None)()
    ids = getattr(table, "num_embeddings", int(main.max()) + 1)
    drawn = torch.randint(ids, PROBE[: main.dim()], generator=generator).to(main)
    again = {"decoder_input_ids": drawn} if "decoder_input_ids" in takes else {}
    again |= {"use_cache": False} if "use_cache" in takes else {}
    return ((drawn,), again, PROBE[0]) if place == 0 else ((), {place: drawn} | again, PROBE[0])


def flipped(value: Any, samples: int) -> Any:
    """A tensor with one row for each sample in reverse order; anything else as it is."""
    rows = isinstance(value, Tensor) and value.dim() > 0 and len(value) == samples
    return value.flip(0) if rows else value


@torch.no_grad()
def rows_of(
    model: nn.Module, layers: dict[str, nn.Module], inputs: tuple, options: dict[str, Any]
) -> dict[str, list[Tensor]]:
    """What each layer reads in one call of the model."""
    seen: dict[str, list[Tensor]] = {path: [] for path in layers}
    with without_hooks(model):
        for path, layer in layers.items():
            layer.register_forward_pre_hook(lambda _, args, path=path: seen[path].append(args[0]))
        model(*inputs, **options)
    return seen


def are_reversed(x: Tensor, y: Tensor, samples: int) -> bool:
    """Whether y holds the blocks of x, one for each sample, in reverse order (up to rounding)."""
    if x.shape != y.shape or len(x) % samples:
        return False
    x = x.float().reshape(samples, -1, x.shape[-1]).flip(0)
    y = y.float().reshape(x.shape)
    return bool(((x - y).norm(dim=-1) <= 0.1 * x.norm(dim=-1) + 1e-6).all())
