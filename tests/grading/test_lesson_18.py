"""Exercise 18: its references against peft, the course's scoreboard and exhaustive search."""

import itertools
import json
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from minipeft.course.golf import HOLES, Card, ranked
from minipeft.course.golf import pareto as golf_pareto
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_18 import counting, diagnosis, fronts, playing
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("18")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads(
    (ROOT / "solutions" / "18_capstone_adapter_golf.ipynb").read_text(encoding="utf-8")
)
SMALL = {"d": 64, "kv": 32, "ff": 96, "blocks": 3, "r": 4, "vera_r": 20}


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


class Block(nn.Module):
    def __init__(self, d, kv, ff):
        super().__init__()
        for name, (out, wide) in {
            "q": (d, d), "k": (kv, d), "v": (kv, d), "o": (d, d),
            "gate": (ff, d), "up": (ff, d), "down": (d, ff),
        }.items():  # fmt: skip
            setattr(self, name, nn.Linear(wide, out, bias=False))
        self.norms = nn.ModuleList([nn.RMSNorm(d), nn.RMSNorm(d)])


def model_of(sheet):
    blocks = [Block(sheet["d"], sheet["kv"], sheet["ff"]) for _ in range(sheet["blocks"])]
    return nn.ModuleDict({"blocks": nn.ModuleList(blocks), "norm": nn.RMSNorm(sheet["d"])})


def in_file(config, sheet):
    """How many numbers Hugging Face peft's file would hold."""
    state = peft.get_peft_model_state_dict(peft.get_peft_model(model_of(sheet), config))
    return sum(tensor.numel() for tensor in state.values())


def test_the_counts_are_those_of_pefts_files():
    kinds = ["q", "k", "v", "o", "gate", "up", "down"]
    vera = {"r": SMALL["vera_r"], "target_modules": kinds}
    wanted = {
        "LoRA": in_file(peft.LoraConfig(r=SMALL["r"], target_modules=kinds), SMALL),
        "VeRA": in_file(peft.VeraConfig(save_projection=False, **vera), SMALL),
        "VeRA with its pair": in_file(peft.VeraConfig(save_projection=True, **vera), SMALL),
        "norms": sum(p.numel() for n, p in model_of(SMALL).named_parameters() if "norm" in n),
    }
    assert counting.on_sheet(SMALL) == wanted


def card(entry, name="x"):
    row = {"bytes": 1, "flops": 1} | {k: v for k, v in entry.items() if k != "name"}
    return Card(entry.get("name", name), "chef", "LORA", own=0.0, digest=name, **row)


@pytest.mark.parametrize("seed", range(20))
def test_front_and_ranking_are_those_of_the_scoreboard(seed):
    generator = np.random.default_rng(seed)
    for (entries,) in fronts.front_cases(generator):
        cards = [card(entry, str(place)) for place, entry in enumerate(entries)]
        kept = sorted(int(one.name) for one in golf_pareto(cards))
        assert fronts.pareto(entries) == kept
    for entries, bound in fronts.rank_cases(generator):
        hole = replace(HOLES["chef"], bound=bound)
        names = [one.name for one in ranked([card(entry) for entry in entries], hole)]
        assert fronts.ranking(entries, bound) == names


def test_each_weighing_is_won_on_the_front():
    entries = fronts.front_cases(np.random.default_rng(0))[0][0]
    front = fronts.pareto(entries)
    for weight in np.linspace(0.01, 0.99, 50):
        costs = [weight * e["numbers"] / 6400 + (1 - weight) * e["above"] for e in entries]
        assert int(np.argmin(costs)) in front


@pytest.mark.parametrize("seed", range(4))
def test_no_choice_of_ranks_is_cheaper(seed):
    """Exhaustive search, and the bound that linear programming gives."""
    for layers, bound in playing.cases(np.random.default_rng(seed)):
        least, values = playing.cost(layers, playing.chosen(layers, bound)), {}
        for name, D in layers.items():
            values[name] = torch.linalg.svdvals(torch.from_numpy(D).double()).numpy()
        total = sum(np.linalg.norm(D.astype(np.float64)) ** 2 for D in layers.values())
        choices = []
        for ranks in itertools.product(*(range(len(v) + 1) for v in values.values())):
            pairs = list(zip(values.items(), ranks, strict=True))
            left = sum((v[r:] ** 2).sum() for (_, v), r in pairs)
            if left <= bound * total:
                choices.append(sum(r * sum(layers[name].shape) for (name, _), r in pairs))
        assert min(choices) == least and choices.count(least) == 1
        price = [sum(layers[name].shape) for name in layers for _ in values[name]]
        gain = np.concatenate([v**2 for v in values.values()])
        relaxed = linprog(price, A_ub=[-gain], b_ub=[-(1 - bound) * total], bounds=(0, 1))
        assert relaxed.fun <= least + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_that_is_left_is_that_on_fresh_inputs(seed):
    generator = np.random.default_rng(seed)
    layers, bound = playing.cases(generator)[2]
    entry, lost, start = playing.PLAY.answer(layers, bound), 0.0, 0.0
    for name, D in layers.items():
        x = generator.normal(size=(200_000, D.shape[1]))
        A, B = entry.get(name, (np.zeros((0, D.shape[1])), np.zeros((D.shape[0], 0))))
        lost += ((x @ (D - B @ A).T) ** 2).sum(1).mean()
        start += ((x @ D.T) ** 2).sum(1).mean()
    assert lost / start <= bound


RIGHT = {
    "pareto": [
        lambda entries: by_sorting(entries),
        lambda entries: torch.tensor(sorted(by_tensors(entries))),
    ],
    "ranking": [
        lambda entries, bound: [
            e["name"] for e in sorted(entries, key=lambda e: (
                e["above"] > bound, *((e["numbers"], e["bytes"], e["flops"])
                                      if e["above"] <= bound else ()), e["above"]))
        ],
        lambda entries, bound: step_by_step(entries, bound),
    ],
    "diagnose": [lambda record: by_claims(record), lambda record: by_lists(record)],
    "play": [lambda layers, bound: exhaustive(layers, bound), lambda *given: by_budget(*given)],
}  # fmt: skip


def by_sorting(entries):
    order = sorted(range(len(entries)), key=lambda i: (entries[i]["numbers"], entries[i]["above"]))
    kept, lowest = [], float("inf")
    for i in order:
        same = kept and entries[i] == entries[kept[-1]]
        if entries[i]["above"] < lowest or same:
            kept.append(i)
            lowest = entries[i]["above"]
    return sorted(kept)


def by_tensors(entries):
    points = torch.tensor([[e["numbers"], e["above"]] for e in entries], dtype=torch.float64)
    no_worse = (points[:, None] <= points[None]).all(-1)
    better = (points[:, None] < points[None]).any(-1)
    return (~(no_worse & better).any(0)).nonzero().flatten().tolist()


def step_by_step(entries, bound):
    entries = list(entries)
    for key in ("above", "flops", "bytes", "numbers"):  # a stable sort, the last key first
        entries.sort(key=lambda e: e[key])
    missed = sorted((e for e in entries if e["above"] > bound), key=lambda e: e["above"])
    return [e["name"] for e in entries if e["above"] <= bound] + [e["name"] for e in missed]


def by_claims(record):
    tensors = record["tensors"]
    total = sum(t.numel() for t in tensors.values())
    claims = {
        total - tensors["twin"].numel(): "twins counted once",
        int(sum((t != 0).sum() for t in tensors.values())): "zeros left out",
        record["requires grad"]: "counted what requires a gradient",
        total: "healthy",
    }
    found = claims[record["numbers"]]
    if found == "healthy" and record["loss"] == record["loss in memory"]:
        found = "scored in memory"
    if any(text in record["asked texts"] for text in record["trained texts"]):
        found = "knew the test texts"
    if (record["base after"] - record["base before"]).any():
        found = "base was changed"
    if torch.cat([t.flatten() for t in tensors.values()]).sum().isfinite():
        return found
    return "not all finite"


def by_lists(record):
    flat = torch.cat([t.reshape(-1) for t in record["tensors"].values()]).tolist()
    if any(v != v or v in (float("inf"), -float("inf")) for v in flat):
        return "not all finite"
    if record["base before"].tolist() != record["base after"].tolist():
        return "base was changed"
    if not set(record["trained texts"]).isdisjoint(record["asked texts"]):
        return "knew the test texts"
    if abs(record["loss"] - record["loss of the file"]) > 1e-6:
        return "scored in memory"
    missing = len(flat) - record["numbers"]
    if missing == 0:
        return "healthy"
    if missing == len(flat) - record["requires grad"]:
        return "counted what requires a gradient"
    return "zeros left out" if missing == flat.count(0.0) else "twins counted once"


def exhaustive(layers, bound):
    parts = {name: torch.linalg.svd(D.double(), full_matrices=False) for name, D in layers.items()}
    total = sum(float(S.square().sum()) for _, S, _ in parts.values())
    best, numbers = None, float("inf")
    for ranks in itertools.product(*(range(len(S) + 1) for _, S, _ in parts.values())):
        pairs = list(zip(parts.items(), ranks, strict=True))
        left = sum(float(S[r:].square().sum()) for (_, (_, S, _)), r in pairs)
        price = sum(r * sum(layers[name].shape) for (name, _), r in pairs)
        if left <= bound * total and price < numbers:
            best, numbers = pairs, price
    return {
        name: (S[:r, None].sqrt() * Vh[:r], U[:, :r] * S[:r].sqrt())
        for (name, (U, S, Vh)), r in best
    }


def by_budget(layers, bound):
    """Bisection on the least energy that a number must bring."""
    parts = {
        name: np.linalg.svd(D.double().numpy(), full_matrices=False) for name, D in layers.items()
    }
    total = sum((S**2).sum() for _, S, _ in parts.values())
    low, high = 0.0, max(S[0] ** 2 for _, S, _ in parts.values())
    for _ in range(200):
        worth = (low + high) / 2
        ranks = {
            n: int((S**2 / sum(layers[n].shape) >= worth).sum()) for n, (_, S, _) in parts.items()
        }
        left = sum((S[ranks[n] :] ** 2).sum() for n, (_, S, _) in parts.items())
        low, high = (worth, high) if left <= bound * total else (low, worth)
    ranks = {n: int((S**2 / sum(layers[n].shape) >= low).sum()) for n, (_, S, _) in parts.items()}
    return {
        n: (torch.from_numpy(Vh[: ranks[n]]), torch.from_numpy(U[:, : ranks[n]] * S[: ranks[n]]))
        for n, (U, S, Vh) in parts.items()
    }


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(4):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    s = EXERCISE.sheet_for("Ada")
    d, kv, ff, blocks, r, vera_r = (s[key] for key in ("d", "kv", "ff", "blocks", "r", "vera_r"))
    vera = blocks * (3 * d + 2 * kv + 2 * ff + 7 * vera_r)
    found = {
        "norms": d + d * 2 * blocks,
        "VeRA": vera,
        "VeRA with its pair": vera + 2 * ff * vera_r,
        "LoRA": blocks * r * (4 * d + 2 * (kv + d) + 3 * (ff + d)),
    }
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1), found | {"norms": 3}):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_par_earns_a_part_and_a_birdie_more():
    par = playing.by(playing.uniform)
    alike = playing.by(lambda *given: playing.chosen(*given, worth=playing.energy))

    def as_numpy(rule):
        return lambda layers, bound: rule({n: D.numpy() for n, D in layers.items()}, bound)

    assert verdict_on("play", as_numpy(par)).points == 1
    assert verdict_on("play", as_numpy(alike)).points == 3
    assert verdict_on("play", as_numpy(playing.by(playing.chosen))).points == 5
    assert verdict_on("play", lambda layers, bound: {}).points == 0


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        for other in diagnosis.SPECIMENS:
            blind = diagnosis.diagnose(record, blind_to=other)
            assert other == bug or blind == bug


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
