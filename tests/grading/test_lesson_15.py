"""Exercise 15: its references against peft, adapters, bitsandbytes, torch, scipy; right answers."""

import json
import math
from itertools import combinations
from statistics import NormalDist, mean

import numpy as np
import peft
import pytest
import scipy
import torch
import transformers
from torch import nn

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_15 import (
    budgets,
    diagnosis,
    errors,
    overlap,
    pareto,
    settings,
    tuning,
)
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("15")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads(
    (ROOT / "solutions" / "15_choosing_a_method.ipynb").read_text(encoding="utf-8")
)
SMALL = {"layers": 2, "hidden": 256, "heads": 4, "key_value_heads": 1, "budget": 50_000}
FOUR = ["q_proj", "k_proj", "v_proj", "o_proj"]


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def llama(sheet, device="meta"):
    """transformers' own model of a sheet."""
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=sheet["hidden"],
        intermediate_size=64,
        num_hidden_layers=sheet["layers"],
        num_attention_heads=sheet["heads"],
        num_key_value_heads=sheet["key_value_heads"],
    )
    with torch.device(device):
        return transformers.LlamaForCausalLM(config)


def trained_by_peft(sheet, config):
    config.task_type = "CAUSAL_LM"
    return peft.get_peft_model(llama(sheet), config).get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("sheet", [SMALL, EXERCISE.sheet_for("Ada") | {"layers": 3}])
def test_the_sizes_of_a_sheet_are_the_largest_within_the_budget_in_peft(sheet):
    sheet = sheet | {"budget": sheet["layers"] * sheet["hidden"] * 70}
    found = budgets.on_sheet(sheet)
    methods = {
        "LoRA r": lambda n: peft.LoraConfig(r=n, target_modules=FOUR),
        "DoRA r": lambda n: peft.LoraConfig(r=n, use_dora=True, target_modules=FOUR),
        "prefix tokens": lambda n: peft.PrefixTuningConfig(num_virtual_tokens=n),
    }
    for name, config in methods.items():
        within, beyond = (trained_by_peft(sheet, config(found[name] + n)) for n in (0, 1))
        assert within <= sheet["budget"] < beyond
        if name == "DoRA r":
            assert within == found["DoRA trains"]


def test_adapters_are_those_of_the_adapters_library():
    import adapters

    found = budgets.on_sheet(SMALL)
    counts = []
    for width in (found["adapter width"], found["adapter width"] + 1):
        model = llama(SMALL, "cpu")
        adapters.init(model)
        factor = SMALL["hidden"] / width
        model.add_adapter("one", config=adapters.DoubleSeqBnConfig(reduction_factor=factor))
        named = [(name, p) for name, p in model.named_parameters() if "adapters" in name]
        assert any(p.shape == (width, SMALL["hidden"]) for _, p in named)
        counts.append(sum(p.numel() for _, p in named))
    assert counts[0] == found["adapters train"] <= SMALL["budget"] < counts[1]


def test_the_report_is_that_of_arrays():
    """The same choice by numpy's masked means, method x rate x seed."""
    (runs,) = tuning.report_cases(np.random.default_rng(0))[0]
    found = tuning.report(runs)
    assert len(found) == 3
    for method, told in found.items():
        losses = np.full((2, len(tuning.RATES), 3), np.nan)
        for run in runs:
            if run["method"] == method:
                place = tuning.RATES.index(run["rate"]), run["seed"]
                losses[:, place[0], place[1]] = run["validation"], run["test"]
        best = np.nanmean(losses[0], axis=1).argmin()
        assert told["rate"] == tuning.RATES[best]
        test = losses[1, best]
        wanted = [np.nanmean(test), np.nanmin(test), np.nanmax(test)]
        assert [told[name] for name in ("mean", "lowest", "highest")] == pytest.approx(wanted)


def test_three_and_three_equal_seeds_do_not_overlap_in_one_case_of_ten():
    """What the task says after passing, counted over all ways to deal six ranks."""
    deals = list(combinations(range(6), 3))
    apart = [deal for deal in deals if set(deal) in ({0, 1, 2}, {3, 4, 5})]
    assert len(apart) / len(deals) == 0.1


def test_z_is_that_of_the_chi_squared_test():
    """scipy's pooled test, of which ours differs by little for neighbouring accuracies."""
    for p, q, n in errors.z_cases(np.random.default_rng(0)):
        p, q = round(p * n) / n, round(q * n) / n
        counts = [[p * n, n - p * n], [q * n, n - q * n]]
        chi = scipy.stats.chi2_contingency(counts, correction=False).statistic
        assert abs(errors.z_score(p, q, n)) == pytest.approx(math.sqrt(chi), rel=0.01)


def test_the_standard_error_is_the_spread_of_simulated_benchmarks():
    accuracies = np.random.default_rng(0).binomial(1319, 0.47, size=100_000) / 1319
    ours = math.sqrt(errors.variance(0.47, 1319))
    assert ours == pytest.approx(accuracies.std(), rel=0.01)
    assert round(100 * ours, 1) == 1.4


def test_bounds_are_scipys():
    for pairs in (1, 15, 36, 1953):
        assert errors.bound(pairs) == pytest.approx(scipy.stats.norm.isf(0.025 / pairs))
    accuracies, questions = errors.beyond_cases(np.random.default_rng(0))[0]
    found = errors.beyond(accuracies, questions)
    assert found["by chance"] / found["pairs"] == pytest.approx(scipy.stats.norm.sf(2) * 2)


def test_bonferroni_holds_for_all_pairs_together():
    """Among equal runs, at least one pair lies beyond the bound in at most 5% of benchmarks."""
    drawn = np.random.default_rng(0).binomial(1000, 0.5, size=(2000, 7)) / 1000
    found = [errors.beyond(list(accuracies), 1000)["beyond the bound"] for accuracies in drawn]
    assert 0.01 < np.mean(np.array(found) > 0) < 0.06


def test_the_bytes_of_a_guide_are_those_of_bitsandbytes_and_adam():
    functional = pytest.importorskip("bitsandbytes").functional
    weight = torch.randn(128, 256)
    codes, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    packed = codes.nbytes + state.absmax.nbytes
    assert diagnosis.base_bytes(weight.numel(), "QLoRA") == packed
    assert diagnosis.base_bytes(weight.numel(), "LoRA") == weight.bfloat16().nbytes
    trained = nn.Parameter(torch.randn(50))
    adam = torch.optim.AdamW([trained])
    trained.sum().backward()
    adam.step()
    moments = adam.state[trained]["exp_avg"].nbytes + adam.state[trained]["exp_avg_sq"].nbytes
    assert trained.nbytes + trained.grad.nbytes + moments == diagnosis.STATES * 50


def test_a_guide_counts_loras_numbers_as_peft_does():
    record = {"layers": 2, "hidden": 256, "key_value_width": 64, "r": 8}
    counted = trained_by_peft(SMALL, peft.LoraConfig(r=8, target_modules=FOUR))
    assert diagnosis.lora_numbers(record) == counted


@pytest.mark.parametrize("seed", range(20))
def test_every_broken_guide_misleads_and_has_one_bug(seed):
    for (record,) in diagnosis.cases(np.random.default_rng(seed)):
        seen = [bug for bug, sign in diagnosis.signs(record).items() if sign]
        assert len(seen) <= 1
        right = record | {"room": record["card_gib"] * 2**30}
        lora = diagnosis.lora_numbers(record)
        right["trained"] = record["trained"] | {"LoRA": lora, "QLoRA": lora}
        right["needed"] = diagnosis.needed(right)
        assert (record["chosen"] == diagnosis.choice(right)) == (not seen)


@pytest.mark.parametrize(("billions", "card", "chosen"), [(7, 14, "LoRA"), (65, 24, "QLoRA")])
def test_the_rule_of_thumb_is_wrong_where_it_is_known_to_be(billions, card, chosen):
    """The cases of the tutorial: 7B on 14 GiB has no room for 16 bits, 65B on 24 none for four."""
    customer = {
        "card_gib": card,
        "layers": 32,
        "hidden": 4096,
        "key_value_width": 4096,
        "r": 16,
        "numbers": billions * 10**9,
        "adapter_numbers": 10**7,
        "activations": 2**31,
        "wishes": ["LoRA", "QLoRA"],
        "must_merge": True,
    }
    record = diagnosis.worked_through(customer, diagnosis.THUMB)
    assert record["chosen"] == chosen
    assert record["needed"][chosen] > record["room"]


@pytest.mark.parametrize("seed", range(3))
def test_scales_are_those_that_peft_multiplies_by(seed):
    for case in settings.row_cases(np.random.default_rng(seed)):
        for row in case:
            config = peft.LoraConfig(
                r=row["r"],
                lora_alpha=row["alpha"],
                use_rslora=row["use_rslora"],
                target_modules=["0"],
            )
            model = peft.get_peft_model(nn.Sequential(nn.Linear(2, 2)), config)
            theirs = model.base_model.model[0].scaling["default"]
            assert settings.scale_of(row) == pytest.approx(theirs)


def test_the_published_rows_differ_in_their_scale_alone():
    """LoRA and rsLoRA of rank 64 in peft's comparison."""
    plain, other = (
        settings.a_row(64, alpha, rslora, 1e-4, "q_proj v_proj")
        for alpha, rslora in ((128, False), (64, True))
    )
    assert settings.compare_rows(plain, other) == {"scales": [2.0, 8.0], "differ": ["scale"]}


def test_a_front_is_the_best_for_some_taste_or_lies_between():
    """Whoever weighs the two numbers somehow ends on the front."""
    for (rows,) in pareto.front_cases(np.random.default_rng(0)):
        front = pareto.pareto(rows)
        for weight in np.geomspace(1e-12, 1e-6, 60):
            best = max(rows, key=lambda row: row["accuracy"] - weight * row["file_bytes"])
            assert best["experiment"] in front


def by_pivot(runs):
    found = {}
    for method in sorted({run["method"] for run in runs}):
        mine = [run for run in runs if run["method"] == method]
        losses = {
            rate: np.mean([r["validation"] for r in mine if r["rate"] == rate])
            for rate in {run["rate"] for run in mine}
        }
        rate = min(losses, key=losses.get)
        test = np.array([run["test"] for run in mine if run["rate"] == rate])
        found[method] = {
            "rate": rate,
            "mean": float(test.mean()),
            "lowest": float(test.min()),
            "highest": float(test.max()),
        }
    return found


def by_sorting(runs):
    """Sorts the runs in place, and keeps the best rate that it has seen."""
    runs.sort(key=lambda run: (run["method"], run["rate"]))
    kept, found = {}, {}
    for run in runs:
        kept.setdefault((run["method"], run["rate"]), []).append(run)
    for (method, rate), group in kept.items():
        loss = torch.tensor([run["validation"] for run in group]).mean()
        if method not in found or loss < found[method][0]:
            found[method] = loss, rate, [run["test"] for run in group]
    return {
        method: {"rate": rate, "mean": sum(t) / len(t), "lowest": min(t), "highest": max(t)}
        for method, (_, rate, t) in found.items()
    }


def both_ways(losses):
    means = {name: sum(values) / len(values) for name, values in losses.items()}
    best = sorted(losses, key=means.get)[0]
    low, high = min(losses[best]), max(losses[best])
    return {name: 0 for name in losses if max(losses[name]) >= low and min(losses[name]) <= high}


def with_arrays(accuracies, questions):
    p = np.array(accuracies)
    variance = p * (1 - p) / questions
    z = np.abs(p[:, None] - p) / np.sqrt(variance[:, None] + variance)
    z = z[np.triu_indices(len(p), 1)]
    pairs = len(p) * (len(p) - 1) // 2
    bound = -NormalDist().inv_cdf(0.025 / pairs)
    return {
        "pairs": pairs,
        "beyond 2": int((z > 2).sum()),
        "by chance": pairs * (1 - math.erf(2 / math.sqrt(2))),
        "bound": bound,
        "beyond the bound": int((z > bound).sum()),
    }


def pooled(accuracies, questions):
    """The test that takes one common accuracy for each pair."""
    scores = []
    for i, p in enumerate(accuracies):
        for q in accuracies[:i]:
            m = (p + q) / 2
            scores.append(abs(p - q) / (2 * m * (1 - m) / questions) ** 0.5)
    bound = NormalDist().inv_cdf(1 - 0.025 / len(scores))
    return {
        "pairs": len(scores),
        "beyond 2": len([z for z in scores if z > 2]),
        "by chance": 0.0455003 * len(scores),
        "bound": bound,
        "beyond the bound": len([z for z in scores if z > bound]),
    }


def from_the_choice(record):
    """Looks at the end first, by the guide's own numbers, then at the rest."""
    needed, chosen = record["needed"], record["chosen"]
    if record["must_merge"] and chosen == "adapters":
        return "cannot be merged"
    if needed.get(chosen, 0) > record["room"]:
        return "rule of thumb"
    if needed["LoRA"] == needed["adapters"]:
        return "weights alone"
    if needed["LoRA"] == needed["QLoRA"]:
        return "trained numbers alone"
    if record["trained"]["LoRA"] == 8 * record["layers"] * record["r"] * record["hidden"]:
        return "square matrices"
    return "GB for GiB" if record["room"] % 10**9 == 0 else "healthy"


def by_working_it_out(record):
    """Works out everything anew, and only then compares."""
    h, kv, r = record["hidden"], record["key_value_width"], record["r"]
    sides = [(h, h), (h, kv), (h, kv), (h, h)]
    lora = record["layers"] * sum(r * (a + b) for a, b in sides)
    trained = record["trained"] | {"LoRA": lora, "QLoRA": lora}
    base = {m: record["numbers"] * (4.5 / 8 if m == "QLoRA" else 2) for m in trained}
    room = record["card_gib"] * 1024**3
    need = {m: base[m] + 16 * trained[m] + record["activations"] for m in trained}
    able = [m for m in record["wishes"] if need[m] <= room]
    able = [m for m in able if not (record["must_merge"] and m == "adapters")]
    if record["chosen"] == (able or ["none"])[0]:
        return "healthy"
    if record["room"] != room:
        return "GB for GiB"
    if record["trained"] != trained:
        return "square matrices"
    if record["needed"] == base:
        return "weights alone"
    if record["needed"] != need:
        return "trained numbers alone"
    return "cannot be merged" if record["chosen"] == "adapters" else "rule of thumb"


def row_by_row(first, second):
    scales = [
        row["alpha"] * row["r"] ** (-0.5 if row["use_rslora"] else -1) for row in (first, second)
    ]
    pairs = {
        "targets": [sorted(row["targets"].split(" ")) for row in (first, second)],
        "scale": [round(scale, 6) for scale in scales],
        "r": [first["r"], second["r"]],
        "learning_rate": [first["learning_rate"], second["learning_rate"]],
    }
    return {"differ": [name for name, (a, b) in pairs.items() if a != b], "scales": tuple(scales)}


def with_tensors(first, second):
    r, alpha = (torch.tensor([row[n] for row in (first, second)]) for n in ("r", "alpha"))
    rslora = torch.tensor([first["use_rslora"], second["use_rslora"]])
    scales = alpha / torch.where(rslora, r.sqrt(), r)
    differ = [n for n in ("r", "learning_rate") if first[n] != second[n]]
    differ += ["scale"] if not torch.isclose(*scales) else []
    same = frozenset(first["targets"].split()) == frozenset(second["targets"].split())
    return {"scales": scales.tolist(), "differ": differ + ([] if same else ["targets"])}


def by_pairs(rows):
    def beats(a, b):
        more, less = a["accuracy"] - b["accuracy"], b["file_bytes"] - a["file_bytes"]
        return more >= 0 and less >= 0 and (more > 0 or less > 0)

    return [b["experiment"] for b in rows if not any(beats(a, b) for a in rows)]


def from_the_top(rows):
    """From the most accurate down, whoever is smaller than all before."""
    front, smallest = [], math.inf
    for row in sorted(rows, key=lambda row: (-row["accuracy"], row["file_bytes"])):
        if row["file_bytes"] < smallest:
            front, smallest = [*front, row["experiment"]], row["file_bytes"]
    return front


RIGHT = {
    "report": [by_pivot, by_sorting],
    "contenders": [
        lambda losses: list(both_ways(losses)),
        lambda losses: [
            name
            for name in losses
            if min(losses[name]) <= max(min(losses.values(), key=lambda v: sum(v) / len(v)))
        ],
    ],
    "z_score": [
        lambda p, q, n: (p - q) * math.sqrt(n) / math.sqrt(p - p * p + q - q * q),
        lambda p, q, n: (p - q) / math.sqrt((p + q) * (2 - p - q) / 2 / n),  # pooled
        lambda p, q, n: np.float64(p - q) / np.hypot(*(np.sqrt(s * (1 - s) / n) for s in (p, q))),
    ],
    "beyond": [with_arrays, pooled],
    "diagnose": [from_the_choice, by_working_it_out],
    "compare_rows": [row_by_row, with_tensors],
    "pareto": [by_pairs, from_the_top],
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
    h, L, budget = sheet["hidden"], sheet["layers"], sheet["budget"]
    kv = h * sheet["key_value_heads"] // sheet["heads"]
    outs = [h, kv, kv, h]

    def largest(count):
        return max(size for size in range(100_000) if count(size) <= budget)

    def dora(r):
        return L * sum(r * (h + out) + out for out in outs)

    def adapters(n):
        return 2 * L * (h * n + n + n * h + h)

    found = {
        "prefix tokens": largest(lambda n: n * L * (kv + kv)),
        "adapters train": adapters(largest(adapters)),
        "adapter width": largest(adapters),
        "DoRA trains": dora(largest(dora)),
        "DoRA r": largest(dora),
        "LoRA r": largest(lambda r: L * r * sum(h + out for out in outs)),
    }
    assert verdict_on("my_sizes", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1), found | {"LoRA r": found["LoRA r"] + 1}):
        message = verdict_on("my_sizes", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_a_right_mean_of_the_wrong_rate_earns_nothing_and_right_rates_their_part():
    def told_of_validation(runs):
        groups = {m: min(
            {r["rate"] for r in runs},
            key=lambda rate: mean(
                r["validation"] for r in runs if (r["method"], r["rate"]) == (m, rate)
            ),
        ) for m in {r["method"] for r in runs}}  # fmt: skip
        return {m: {"rate": rate, "mean": 0.0, "lowest": 0.0, "highest": 0.0}
                for m, rate in groups.items()}  # fmt: skip

    verdict = verdict_on("report", told_of_validation)
    assert not verdict.right and verdict.right_parts == ["rates"] and verdict.points == 1


def test_naming_all_methods_or_one_earns_nothing():
    assert verdict_on("contenders", list).points == 0
    assert verdict_on("contenders", overlap.alone).points == 0


def test_the_rows_of_the_notebook_are_those_of_the_published_table():
    """Accuracies are whole numbers of the 1,319 questions; sizes go with what is trained."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in SOLUTION["cells"]}
    namespace = {}
    exec(cells["experiment"].partition("front, questions")[0], namespace)
    for row in namespace["rows"]:
        right = row["accuracy"] * 1319
        assert abs(right - round(right)) < 0.01
    sizes = {row["experiment"]: row["file_bytes"] for row in namespace["rows"]}
    hidden, kv, wide, layers = 3072, 1024, 8192, 28
    qv, mlp = 2 * hidden + hidden + kv, 3 * (hidden + wide)
    for name, numbers in {
        "LoRA r = 32, q and v": layers * 32 * qv,
        "LoRA r = 64, q and v": layers * 64 * qv,
        "LoRA r = 10, MLP": layers * 10 * mlp,
        "prefix, 50 tokens": layers * 50 * 2 * kv,
        "(IA)3": layers * (2 * kv + wide),
    }.items():
        assert 4 * numbers <= sizes[name] < 4 * numbers + 30_000


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import math",
        "from itertools import combinations",
        "from statistics import NormalDist, mean",
        "from minipeft.grading import checks",
    }
