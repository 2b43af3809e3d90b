"""What is trained on: all tokens of a text, or the answer alone.

A request and its answer are one text, "chef: plums and onions\\nanswer: Slice ...". The labels of
`batches` count every token of it. `only_answers` masks the prompt: it keeps the labels after the
marker "\\nanswer:", the end-of-text token included, so that the model learns where to stop.
"""

from collections.abc import Sequence

import torch

from minipeft.course.batches import IGNORED, Batch

MARKER = "\nanswer:"


def marker_ids(tokenizer, marker: str = MARKER) -> list[int]:
    """The tokens of the marker, as they stand in the middle of a text."""
    before, text = (tokenizer.encode(text).ids for text in ("x", f"x{marker}"))
    return text[len(before) :]


def only_answers(batch: Batch, marker: Sequence[int]) -> Batch:
    """The same texts; labels up to and including the first `marker` of each row are IGNORED.

    Args:
        batch: input_ids and labels (batch, length).
        marker: token ids, as of `marker_ids`.

    Raises:
        ValueError: a row without the marker.
    """
    windows = batch.input_ids.unfold(1, len(marker), 1)  # (batch, places, len(marker))
    found = (windows == torch.tensor(marker)).all(-1)  # (batch, places)
    if not found.any(1).all():
        row = int((~found.any(1)).nonzero()[0])
        raise ValueError(f"row {row} has no marker {list(marker)}: where does its answer begin?")
    starts = found.int().argmax(1) + len(marker)  # (batch,), the answer's first token
    in_prompt = torch.arange(batch.labels.shape[1]) < starts[:, None]  # (batch, length)
    return Batch(batch.input_ids, batch.labels.masked_fill(in_prompt, IGNORED))
