"""Text after a soft prompt: over a cache or without, in batches: as peft, as each row alone."""

import logging
import warnings

import pytest
import torch
import transformers

from minipeft.models.llama import generate
from tests.closeness import RTOL, assert_close

from .models import batch
from .peers import quiet
from .prompts import CASES, N, labelled, own_prompt, prompt_twins, words

TOKENS = torch.tensor([[3, 9, 27, 1, 3, 9], [5, 25, 5, 25, 6, 30]])  # (batch, length)
PADDED = torch.tensor([[1] * 6, [0] * 2 + [1] * 4])  # the mask of padding on the left
NEW = 6


def continued(model, tokens=TOKENS, mask=None, **options) -> torch.Tensor:
    """What transformers' generate adds, (batch, NEW)."""
    mask = torch.ones_like(tokens) if mask is None else mask
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0} | options
    model.generation_config.eos_token_id = None
    with quiet():
        answer = model.generate(input_ids=tokens, attention_mask=mask, **options)
    return answer[:, tokens.shape[1] :]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("case", CASES)
def test_greedy_text_is_peft_s_with_and_without_a_cache(family, case):
    pair = prompt_twins(family, case)
    text = continued(pair.theirs)
    assert torch.equal(continued(pair.ours), text)
    assert torch.equal(continued(pair.ours, use_cache=False), text)
    with pair.ours.disable_adapter():
        assert not torch.equal(continued(pair.ours), text)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_a_padded_row_continues_as_if_alone(family, case):
    """Positions come from the mask, so padding on the left moves nothing.

    peft drops position_ids for prompt tuning (`_adjust_prompt_learning_kwargs`, with a warning):
    there a padded row of GPT-2 stands elsewhere than alone. So peft's row alone is the oracle.
    """
    pair = prompt_twins(family, case)
    alone = torch.cat([continued(pair.theirs, TOKENS[:1]), continued(pair.theirs, TOKENS[1:, 2:])])
    assert torch.equal(continued(pair.ours, mask=PADDED), alone)
    assert torch.equal(continued(pair.ours, mask=PADDED, use_cache=False), alone)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_beams_reorder_the_prompt_with_the_cache(family, case):
    pair = prompt_twins(family, case)
    beams = {"num_beams": 3, "num_return_sequences": 2}
    assert torch.equal(continued(pair.ours, **beams), continued(pair.theirs, **beams))


@pytest.mark.parametrize("kind", ["own", "llama", "gpt2"])
@pytest.mark.parametrize("case", ["prompt", "prefix", "p-tuning mlp"])
def test_minipeft_s_generate(kind, case):
    """One loop for our own Llama and transformers' models; each row of a batch as if alone."""
    own, pair = own_prompt(case) if kind == "own" else (None, prompt_twins(kind, case))
    model, theirs = own or pair.ours, pair.theirs
    pair.ours.config.eos_token_id = None
    prompts = [" ".join(f"w{token}" for token in row) for row in (TOKENS[0], TOKENS[1, 2:])]
    oracle = [
        [*TOKENS[0].tolist(), *continued(theirs, TOKENS[:1])[0].tolist()],
        [*TOKENS[1, 2:].tolist(), *continued(theirs, TOKENS[1:, 2:])[0].tolist()],
    ]
    for use_cache in (True, False):
        texts = generate(model, words(), prompts, max_new_tokens=NEW, use_cache=use_cache)
        assert [words().encode(text).ids for text in texts] == oracle


@pytest.mark.parametrize("case", ["prompt", "prefix"])
def test_a_cache_that_holds_the_prompt_goes_on_in_pieces(case):
    """Tokens fed in two calls answer as in one: with a mask of the text, of all, and without."""
    for model in (own_prompt(case)[0], prompt_twins("llama", case).ours):
        whole = model(TOKENS)
        whole = getattr(whole, "logits", whole)[:, -2:]
        for masked in ("text", "all", None):
            first = {"attention_mask": torch.ones(2, 4)} if masked else {}
            cache = model.get_base_model().new_cache() if hasattr(model, "new_cache") else None
            answer = model(TOKENS[:, :4], past_key_values=cache, **first)
            cache = cache if cache is not None else answer.past_key_values
            assert cache.get_seq_length() == 4 + N
            seen = {"text": torch.ones(2, 6), "all": torch.ones(2, 6 + N), None: None}[masked]
            rest = model(TOKENS[:, 4:], past_key_values=cache, attention_mask=seen)
            rest = getattr(rest, "logits", rest)  # transformers turns angles to cos in 32 bits
            assert_close(rest, whole, str(masked), rtol=RTOL[torch.float32])


def said(model, family: str, caplog) -> set[str]:
    """What transformers logs while a model trains and generates; a warning is an error."""
    transformers.utils.logging.warning_once.cache_clear()  # what was said once, it says again
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    caplog.clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert model.train()(**labelled(family)).loss.isfinite()
            if family != "bert":
                model.eval().generate(**batch(), max_new_tokens=3, do_sample=False, pad_token_id=0)
    finally:
        logger.removeHandler(caplog.handler)
    return {record.getMessage() for record in caplog.records}


@pytest.mark.parametrize("case", CASES)
def test_transformers_has_nothing_to_say(family, case, caplog):
    """Nothing that it doesn't say of the bare base, too."""
    model = prompt_twins(family, case).ours
    with model.disable_adapter():
        before = said(model, family, caplog)
    assert said(model, family, caplog) <= before
