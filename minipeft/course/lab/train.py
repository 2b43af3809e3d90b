"""`train` and `evaluate`: the training loop of every lesson.

The loss is next-token cross entropy in nats, the mean over counted tokens:
    loss = - mean over (b, t) with labels[b, t] != -100 of log p(labels[b, t] | input_ids[b, :t])
The logits at position t - 1 predict the label at position t; the shift happens here, not in
the data. A PeftModel's method may add a penalty to what is minimized, which no history and no
evaluation counts, and may move its ranks after each step (AdaLoRA does both).
"""

import itertools
import math
import time
from collections.abc import Iterable
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from ..batches import IGNORED
from .history import History, Interrupted
from .optimizers import Schedule, optimizer_for
from .progress import Progress


def token_losses(model: nn.Module, input_ids, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross entropy over counted tokens, in nats, and how many were counted.

    Args:
        model: gives logits (batch, length, vocabulary), or an object that has `.logits`.
        input_ids: int64 (batch, length).
        labels: int64 (batch, length), -100 where a token is not counted.
    """
    logits = model(input_ids)
    logits = getattr(logits, "logits", logits)  # (batch, length, vocabulary)
    logits = logits[:, -input_ids.shape[1] :]  # what stands before the text is a soft prompt
    predicted = logits[:, :-1].flatten(0, 1)  # (batch * (length - 1), vocabulary)
    target = labels[:, 1:].flatten()  # (batch * (length - 1),)
    total = F.cross_entropy(predicted.float(), target, ignore_index=IGNORED, reduction="sum")
    return total, (target != IGNORED).sum()


def evaluate(model: nn.Module, batches: Iterable) -> float:
    """Mean loss in nats per counted token; the model's mode is left as it was.

    Args:
        model: any module whose output is logits, a PeftModel included.
        batches: pairs (input_ids, labels), each int64 (batch, length).

    Raises:
        ValueError: no batch, or no counted token in any of them.
    """
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with _mode(model, training=False), torch.no_grad():
        for input_ids, labels in batches:
            loss, counted = token_losses(model, input_ids.to(device), labels.to(device))
            total += loss.item()
            count += counted.item()
    if count == 0:
        raise ValueError("nothing to evaluate: the batches hold no counted token (label != -100)")
    return total / count


def train(
    model: nn.Module,
    batches: Iterable,
    steps: int | None = None,
    seconds: float | None = None,
    learning_rate: float = 1e-3,
    optimizer=None,
    warmup: int = 10,
    decay: bool = True,
    clip: float = 1.0,
    test: Iterable | None = None,
    evaluate_every: int | None = None,
    show: bool = True,
) -> History:
    """Train what is trainable in `model` and return the history.

    Args:
        model: any module whose output is logits, a PeftModel included.
        batches: pairs (input_ids, labels), int64 (batch, length), gone through again and again.
        steps, seconds: how long, whichever ends first; `seconds` makes results differ by machine.
        learning_rate: peak learning rate of an optimizer that is made here.
        optimizer: None (AdamW, no weight decay), a class, or one that holds what is trainable.
        warmup, decay: the rate climbs for `warmup` updates, then may fall linearly to a tenth.
        clip: largest norm of the gradient.
        test: held-out batches, evaluated before, after and every `evaluate_every` steps.
        show: a progress bar and a live loss picture, where a person watches.

    Raises:
        ValueError: nothing is trainable, a foreign optimizer, no positive length, empty batches.
        FloatingPointError: the loss is not finite; names the step.
        Interrupted: someone stopped the cell. `History.latest` is the run as far as it came.
    """
    _check_length(steps, seconds)
    optimizer = optimizer_for(model, optimizer, learning_rate)
    history = History.latest = History()
    began = time.perf_counter()
    try:
        with (
            _mode(model, training=True),
            Schedule(optimizer, warmup, decay) as schedule,
            Progress(history, steps, seconds, show) as progress,
        ):
            for batch in _repeat(batches):
                done = _share_done(history.steps, steps, time.perf_counter() - began, seconds)
                _evaluate_when_due(history, model, test, evaluate_every, done)
                if done >= 1:
                    break
                schedule.set(history.steps, done)
                _one_step(model, optimizer, batch, clip, history)
                history.seconds = time.perf_counter() - began
                progress.update()
    except KeyboardInterrupt:
        raise Interrupted(history) from None
    finally:
        optimizer.zero_grad(set_to_none=True)
    return history


def _one_step(model, optimizer, batch, clip: float, history: History) -> None:
    device = next(model.parameters()).device
    input_ids, labels = (tensor.to(device) for tensor in batch)
    total, counted = token_losses(model, input_ids, labels)
    if counted == 0:
        raise ValueError(f"the batch of step {history.steps + 1} has no counted token")
    loss = total / counted
    minimized = loss + model.penalty() if hasattr(model, "penalty") else loss
    if not math.isfinite(minimized.item()):
        rate = optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"the loss is {minimized.item()} at step {history.steps + 1} (learning rate "
            f"{rate:.2g}); lower the learning rate, or look for NaN in the weights"
        )
    optimizer.zero_grad(set_to_none=True)
    minimized.backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(trained, clip)
    optimizer.step()
    history.losses.append(loss.item())
    history.tokens += counted.item()
    if hasattr(model, "update_and_allocate"):
        model.update_and_allocate(history.steps)  # from 1; the gradients are still there


def _evaluate_when_due(history, model, test, every, done) -> None:
    if test is None:
        return
    due = history.steps == 0 or done >= 1 or (every and history.steps % every == 0)
    if due:
        history.evaluations.append((history.steps, evaluate(model, test)))


def _share_done(step: int, steps: int | None, elapsed: float, seconds: float | None) -> float:
    """How much of the way is behind: 1 when either limit is reached."""
    return max(step / steps if steps else 0, elapsed / seconds if seconds else 0)


def _check_length(steps, seconds) -> None:
    if steps is None and seconds is None:
        raise ValueError("say how long to train: steps=100, or seconds=20")
    for name, value in (("steps", steps), ("seconds", seconds)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} is out of range; choose a positive number")


def _repeat(batches: Iterable):
    """Go through the batches again and again; a generator, which ends for good, is refused."""
    for round_number in itertools.count():
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError(
                "the batches are empty"
                if round_number == 0
                else "the batches ran out: give a list, which can be gone through again"
            )


@contextmanager
def _mode(model: nn.Module, training: bool):
    """Put every module in training or evaluation mode, and each back as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training
