"""Padding, caches, vectors as input and checkpointing, against transformers in float64.

transformers' own norm computes in float32 even in a float64 model, so PyTorch's RMSNorm stands in
for it: then all that is left between the two is rounding in float64.
"""

import pytest
import torch
import transformers
from torch import nn

from minipeft.models.llama import KeyValueCache, Llama, LlamaConfig

EXACT = {"rtol": 1e-10, "atol": 1e-10}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES = {
    "gqa": ("Llama", {"num_key_value_heads": 2}),
    "mha": ("Llama", {}),
    "llama3 rope": ("Llama", {"num_key_value_heads": 1, "rope_scaling": LLAMA3}),
    "llama biases, tied": ("Llama", {"attention_bias": True, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2}),
}
WIDTH, VOCABULARY, LAYERS = 24, 40, 2
MASK = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [1] * 8, [0] * 6 + [1, 1]])  # left padding
POSITIONS = (MASK.cumsum(1) - 1).clamp(min=0)


def twins(case="gqa"):
    """(ours, theirs): the same random float64 weights in both."""
    family, changes = CASES[case]
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 36,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 64,
        "attn_implementation": "sdpa",
    }
    config = getattr(transformers, f"{family}Config")(**{**sizes, **changes})
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    for owner in list(theirs.modules()):
        for name, module in owner.named_children():
            if module.__class__.__name__.endswith("RMSNorm"):
                eps = module.variance_epsilon
                setattr(owner, name, nn.RMSNorm(WIDTH, eps, dtype=torch.float64))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours = Llama(LlamaConfig.from_config(config.to_dict())).double().eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tokens(length=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (len(MASK), length), generator=generator)


def gradients(model, logits):
    """Of a smooth function of the logits, for every parameter."""
    model.zero_grad()
    (logits.pow(2).mean() + logits.sin().sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], **EXACT, msg=name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches(case, side):
    ours, theirs = twins(case)
    mask, positions = MASK, POSITIONS
    if side == "right":
        mask, positions = MASK.flip(1), torch.arange(8).expand(3, 8)
    inputs = {"input_ids": tokens(), "attention_mask": mask, "position_ids": positions}
    mine, reference = ours(**inputs), theirs(**inputs).logits
    seen = mask.bool()
    torch.testing.assert_close(mine[seen], reference[seen], **EXACT)
    assert_same_gradients(gradients(ours, mine[seen]), gradients(theirs, reference[seen]))


def test_what_stands_in_the_padding_changes_nothing():
    ours, _ = twins()
    shared = {"attention_mask": MASK, "position_ids": POSITIONS}
    other = torch.where(MASK.bool(), tokens(), tokens(seed=1))
    first, second = ours(tokens(), **shared), ours(other, **shared)
    assert torch.equal(first[MASK.bool()], second[MASK.bool()]) and torch.isfinite(first).all()
    for row, start in enumerate((3, 0, 6)):  # and each row is what it is alone
        alone = ours(tokens()[row : row + 1, start:])
        torch.testing.assert_close(first[row : row + 1, start:], alone, **EXACT)


def test_padding_takes_no_part_in_gradients():
    """A row that sees nothing gives 0 in attention, in gradients too, and not NaN."""
    ours, _ = twins()
    vectors = ours.get_input_embeddings()(tokens()).detach().requires_grad_()
    ours(inputs_embeds=vectors, attention_mask=MASK)[MASK.bool()].sum().backward()
    assert torch.isfinite(vectors.grad).all()
    assert (vectors.grad[~MASK.bool()] == 0).all() and (vectors.grad[MASK.bool()] != 0).all()


def test_plain_positions_without_a_mask_are_the_default():
    ours, _ = twins()
    plain = ours(tokens())
    assert torch.equal(plain, ours(tokens(), position_ids=torch.arange(8)[None]))
    torch.testing.assert_close(plain, ours(tokens(), torch.ones(3, 8)), **EXACT)


def test_position_ids_default_to_all_places_even_where_there_is_padding():
    """As in transformers, whose forward pass doesn't guess positions from the mask."""
    ours, theirs = twins()
    mine, reference = ours(tokens(), MASK), theirs(tokens(), attention_mask=MASK).logits
    torch.testing.assert_close(mine[MASK.bool()], reference[MASK.bool()], **EXACT)


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


def test_vectors_in_place_of_tokens():
    ours, theirs = twins()
    vectors = torch.randn(3, 8, WIDTH, dtype=torch.float64)
    mine, reference = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    logits = ours(inputs_embeds=mine)
    expected = theirs(inputs_embeds=reference).logits
    torch.testing.assert_close(logits, expected, **EXACT)
    logits.sin().sum().backward()
    expected.sin().sum().backward()
    torch.testing.assert_close(mine.grad, reference.grad, **EXACT)
    same = ours.get_input_embeddings()(tokens())
    assert torch.equal(ours(inputs_embeds=same), ours(tokens()))


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


def test_a_copy_of_a_cache_goes_its_own_way():
    cache = KeyValueCache()
    keys, values = torch.randn(2, 1, 2, 3, 4)
    cache.update(keys, values, 0)
    twin = cache.copy()
    both, _ = twin.update(keys, values, 0)
    assert torch.equal(both, torch.cat((keys, keys), 2))
    assert (cache.get_seq_length(), twin.get_seq_length(), cache.get_seq_length(1)) == (3, 6, 0)
