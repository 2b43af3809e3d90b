"""Texts to tokens to batches, and the floor that is counted with them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minipeft.course.base import load_tokenizer
from minipeft.course.batches import (
    BEGIN,
    END,
    IGNORED,
    collate,
    count_predictions,
    encode,
    floor,
    make_batches,
)
from minipeft.course.tasks import TASKS
from minipeft.course.world import World
from minipeft.course.world.grammar import Document

TOKENIZER = load_tokenizer()


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_encoded_and_comes_back(text):
    if BEGIN in text or END in text:
        return
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text


def test_each_digit_is_a_token_and_each_name_is_one(tokenizer):
    pieces = tokenizer.encode("47 + 120 = 167.").tokens
    assert [piece for piece in pieces if piece.isdigit()] == list("47120167")
    world = World()
    for word in [*world.names, *world.towns]:
        assert len(tokenizer.encode(word).ids) == 2  # begin-of-text and the word


def test_special_tokens(tokenizer):
    assert [tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)] == [0, 1]
    assert tokenizer.get_vocab_size() == 1024
    row = encode(tokenizer, ["Hello."])[0]
    assert row[0] == 0 and row[-1] == 1 and 0 not in row[1:] and 1 not in row[:-1]


@pytest.mark.parametrize("name", TASKS)
def test_prompts_end_where_a_token_ends(tokenizer, name):
    """A prompt's tokens begin the tokens of the whole text: generation sees what training saw."""
    for prompt in TASKS[name].prompts:
        tokens = tokenizer.encode(prompt).ids
        longer = tokenizer.encode(prompt + " 306").ids
        assert longer[: len(tokens)] == tokens


def test_rows_are_whole_documents_and_padding_is_not_counted(tokenizer):
    documents = World().documents(50, seed=1)
    batches = make_batches(tokenizer, documents, 16)
    assert [len(batch.input_ids) for batch in batches] == [16, 16, 16, 2]
    rows = [
        [int(token) for token, label in zip(*row, strict=True) if label != IGNORED]
        for batch in batches
        for row in zip(batch.input_ids, batch.labels, strict=True)
    ]
    for row, document in zip(rows, documents, strict=True):
        assert row[-1] == 1 and tokenizer.decode(row) == document.text
    assert count_predictions(batches) == sum(len(row) - 1 for row in rows)
    for batch in batches:
        counted = batch.labels != IGNORED
        assert torch.equal(batch.labels[counted], batch.input_ids[counted])


def test_collate_by_hand():
    batch = collate([[0, 7, 1], [0, 1]])
    assert batch.input_ids.tolist() == [[0, 7, 1], [0, 0, 0]][:1] + [[0, 1, 0]]
    assert batch.labels.tolist() == [[0, 7, 1], [0, 1, IGNORED]]
    assert count_predictions([batch]) == 3


def test_the_floor_counts_every_predicted_token(tokenizer):
    """Two texts, each as likely as the other: log 2 for 14 + 13 tokens and their two ends."""
    texts = ["47 + 12 = 59.", "8 + 12 = 20."]
    documents = [Document(text, math.log(2), "sum") for text in texts]
    lengths = [len(tokenizer.encode(text).ids) - 1 for text in texts]  # without begin-of-text
    expected = 2 * math.log(2) / (sum(lengths) + 2)
    assert floor(documents, make_batches(tokenizer, documents, 2)) == pytest.approx(expected)
