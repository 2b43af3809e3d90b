"""The sampling loop, on a model small enough to know what it must say."""

from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from minipeft.models.llama import generate

WORDS = ["<end>", "a", "b", "c", "d"]


class Cycle(torch.nn.Module):
    """After a comes b, after b comes c ...; `spread` is how unsure it is. Not seen: lengths."""

    def __init__(self, spread=0.0, end=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.dropout = torch.nn.Dropout(0.9)
        self.spread = spread
        self.config = type("Config", (), {"eos_token_id": end})()

    def forward(self, input_ids):
        following = input_ids % 4 + 1
        likely = torch.nn.functional.one_hot(following, 5).float() * (1 - self.spread)
        likely += self.spread / 5
        return self.dropout(torch.ones_like(likely)) * likely.log().clamp(min=-1e4)


@pytest.fixture
def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.Fuse()
    return words


def test_greedy_text_continues_the_prompt_and_stops_at_the_limit(tokenizer):
    assert generate(Cycle(), tokenizer, "a b", max_new_tokens=3) == "abcda"


@pytest.mark.parametrize("end", [4, [4], (3, 4)])
def test_stops_at_an_end_token(tokenizer, end):
    text = generate(Cycle(end=end), tokenizer, "a", max_new_tokens=20)
    assert text == ("abc" if end != (3, 4) else "ab")


def test_a_draw_depends_on_its_seed_alone(tokenizer):
    def draw(seed):
        return generate(Cycle(0.9), tokenizer, "a", 30, temperature=1.0, seed=seed)

    state = torch.get_rng_state()
    first = draw(1)
    assert torch.equal(state, torch.get_rng_state())  # the global stream is left alone
    torch.manual_seed(99)
    assert draw(1) == first != draw(2)


def test_temperature_flattens(tokenizer):
    def surprises(temperature):
        text = generate(Cycle(0.3), tokenizer, "a", 400, temperature=temperature, seed=3)
        text = text.replace("<end>", "e")
        return sum("eabcd".index(y) != "eabcd".index(x) % 4 + 1 for x, y in pairwise(text))

    # at temperature 1 the model errs with 0.3 * 4 / 5 = 24% of its tokens
    assert 70 < surprises(1.0) < 125
    assert surprises(0.5) < 50 < 220 < surprises(8.0)


def test_dropout_is_off_and_the_mode_is_given_back(tokenizer):
    model = Cycle().train()
    assert generate(model, tokenizer, "a", 20) == "abcd" * 5 + "a"
    assert model.training


@pytest.mark.parametrize(
    "prompt, options, message",
    [
        ("a", {"temperature": -1.0}, "temperature"),
        ("a", {"temperature": float("nan")}, "temperature"),
        ("a", {"max_new_tokens": 0}, "max_new_tokens"),
        ("", {}, "no token"),
    ],
)
def test_bad_requests(tokenizer, prompt, options, message):
    with pytest.raises(ValueError, match=message):
        generate(Cycle(), tokenizer, prompt, **options)
