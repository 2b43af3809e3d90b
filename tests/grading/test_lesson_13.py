"""Exercise 13: its references against peft and torch, and right answers written otherwise."""

import json
import warnings

import numpy as np
import peft
import pytest
import torch
from torch import nn

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_13 import activated, diagnosis, mixing, sizes, weighing
from minipeft.grading.sandboxed.call import as_tensor, call

from .handing_in import ROOT

EXERCISE = exercise("13")
TASKS = {task.name: task for task in EXERCISE.tasks}
PATH = ROOT / "solutions" / "13_many_adapters_one_base.ipynb"
SOLUTION = json.loads(PATH.read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def in_peft(W0, A, B, scale):
    """peft's model of one layer with these adapters, in float64, called "0", "1", ..."""
    holder = nn.Sequential(nn.Linear(W0.shape[1], W0.shape[0], bias=False)).double()
    holder[0].weight.data.copy_(torch.from_numpy(W0))
    r, model = A.shape[1], None
    for n in range(len(A)):
        config = peft.LoraConfig(r=r, lora_alpha=r * float(scale[n]), target_modules=["0"])
        if model is None:
            model = peft.get_peft_model(holder, config, adapter_name=str(n))
        else:
            model.add_adapter(str(n), config)
        part = model.base_model.model[0]
        part.lora_A[str(n)].weight.data = torch.from_numpy(A[n]).double()
        part.lora_B[str(n)].weight.data = torch.from_numpy(B[n]).double()
    return model.eval(), model.base_model.model[0]


@pytest.mark.parametrize("case", range(4))
def test_a_mixed_batch_is_pefts(case):
    x, W0, A, B, scale, which = TASKS["mixed_batch"].inputs(0, {})[case]
    model, _ = in_peft(W0, A, B, scale)
    names = ["__base__" if a == -1 else str(a) for a in which]
    with torch.no_grad():
        theirs = model(torch.from_numpy(x).double(), adapter_names=names).numpy()
    ours = mixing.mixed(*(np.asarray(v, np.float64) for v in (x, W0, A, B, scale)), which)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("kind", ["cat", "linear"])
@pytest.mark.parametrize("case", range(3))
def test_a_weighted_sum_is_pefts(kind, case):
    A, B, scale, weights = TASKS["cross_share"].inputs(0, {})[case]
    W0 = np.zeros((B.shape[1], A.shape[2]), np.float32)
    model, part = in_peft(W0, A, B, scale)
    names = [str(n) for n in range(len(A))]
    model.add_weighted_adapter(names, weights.tolist(), "sum", combination_type=kind)
    theirs = part.get_delta_weight("sum").detach().numpy()
    exact, linear = weighing.both(A, B, scale, weights)
    wide = weighing.summed(A, B, scale, weights)
    np.testing.assert_allclose(wide[1] @ wide[0], exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(exact if kind == "cat" else linear, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", range(3))
def test_an_activated_lora_is_pefts(case):
    x, W0, A, B, scale, starts = TASKS["alora"].inputs(0, {})[case]
    holder = nn.Sequential(nn.Linear(W0.shape[1], W0.shape[0], bias=False)).double()
    options = {"alora_invocation_tokens": [1], "task_type": "CAUSAL_LM", "target_modules": ["0"]}
    config = peft.LoraConfig(r=len(A), lora_alpha=len(A) * scale, **options)
    (part,) = peft.inject_adapter_in_model(config, holder, "0").eval()
    part.base_layer.weight.data = torch.from_numpy(W0).double()
    part.lora_A["0"].weight.data = torch.from_numpy(A).double()
    part.lora_B["0"].weight.data = torch.from_numpy(B).double()
    offsets = [x.shape[1] - int(start) or None for start in starts]  # None: nothing is adapted
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = part(torch.from_numpy(x).double(), alora_offsets=offsets).numpy()
    ours = activated.alora(x, W0, A, B, scale, starts)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_healthy_chain_is_pefts():
    generator = np.random.default_rng(0)
    record = diagnosis.specimen(generator, diagnosis.HEALTHY)
    scale = np.full(len(record["A"]), record["alpha"] / record["A"].shape[2])
    h = torch.from_numpy(record["x"]).double()
    names = [str(name) for name in record["names"]]
    for layer in range(2):
        pair = record["A"][:, layer], record["B"][:, layer]
        model, _ = in_peft(record["W"][layer], *pair, scale)
        with torch.no_grad():
            h = model(h, adapter_names=names)
    np.testing.assert_allclose(record["served"], h.numpy(), rtol=1e-5, atol=1e-3)


def test_the_bytes_are_those_of_models_on_meta():
    sheet = EXERCISE.sheet_for("Ada")
    d, r = sheet["hidden"], sheet["r"]
    with torch.device("meta"):
        block = nn.ModuleDict({name: nn.Linear(d, d, bias=False) for name in "qkvo"})
        model = nn.ModuleList([block]).bfloat16()
        config = peft.LoraConfig(r=r, target_modules=list("qkvo"))
        theirs = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    trained = [p for name, p in theirs.named_parameters() if "lora_" in name]
    one = sheet["layers"] * sum(p.numel() * 2 for p in trained)
    found = sizes.on_sheet(sheet)
    assert found["bytes of an adapter"] == one
    base, n, q = 2 * sheet["parameters of the base"], sheet["adapters"], sheet["requests"]
    assert found["read mixed"] == base + n * one
    assert found["read one by one"] == q * (base + one)
    fitting = found["adapters as large as the base"]
    assert fitting * one <= base < (fitting + 1) * one and fitting > 0


RIGHT = {
    "mixed_batch": [
        lambda x, W0, A, B, s, which: torch.stack(
            [h @ (W0 + (a >= 0) * s[a] * B[a] @ A[a]).T for h, a in zip(x, which, strict=True)]
        ),
        lambda x, W0, A, B, s, which: with_slot_zero(x, W0, A, B, s, which),
    ],
    "summed": [
        lambda A, B, s, w: (A.flatten(0, 1), torch.cat(list(B * (w * s)[:, None, None]), 1)),
        lambda A, B, s, w: grown(A, B, s, w),
    ],
    "cross_share": [
        lambda A, B, s, w: by_pairs(A, B, s, w),
        lambda A, B, s, w: by_einsum(A, B, s, w),
    ],
    "diagnose": [lambda record: first_layer_first(record), lambda record: nearest(record)],
    "alora": [
        lambda x, W0, A, B, s, starts: torch.stack(
            [torch.cat([h[:t] @ W0.T, h[t:] @ (W0 + s * B @ A).T])
             for h, t in zip(x, starts.tolist(), strict=True)]
        ),
        lambda x, W0, A, B, s, starts: torch.where(
            (torch.arange(x.shape[1])[None] < starts[:, None])[..., None],
            x @ W0.T, x @ (W0 + s * B @ A).T,
        ),
    ],
}  # fmt: skip


def with_slot_zero(x, W0, A, B, s, which):
    """As the package does it: slot 0 holds zeros."""
    A = torch.cat([0 * A[:1], A])[which + 1]
    B = torch.cat([0 * B[:1], s[:, None, None] * B])[which + 1]
    return torch.baddbmm(x @ W0.T, x @ A.mT, B.mT)


def grown(A, B, s, w):
    all_A, all_B = [], []
    for n in range(len(A)):
        all_A.append(w[n] * A[n])
        all_B.append(s[n] * B[n])
    return torch.vstack(all_A), torch.hstack(all_B)


def by_pairs(A, B, s, w):
    """The exact sum and the rest, which is all products of different adapters."""
    root = (w * s).sqrt()
    exact = crossed = 0
    for i in range(len(A)):
        for j in range(len(A)):
            product = root[i] * root[j] * B[i] @ A[j]
            exact, crossed = exact + (i == j) * product, crossed + (i != j) * product
    return float(crossed.norm() / exact.norm())


def by_einsum(A, B, s, w):
    exact = torch.einsum("n,nor,nri->oi", w * s, B, A)
    linear = torch.einsum("n,nor->or", (w * s) ** 0.5, B)
    linear = linear @ torch.einsum("n,nri->ri", (w * s) ** 0.5, A)
    return ((linear - exact).square().sum() / exact.square().sum()).sqrt().item()


def weights(record, layer, which, scale, pair=None):
    """The whole weight of each request in a layer, (batch, d, d)."""
    A, B = (record[part][which, layer if pair is None else pair] for part in "AB")
    return record["W"][layer] + scale * B @ A


def first_layer_first(record):
    """Undo the second layer where that is possible: solve, and look at the first."""
    s, names = record["alpha"] / record["A"].shape[2], record["names"]
    x, y = record["x"].double(), record["served"].double()
    record = {k: v.double() if k in ("W", "A", "B") else v for k, v in record.items()}

    def out(first, second, scale=s, swap=False):
        pairs = (1, 0) if swap else (None, None)
        h = weights(record, 0, first, scale, pairs[0]) @ x[:, :, None]
        return (weights(record, 1, second, scale, pairs[1]) @ h)[:, :, 0]

    def like(z):
        return (z - y).abs().max() < 1e-4 * y.abs().max()

    before = torch.cat([names[-1:], names[:-1]])
    if like(out(names, names, 0.0)):
        return "base alone"
    if like(out(names, names)):
        return "healthy"
    if like(out(before, before)):
        return "names out of order"
    if like(out(torch.zeros_like(names), names)):
        return "another's cache"
    return "swapped names" if like(out(names, names, swap=True)) else "another scale"


def nearest(record):
    """In numpy, request by request."""
    W, A, B, x, y = (record[k].numpy().astype(float) for k in ("W", "A", "B", "x", "served"))
    names, r = record["names"].tolist(), A.shape[2]

    def out(i, a, b, s, order):
        h = (W[0] + s * B[a, order[0]] @ A[a, order[0]]) @ x[i]
        return (W[1] + s * B[b, order[1]] @ A[b, order[1]]) @ h

    s = record["alpha"] / r
    far = dict.fromkeys(diagnosis.SPECIMENS, 0.0)
    for i, a in enumerate(names):
        p = names[i - 1]
        tried = {
            "healthy": (a, a, s, (0, 1)), "swapped names": (a, a, s, (1, 0)),
            "names out of order": (p, p, s, (0, 1)), "another's cache": (0, a, s, (0, 1)),
            "another scale": (a, a, s * r**0.5, (0, 1)), "base alone": (a, a, 0, (0, 1)),
        }  # fmt: skip
        for bug, given in tried.items():
            far[bug] += np.abs(out(i, *given) - y[i]).sum()
    return min(far, key=far.get)


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass_and_are_told_to_nobody():
    sheet = EXERCISE.sheet_for("Ada")
    pair = nn.Linear(sheet["hidden"], sheet["r"], bias=False, device="meta").bfloat16().weight
    adapter = 2 * pair.nbytes * 4 * sheet["layers"]
    base = torch.empty(sheet["parameters of the base"], dtype=torch.bfloat16, device="meta").nbytes
    found = {
        "read one by one": sum(base + adapter for _ in range(sheet["requests"])),
        "read mixed": base + sum(adapter for _ in range(sheet["adapters"])),
        "adapters as large as the base": len(range(adapter, base + 1, adapter)),
        "bytes of an adapter": adapter,
    }
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1), found | {"read mixed": 0}):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_half_of_a_mixed_batch_earns_half():
    verdict = verdict_on(
        "mixed_batch",
        lambda x, W0, A, B, s, which: (
            x @ W0.T + s[which][:, None, None] * (x @ A[which].mT @ B[which].mT)
        ),
    )
    assert not verdict.right and verdict.points == 1.5
    assert "in Python -1 is the last index" in verdict.message


def test_a_constant_share_earns_nothing():
    assert verdict_on("cross_share", lambda *given: 1.0).points == 0


@pytest.mark.parametrize("seed", range(60))
def test_no_specimen_has_two_bugs(seed):
    """The six ways to serve one batch give six answers, each far from the others."""
    record = diagnosis.specimen(np.random.default_rng(seed), diagnosis.HEALTHY)
    told = diagnosis.stories(record)
    scale = max(np.abs(served).max() for served in told.values())
    for one in told:
        for other in told:
            far = np.abs(told[one] - told[other]).max() / scale
            assert far == 0 if one == other else far > 1e-3, (one, other)
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        assert first_layer_first(as_tensor(record)) == bug


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
