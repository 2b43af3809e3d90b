"""The masked prompt, against splitting the text itself."""

import math

import pytest
import torch

from minipeft.course.base import load_tokenizer
from minipeft.course.batches import END, IGNORED, Batch, collate, count_predictions, encode
from minipeft.course.lessons.answers import MARKER, marker_ids, only_answers
from minipeft.course.tasks import task


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_what_is_left_is_the_answer_and_the_end(tokenizer):
    chef = task("instruction", batches=2, test_batches=2, batch_size=4, tokenizer=tokenizer)
    marker, end = marker_ids(tokenizer), tokenizer.token_to_id(END)
    texts = iter(chef.examples)
    for batch in chef.test:
        masked = only_answers(batch, marker)
        assert torch.equal(masked.input_ids, batch.input_ids)
        for row in masked.labels:
            kept = [int(label) for label in row if label != IGNORED]
            assert kept[-1] == end
            answer = next(texts).text.split(MARKER)[1]
            assert tokenizer.decode(kept).strip() == answer.strip()


def test_padding_stays_ignored_and_the_batch_is_not_changed(tokenizer):
    rows = encode(
        tokenizer, [f"chef: nuts{MARKER} Peel.", f"chef: pears and nuts{MARKER} Peel it."]
    )
    batch = collate(rows)
    before = batch.labels.clone()
    masked = only_answers(batch, marker_ids(tokenizer))
    assert torch.equal(batch.labels, before)
    assert (masked.labels[batch.labels == IGNORED] == IGNORED).all()


def test_the_first_marker_counts():
    tokens = torch.tensor([[5, 7, 8, 1, 7, 8, 2]])
    assert only_answers(Batch(tokens, tokens), [7, 8]).labels.tolist() == [
        [-100] * 3 + [1, 7, 8, 2]
    ]


def test_a_text_without_a_marker_is_named():
    tokens = torch.tensor([[7, 8, 1], [7, 7, 1]])
    with pytest.raises(ValueError, match="row 1"):
        only_answers(Batch(tokens, tokens), [7, 8])


def test_the_answers_floor_is_the_one_throw_in_each(tokenizer):
    """Of the chef's nats (two foods, boil bake or fry) only log 3 falls in the answer."""
    chef = task("instruction", batches=2, test_batches=2, batch_size=4, tokenizer=tokenizer)
    for document in chef.examples:
        assert document.nats == pytest.approx(math.log(8) + math.log(7) + math.log(3))
    answers = [only_answers(batch, marker_ids(tokenizer)) for batch in chef.test]
    assert 0 < count_predictions(answers) < count_predictions(chef.test)
