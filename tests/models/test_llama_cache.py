"""The key/value cache and checkpointing, against transformers and the whole text at once."""

import pytest
import torch
import transformers

from minipeft.models.llama import KeyValueCache
from tests.closeness import assert_close

from .twins import (
    CASES,
    EXACT,
    LAYERS,
    MASK,
    POSITIONS,
    WIDTH,
    assert_same_gradients,
    gradients,
    tokens,
    twins,
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("pieces", [(5, 1, 1, 1), (3, 4, 1), (1, 7)])
def test_cached_steps(case, pieces):
    """Both libraries' caches step by step, and the whole text in one pass."""
    ours, theirs = twins(case)
    mine, reference = KeyValueCache(), transformers.DynamicCache()
    outputs, done = [], 0
    for piece in pieces:
        part = tokens()[:, done : done + piece]
        outputs.append(ours(part, past_key_values=mine))
        their_logits = theirs(part, past_key_values=reference).logits
        torch.testing.assert_close(outputs[-1], their_logits, **EXACT)
        done += piece
        assert mine.get_seq_length() == reference.get_seq_length() == done
    torch.testing.assert_close(torch.cat(outputs, 1), ours(tokens()), **EXACT)


def test_cached_steps_with_left_padding():
    ours, theirs = twins()
    mine, reference = KeyValueCache(), transformers.DynamicCache()
    for start, stop in ((0, 6), (6, 7), (7, 8)):
        inputs = {
            "input_ids": tokens()[:, start:stop],
            "attention_mask": MASK[:, :stop],
            "position_ids": POSITIONS[:, start:stop],
        }
        logits = ours(**inputs, past_key_values=mine)
        expected = theirs(**inputs, past_key_values=reference).logits
        seen = MASK[:, start:stop].bool()
        torch.testing.assert_close(logits[seen], expected[seen], **EXACT)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_reach_what_a_cache_was_filled_with(masked):
    """Prefix tuning: keys and values that are parameters, in front of the text."""
    ours, theirs = twins()
    prefix = 0.5 * torch.randn(LAYERS, 2, 3, 2, 4, WIDTH // 4, dtype=torch.float64)
    inputs = {"input_ids": tokens()}
    if masked:
        inputs["attention_mask"] = torch.cat((torch.ones(3, 4, dtype=torch.long), MASK), 1)
        inputs["position_ids"] = POSITIONS + 4
    answers = []
    for model, cache in ((ours, KeyValueCache()), (theirs, transformers.DynamicCache())):
        learned = prefix.clone().requires_grad_()
        for layer, (keys, values) in enumerate(learned):
            cache.update(keys, values, layer)
        logits = model(**inputs, past_key_values=cache)
        logits = getattr(logits, "logits", logits)
        if masked:
            logits = logits[MASK.bool()]
        (logits.pow(2).mean() + logits.sin().sum()).backward()
        answers.append((logits, learned.grad))
    torch.testing.assert_close(answers[0], answers[1], **EXACT)
    assert (answers[0][1] != 0).all()


@pytest.mark.parametrize("cached", [False, True])
def test_checkpointing_changes_memory_and_no_number(cached):
    ours, theirs = twins()
    assert not ours.gradient_checkpointing
    prefix = torch.randn(LAYERS, 2, 3, 2, 4, WIDTH // 4, dtype=torch.float64)

    def run(model):
        learned, cache = prefix.clone().requires_grad_(), KeyValueCache()
        for layer, (keys, values) in enumerate(learned):
            cache.update(keys, values, layer)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            logits = model(tokens(), past_key_values=cache if cached else None)
        found = gradients(model, logits)
        return logits, found, learned.grad, sum(x.numel() for x in kept), cache.get_seq_length()

    ours.train()
    plain = run(ours)
    ours.gradient_checkpointing_enable({"use_reentrant": False})
    saving = run(ours)
    assert torch.equal(plain[0], saving[0])
    assert_same_gradients(plain[1], saving[1])
    if cached:
        torch.testing.assert_close(plain[2], saving[2], **EXACT)
        assert (saving[2] != 0).all()
        assert saving[4] == 4 < plain[4] == 12  # the past is read; nothing is added to it
    assert saving[3] < plain[3] / 2
    ours.eval()
    assert run(ours)[3] == plain[3]  # only while training
    ours.train().gradient_checkpointing_disable()
    assert run(ours)[3] == plain[3]
    theirs.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    theirs.gradient_checkpointing_disable()  # the same names and arguments


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_padding_and_cache_on_a_gpu(dtype):
    """Its attention kernels, too, give 0 and no NaN where a row sees nothing."""
    ours, _ = twins()
    expected = ours(tokens(), MASK, POSITIONS)[MASK.bool()]
    ours = ours.to("cuda", dtype)
    ids, mask, places = tokens().cuda(), MASK.cuda(), POSITIONS.cuda()
    vectors = ours.get_input_embeddings()(ids).detach().requires_grad_()
    logits = ours(attention_mask=mask, position_ids=places, inputs_embeds=vectors)
    logits[mask.bool()].sum().backward()
    assert torch.isfinite(vectors.grad).all() and torch.isfinite(logits).all()
    cache = KeyValueCache()
    parts = [
        ours(ids[:, a:b], mask[:, :b], places[:, a:b], cache) for a, b in ((0, 6), (6, 7), (7, 8))
    ]
    for answer in (logits, torch.cat(parts, dim=1)):
        assert_close(answer[mask.bool()].cpu(), expected.to(dtype))


def test_a_copy_of_a_cache_goes_its_own_way():
    cache = KeyValueCache()
    keys, values = torch.randn(2, 1, 2, 3, 4)
    cache.update(keys, values, 0)
    twin = cache.copy()
    both, _ = twin.update(keys, values, 0)
    assert torch.equal(both, torch.cat((keys, keys), 2))
    assert (cache.get_seq_length(), twin.get_seq_length(), cache.get_seq_length(1)) == (3, 6, 0)
