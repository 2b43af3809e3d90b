"""From documents to batches that a model can be trained on.

A batch is a pair (input_ids, labels), both int64 of shape (batch, length). Each row is one whole
document, begin-of-text and end-of-text tokens included, padded on the right. `labels` repeats
`input_ids`, with -100 in the place of padding; as in transformers, the loss compares the logits at
position t with the label at position t + 1. A row of n counted tokens therefore has n - 1
predictions: all but the begin-of-text token.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from minipeft.course.world.grammar import Document

IGNORED = -100  # the label that cross_entropy leaves out
BEGIN, END = "<|bos|>", "<|eos|>"


class Batch(NamedTuple):
    """Whole documents side by side; see above."""

    input_ids: Tensor  # (batch, length) int64
    labels: Tensor  # (batch, length) int64, -100 for padding


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, between begin-of-text and end-of-text."""
    # The tokenizer itself puts the first in front, so that a prompt gets it too.
    end = tokenizer.token_to_id(END)
    return [[*encoding.ids, end] for encoding in tokenizer.encode_batch(list(texts))]


def collate(rows: Sequence[Sequence[int]]) -> Batch:
    """Rows of different lengths as one batch, padded on the right."""
    length = max(len(row) for row in rows)
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    return Batch(input_ids, labels)


def make_batches(
    tokenizer: Tokenizer, documents: Sequence[Document], batch_size: int
) -> list[Batch]:
    """The documents in their order, `batch_size` at a time."""
    rows = encode(tokenizer, [document.text for document in documents])
    return [collate(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]


def count_predictions(batches: Iterable[Batch]) -> int:
    """How many tokens a model has to predict in these batches."""
    return sum(int((batch.labels[:, 1:] != IGNORED).sum()) for batch in batches)


def floor(documents: Sequence[Document], batches: Iterable[Batch]) -> float:
    """The least mean loss that any model can expect on these documents, in nats per token."""
    return sum(document.nats for document in documents) / count_predictions(batches)
