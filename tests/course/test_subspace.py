"""Training in a random subspace: against a dense P, and against weights put into the model."""

import json

import pytest
import torch
from torch import nn

from minipeft.course.base import DATA, load_base
from minipeft.course.lessons.subspace import Subspace, by_dimension
from scripts import sweep_subspace


def dense(model):
    """P (D, d) as one matrix, for all weights in one row."""
    rows = torch.cat([row.flatten() for row in model.follows.values()])
    signs = torch.cat([sign.flatten() for sign in model.signs.values()])
    return nn.functional.one_hot(rows, len(model.z)).double() * signs[:, None].double()


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def test_output_and_gradient_are_those_of_theta_0_plus_P_z():
    model, x = Subspace(small(), d=7).double(), torch.randn(3, 6, dtype=torch.float64)
    model.z.data.normal_()
    theta = (dense(model) @ model.z.detach()).split([30, 20])
    twin = small()
    for layer, change in zip((twin[0], twin[2]), theta, strict=True):
        layer.weight.data += change.view_as(layer.weight)
    torch.testing.assert_close(model(x), twin(x))
    model(x).sin().sum().backward()
    twin(x).sin().sum().backward()
    whole = torch.cat([twin[0].weight.grad.flatten(), twin[2].weight.grad.flatten()])
    torch.testing.assert_close(model.z.grad, dense(model).T @ whole)


def test_only_z_is_trained_and_it_starts_at_the_base():
    base, _ = load_base()
    ids = torch.randint(100, (2, 9))
    expected = base(ids).detach()
    model = Subspace(base, d=10)
    assert torch.equal(model(ids), expected) and model.size() == 0
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["z"]
    assert len(model.follows) == 28 and not any("embed" in name for name in model.follows)


def test_the_seed_draws_the_subspace():
    one, same, other = (Subspace(small(), d=7, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(dense(one), dense(same)) and not torch.equal(dense(one), dense(other))


def test_no_dimension_is_an_error():
    with pytest.raises(ValueError, match="d=0"):
        Subspace(small(), d=0)


def test_the_script_makes_what_is_shipped(monkeypatch):
    shipped = json.loads((DATA / "subspace.json").read_text(encoding="utf-8"))
    assert (shipped["steps"], shipped["batch_size"]) == (sweep_subspace.STEPS, sweep_subspace.BATCH)
    asked = sweep_subspace.wanted()
    assert len(shipped["runs"]) == len(asked)
    assert all(any(one.items() <= run.items() for run in shipped["runs"]) for one in asked)
    monkeypatch.setattr(sweep_subspace, "STEPS", 1)
    made = sweep_subspace.run(**asked[0])
    (same,) = [run for run in shipped["runs"] if asked[0].items() <= run.items()]
    assert made.keys() == same.keys() and made["loss"] > same["loss"]
    assert all(made[key] == same[key] for key in ("trained", "floor", "own_floor"))


def test_more_numbers_learned_more():
    learned = [min(point.learned for point in points) for points in by_dimension().values()]
    assert learned == sorted(learned, reverse=True)
