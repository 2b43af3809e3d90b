"""Lesson 06: equations against the package, starts, AdaLoRA's ranks, the recorded runs."""

import json

import pytest
import torch
from peft import LoraConfig as TheirConfig
from peft import get_peft_model as in_peft
from torch import nn

from minipeft import AdaLoraConfig, LoraConfig, VeraConfig, get_peft_model
from minipeft.course.base import DATA, load_base
from minipeft.course.lessons import recorded, relatives
from minipeft.course.tasks import task
from scripts import sweep_dora

ONE = {"target_modules": ["0"]}


def lora(W0, x, t):
    return x @ W0.T + 2 * (x @ t.A.T @ t.B.T)


def test_a_right_equation_has_no_gap_and_a_wrong_one_has():
    config = LoraConfig(r=4, lora_alpha=8, **ONE)
    assert relatives.gap(config, lora) < 1e-12
    assert relatives.gap(config, lambda W0, x, t: lora(W0, x, t) + 0.01) > 1e-3


def test_a_right_output_with_another_gradient_has_a_gap():
    config = LoraConfig(r=4, lora_alpha=8, use_dora=True, **ONE)

    def dora(W0, x, t, detach):
        V = W0 + 2 * t.B @ t.A
        norm = V.norm(dim=1)
        return x @ V.T * (t.m / (norm.detach() if detach else norm))

    assert relatives.gap(config, lambda *given: dora(*given, detach=True)) < 1e-12
    assert relatives.gap(config, lambda *given: dora(*given, detach=False)) > 1e-2


@pytest.mark.parametrize(
    ("config", "letters"),
    [
        (LoraConfig(r=2, use_dora=True, **ONE), "ABm"),
        (LoraConfig(r=2, init_lora_weights="pissa", **ONE), ["A", "B", "A0", "B0"]),
        (VeraConfig(r=2, **ONE), "ABdb"),
        (AdaLoraConfig(total_step=9, **ONE), "ABE"),
    ],
)
def test_every_tensor_has_its_letter(config, letters):
    model = get_peft_model(nn.Sequential(nn.Linear(6, 5)), config)
    (layer,) = relatives.layers_of(model).values()
    assert set(relatives.tensors_of(layer)) == set(letters)


def first_batch(r=4):
    W0, (G, X) = {}, (None, None)
    base, _ = load_base()
    path = "model.layers.0.self_attn.q_proj"
    W0 = base.get_submodule(path).weight.detach().clone()
    G, X = relatives.gradients_and_inputs(base, task("instruction", batch_size=4).train[0])[path]
    assert all(p.grad is None for p in base.parameters())
    return W0, G, X


def test_gradients_are_autograds_and_inputs_are_the_layers():
    W0, G, X = first_batch()
    assert G.shape == W0.shape and X.shape[1] == W0.shape[1]
    # G is a sum over positions of (dL/dh) x^T, so its rows lie in the span of the inputs.
    outside = G - G @ torch.linalg.pinv(X) @ X
    assert outside.norm() < 1e-3 * G.norm()


@pytest.mark.parametrize("start", relatives.STARTS)
def test_starts_are_orthonormal(start):
    torch.manual_seed(0)
    A, B = relatives.first_directions(start, *first_batch(), r=4)
    torch.testing.assert_close(A @ A.T, torch.eye(4), rtol=1e-3, atol=1e-3)
    assert (B is None) == (start in ("LoRA", "EVA"))
    if B is not None:
        torch.testing.assert_close(B.T @ B, torch.eye(4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("start", "theirs"), [("PiSSA", "pissa"), ("OLoRA", "olora")])
def test_the_first_directions_are_pefts(start, theirs):
    W0, G, X = first_batch()
    A, B = relatives.first_directions(start, W0, G, X, r=4)
    linear = nn.Linear(*W0.T.shape, bias=False)
    linear.weight.data.copy_(W0)
    config = TheirConfig(r=4, target_modules=["0"], init_lora_weights=theirs)
    part = in_peft(nn.Sequential(linear), config).base_model.model[0]
    rows, columns = part.lora_A["default"].weight.detach(), part.lora_B["default"].weight.detach()
    assert (rows - rows @ A.T @ A).norm() < 1e-2 * rows.norm()
    assert (columns - B @ B.T @ columns).norm() < 1e-2 * columns.norm()


def test_a_start_that_is_none_names_the_nearest():
    with pytest.raises(ValueError, match=r"'pissa'.*PiSSA"):
        relatives.first_directions("pissa", *first_batch(), r=4)


def test_what_is_captured_is_what_least_squares_reaches():
    torch.manual_seed(0)
    G = torch.randn(5, 7, dtype=torch.float64)
    A = torch.linalg.qr(torch.randn(7, 2, dtype=torch.float64))[0].T
    B = torch.linalg.qr(torch.randn(5, 2, dtype=torch.float64))[0]
    basis = [torch.outer(B[:, i], e) for i in range(2) for e in torch.eye(7).double()]
    basis += [torch.outer(e, A[i]) for i in range(2) for e in torch.eye(5).double()]
    for columns, given in ((basis, (A, B)), (basis[14:], (A,))):
        matrix = torch.stack([b.flatten() for b in columns], dim=1)
        fitted = matrix @ torch.linalg.pinv(matrix) @ G.flatten()
        wanted = fitted.square().sum() / G.square().sum()
        assert relatives.captured(G, *given) == pytest.approx(wanted.item())


def test_ranks_are_watched_and_the_model_is_left_as_it_was():
    config = AdaLoraConfig(
        init_r=3, target_r=1, total_step=6, tinit=1, tfinal=1, target_modules=["q_proj"]
    )
    torch.manual_seed(0)
    model = get_peft_model(load_base()[0], config)
    batches = task("instruction", batch_size=2).train
    seen = relatives.ranks_while_training(model, batches, 6, 1e-2)
    totals = [sum(ranks.values()) for ranks in seen]
    assert len(seen) == 7 and totals[0] == 12 and totals[-1] == 4
    assert totals == sorted(totals, reverse=True)
    assert "update_and_allocate" not in vars(model)


RECORDED = json.loads((DATA / "dora.json").read_text(encoding="utf-8"))


def test_every_run_that_the_script_would_make_is_there_once():
    assert (RECORDED["steps"], RECORDED["batch_size"]) == (120, 8)
    wanted = sweep_dora.wanted()
    assert len(RECORDED["runs"]) == len(wanted)
    for asked in wanted:
        assert sum(asked.items() <= run.items() for run in RECORDED["runs"]) == 1, asked


@pytest.mark.parametrize("method", sweep_dora.RATES)
def test_a_run_has_the_shape_of_the_recorded_ones(method, monkeypatch):
    monkeypatch.setattr(sweep_dora, "STEPS", 5)
    rate = sweep_dora.RATES[method][0]
    made = sweep_dora.run(method, rate, seed=0)
    same = {"method": method, "rate": rate, "seed": 0}
    (shipped,) = [run for run in RECORDED["runs"] if same.items() <= run.items()]
    assert made.keys() == shipped.keys()
    assert made["trained"] == shipped["trained"] and made["floor"] == shipped["floor"]
    assert made["loss"] > shipped["loss"]


def test_dora_stands_beside_the_runs_of_the_first_sweep():
    found = relatives.dora_beside_lora()
    (lora,) = recorded.learning_and_forgetting("instruction", ["lora"]).values()
    assert found["lora"] == lora
    for method in sweep_dora.RATES:
        points = found[method]
        assert [p.rate for p in points] == sorted(sweep_dora.RATES[method])
        best = min(points, key=lambda p: p.learned)
        assert best.rate not in (points[0].rate, points[-1].rate), "the best rate is at an end"


def test_runs_of_lora_are_those_of_the_first_sweep():
    """The same seeds, steps and texts by another script: the same losses."""
    earlier = [r for r in recorded.recorded_runs() if r["task"] == "instruction"]
    for run in RECORDED["runs"]:
        if run["method"] not in ("lora", "full"):
            continue
        key = {name: run[name] for name in ("method", "rate", "seed")}
        (same,) = [r for r in earlier if key.items() <= r.items()]
        assert run["loss"] == pytest.approx(same["loss"], abs=0.02)


def test_correlations_have_five_times_four_points_and_three_seeds():
    found = relatives.correlations("q_proj")
    assert {one.method for one in found} == {"full", "lora", "dora"}
    for one in found:
        assert len(one.points) == 20
        assert one.low <= one.mean <= one.high
