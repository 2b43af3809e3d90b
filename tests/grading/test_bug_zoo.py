"""The bug zoo of exercise 03: a sign is true of its own bug alone, so any order of tests is right.

The signs are written as students write them, each in several ways, and put together as they come.
"""

import math

import numpy as np
import pytest
import torch

from minipeft.grading.compare import judge
from minipeft.grading.exercises.lesson_03.diagnosis import SPECIMENS, specimen
from minipeft.grading.sandboxed.call import as_tensor, call

from .handing_in import EXERCISE

TASK = EXERCISE.task("diagnose")
SEEDS = range(200)
HEALTHY, BOTH_ZERO, TOO_LARGE, NO_SCALE, TWICE, NOT_FROZEN = SPECIMENS


def scale(record):
    return record["alpha"] / record["A"].shape[0]


def update(record):
    return record["B"] @ record["A"]


def change(record):
    return record["merged"] - record["weight"]


def bound(record):
    return 1 / math.sqrt(record["start_A"].shape[1])


def times(record):
    return change(record).norm() / update(record).norm()


SIGNS = {
    BOTH_ZERO: [
        lambda r: not r["start_A"].any() and not r["start_B"].any(),
        lambda r: r["start_A"].abs().sum() + r["start_B"].abs().sum() == 0,
        lambda r: torch.count_nonzero(r["start_A"]) == 0,
        lambda r: r["start_A"].norm() == 0 and r["start_B"].norm() == 0,
        lambda r: r["start_A"].std() == 0,
    ],
    TOO_LARGE: [
        lambda r: r["start_A"].abs().max() > bound(r),
        lambda r: r["start_A"].max() > 1.01 * bound(r),
        lambda r: r["start_A"].abs().max() > 1,
        lambda r: r["start_A"].std() > bound(r),
        lambda r: r["start_A"].std() > 1.1 * bound(r) / math.sqrt(3),
        lambda r: abs(r["start_A"].std() - 1) < 0.05,
        lambda r: r["start_A"].var() > 0.5,
        lambda r: r["start_A"].abs().mean() > bound(r),
    ],
    NO_SCALE: [
        lambda r: torch.allclose(change(r), update(r)),
        lambda r: torch.equal(r["merged"], r["weight"] + update(r)),
        lambda r: abs((change(r) / update(r)).mean() - 1) < 1e-3,
        lambda r: abs(times(r) - 1) < 1e-3,
        lambda r: times(r) < scale(r) - 0.1,
    ],
    TWICE: [
        lambda r: torch.allclose(change(r), 2 * scale(r) * update(r)),
        lambda r: torch.equal(r["merged"], r["weight"] + 2 * scale(r) * update(r)),
        lambda r: torch.allclose(change(r) - scale(r) * update(r), scale(r) * update(r)),
        lambda r: abs((change(r) / update(r)).median() / scale(r) - 2) < 1e-3,
        lambda r: times(r) > scale(r) + 0.1,
    ],
    NOT_FROZEN: [
        lambda r: any("lora_" not in name for name in r["trainable"]),
        lambda r: len(r["trainable"]) > 2,
        lambda r: not all(".lora_" in name for name in r["trainable"]),
        lambda r: bool([n for n in r["trainable"] if "lora_A" not in n and "lora_B" not in n]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("bug", SIGNS)
def test_a_sign_is_true_of_its_own_bug_alone(bug):
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        for other in SPECIMENS:
            record = as_tensor(specimen(generator, other))
            assert [bool(sign(record)) for sign in SIGNS[bug]] == [bug == other] * len(SIGNS[bug])


def in_turn(*order):
    """A diagnosis that looks for the bugs one after the other."""

    def diagnose(record):
        return next((bug for bug, sign in order if sign(record)), HEALTHY)

    return diagnose


def merge_first_then_three_ways(record):
    merged = record["weight"] + scale(record) * update(record)
    if not torch.allclose(record["merged"], merged, atol=1e-5):
        smaller = change(record).abs().mean() < (merged - record["weight"]).abs().mean()
        return NO_SCALE if smaller else TWICE
    if {name.split(".")[-2] for name in record["trainable"]} != {"lora_A", "lora_B"}:
        return NOT_FROZEN
    if record["start_A"].eq(0).all() and record["start_B"].eq(0).all():
        return BOTH_ZERO
    return TOO_LARGE if record["start_A"].abs().max() > bound(record) else HEALTHY


NATURAL = {
    "as they are listed": in_turn(*((bug, SIGNS[bug][0]) for bug in SPECIMENS[1:])),
    "the merge first": in_turn(*((bug, SIGNS[bug][0]) for bug in SPECIMENS[:0:-1])),
    "merged twice first, the start last": in_turn(
        *((bug, SIGNS[bug][-1]) for bug in (TWICE, NO_SCALE, NOT_FROZEN, TOO_LARGE, BOTH_ZERO))
    ),
    "the size of A before its zeros": in_turn(
        *((bug, SIGNS[bug][2]) for bug in (TOO_LARGE, NO_SCALE, BOTH_ZERO, TWICE, NOT_FROZEN))
    ),
    "the merge in three ways": merge_first_then_three_ways,
    "the scale by a quotient": in_turn(
        *((bug, SIGNS[bug][3]) for bug in (NOT_FROZEN, TWICE, BOTH_ZERO, NO_SCALE, TOO_LARGE))
    ),
}


@pytest.mark.parametrize("function", NATURAL.values(), ids=NATURAL)
def test_a_natural_order_is_right_for_every_seed(function):
    for seed in SEEDS:
        cases = TASK.inputs(seed, {})
        verdict = judge(TASK, cases, [call(function, case) for case in cases])
        assert verdict.right, (seed, verdict.message)
