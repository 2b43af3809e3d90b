"""The four baselines: what each trains, against counts by hand; the untied head."""

import pytest
import torch

from minipeft.course.base import load_base
from minipeft.course.lessons.baselines import BASELINES, METHODS, baseline, untied

D, WIDE, KEYS, VOCABULARY, LAYERS = 192, 512, 64, 1024, 4
BLOCK = 2 * D * D + 2 * KEYS * D + 3 * WIDE * D + 2 * D
COUNTS = {
    "full": VOCABULARY * D + LAYERS * BLOCK + D,
    "last block": BLOCK,
    "head": VOCABULARY * D,
    "norms": (2 * LAYERS + 1) * D,
    "lora": LAYERS * 8 * (2 * 2 * D + 2 * (D + KEYS) + 3 * (D + WIDE)),
}


@pytest.mark.parametrize("method", METHODS)
def test_trains_what_its_name_says_and_starts_as_the_base(method):
    model, (base, _) = baseline(method), load_base()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == COUNTS[method]
    tokens = torch.arange(12).view(2, 6)
    with torch.no_grad():
        assert torch.equal(model(tokens), base(tokens))


def test_the_head_alone_leaves_the_embeddings_where_they_were():
    model = baseline("head")
    tokens = torch.arange(12).view(2, 6)
    model(tokens).square().mean().backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert len(with_gradient) == 1 and "lm_head" in with_gradient.pop()


def test_untied_means_two_tensors_of_equal_numbers():
    model = untied(load_base()[0])
    head, embeddings = model.lm_head.weight, model.model.embed_tokens.weight
    assert head is not embeddings and torch.equal(head, embeddings)
    assert not model.config.tie_word_embeddings
    assert load_base()[0].config.tie_word_embeddings, "another base is as it was"


def test_an_unknown_method_is_named():
    assert set(BASELINES) < set(METHODS)
    with pytest.raises(ValueError, match="'last block'"):
        baseline("last blok")
