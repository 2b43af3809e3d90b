"""Exercise 17: its references against torch, its FSDP2 and gloo's records, and right answers."""

import gc
import json
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from minipeft import LoraConfig, get_peft_model
from minipeft.course.lessons import layouts
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_17 import averaging, diagnosis, sharding, traffic
from minipeft.grading.sandboxed.call import call
from minipeft.models.llama import Llama, LlamaConfig

from .handing_in import ROOT

EXERCISE = exercise("17")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads(
    (ROOT / "solutions" / "17_beyond_one_machine.ipynb").read_text(encoding="utf-8")
)


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def test_the_weighted_mean_is_the_gradient_of_the_whole_batch():
    torch.manual_seed(0)
    w = torch.randn(4, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(9, 4, dtype=torch.float64)
    parts = rows.split([2, 6, 1])
    gradients = [torch.autograd.grad((part @ w).tanh().mean(), w)[0] for part in parts]
    (whole,) = torch.autograd.grad((rows @ w).tanh().mean(), w)
    found = averaging.whole_gradient([g.numpy() for g in gradients], [2, 6, 1])
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-12)


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("rows", [1, 3, 6, 8, 13])
def test_rows_are_those_of_fsdp2_and_of_torchs_chunks(rows, processes):
    """Each process's part of a tensor under fully_shard, the other processes pretended."""
    tensor = torch.arange(float(rows))[:, None]
    for number in range(processes):
        dist.init_process_group("fake", rank=number, world_size=processes)
        try:
            layer = nn.Linear(1, rows, bias=False)
            layer.weight.data.copy_(tensor)
            fully_shard(layer)
            kept = layer.weight.to_local().flatten().tolist()
            del layer
            gc.collect()
        finally:
            dist.destroy_process_group()
        first, end = sharding.shard_rows(rows, number, processes)
        assert kept == tensor.flatten()[first:end].tolist()
    chunks = [len(chunk) for chunk in tensor.chunk(processes)]
    ends = [sharding.shard_rows(rows, n, processes) for n in range(processes)]
    assert [end - first for first, end in ends if end > first] == chunks


def test_a_reduce_scatter_and_an_all_gather_are_an_all_reduce():
    gradients = np.random.default_rng(0).normal(size=(3, 8))
    parts = sharding.reduce_scatter(gradients)
    np.testing.assert_allclose(np.concatenate(parts), gradients.mean(axis=0))
    assert [len(part) for part in parts] == [3, 3, 2]


def test_the_bytes_of_a_sheet_are_those_of_the_model():
    """A Llama of such sizes in 16 bits, with our LoRA on it, its norms left out."""
    sheet = {"layers": 2, "hidden": 64, "intermediate": 128, "vocabulary": 192, "r": 8}
    config = LlamaConfig(
        vocab_size=192,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    lora = LoraConfig(r=8, target_modules="all-linear")
    model = get_peft_model(Llama(config), lora).to(torch.bfloat16)
    blocks = list(model.get_base_model().model.layers)
    norms = [m for m in model.modules() if type(m).__name__ == "RMSNorm"]
    for norm in norms:
        del norm.weight
    sizes = layouts.sizes_of(model, blocks)
    for processes in (4, 8):
        found = traffic.on_sheet(sheet | {"processes": processes})
        for layout in ("DDP", "FSDP2"):
            assert found[layout] == layouts.total(layout, sizes, processes)
        held = sum(p.nbytes for p in model.parameters()) / processes
        assert found["held under FSDP2"] == held


def test_stacked_adapters_are_the_mean_in_peft_and_here():
    """peft's add_weighted_adapter, combination "cat", with weights 1 / p."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = peft.get_peft_model(
        nn.Sequential(nn.Linear(6, 5)), peft.LoraConfig(r=2, lora_alpha=2, target_modules=["0"])
    )
    model.add_adapter("second", peft.LoraConfig(r=2, lora_alpha=2, target_modules=["0"]))
    part = model.base_model.model[0]
    for name in ("default", "second"):
        nn.init.normal_(part.lora_B[name].weight)
    A, B = (
        np.stack([side[name].weight.detach().numpy() for name in ("default", "second")])
        for side in (part.lora_A, part.lora_B)
    )
    model.add_weighted_adapter(["default", "second"], [0.5, 0.5], "mean", combination_type="cat")
    stacked_A, stacked_B = averaging.average_adapters(A, B)
    theirs = part.lora_B["mean"].weight @ part.lora_A["mean"].weight * part.scaling["mean"]
    np.testing.assert_allclose(stacked_B @ stacked_A, theirs.detach().numpy(), atol=1e-6)


RIGHT = {
    "whole_gradient": [
        lambda gradients, counts: (
            sum(n * g for n, g in zip(counts, gradients, strict=True)) / sum(counts)
        ),
        lambda gradients, counts: np.average(gradients.numpy(), axis=0, weights=counts),
    ],
    "shard_rows": [
        lambda rows, number, processes: by_chunk(rows, number, processes),
        lambda rows, number, processes: by_counting(rows, number, processes),
    ],
    "reduce_scatter": [
        lambda gradients: list((sum(gradients) / len(gradients)).chunk(len(gradients))),
        lambda gradients: [
            gradients[:, i * math.ceil(gradients.shape[1] / len(gradients)):][
                :, : math.ceil(gradients.shape[1] / len(gradients))
            ].mean(0)
            for i in range(len(gradients))
        ],
    ],
    "diagnose": [lambda record: from_the_file(record), lambda record: from_the_steps(record)],
    "average_adapters": [
        lambda A, B: (A.flatten(0, 1), torch.cat([b / len(B) for b in B], dim=1)),
        lambda A, B: (torch.cat(list(A.flip(0))) / len(A), torch.cat(list(B.flip(0)), dim=1)),
    ],
}  # fmt: skip


def by_chunk(rows, number, processes):
    chunks = torch.arange(rows).chunk(processes)
    if number >= len(chunks):
        return rows, rows
    return int(chunks[number][0]), int(chunks[number][-1]) + 1


def by_counting(rows, number, processes):
    size = (rows + processes - 1) // processes
    held = [row for row in range(rows) if row // size == number]
    return (held[0], held[-1] + 1) if held else (rows, rows)


def from_the_file(record):
    """Looks for the bugs from the last to the first."""
    start, after, saved = record["start"], record["after"], record["saved"]
    processes, length = start.shape
    step = (start - after) / record["rate"]
    if saved.numel() != length:
        return "one shard saved"
    if (saved - start[0]).abs().max() < 1e-3:
        return "saved before the step"
    ratio = step[0] / record["gradients"].mean(0)
    if (ratio - processes).abs().max() < 0.05:
        return "summed, not averaged"
    if (step - record["gradients"]).abs().max() < 1e-3:
        return "gradients not shared"
    if start.std(0).max() > 1e-3:
        return "each process has a start of its own"
    texts = [set(part) for part in record["texts"]]
    return "same texts in every process" if texts[0] & texts[1] else "healthy"


def from_the_steps(record):
    """Looks at what each process did, then at the rest."""
    gradients, rate = record["gradients"].numpy(), float(record["rate"])
    steps = (record["start"].numpy() - record["after"].numpy()) / rate
    if not np.allclose(steps, steps[0], atol=1e-3):
        return "gradients not shared"
    if np.allclose(steps[0], gradients.sum(0), atol=1e-3):
        return "summed, not averaged"
    if sorted(record["texts"][0]) == sorted(record["texts"][-1]):
        return "same texts in every process"
    if not np.allclose(record["start"][0], record["start"][-1]):
        return "each process has a start of its own"
    saved = record["saved"].numpy()
    if len(saved) < gradients.shape[1]:
        return "one shard saved"
    return "healthy" if np.allclose(saved, record["after"][0]) else "saved before the step"


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    h, w, p = sheet["hidden"], sheet["intermediate"], sheet["processes"]
    sides = [(h, h)] * 4 + [(w, h), (w, h), (h, w)]
    base = 2 * sheet["layers"] * sum(a * b for a, b in sides)
    adapter = 2 * sheet["layers"] * sheet["r"] * sum(a + b for a, b in sides)
    outside = 2 * sheet["vocabulary"] * h
    found = {
        "held under FSDP2": (base + adapter + outside) // p,
        "DDP": 2 * (p - 1) * adapter // p,
        "FSDP2": (p - 1) * (2 * (base + adapter) + outside + adapter) // p,
    }
    assert verdict_on("my_bytes", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_bytes", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_rows_that_divide_earn_their_part():
    verdict = verdict_on("shard_rows", sharding.rounded_down)
    assert not verdict.right and verdict.points == pytest.approx(0.67, abs=0.01)


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """Each sign is there for its own bug alone: blind to it, one sees a healthy training."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        assert diagnosis.diagnose(record, blind_to=bug) == diagnosis.HEALTHY


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import math",
        "import torch",
        "from minipeft.grading import checks",
    }
