"""Lesson 06: magnitude and direction of a weight's rows, and how far each moved."""

import pytest
import torch
from peft.tuners.lora.dora import DoraLinearLayer
from torch import nn

from minipeft import LoraConfig, get_peft_model
from minipeft.course.lessons.magnitude import (
    Moved,
    correlation,
    moved,
    moved_by_layer,
    recomposed,
    weights_in_force,
)


def two_weights():
    generator = torch.Generator().manual_seed(0)
    W0 = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    return W0, W0 + 0.5 * torch.randn(6, 9, generator=generator, dtype=torch.float64)


def test_longer_rows_move_the_magnitude_alone():
    W0, _ = two_weights()
    longer = moved(W0, 1.5 * W0)
    assert longer.magnitude == pytest.approx(0.5 * W0.norm(dim=1).mean().item())
    assert longer.direction == pytest.approx(0, abs=1e-12)


def test_turned_rows_move_the_direction_alone():
    W0, _ = two_weights()
    Q, _ = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64))
    turned = moved(W0, W0 @ Q)
    assert turned.magnitude == pytest.approx(0, abs=1e-12)
    cosines = [torch.dot(a, b) / (a.norm() * b.norm()) for a, b in zip(W0, W0 @ Q, strict=True)]
    assert turned.direction == pytest.approx(1 - torch.stack(cosines).mean().item())


def test_the_magnitude_is_that_of_pefts_rows():
    W0, W = two_weights()
    layer = DoraLinearLayer(fan_in_fan_out=False)
    theirs = [layer.get_weight_norm(w, torch.zeros_like(w), scaling=1) for w in (W0, W)]
    change = (theirs[1] - theirs[0]).abs().mean().item()
    assert moved(W0, W).magnitude == pytest.approx(change)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and W is \(3, 2\)"):
        moved(torch.ones(2, 3), torch.ones(3, 2))


def test_correlation_is_pearsons():
    points = [Moved(1.0, 2.0), Moved(2.0, 1.0), Moved(4.0, 5.0), Moved(3.0, 1.5)]
    x, y = zip(*points, strict=True)
    mean_x, mean_y = sum(x) / 4, sum(y) / 4
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in points)
    spread = sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y)
    assert correlation(points) == pytest.approx(covariance / spread**0.5)
    with pytest.raises(ValueError, match="2 points"):
        correlation(points[:2])


def test_the_ends_of_the_dials_are_both_weights():
    W0, W = two_weights()
    torch.testing.assert_close(recomposed(W0, W, 0, 0), W0)
    torch.testing.assert_close(recomposed(W0, W, 1, 1), W)


@pytest.mark.parametrize("magnitude", [0, 0.5, 2])
def test_one_dial_leaves_the_other_alone(magnitude):
    W0, W = two_weights()
    made = recomposed(W0, W, magnitude, 1)
    assert moved(W, made).direction == pytest.approx(0, abs=1e-12)
    wanted = W0.norm(dim=1) + magnitude * (W.norm(dim=1) - W0.norm(dim=1))
    torch.testing.assert_close(made.norm(dim=1), wanted)
    same_length = recomposed(W0, W, 0, 0.7)
    torch.testing.assert_close(same_length.norm(dim=1), W0.norm(dim=1))


def test_a_row_of_zeros_stays_one():
    W0, W = two_weights()
    W0[2], W[2] = 0, 0
    made = recomposed(W0, W, 0.5, 0.5)
    assert torch.isfinite(made).all() and not made[2].any()


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_the_weight_in_force_is_the_merged_one(options):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(9, 6))
    before = weights_in_force(base)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["0"], **options))
    for tensor in (p for p in model.parameters() if p.requires_grad):
        nn.init.normal_(tensor)
    seen = weights_in_force(model)
    assert moved_by_layer(before, seen)["0"].direction > 0
    torch.testing.assert_close(seen["0"], model.merge_and_unload()[0].weight.detach())
