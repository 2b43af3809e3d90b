"""Exercise 07: its references against AdapterHub's adapters, peft and torch, and right answers."""

import json

import adapters
import numpy as np
import peft
import pytest
import torch
from adapters.methods.modeling import Adapter
from torch import nn
from torch.nn import functional as F

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_07 import bend, counting, diagnosis, layer, merging
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("07")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads((ROOT / "solutions" / "07_adapters.ipynb").read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def hub_adapter(style, d=8, r=4):
    """AdapterHub's own module with random numbers in all of it, in float64."""
    torch.manual_seed(0)
    kinds = {
        "houlsby": adapters.DoubleSeqBnConfig,
        "pfeiffer": adapters.SeqBnConfig,
        "parallel": adapters.ParBnConfig,
    }
    config = kinds[style](reduction_factor=2, non_linearity="relu", scaling=2.0)
    module = Adapter("a", d, r, config).double()
    for p in module.parameters():
        nn.init.normal_(p)
    return module


def numbers_of(module):
    """down, b_down, up, b_up and s of one of AdapterHub's adapters, as numpy."""
    down, up = module.adapter_down[0], module.adapter_up
    tensors = (down.weight, down.bias, up.weight, up.bias)
    return [t.detach().numpy() for t in tensors] + [module.scaling]


@pytest.mark.parametrize("style", ["houlsby", "pfeiffer", "parallel"])
def test_an_added_adapter_is_that_of_the_adapters_library(style):
    module = hub_adapter(style)
    z, h = torch.randn(2, 5, 8, dtype=torch.float64)
    want = module(z, residual_input=h)[0].detach().numpy()
    found = layer.add_adapter(z.numpy(), h.numpy(), *numbers_of(module))
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("style", ["houlsby", "pfeiffer", "parallel"])
def test_a_block_hands_the_adapters_of_the_library_what_their_style_reads(style):
    torch.manual_seed(1)
    x = torch.randn(4, 8, dtype=torch.float64)
    attention, mlp = torch.randn(2, 8, 8, dtype=torch.float64)
    modules = [hub_adapter(style), hub_adapter(style)]
    for module in modules:
        module.scaling = 1.0
        for p in module.parameters():
            nn.init.zeros_(p) if p.ndim == 1 else nn.init.normal_(p)
    h = x @ attention.T
    if style == "houlsby":
        h = modules[0](h, residual_input=h)[0]
    stream = x + h
    h = torch.tanh(stream @ mlp.T)
    reads, _, _ = modules[1].pre_forward(h, stream, None)  # adds the stream where the style says so
    want = stream + modules[1](stream if style == "parallel" else reads, residual_input=h)[0]
    downs = np.stack([module.adapter_down[0].weight.detach().numpy() for module in modules])
    ups = np.stack([module.adapter_up.weight.detach().numpy() for module in modules])
    found = layer.block(x.numpy(), attention.numpy(), mlp.numpy(), downs, ups, style)
    np.testing.assert_allclose(found, want.detach().numpy(), atol=1e-12)


def test_the_merge_beside_is_pefts_lora():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(8, 5, bias=False)).double()
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0"])
    model = peft.get_peft_model(base, config).double()
    part = model.base_model.model[0]
    nn.init.normal_(part.lora_B["default"].weight)
    weight = part.base_layer.weight.detach().numpy().copy()
    A, B = (m["default"].weight.detach().numpy() for m in (part.lora_A, part.lora_B))
    model.merge_adapter()
    merged = part.base_layer.weight.detach().numpy()
    found = merging.merge_straight(weight, A, B, 2.0, merging.BESIDE)
    np.testing.assert_allclose(found, merged, atol=1e-12)


def test_the_merge_behind_does_what_layer_and_adapter_do():
    torch.manual_seed(0)
    base, down, up = nn.Linear(8, 5, False), nn.Linear(5, 3, False), nn.Linear(3, 5, False)
    y = torch.randn(10, 8)
    h = base(y)
    want = (h + 0.5 * up(down(h))).detach().numpy()
    parts = [module.weight.detach().numpy() for module in (base, down, up)]
    merged = merging.merge_straight(*parts, 0.5, merging.BEHIND)
    np.testing.assert_allclose(y.numpy() @ merged.T, want, atol=1e-5)


def test_counts_are_those_of_pytorchs_modules():
    sheet = {"blocks": 3, "d": 40, "r": 7, "rank": 9}
    found = counting.on_sheet(sheet)
    one = [nn.Linear(40, 7), nn.Linear(7, 40)] * 2
    norms = [nn.LayerNorm(40), nn.LayerNorm(40)]
    count = sum(p.numel() for module in one for p in module.parameters())
    assert found["adapters"] == 3 * count
    both = count + sum(p.numel() for module in norms for p in module.parameters())
    assert found["with LayerNorms"] == 3 * both
    lora = 2 * 2 * 40 * 9
    for width, fits in ((found["width"], True), (found["width"] + 1, False)):
        adapter = [nn.Linear(40, width), nn.Linear(width, 40)]
        assert (sum(p.numel() for m in adapter for p in m.parameters()) <= lora) is fits


def test_published_counts():
    bert_large = {"blocks": 24, "d": 1024, "r": 64, "rank": 1}
    found = counting.on_sheet(bert_large)
    assert (found["adapters"], found["with LayerNorms"]) == (6_343_680, 6_441_984)


def test_the_bend_is_what_torch_leaves_over():
    generator = np.random.default_rng(0)
    (z, added), *_ = bend.cases(generator)
    columns = torch.tensor(np.column_stack([z, np.ones(len(z))])).double()
    solution = torch.linalg.lstsq(columns, torch.tensor(added).double()).solution
    rest = torch.tensor(added).double() - columns @ solution
    spread = torch.tensor(added).double() - torch.tensor(added).double().mean(0)
    assert bend.bend(z, added) == pytest.approx((rest.norm() / spread.norm()).item(), rel=1e-9)


RIGHT = {
    "add_adapter": [
        lambda z, h, down, b_down, up, b_up, s: torch.add(
            h, F.linear(F.relu(F.linear(z, down, b_down)), up, b_up), alpha=s
        ),
        lambda z, h, down, b_down, up, b_up, s: (
            h + s * b_up + s * (up @ (down @ z.T + b_down[:, None]).clamp(min=0)).T
        ),
    ],
    "block": [lambda *given: by_function(*given), lambda *given: by_rows(*given)],
    "merge_straight": [
        lambda weight, down, up, s, place: (
            torch.addmm(weight, up, down, alpha=s) if place == "beside"
            else (torch.eye(len(weight)) + s * up @ down) @ weight
        ),
        lambda weight, down, up, s, place: by_columns(weight, down, up, s, place),
    ],
    "diagnose": [lambda record: by_rest(record), lambda record: by_nearest(record)],
    "bend": [lambda z, added: centred_first(z, added), lambda z, added: by_normal(z, added)],
}  # fmt: skip


def by_function(x, attention, mlp, downs, ups, style):
    def change(number, z):
        return F.linear(F.relu(F.linear(z, downs[number])), ups[number])

    h = F.linear(x, attention)
    stream = x + h + (change(0, h) if style == "houlsby" else 0)
    h = F.linear(stream, mlp).tanh()
    if style == "parallel":
        return stream + h + change(1, stream)
    return stream + h + change(1, h if style == "houlsby" else stream + h)


def by_rows(x, attention, mlp, downs, ups, style):
    rows = []
    for row in x:
        h = attention @ row
        if style == "houlsby":
            h = h + ups[0] @ (downs[0] @ h).clamp(0)
        row = row + h
        h = torch.tanh(mlp @ row)
        z = h if style == "houlsby" else row if style == "parallel" else row + h
        rows.append(row + h + ups[1] @ (downs[1] @ z).clamp(0))
    return torch.stack(rows)


def by_columns(weight, down, up, s, place):
    """What layer and adapter do to each unit vector."""
    unit = torch.eye(weight.shape[1])
    h = unit @ weight.T
    z = unit if place == "beside" else h
    return (h + s * z @ down.T @ up.T).T


def candidates(record):
    down, up = record["down"], record["up"]

    def c(z, act=F.relu):
        return F.linear(act(F.linear(z, down, record["b_down"])), up, record["b_up"])

    return c


def by_nearest(record):
    c, z, h, s = candidates(record), record["z"], record["h"], record["s"]
    names = ["healthy", "skip missing", "skip twice", "nonlinearity missing"]
    outs = [h + s * c(z), s * c(z), 2 * h + s * c(z), h + s * c(z, lambda v: v)]
    names += ["nonlinearity last", "scale dropped", "reads h"]
    outs += [h + s * F.relu(c(z, lambda v: v)), h + c(z), h + s * c(h)]
    gaps = torch.stack([(out - record["out"]).norm() for out in outs])
    return names[int(gaps.argmin())]


def by_rest(record):
    """From what is left of `out` without h, step by step."""
    c, z, h, s = candidates(record), record["z"], record["h"], record["s"]
    rest, added = record["out"] - h, s * c(z)
    if (rest - added).abs().max() < 1e-2:
        return "healthy"
    if (rest - added + h).abs().max() < 1e-2:
        return "skip missing"
    if (rest - added - h).abs().max() < 1e-2:
        return "skip twice"
    if (s * rest - added).abs().max() < 1e-2:
        return "scale dropped"
    if rest.min() > -1e-3:
        return "nonlinearity last"
    straight = s * c(z, lambda v: v)
    return "nonlinearity missing" if torch.allclose(rest, straight, atol=1e-2) else "reads h"


def centred_first(z, added):
    z, added = z - z.mean(0), added - added.mean(0)
    fit = z @ torch.linalg.pinv(z) @ added
    return float((added - fit).norm() / added.norm())


def by_normal(z, added):
    columns = torch.cat([torch.ones(len(z), 1), z], 1).double()
    target = added.double()
    solution = torch.linalg.solve(columns.T @ columns, columns.T @ target)
    rest = target - columns @ solution
    return (rest.square().sum() / target.var(0, unbiased=False).sum() / len(z)).sqrt().item()


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    blocks, d, r = sheet["blocks"], sheet["d"], sheet["r"]
    houlsby = blocks * (4 * d * r + 2 * r + 2 * d)
    width = max(w for w in range(999) if 2 * d * w + w + d <= 4 * d * sheet["rank"])
    found = {"width": width, "with LayerNorms": houlsby + 4 * d * blocks, "adapters": houlsby}
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_one_of_two_places_earns_its_half():
    verdict = verdict_on("merge_straight", lambda W, down, up, s, place: W + s * up @ down)
    assert not verdict.right and verdict.points == 1.5
    assert "as if it stood beside it" in verdict.message


def test_a_constant_bend_earns_nothing():
    assert verdict_on("bend", lambda z, added: 0.0).points == 0


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """No two kinds of bug give the same output."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        outputs = list(diagnosis.outputs(record).values())
        gaps = [np.abs(a - b).max() for i, a in enumerate(outputs) for b in outputs[:i]]
        assert min(gaps) > 0.05


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
