"""P-tuning: its encoders start as peft's, and its options are checked."""

import pytest
import torch

import minipeft

from .models import build
from .peers import wrap_ours, wrap_theirs
from .prompts import N

LSTM = {"encoder_reparameterization_type": "LSTM"}


@pytest.mark.parametrize(
    "options",
    [{}, {"encoder_hidden_size": 9}, LSTM, LSTM | {"encoder_num_layers": 1}],
    ids=["mlp", "narrow", "lstm", "one layer"],
)
def test_a_random_start_is_peft_s_for_a_seed(family, options):
    """Same layers of the same sizes, in the same order, from the same random numbers."""
    options = {"num_virtual_tokens": N, **options}
    options["task_type"] = "SEQ_CLS" if family == "bert" else "CAUSAL_LM"
    starts = []
    for wrap in (wrap_ours, wrap_theirs):
        base = build(family)
        torch.manual_seed(11)
        model = wrap(base, options, config="PromptEncoderConfig")
        named = {n: p for n, p in model.named_parameters() if "prompt_encoder" in n}
        starts.append(
            {n.split("prompt_encoder.")[1].removeprefix("default."): p for n, p in named.items()}
        )
    assert sorted(starts[0]) == sorted(starts[1])
    for name, values in starts[1].items():
        assert torch.equal(starts[0][name], values), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_reparameterization_type": "GRU"}, "'GRU' .*'MLP', 'LSTM'"),
        ({"encoder_hidden_size": 1.5}, "encoder_hidden_size=1.5 must be a whole number"),
        ({"encoder_num_layers": 0}, "encoder_num_layers=0 .* smallest is 1"),
        ({"encoder_dropout": 1}, r"encoder_dropout=1 must be in \[0, 1\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        minipeft.PromptEncoderConfig(num_virtual_tokens=N, **options)
