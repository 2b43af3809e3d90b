"""Exercise 12: its references against peft, torch and bitsandbytes, and right answers."""

import json

import numpy as np
import peft
import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_12 import diagnosis, erasing, lowrank, merges
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("12")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads((ROOT / "solutions" / "12_merging.ipynb").read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def in_peft(layer, **options):
    """peft's model of one layer, in float64, with everything trained at random."""
    torch.manual_seed(0)
    options = {"r": 3, "lora_alpha": 7, "target_modules": ["0"]} | options
    model = peft.get_peft_model(nn.Sequential(layer).double(), peft.LoraConfig(**options)).double()
    part = model.base_model.model[0]
    nn.init.normal_(part.lora_B["default"].weight)
    weight = part.base_layer.weight.detach().numpy().copy()
    A, B = (m["default"].weight.detach().numpy() for m in (part.lora_A, part.lora_B))
    return model, part, weight, A, B


@pytest.mark.parametrize(
    ("layer", "turned"), [(nn.Linear(8, 5, bias=False), False), (Conv1D(5, 8), True)]
)
def test_the_merge_is_pefts_in_either_layout(layer, turned):
    model, part, weight, A, B = in_peft(layer, fan_in_fan_out=turned)
    model.merge_adapter()
    merged = part.base_layer.weight.detach().numpy()
    np.testing.assert_allclose(merges.merge(weight, A, B, 7, turned), merged, atol=1e-12)


def test_the_merge_of_dora_is_pefts():
    model, part, weight, A, B = in_peft(nn.Linear(8, 5, bias=False), use_dora=True)
    vector = part.lora_magnitude_vector["default"].weight
    nn.init.uniform_(vector, 0.5, 2)
    model.merge_adapter()
    merged = part.base_layer.weight.detach().numpy()
    ours = merges.merge_dora(weight, A, B, vector.detach().numpy(), 7)
    np.testing.assert_allclose(ours, merged, atol=1e-7)  # peft keeps its cached norm in 32 bits


def test_the_low_rank_copy_is_torchs():
    update = torch.randn(9, 6, dtype=torch.float64)
    U, S, V = torch.svd_lowrank(update, q=6, niter=20)
    A, B = lowrank.to_lora(update.numpy(), 2)
    np.testing.assert_allclose(B @ A, ((U[:, :2] * S[:2]) @ V[:, :2].T).numpy(), atol=1e-9)


def test_no_other_copy_of_that_rank_is_nearer():
    update = np.random.default_rng(0).normal(size=(9, 6))
    A, B = lowrank.to_lora(update, 2)
    best = np.linalg.norm(update - B @ A)
    for seed in range(20):
        other = np.random.default_rng(seed).normal(size=(2, 6)) * 0.1 + A
        fitted = np.linalg.lstsq(other.T, update.T, rcond=None)[0].T
        assert np.linalg.norm(update - fitted @ other) >= best - 1e-12


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 0.01])
def test_the_rank_needed_is_the_first_whose_copy_is_near_enough(tolerance):
    update = np.random.default_rng(0).normal(size=(12, 8))
    errors = []
    for r in range(9):
        A, B = lowrank.to_lora(update, r)
        errors.append(np.linalg.norm(update - B @ A) / np.linalg.norm(update))
    wanted = next(r for r, error in enumerate(errors) if error <= tolerance + 1e-12)
    assert lowrank.rank_needed(update, tolerance) == wanted


def test_what_is_erased_is_what_bitsandbytes_erases():
    functional = pytest.importorskip("bitsandbytes").functional
    torch.manual_seed(0)
    levels = functional.get_4bit_type("nf4", device="cpu")

    def stored(values):
        codes, state = functional.quantize_4bit(values, blocksize=64, quant_type="nf4")
        return functional.dequantize_4bit(codes, state).flatten()

    weight = stored(torch.randn(1024))
    update = 0.2 * torch.randn(1024)
    change = stored(weight + update) - weight
    wanted = 1 - (change @ update / (update @ update)).item()
    found = erasing.erased(weight.numpy(), update.numpy(), levels.numpy(), 64)
    assert found == pytest.approx(wanted, abs=1e-4)


RIGHT = {
    "merge": [
        lambda weight, A, B, alpha, turned: (
            weight.T.add(B @ A, alpha=alpha / len(A)).T if turned else
            torch.addmm(weight, B, A, alpha=alpha / len(A))
        ),
        lambda weight, A, B, alpha, turned: (
            weight + alpha * (A.T @ B.T if turned else B @ A) / A.shape[0]
        ),
    ],
    "merge_dora": [
        lambda weight, A, B, m, alpha: torch.diag(m) @ nn.functional.normalize(
            weight + alpha / B.shape[1] * (B @ A), dim=1
        ),
        lambda weight, A, B, m, alpha: torch.stack(
            [s * V / V.norm() for s, V in zip(m, weight + alpha / len(A) * B @ A, strict=True)]
        ),
    ],
    "to_lora": [
        lambda update, r: roots(*torch.linalg.svd(update, full_matrices=False), r),
        lambda update, r: by_eigenvectors(update, r),
    ],
    "rank_needed": [
        lambda update, tolerance: counted(np.linalg.svd(update.numpy())[1], tolerance),
        lambda update, tolerance: next(
            r for r in range(99)
            if (torch.linalg.svdvals(update)[r:] ** 2).sum() ** 0.5 <= tolerance * update.norm()
        ),
    ],
    "diagnose": [lambda record: by_factors(record), lambda record: by_columns(record)],
    "erased_share": [
        lambda *given: by_thresholds(*given),
        lambda weight, update, levels, size: one_by_one(weight, update, levels, size),
    ],
}  # fmt: skip


def roots(U, S, Vh, r):
    root = S[:r].sqrt()
    return root[:, None] * Vh[:r], U[:, :r] * root


def by_eigenvectors(update, r):
    _, vectors = torch.linalg.eigh((update.T @ update).double())
    A = vectors[:, -r:].T.float()
    return A, update @ A.T


def counted(S, tolerance):
    energy = np.cumsum((S**2)[::-1])[::-1]
    return int((np.sqrt(energy) > tolerance * np.sqrt(energy[0])).sum())


def by_factors(record):
    """By the ratio to what should have been added, where one number fits."""
    BA = record["B"] @ record["A"]
    ratio = (record["merged"] - record["weight"]) / (record["alpha"] / len(record["A"]) * BA)
    if ratio.max() - ratio.min() < 1e-3:
        times = float(ratio.mean())
        if abs(times - 1) < 0.01:
            return "healthy"
        return "merged twice" if abs(times - 2) < 0.01 else "scale dropped"
    if (ratio.amax(0) - ratio.amin(0)).max() < 1e-3:
        return "dropout active"
    turned = (record["merged"] - record["weight"]) / (record["alpha"] / len(record["A"]) * BA.T)
    return "transposed" if (turned - 1).abs().max() < 1e-3 else "another base"


def by_columns(record):
    change = (record["merged"] - record["weight"]).numpy()
    BA = (record["B"] @ record["A"]).numpy()
    D = float(record["alpha"]) / record["A"].shape[0] * BA
    known = {"healthy": D, "scale dropped": BA, "merged twice": 2 * D, "transposed": D.T}
    for name, expected in known.items():
        if np.abs(change - expected).max() < 1e-3:
            return name
    return "dropout active" if (np.abs(change).sum(0) < 1e-6).any() else "another base"


def by_thresholds(weight, update, levels, size):
    blocks = (weight + update).reshape(-1, size).double()
    absmax = blocks.abs().max(1).values[:, None]
    middle = ((levels[1:] + levels[:-1]) / 2).double()
    change = levels.double()[torch.bucketize(blocks / absmax, middle)] * absmax
    change = change.reshape(-1) - weight
    return float(1 - (change * update).sum() / update.double().square().sum())


def one_by_one(weight, update, levels, size):
    total = (weight + update).tolist()
    dot = square = 0.0
    for i, value in enumerate(total):
        block = total[i // size * size : i // size * size + size]
        peak = max(abs(v) for v in block)
        near = min(levels.tolist(), key=lambda level: abs(level - value / peak)) * peak
        dot += (near - float(weight[i])) * float(update[i])
        square += float(update[i]) ** 2
    return 1 - dot / square


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    layer = nn.Linear(sheet["d_in"], sheet["d_out"], bias=False, device="meta")
    pair = sheet["r"] * sum(layer.weight.shape)
    blocks = layer.weight.numel() // 64
    found = {
        "bytes unmerged": 32 * blocks + 4 * blocks + 2 * pair,
        "bytes merged": layer.weight.bfloat16().nbytes,
        "multiplications saved": pair,
    }
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_half_of_a_merge_earns_half():
    verdict = verdict_on("merge", lambda W, A, B, alpha, turned: W + alpha / len(A) * B @ A)
    assert not verdict.right and verdict.points == 1
    assert "never look at fan_in_fan_out" in verdict.message


def test_a_constant_share_earns_nothing():
    assert verdict_on("erased_share", lambda *given: 1.0).points == 0


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """Two kinds of bug never make the same merged weight."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
