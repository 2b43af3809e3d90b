"""What a token is drawn from, against the filters of transformers."""

import pytest
import torch
import transformers

from minipeft.models.sampling import probabilities

VOCABULARY = 40
FILTERS = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 1e-9},  # 1 - 1e-9 is 1 in float32: without a rule no token would be left
    {"top_p": 0.6},
    {"top_p": 0.95},
    {"top_p": 1.0},
    {"top_k": 12, "top_p": 0.8},
    {},
]


@pytest.mark.parametrize("options", FILTERS, ids=str)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("ties", [False, True])
def test_filtered_probabilities_are_those_of_transformers(options, temperature, ties):
    logits = 3 * torch.randn(16, VOCABULARY)
    if ties:
        logits = logits.round()
    ours = probabilities(logits, temperature, **options)
    warpers = transformers.LogitsProcessorList([transformers.TemperatureLogitsWarper(temperature)])
    if "top_k" in options:
        warpers.append(transformers.TopKLogitsWarper(options["top_k"]))
    if options.get("top_p", 1) < 1:
        warpers.append(transformers.TopPLogitsWarper(options["top_p"]))
    theirs = warpers(None, logits).softmax(-1)
    assert torch.equal(ours, theirs)
    if options not in ({}, {"top_k": 1000}, {"top_p": 1.0}):
        assert (ours == 0).any()


@pytest.mark.parametrize("top_p", [0.25, 0.5, 0.75])
def test_a_share_that_is_met_exactly(top_p):
    kept = probabilities(torch.zeros(1, 4), 1.0, top_p=top_p)
    assert torch.equal(
        kept, transformers.TopPLogitsWarper(top_p)(None, torch.zeros(1, 4)).softmax(-1)
    )
    assert (kept > 0).sum() == 4 * top_p
