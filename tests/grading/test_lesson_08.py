"""Exercise 08: its references against peft, transformers and torch, and right answers."""

import json

import numpy as np
import peft
import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_08 import counting, diagnosis, gates, pruning, scaling
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("08")
TASKS = {task.name: task for task in EXERCISE.tasks}
NOTEBOOK = ROOT / "solutions" / "08_ia3_and_selective_methods.ipynb"
SOLUTION = json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


@pytest.mark.parametrize("at_input", [False, True])
def test_the_scaled_layer_and_its_merge_are_pefts(at_input):
    torch.manual_seed(0)
    layer = nn.Linear(8, 5).double()
    weight, bias = (p.detach().numpy().copy() for p in (layer.weight, layer.bias))
    feedforward = ["0"] if at_input else []
    config = peft.IA3Config(target_modules=["0"], feedforward_modules=feedforward)
    model = peft.get_peft_model(nn.Sequential(layer), config).double()
    part = model.base_model.model[0]
    vector = nn.init.normal_(part.ia3_l["default"]).detach().numpy().ravel()
    x = torch.randn(3, 8, dtype=torch.float64)
    ours = scaling.scale(x.numpy(), weight, bias, vector, at_input)
    np.testing.assert_allclose(ours, model(x).detach().numpy(), atol=1e-12)
    model.merge_adapter()
    merged = scaling.merge(weight, bias, vector, at_input)
    theirs = part.base_layer.weight.detach().numpy(), part.base_layer.bias.detach().numpy()
    np.testing.assert_allclose(merged[0], theirs[0], atol=1e-12)
    np.testing.assert_allclose(merged[1], theirs[1], atol=1e-12)


def test_the_chance_of_an_open_gate_is_how_often_it_opens():
    """Drawn many times, the gates of the reference open as often as the formula says."""
    generator = np.random.default_rng(0)
    alpha = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    u = generator.uniform(size=(200_000, 5))
    z = gates.gate(alpha + 0 * u, u, True, -0.4, 1.3, 0.6)
    for place, share in enumerate((z > 0).mean(axis=0)):
        chance = gates.expected_open(alpha[place : place + 1], -0.4, 1.3, 0.6)
        assert share == pytest.approx(chance, abs=0.005)


def test_a_gate_is_torchs_relaxed_bernoulli_stretched():
    """The sigmoid of a hard concrete gate is a relaxed Bernoulli variable: by its quantiles."""
    alpha, temperature = torch.tensor(0.7).double(), torch.tensor(0.5).double()
    relaxed = torch.distributions.RelaxedBernoulli(temperature, logits=alpha)
    torch.manual_seed(0)
    theirs = relaxed.sample((200_000,)).sort().values.numpy()
    u = (np.arange(200_000) + 0.5) / 200_000
    ours = gates.gate(0.7 + 0 * u, u, True, 0.0, 1.0, 0.5)
    np.testing.assert_allclose(ours[1000:-1000:1000], theirs[1000:-1000:1000], atol=0.01)


@pytest.mark.parametrize("student", ["Ada", "Grace", "Emmy"])
def test_the_sheets_numbers_are_those_of_transformers_and_peft(student):
    sheet = EXERCISE.sheet_for(student)
    config = transformers.LlamaConfig(
        vocab_size=8,
        hidden_size=sheet["d"],
        intermediate_size=sheet["ff"],
        num_hidden_layers=sheet["layers"],
        num_attention_heads=sheet["heads"],
        num_key_value_heads=sheet["kv_heads"],
        head_dim=sheet["head_dim"],
    )
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    named = dict(model.named_parameters())
    last = f"layers.{sheet['layers'] - 1}."
    want = {
        "norms": sum(p.numel() for n, p in named.items() if "norm" in n),
        "last block": sum(p.numel() for n, p in named.items() if last in n),
        "biases": sum(len(p) for n, p in named.items() if "proj" in n),
    }
    with torch.device("meta"):
        scaled = peft.get_peft_model(model, peft.IA3Config())
    want["ia3"] = sum(p.numel() for p in scaled.parameters() if p.requires_grad)
    assert counting.on_sheet(sheet) == want


def test_pruning_keeps_what_the_package_keeps():
    torch.manual_seed(0)
    config = minipeft.DiffPruningConfig(target_modules=["0"], structured=False)
    model = minipeft.get_peft_model(nn.Sequential(nn.Linear(8, 5)), config)
    tuner = model.adapters["default"].tuners["0"]
    nn.init.normal_(tuner.w), nn.init.normal_(tuner.gates[0].alpha)
    w, z = tuner.w.detach().numpy(), tuner.gates[0](noisy=False).detach().numpy()
    minipeft.prune(model.adapters["default"], keep=0.2)
    kept = model.adapters["default"].tuners["0"]
    places, values = pruning.prune(w, z, 0.2)
    assert places.tolist() == kept.positions.tolist()
    np.testing.assert_allclose(values, kept.values.detach().numpy(), rtol=1e-6)


RIGHT = {
    "scale": [
        lambda x, weight, bias, factors, at_input: (
            nn.functional.linear(x * factors, weight, bias) if at_input
            else nn.functional.linear(x, weight, bias) * factors
        ),
        lambda x, weight, bias, factors, at_input: torch.stack(
            [weight @ (factors * row) + bias if at_input else factors * (weight @ row + bias)
             for row in x]
        ),
    ],
    "merge": [
        lambda weight, bias, factors, at_input: (
            (weight @ torch.diag(factors), bias.clone()) if at_input
            else [torch.diag(factors) @ weight, bias * factors]
        ),
        lambda weight, bias, factors, at_input: (
            torch.einsum("oi,i->oi" if at_input else "oi,o->oi", weight, factors),
            torch.where(torch.tensor(at_input), bias, bias * (1 if at_input else factors)),
        ),
    ],
    "gate": [
        lambda alpha, u, noisy, lower, upper, temperature: torch.minimum(
            torch.ones_like(alpha),
            torch.relu(lower + (upper - lower) / (
                1 + torch.exp(-((torch.logit(u) + alpha) / temperature if noisy else alpha)))),
        ),
        lambda alpha, u, noisy, lower, upper, temperature: torch.clip(
            torch.lerp(torch.tensor(lower), torch.tensor(upper), (
                ((u / (1 - u)).log() + alpha) / temperature if noisy else alpha).sigmoid()), 0, 1
        ),
    ],
    "expected_open": [
        lambda alpha, lower, upper, temperature: float(
            (1 / (1 + torch.exp(-alpha) * (-lower / upper) ** temperature)).sum()
        ),
        lambda alpha, lower, upper, temperature: sum(
            torch.sigmoid(a - temperature * np.log(-lower / upper)) for a in alpha.flatten()
        ),
    ],
    "diagnose": [lambda record: by_expected(record), lambda record: by_ratio(record)],
    "prune": [
        lambda w, z, keep: by_sorting(w, z, keep),
        lambda w, z, keep: by_threshold(w, z, keep),
    ],
}  # fmt: skip


def by_expected(record):
    """The merge first, the start last."""
    l, W, b, inside = (record[key] for key in ("l", "weight", "bias", "at_input"))  # noqa: E741
    rows, columns = torch.diag(l) @ W, W @ torch.diag(l)
    merged = record["merged_weight"]
    if torch.allclose(merged, columns if inside else rows):
        if not torch.allclose(record["merged_bias"], b if inside else l * b):
            return "bias mishandled"
        return "zero start" if record["start"].abs().sum() == 0 else "healthy"
    if torch.allclose(merged, rows if inside else columns):
        return "wrong side"
    plus = (columns if inside else rows) + W
    return "one too many" if torch.allclose(merged, plus) else "merged twice"


def by_ratio(record):
    """By what each row or column was multiplied with."""
    ratio = (record["merged_weight"] / record["weight"]).numpy()
    ratio = ratio.T if record["at_input"] else ratio  # now the rows should be constant
    scale, bias = record["l"].numpy(), (record["merged_bias"] / record["bias"]).numpy()
    if record["start"].max() == 0:
        return "zero start"
    if np.ptp(ratio, axis=1).max() > 1e-4:
        return "wrong side"
    factor = ratio.mean(axis=1)
    if np.allclose(factor, scale):
        right = np.ones_like(scale) if record["at_input"] else scale
        return "healthy" if np.allclose(bias, right) else "bias mishandled"
    return "merged twice" if np.allclose(factor, scale * scale) else "one too many"


def by_sorting(w, z, keep):
    d = (w * z).reshape(-1)
    order = sorted(range(len(d)), key=lambda place: -abs(float(d[place])))
    places = torch.tensor(order[: int(keep * len(d) + 0.5)])
    return places, d[places]


def by_threshold(w, z, keep):
    d = (w * z).numpy().ravel()
    least = np.sort(np.abs(d))[-round(keep * d.size)]
    places = np.flatnonzero(np.abs(d) >= least)
    return places, d[places]


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    d, ff, L = sheet["d"], sheet["ff"], sheet["layers"]
    k = sheet["kv_heads"] * sheet["head_dim"]
    shapes = [(d, d), (k, d), (k, d), (d, d), (ff, d), (ff, d), (d, ff)]
    found = {
        "last block": sum(out * wide for out, wide in shapes) + d + d,
        "norms": (2 * L + 1) * d,
        "biases": L * sum(out for out, _ in shapes),
        "ia3": L * (shapes[1][0] + shapes[2][0] + shapes[6][1]),
    }
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_two_of_four_numbers_earn_half():
    right = counting.on_sheet(EXERCISE.sheet_for("Ada"))
    verdict = verdict_on("my_numbers", lambda: right | {"ia3": 1, "norms": 1})
    assert not verdict.right and verdict.points == 1.5


def test_scaling_outputs_alone_earns_half():
    verdict = verdict_on("scale", lambda x, W, b, factors, at_input: factors * (x @ W.T + b))
    assert not verdict.right and verdict.points == 1
    assert "never look at at_input" in verdict.message


@pytest.mark.parametrize("seed", range(30))
def test_a_sign_is_true_of_its_own_bug_alone(seed):
    """So that a diagnosis is right in whatever order it looks for the bugs."""
    generator = np.random.default_rng(seed)
    for bug in diagnosis.SPECIMENS:
        for at_input in (False, True):
            record = diagnosis.specimen(generator, bug, at_input)
            assert diagnosis.diagnose(record) == bug
            if bug != diagnosis.HEALTHY:
                assert diagnosis.diagnose(record, blind_to=bug) == diagnosis.HEALTHY


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
