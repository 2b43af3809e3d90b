"""Exercise 14: its references against torch, SciPy, scikit-learn and peft, and right answers."""

import json
import math
from itertools import combinations, permutations

import numpy as np
import peft
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.stats import binned_statistic, mannwhitneyu
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_14 import bandit, comparing, counting, diagnosis, intruding
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("14")
TASKS = {task.name: task for task in EXERCISE.tasks}
PATH = ROOT / "solutions" / "14_learn_less_forget_less.ipynb"
SOLUTION = json.loads(PATH.read_text(encoding="utf-8"))
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


@pytest.mark.parametrize("seed", range(5))
def test_intruders_are_those_of_scikit_learns_cosines(seed):
    for W0, W, leading, threshold in TASKS["intruders"].inputs(seed, {}):
        U0, U = (torch.linalg.svd(torch.from_numpy(M), full_matrices=False).U for M in (W0, W))
        cosines = cosine_similarity(U.T[:leading], U0.T)
        theirs = sum(max(-row.min(), row.max()) < threshold for row in cosines)
        assert intruding.intruders(W0, W, leading, threshold) == theirs


@pytest.mark.parametrize("seed", range(10))
def test_no_cosine_is_so_near_the_threshold_that_rounding_decides(seed):
    for W0, W, leading, threshold in TASKS["intruders"].inputs(seed, {}):
        cosines = np.abs(intruding.left(W)[:, :leading].T @ intruding.left(W0)).max(axis=1)
        assert np.abs(cosines - threshold).min() > 0.03


def test_a_tall_matrix_has_the_same_intruders_with_full_matrices():
    for seed in range(10):
        W0, W, leading, threshold = TASKS["intruders"].inputs(seed, {})[2]
        U0, U = np.linalg.svd(W0)[0], np.linalg.svd(W)[0]
        found = (np.abs(U[:, :leading].T @ U0).max(axis=1) < threshold).sum()
        assert found == intruding.intruders(W0, W, leading, threshold)


def trained_by_peft(sheet, targets, r):
    """The trained numbers of peft's LoRA in a model of the sheet's shape, without its weights.

    All layers are alike, so that one is built.
    """
    config = LlamaConfig(
        hidden_size=sheet["hidden"],
        intermediate_size=sheet["intermediate"],
        num_hidden_layers=1,
        num_attention_heads=1,
        vocab_size=8,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        lora = peft.LoraConfig(r=r, target_modules=targets)
        model = peft.get_peft_model(model, lora)
    return sheet["layers"] * model.get_nb_trainable_parameters()[0]


def test_the_ranks_of_a_sheet_are_found_by_trying_peft():
    sheet = EXERCISE.sheet_for("Ada")
    found = counting.on_sheet(sheet)
    limit, rank = trained_by_peft(sheet, MLP, sheet["r"]), found["attention rank"]
    assert trained_by_peft(sheet, ATTENTION, rank) <= limit
    assert trained_by_peft(sheet, ATTENTION, rank + 1) > limit
    rank = found["rank for the bits"]
    assert 2 * trained_by_peft(sheet, ATTENTION + MLP, rank) >= found["bits"]
    assert 2 * trained_by_peft(sheet, ATTENTION + MLP, rank - 1) < found["bits"]


def test_the_counts_of_a_sheet_are_whole_and_its_ranks_are_in_use():
    for student in range(300):
        sheet = EXERCISE.sheet_for(f"student {student}")
        found = counting.on_sheet(sheet)
        ways = sheet["alphabet"] ** sheet["letters"]  # of one code
        assert found["bits"] == sheet["codes"] * (ways.bit_length() - 1)
        assert ways == 2 ** (ways.bit_length() - 1)
        assert found["steps"] * sheet["large_batch"] == sheet["steps"] * sheet["small_batch"]
        assert sheet["r"] < found["attention rank"] < sheet["hidden"] / 4
        assert 5 <= found["rank for the bits"] < sheet["hidden"] / 2


def by_arrays_of_means(runs):
    best = {}
    for method in ("full", "lora"):
        mine = np.array([(r["rate"], r["validation"]) for r in runs if r["method"] == method])
        rates, place = np.unique(mine[:, 0], return_inverse=True)
        means = binned_statistic(place, mine[:, 1], "mean", np.arange(len(rates) + 1) - 0.5)[0]
        best[method] = float(rates[means.argmin()])
    return best | {"ratio": best["lora"] / best["full"]}


@pytest.mark.parametrize("seed", range(5))
def test_the_best_rates_are_those_of_scipys_means(seed):
    for (runs,) in TASKS["best_rates"].inputs(seed, {}):
        assert comparing.best_rates(runs) == by_arrays_of_means(runs)


@pytest.mark.parametrize("seed", range(10))
def test_the_best_rate_leads_by_more_than_the_printed_digits(seed):
    for (runs,) in TASKS["best_rates"].inputs(seed, {}):
        for method in ("full", "lora"):
            best, second = sorted(comparing.mean_by_rate(runs, method, "validation").values())[:2]
            assert second - best > 0.003


def by_scipy(points, learned):
    ordered = np.array(points)[np.argsort([rate for rate, _, _ in points])]
    side = ordered[: ordered[:, 1].argmin() + 1]
    line = interp1d(side[:, 1], side[:, 2], bounds_error=False)
    return None if np.isnan(line(learned)) else float(line(learned))


@pytest.mark.parametrize("seed", range(5))
def test_forgetting_at_equal_learning_is_scipys(seed):
    for points, learned in TASKS["forgotten_at"].inputs(seed, {}):
        ours, theirs = comparing.forgotten_at(points, learned), by_scipy(points, learned)
        assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-9))


def test_three_seeds_lie_apart_by_chance_one_time_in_ten():
    """What `clear_pairs` says after passing: two of the 20 orders of three and three."""
    apart = [set(three) in ({0, 1, 2}, {3, 4, 5}) for three in combinations(range(6), 3)]
    assert sum(apart) / len(apart) == 2 / 20
    assert mannwhitneyu([1, 2, 3], [4, 5, 6], method="exact").pvalue == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(3))
def test_the_policy_gradient_is_autograds(seed):
    for W, X, actions, rewards in TASKS["policy_gradient"].inputs(seed, {}):
        given = (torch.from_numpy(W), torch.from_numpy(X), torch.from_numpy(actions))
        theirs = by_categorical(*given, torch.from_numpy(rewards)).numpy()
        ours = bandit.gradient(W, X, actions, rewards)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_there_are_as_many_tasks_as_the_experiment_says():
    halves = {
        tuple(a if prompt in half else b for prompt in range(8))
        for a, b in permutations(range(8), 2)
        for half in combinations(range(8), 4)
    }
    assert len(halves) == 8 * 7 * math.comb(8, 4) // 2
    printed = json.dumps([cell.get("outputs", []) for cell in SOLUTION["cells"]])
    assert f"{len(halves):,} such tasks" in printed
    assert f"{math.factorial(8):,} such tasks" in printed


def test_what_rank_1_and_rank_2_can_hold_is_what_the_solution_says():
    """With rank 1 two actions can be likeliest, with rank 2 all eight, on a circle."""
    generator = np.random.default_rng(0)
    for _ in range(100):
        B, A = generator.normal(size=(8, 1)), generator.normal(size=(1, 8))
        assert len(set((B @ A).argmax(axis=0))) <= 2
    angles = 2 * np.pi * np.arange(8) / 8
    B = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    right = generator.permutation(8)
    assert (B @ B[right].T).argmax(axis=0).tolist() == right.tolist()


def by_sorting(W0, W, leading, threshold):
    U0, U = (np.linalg.svd(M.double().numpy(), full_matrices=False)[0] for M in (W0, W))
    nearest = [max(abs(float(u @ v)) for v in U0.T) for u in U.T[:leading]]
    return sum(cosine < threshold for cosine in nearest)


def by_eigenvectors(W0, W, leading, threshold):
    W0, W = W0.double(), W.double()
    n = min(W.shape)
    U0 = torch.linalg.eigh(W0 @ W0.T).eigenvectors[:, -n:]
    U = torch.linalg.eigh(W @ W.T).eigenvectors.flip(1)[:, :leading]
    return ((U0.T @ U).square().max(dim=0).values < threshold**2).sum()


def by_totals(runs):
    totals = {}
    for run in sorted(runs, key=lambda run: run["rate"]):
        key = run["method"], run["rate"]
        totals[key] = totals.get(key, 0) + run["validation"]
    best = {}
    for (method, rate), total in totals.items():
        if method not in best or total < totals[method, best[method]]:
            best[method] = rate
    return {"ratio": best["lora"] / best["full"], **best}


def by_numpy(points, learned):
    _, loss, forgotten = np.array(sorted(points)).T
    end = loss.argmin() + 1
    if learned < loss.min():
        return None
    return float(np.interp(learned, loss[:end][::-1], forgotten[:end][::-1]))


def by_intervals(learned):
    found = []
    for a, b in combinations(learned, 2):
        if max(learned[a]) < min(learned[b]):
            found.append((a, b))
        elif max(learned[b]) < min(learned[a]):
            found.append((b, a))
    return sorted(found)


def by_all_seeds(learned):
    return [
        [a, b]
        for a, b in sorted(permutations(learned, 2))
        if all(x < y for x in learned[a] for y in learned[b])
    ]


def by_rules(record):
    """Which rule chose the rates, then which report fits."""

    def rates(losses):
        return {m: record["rates"][int(losses(m).argmin())] for m in ("full", "lora")}

    chosen = record["chosen"]
    if chosen != rates(lambda m: record["validation"][m].mean(dim=1)):
        if chosen == rates(lambda m: record["test"][m].mean(dim=1)):
            return "chosen by test"
        alone = rates(lambda m: record["validation"][m].min(dim=1).values)
        return "chosen by one seed" if chosen == alone else "one shared rate"
    rows = {m: record["test"][m][record["rates"].index(chosen[m])] for m in chosen}
    floor, gain = record["floor"], record["base"] - record["floor"]
    if math.isclose(record["reported"]["full"], 1 - (rows["full"].mean() - floor) / gain):
        return "share of the gain"
    if math.isclose(record["reported"]["full"], rows["full"].min() - floor):
        return "best seed reported"
    if np.dot(np.array(record["batches"]) * record["steps"], [1, -1]) < 0:
        return "equal steps"
    return "healthy" if all("own" in t for t in record["forgetting"]) else "forgetting on new texts"


def by_arrays(record):
    """The other way round, in numpy."""
    if record["steps"][0] == record["steps"][1]:
        return "equal steps"
    if {text.rsplit(" ", 1)[0] for text in record["forgetting"]} != {"own world"}:
        return "forgetting on new texts"
    if len(set(record["chosen"].values())) == 1:
        return "one shared rate"
    for method, rate in record["chosen"].items():
        validation, test = (record[k][method].numpy() for k in ("validation", "test"))
        row = record["rates"].index(rate)
        if row == test.mean(1).argmin():
            return "chosen by test"
        if row == np.unravel_index(validation.argmin(), validation.shape)[0]:
            return "chosen by one seed"
        reported = record["reported"][method] + record["floor"]
        if abs(reported - test[row].min()) < 1e-9:
            return "best seed reported"
        if not np.isclose(reported, test[row].mean(), rtol=1e-6):
            return "share of the gain"
    return "healthy"


def by_categorical(W, X, actions, rewards):
    W = W.clone().requires_grad_()
    policy = torch.distributions.Categorical(logits=X @ W.T)
    loss = -((rewards - rewards.mean()) * policy.log_prob(actions)).mean()
    return torch.autograd.grad(loss, W)[0]


def by_cross_entropy(W, X, actions, rewards):
    W = nn.Parameter(W)
    losses = nn.functional.cross_entropy(nn.functional.linear(X, W), actions, reduction="none")
    (losses * (rewards - rewards.mean())).mean().backward()
    return W.grad


RIGHT = {
    "intruders": [by_sorting, by_eigenvectors],
    "best_rates": [by_arrays_of_means, by_totals],
    "forgotten_at": [by_scipy, by_numpy],
    "clear_pairs": [by_intervals, by_all_seeds],
    "diagnose": [by_rules, by_arrays],
    "policy_gradient": [by_categorical, by_cross_entropy],
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
    hidden, intermediate = sheet["hidden"], sheet["intermediate"]
    per_layer = sum(a + b for a, b in [(hidden, hidden)] * 4 + [(hidden, intermediate)] * 3)
    bits = round(sheet["codes"] * math.log2(sheet["alphabet"] ** sheet["letters"]))
    found = {
        "steps": round(sheet["steps"] / (sheet["large_batch"] / sheet["small_batch"])),
        "bits": bits,
        "attention rank": math.floor(sheet["r"] * 3 * (1 + intermediate / hidden) / 8),
        "rank for the bits": math.ceil(bits / 2 / sheet["layers"] / per_layer),
    }
    assert verdict_on("my_comparison", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_comparison", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_each_number_of_a_sheet_earns_its_part():
    right = counting.on_sheet(EXERCISE.sheet_for("Ada"))
    for name in right:
        assert verdict_on("my_comparison", lambda name=name: {name: right[name]}).points == 0.75


def test_a_constant_earns_nothing():
    for constant in range(10):
        assert verdict_on("intruders", lambda *given, n=constant: n).points == 0
    assert verdict_on("forgotten_at", lambda points, learned: None).points == 0
    assert verdict_on("clear_pairs", lambda learned: []).points == 0
    assert verdict_on("policy_gradient", lambda W, *given: 0 * W).points == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_specimen_has_two_bugs(seed):
    """Each rule that chooses rates gives others, for both methods; each report another number."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        for method in diagnosis.METHODS:
            validation, test = record["validation"][method], record["test"][method]
            rows = {validation.mean(axis=1).argmin(), test.mean(axis=1).argmin()}
            assert len(rows | {validation.min(axis=1).argmin()}) == 3
        rows = [record["validation"][m].mean(axis=1).argmin() for m in diagnosis.METHODS]
        assert rows[0] != rows[1]


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import math",
        "from itertools import pairwise",
        "import torch",
        "from minipeft.grading import checks",
    }
