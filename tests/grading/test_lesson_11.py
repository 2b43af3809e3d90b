"""The exercise itself: its references against autograd, bitsandbytes, peft and torch."""

import inspect
import math

import bitsandbytes
import numpy as np
import peft
import pytest
import torch

import minipeft
from minipeft.budget import Architecture, memory_budget
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_11 import counting, diagnosis, layer, nf4, paging, start
from minipeft.grading.sandboxed.call import call

EXERCISE = exercise("11")
TASKS = {task.name: task for task in EXERCISE.tasks}


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def generator(seed=0):
    return np.random.default_rng(seed)


def dequantized(codes, absmax):
    levels = torch.tensor(nf4.LEVELS, dtype=torch.float32)
    return levels[codes.long()] * absmax.repeat_interleave(8, dim=1)


def test_nf4_is_that_of_bitsandbytes():
    weight = torch.randn(16, 64, generator=torch.manual_seed(0))
    packed, state = bitsandbytes.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    theirs = bitsandbytes.functional.dequantize_4bit(packed, state).numpy()
    scaled, absmax = weight.numpy(), weight.abs().amax(dim=1, keepdim=True).numpy()
    codes = np.searchsorted(nf4.MIDDLES, scaled / absmax)
    np.testing.assert_allclose(nf4.dequantize(codes, absmax), theirs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nf4.LEVELS, state.code.numpy(), atol=1e-7)


def test_forward_and_backward_are_pefts_on_a_dense_base():
    """peft's LoRA layer on a frozen nn.Linear that holds the dequantized weight, in float64."""
    given = layer.case(generator(), 24, 8, 3)
    codes, alpha = given[1], given[5]
    x, absmax, A, B = (part.astype(np.float64) for part in (given[0], *given[2:5]))
    linear = torch.nn.Linear(24, 8, bias=False).double()
    linear.weight.data = torch.tensor(nf4.dequantize(codes, absmax))
    config = peft.LoraConfig(r=3, lora_alpha=alpha, target_modules=["0"])
    model = peft.get_peft_model(torch.nn.Sequential(linear), config).double()
    part = model.base_model.model[0]
    tensors = part.lora_A["default"].weight, part.lora_B["default"].weight
    for tensor, values in zip(tensors, (A, B), strict=True):
        tensor.data = torch.tensor(values, dtype=torch.float64)
    rows = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    h, g = model(rows), generator(1).normal(size=(3, 8))
    np.testing.assert_allclose(
        layer.forward(x, codes, absmax, A, B, alpha), h.detach(), rtol=1e-10, atol=1e-10
    )
    theirs = torch.autograd.grad(h, (rows, *tensors), torch.tensor(g))
    ours = layer.backward(g, x, codes, absmax, A, B, alpha)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-10)


def forward_by_einsum(x, codes, absmax, A, B, alpha):
    W = dequantized(codes, absmax) + alpha / len(A) * B @ A
    return torch.einsum("oi,bi->bo", W, x)


def backward_by_autograd(g, x, codes, absmax, A, B, alpha):
    leaves = [part.clone().requires_grad_() for part in (x, A, B)]
    rows, a, b = leaves
    h = rows @ dequantized(codes, absmax).T + alpha / len(A) * (rows @ a.T @ b.T)
    return torch.autograd.grad(h, leaves, g)


def backward_by_hand(g, x, codes, absmax, A, B, alpha):
    s = alpha / A.shape[0]
    dx = torch.einsum("bo,oi->bi", g, dequantized(codes, absmax) + s * B @ A)
    return dx, s * B.T @ g.T @ x, s * g.T @ x @ A.T


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("qlora_forward", forward_by_einsum),
        ("qlora_backward", backward_by_autograd),
        ("qlora_backward", backward_by_hand),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_layer_written_otherwise_passes(name, function, seed):
    verdict = verdict_on(name, function, seed)
    assert verdict.right, verdict.message


def test_who_stops_at_the_frozen_weight_is_told_so():
    def stops(g, x, codes, absmax, A, B, alpha):
        leaves = [part.clone().requires_grad_() for part in (x, A, B)]
        rows, a, b = leaves
        with torch.no_grad():
            base = rows @ dequantized(codes, absmax).T
        return torch.autograd.grad(base + alpha / len(A) * (rows @ a.T @ b.T), leaves, g)

    verdict = verdict_on("qlora_backward", stops)
    assert "stops at the frozen weight" in verdict.message
    assert verdict.points == pytest.approx(1.5), "dA and dB are right, and dx counts twice"


def test_bytes_are_those_of_the_ledger_and_of_a_real_model():
    sizes = {"hidden": 256, "key_value": 128, "intermediate": 448, "vocabulary": 96, "r": 5}
    architecture = Architecture(
        "decoder",
        vocab_size=96,
        hidden_size=256,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config = minipeft.LoraConfig(r=5, target_modules="all-linear")
    rows = memory_budget(architecture, config, quantization="nf4_double").rows
    mine = counting.count(3, *sizes.values())
    assert mine["codes"] + mine["the rest"] == rows["weights"]
    assert mine["constants"] == rows["quantization constants"]
    assert mine["adapter"] == rows["adapter"]
    assert (
        mine["optimizer"] == rows["optimizer"] - 4 * 2 * 7 * 3
    )  # torch counts each tensor's steps


def test_constants_are_as_many_as_bitsandbytes_keeps():
    for shape in ((64, 192), (512, 192), (2048, 64)):
        _, state = bitsandbytes.functional.quantize_4bit(
            torch.randn(shape), quant_type="nf4", compress_statistics=True, blocksize=64
        )
        tensors = state.absmax, state.state2.absmax, state.offset
        assert sum(t.nbytes for t in tensors) == counting.doubly(math.prod(shape) // 64)


def test_published_bytes_of_llama_7b():
    """QLoRA, section 3: 0.127 bits; 159.9M trained, 12 bytes each with 16-bit weights."""
    found = counting.count(32, 4096, 4096, 11008, 32000, 64)
    weights = 2 * found["codes"]
    assert weights == 6_476_005_376
    assert 8 * found["constants"] / weights == pytest.approx(0.126953125, abs=2e-6)
    assert found["adapter"] // 4 == 159_907_840


def bytes_by_numel(layers, hidden, key_value, intermediate, vocabulary, r):
    block = [
        torch.empty(o, i, device="meta")
        for o, i in counting.matrices(hidden, key_value, intermediate)
    ]
    numbers = [matrix.numel() for matrix in block]
    groups = [(n // 64 + 255) // 256 for n in numbers]
    trained = r * sum(sum(matrix.shape) for matrix in block) * layers
    return {
        "optimizer": trained * 2 * 4,
        "adapter": trained * 4,
        "the rest": (hidden * (2 * vocabulary + 2 * layers + 1)) * 2,
        "constants": sum(n // 64 for n in numbers) * layers + 4 * layers * (sum(groups) + 7),
        "codes": layers * sum(numbers) // 2,
    }


def test_bytes_counted_otherwise_pass():
    verdict = verdict_on("qlora_bytes", bytes_by_numel)
    assert verdict.right, verdict.message
    floats = {**bytes_by_numel(*TASKS["qlora_bytes"].inputs(0, {})[0])}
    assert all(type(n) is int for n in floats.values())


@pytest.mark.parametrize("wrong", [{"base": 1}, {"base": 1, "adapter and optimizer": 2}])
def test_the_sheet_never_prints_its_answers(wrong):
    message = verdict_on("my_bytes", lambda: wrong).message
    for number in TASKS["my_bytes"].answer(EXERCISE.sheet_for("Ada")).values():
        assert str(number) not in message


def test_pages_are_those_of_the_optimizer():
    shapes = [[25, 4000], [9, 11111], [300], [400, 301]]
    optimizer = minipeft.PagedAdamW([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes])
    moving = sum(8 * parameter.numel() for parameter in optimizer.paged)
    assert paging.pages(shapes)[0] == moving
    limit = inspect.signature(bitsandbytes.optim.optimizer.Optimizer8bit.get_state_buffer)
    assert "p" in limit.parameters  # theirs decides tensor by tensor, too


def pages_by_loop(shapes):
    paging = staying = 0
    for shape in shapes:
        elements = 1
        for size in shape:
            elements *= size
        if elements < 100_000:
            staying += 2 * 4 * elements
        else:
            paging += 2 * 4 * elements
    return [paging, staying]


def pages_by_tensors(shapes):
    tensors = [torch.empty(shape, device="meta") for shape in shapes]
    large = sum(t.numel() for t in tensors if t.numel() >= 1e5)
    return 8 * large, 8 * (sum(t.numel() for t in tensors) - large)


@pytest.mark.parametrize("function", [pages_by_loop, pages_by_tensors])
def test_pages_counted_otherwise_pass(function):
    verdict = verdict_on("paged_bytes", function)
    assert verdict.right, verdict.message


def torch_four_bits(weight):
    levels = torch.tensor(nf4.LEVELS, dtype=weight.dtype)
    blocks = weight.reshape(-1, 8)
    absmax = blocks.abs().amax(dim=1, keepdim=True)
    codes = ((blocks / absmax)[..., None] - levels).abs().argmin(dim=-1)
    return (levels[codes] * absmax).view_as(weight)


def loftq_with_roots(weight, r, iterations):
    A, B = torch.zeros(r, weight.shape[1]), torch.zeros(weight.shape[0], r)
    for _ in range(iterations):
        Q = torch_four_bits(weight - B @ A)
        U, S, Vh = torch.linalg.svd(weight - Q, full_matrices=False)
        B, A = U[:, :r] * S[:r].sqrt(), S[:r].sqrt()[:, None] * Vh[:r]
    return Q, A, B


def loftq_by_eigenvectors(weight, r, iterations):
    update = 0
    for _ in range(iterations):
        Q = torch_four_bits(weight - update)
        error = (weight - Q).double()
        _, vectors = torch.linalg.eigh(error.T @ error)
        A = vectors[:, -r:].T
        B = error @ A.T
        update = (B @ A).float()
    return Q, A.float(), B.float()


@pytest.mark.parametrize("function", [loftq_with_roots, loftq_by_eigenvectors])
@pytest.mark.parametrize("seed", range(6))
def test_loftq_written_otherwise_passes(function, seed):
    verdict = verdict_on("loftq_start", function, seed)
    assert verdict.right, verdict.message


def test_the_factors_are_pefts():
    """Of one matrix; their whole loop runs on a GPU alone."""
    from peft.utils.loftq_utils import _low_rank_decomposition

    error = torch.randn(12, 16, generator=torch.manual_seed(0), dtype=torch.float64)
    theirs = _low_rank_decomposition(error, reduced_rank=3)
    A, B = start.best_factors(error.numpy(), 3)
    np.testing.assert_allclose(B @ A, theirs["L"] @ theirs["R"], atol=1e-10)


def test_a_healthy_record_is_what_a_healthy_step_leaves():
    """QLoRA's first step by the framework: A's gradient is zero, B's is not, NF4 moves a little."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32, bias=False)
    weight = linear.weight.detach().clone()
    model = torch.nn.Sequential(minipeft.Linear4bit(linear, block_size=8), torch.nn.Linear(32, 2))
    adapted = minipeft.get_peft_model(model, minipeft.LoraConfig(r=3, target_modules=["0"]))
    adapted(torch.randn(5, 64)).square().mean().backward()
    stored = model[0].base_layer.dequantize()
    trained = {n.split("tuner.")[1]: p for n, p in adapted.named_parameters() if p.requires_grad}
    record = {
        "weight": weight.numpy(),
        "stored": stored.numpy(),
        "in_4bit": ["0"],
        "trained": [*trained, "classifier.weight"],
        "gradients": {name: p.grad.norm().item() for name, p in trained.items()},
        "waiting": [[5, 64], [5, 3]],
    }
    assert record["gradients"]["lora_A.weight"] == 0 < record["gradients"]["lora_B.weight"]
    assert diagnosis.diagnose(record) == diagnosis.HEALTHY
    assert 0.02 < diagnosis.distance(record) < 0.1


def diagnosed_in_another_order(record):
    shapes = [tuple(shape) for shape in record["waiting"]]
    moved = torch.linalg.norm(record["stored"] - record["weight"])
    adapters = {n: g for n, g in record["gradients"].items() if "lora" in n}
    if tuple(record["weight"].shape) in shapes:
        return "a dense weight waits for the backward pass"
    if moved / torch.linalg.norm(record["weight"]) > 0.12:
        return "constants read wrongly"
    if len(record["in_4bit"]) > 1:
        return "LoRA attached before quantizing"
    if max(adapters.values()) == 0:
        return "no gradient reaches the adapter"
    return "base not frozen" if len(record["trained"]) > 3 else "healthy"


def test_a_diagnosis_in_another_order_passes():
    for seed in range(5):
        verdict = verdict_on("diagnose", diagnosed_in_another_order, seed)
        assert verdict.right, verdict.message
