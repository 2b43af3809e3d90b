"""Exercise 02: its references against torch, scikit-learn and peft, and right answers."""

import json
import math

import numpy as np
import peft
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from torch import nn

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_02 import cutting, diagnosis, sizes, strength, subspace
from minipeft.grading.exercises.lesson_02.asked import rank_and_size
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("02")
TASKS = {task.name: task for task in EXERCISE.tasks}
PATH = ROOT / "solutions" / "02_how_low_is_low_rank.ipynb"
SOLUTION = json.loads(PATH.read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def test_the_best_copy_is_scikit_learns():
    matrix = np.random.default_rng(0).normal(size=(9, 6))
    model = TruncatedSVD(2, algorithm="arpack", random_state=0)
    theirs = model.inverse_transform(model.fit_transform(matrix))
    np.testing.assert_allclose(cutting.best_copy(matrix, 2), theirs, atol=1e-9)


@pytest.mark.parametrize("r", range(6))
def test_the_errors_are_those_of_the_copy_in_torchs_norms(r):
    matrix = torch.randn(9, 6, dtype=torch.float64)
    missing = matrix - torch.from_numpy(cutting.best_copy(matrix.numpy(), r))
    errors = cutting.copy_errors(torch.linalg.svdvals(matrix).numpy(), r)
    for name, order in [("frobenius", "fro"), ("spectral", 2)]:
        theirs = torch.linalg.matrix_norm(missing, order) / torch.linalg.matrix_norm(matrix, order)
        assert errors[name] == pytest.approx(theirs.item(), abs=1e-12)


@pytest.mark.parametrize(("d_out", "d_in", "r"), [(64, 64, 4), (32, 32, 2), (48, 20, 3)])
def test_the_numbers_are_those_that_peft_trains(d_out, d_in, r):
    config = peft.LoraConfig(r=r, target_modules=["0"])
    model = peft.get_peft_model(nn.Sequential(nn.Linear(d_in, d_out, bias=False)), config)
    trained, _ = model.get_nb_trainable_parameters()
    assert sizes.factor_numbers(d_out, d_in, r)["numbers"] == trained


@pytest.mark.parametrize(("d", "r", "numbers"), [(64, 4, 512), (32, 2, 128)])
def test_two_counts_that_are_known(d, r, numbers):
    assert sizes.factor_numbers(d, d, r) == {"numbers": numbers, "pays": True}


def test_the_largest_rank_of_a_sheet_is_found_by_trying():
    for student in range(20):
        sheet = EXERCISE.sheet_for(f"student {student}")
        area, sides = sheet["d_out"] * sheet["d_in"], sheet["d_out"] + sheet["d_in"]
        tried = range(1, min(sheet["d_out"], sheet["d_in"]))
        found = sizes.on_sheet(sheet)
        assert found["largest rank that saves"] == max(r for r in tried if r * sides < area)
        assert found["largest rank within 1%"] == max(r for r in tried if 100 * r * sides <= area)


def test_the_stable_rank_is_the_ratio_of_torchs_norms():
    matrix = torch.randn(9, 6, dtype=torch.float64)
    theirs = matrix.square().sum() / torch.linalg.matrix_norm(matrix, 2) ** 2
    assert strength.stable(matrix.numpy()) == pytest.approx(theirs.item(), rel=1e-12)


def test_the_rank_of_what_is_built_is_torchs():
    for case in TASKS["of_rank_and_size"].inputs(3, {}):
        d_out, d_in, r, size = case
        matrix = torch.randn(d_out, r) @ torch.randn(r, d_in)
        seen = rank_and_size((matrix * (size / matrix.norm())).numpy())
        assert seen["rank"] == torch.linalg.matrix_rank(matrix).item() == r
        assert seen["size"] == pytest.approx(size, rel=1e-5)


def in_doubles(name, seed):
    """The tensors of a task's cases in 64 bits."""
    for case in TASKS[name].inputs(seed, {}):
        yield [torch.from_numpy(v).double() if isinstance(v, np.ndarray) else v for v in case]


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_autograds(seed):
    for X, y, theta0, P, z in in_doubles("subspace_gradient", seed):
        z.requires_grad_()
        nn.functional.mse_loss(X @ (theta0 + P @ z), y).backward()
        ours = subspace.gradient(*(part.detach().numpy() for part in (X, y, theta0, P, z)))
        np.testing.assert_allclose(ours, z.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_training_is_torchs_sgd(seed):
    for X, y, theta0, P, rate, steps in in_doubles("train_in_subspace", seed):
        theirs = by_optimizer(X, y, theta0, P, rate, steps).detach().numpy()
        ours = subspace.train(*(part.numpy() for part in (X, y, theta0, P)), rate, steps)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_intrinsic_dimension_of_the_planted_problem_is_its_number_of_conditions():
    """Li and others 2018, section 2: ten sums of a hundred weights each."""
    generator = np.random.default_rng(0)
    X, y = np.kron(np.eye(10), np.ones(100)), np.arange(1.0, 11)
    for _ in range(5):
        P = generator.normal(size=(1000, 12))
        left = [np.linalg.lstsq(X @ P[:, :d], y, rcond=None)[0] for d in range(1, 13)]
        losses = [np.mean((X @ P[:, : len(z)] @ z - y) ** 2) for z in left]
        assert min(losses[:9]) > 1e-6 > 1e-12 > max(losses[9:])


def by_optimizer(X, y, theta0, P, rate, steps):
    z = torch.zeros(P.shape[1], dtype=P.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([z], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(X @ (theta0 + P @ z), y).backward()
        optimizer.step()
    return theta0 + P @ z


def by_projector(X, y, theta0, P, rate, steps):
    theta = theta0.numpy().astype(float)
    X, y, P = X.numpy(), y.numpy(), P.numpy()
    for _ in range(steps):
        theta = theta - rate * P @ P.T @ (2 * X.T @ (X @ theta - y) / len(y))
    return theta


def by_autograd(X, y, theta0, P, z):
    z = z.clone().requires_grad_()
    return torch.autograd.grad((X @ (theta0 + P @ z) - y).square().mean(), z)[0]


def by_the_small_problem(X, y, theta0, P, z):
    small, rest = X @ P, y - X @ theta0  # the same loss in d numbers
    return 2 * small.T @ (small @ z - rest) / y.numel()


def by_eigenvectors(matrix, r):
    _, vectors = torch.linalg.eigh(matrix.T.double() @ matrix.double())
    V = vectors[:, -r:]
    return matrix.double() @ V @ V.T


def by_sum(matrix, r):
    U, S, Vh = np.linalg.svd(matrix.numpy())
    return sum(S[i] * np.outer(U[:, i], Vh[i]) for i in range(r))


def by_kept_energy(S, r):
    kept = (S[:r] ** 2).sum() / (S**2).sum()
    return {"spectral": float(S[r:].max() / S.max()), "frobenius": math.sqrt(1 - kept)}


def by_loops(S, r):
    squares = [float(s) ** 2 for s in S]
    error = (sum(squares[r:]) / sum(squares)) ** 0.5
    return {"frobenius": torch.tensor(error), "spectral": np.float32(float(S[r]) / float(S[0]))}


def by_layers(d_out, d_in, r):
    factors = [nn.Linear(d_in, r, bias=False), nn.Linear(r, d_out, bias=False)]
    numbers = sum(factor.weight.numel() for factor in factors)
    return {"numbers": numbers, "pays": numbers < nn.Linear(d_in, d_out, bias=False).weight.numel()}


def by_diagonal(d_out, d_in, r, size):
    M = torch.zeros(d_out, d_in)
    M[range(r), range(r)] = size / r**0.5
    return M


def by_normalised_svd(d_out, d_in, r, size):
    U, _, Vh = torch.linalg.svd(torch.rand(d_out, d_in, dtype=torch.float64), full_matrices=False)
    S = nn.functional.normalize(torch.arange(1.0, r + 1, dtype=torch.float64), dim=0) * size
    return (U[:, :r] * S) @ Vh[:r]


def by_first_difference(record):
    """From the figures to the copy, with other tolerances."""
    M, copy, r = record["matrix"], record["copy"], record["r"]
    if record["rank"] != torch.linalg.matrix_rank(M, rtol=1e-3):
        return "flat tolerance"
    if not math.isclose(record["error"], (M - copy).norm() / M.norm(), rel_tol=1e-3):
        return "root missing"
    U, S, Vh = torch.linalg.svd(M)
    components = U.T @ copy @ Vh.T  # in the matrix's own directions
    strengths = components.diag()
    if (components - strengths.diag()).norm() > 1e-3 * components.norm():
        return "transposed"
    if strengths[:r].abs().max() < S[-1]:
        return "weakest kept"
    return "healthy" if torch.allclose(strengths[:r], S[:r], rtol=1e-3) else "values twice"


def by_distances(record):
    M, r = record["matrix"].numpy(), record["r"]
    S = np.linalg.svd(M)[1]
    V = np.linalg.eigh(M.T @ M)[1][:, ::-1][:, :r]
    best = M @ V @ V.T
    twice = M @ V @ np.diag(S[:r]) @ V.T
    known = {"healthy": best, "values twice": twice, "transposed": best.T}
    known["weakest kept"] = 0 * best
    distances = {name: np.linalg.norm(record["copy"].numpy() - X) for name, X in known.items()}
    found = min(distances, key=distances.get)
    if (
        found == "healthy"
        and abs(record["error"] ** 2 - 1 + (S[:r] ** 2).sum() / (S**2).sum()) > 1e-3
    ):
        return "root missing"
    if found == "healthy" and record["rank"] != (S / S[0] > 1e-3).sum():
        return "flat tolerance"
    return found


RIGHT = {
    "best_copy": [by_eigenvectors, by_sum],
    "copy_errors": [by_kept_energy, by_loops],
    "factor_numbers": [
        by_layers,
        lambda out, wide, r: {"numbers": r * out + wide * r, "pays": r / wide + r / out < 1},
    ],
    "of_rank_and_size": [by_diagonal, by_normalised_svd],
    "stable_rank": [
        lambda M: float(M.norm() ** 2 / torch.linalg.matrix_norm(M, ord=2) ** 2),
        lambda M: float(torch.trace(M.T @ M) / torch.linalg.eigvalsh(M.T @ M)[-1]),
    ],
    "subspace_gradient": [by_autograd, by_the_small_problem],
    "train_in_subspace": [by_optimizer, by_projector],
    "diagnose": [by_first_difference, by_distances],
}


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(20):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    even = 1 / (1 / sheet["d_out"] + 1 / sheet["d_in"])
    found = {
        "largest rank within 1%": math.floor(even / 100),
        "trained numbers": sheet["r"] * sheet["d_out"] + sheet["r"] * sheet["d_in"],
        "largest rank that saves": math.ceil(even) - 1,
    }
    assert verdict_on("my_ranks", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_ranks", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_each_norm_earns_its_half():
    def frobenius_only(S, r):
        return {"frobenius": (S[r:].norm() / S.norm()).item(), "spectral": 0.5}

    assert verdict_on("copy_errors", frobenius_only).points == 1
    assert verdict_on("copy_errors", lambda S, r: [0.5, 0.5]).points == 0


def test_a_count_earns_its_half_and_a_constant_nothing():
    answer = verdict_on("factor_numbers", lambda a, b, r: {"numbers": r * (a + b), "pays": True})
    assert answer.points == 0.5
    for pays in (True, False):
        constant = {"numbers": 512, "pays": pays}
        verdict = verdict_on("factor_numbers", lambda a, b, r, constant=constant: constant)
        assert verdict.points == 0


@pytest.mark.parametrize("value", [np.zeros((0, 3)), np.zeros((200, 200)), np.zeros(5), "text"])
def test_what_is_no_such_matrix_is_not_taken_apart(value):
    with pytest.raises(ValueError):
        rank_and_size(value)


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """Each kind of bug, in a large and in a small matrix, is told from all others."""
    for bug in diagnosis.SPECIMENS:
        for scale in diagnosis.SCALES:
            record = diagnosis.specimen(np.random.default_rng(seed), bug, scale)
            assert diagnosis.diagnose(record) == bug


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
