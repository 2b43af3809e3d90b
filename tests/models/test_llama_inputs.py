"""Padding, positions and vectors as input, against transformers in float64."""

import pytest
import torch

from .twins import (
    CASES,
    EXACT,
    MASK,
    POSITIONS,
    WIDTH,
    assert_same_gradients,
    gradients,
    tokens,
    twins,
)


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
