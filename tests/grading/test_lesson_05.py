"""The exercise itself: its references against autograd, torch's optimizers and bitsandbytes."""

import itertools
import math

import bitsandbytes
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_05 import checkpoints, kept, rows
from minipeft.grading.sandboxed.call import call

EXERCISE = exercise("05")
TASKS = {task.name: task for task in EXERCISE.tasks}
SHEET = EXERCISE.sheet_for("Ada")


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, SHEET)
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


class Lora(nn.Module):
    """W0 x + s B A x, as in lesson 03."""

    def __init__(self, d_in, d_out, r):
        super().__init__()
        self.base = nn.Linear(d_in, d_out, bias=False).requires_grad_(False)
        self.A = nn.Parameter(torch.randn(r, d_in))
        self.B = nn.Parameter(torch.randn(d_out, r))

    def forward(self, x):
        return self.base(x) + 2.0 * (x @ self.A.T @ self.B.T)


def built(layer):
    """The layer of torch that an entry of the chain means."""
    if layer["kind"] == "silu":
        return nn.SiLU()
    if layer["kind"] == "lora":
        return Lora(layer["d_in"], layer["d_out"], layer["r"])
    linear = nn.Linear(layer["d_in"], layer["d_out"], bias=False)
    return linear.requires_grad_(layer["trained"])


def kept_by_autograd(rows, layers):
    """Bytes that autograd keeps of the chain, parameters left out, each storage once."""
    model = nn.Sequential(*map(built, layers))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.randn(rows, layers[0]["d_in"]))
    total = sum(storage.nbytes() for storage in saved.values())
    del output
    return total


@pytest.mark.parametrize("kinds", ["TTT", "LLL", "FFL", "LFF", "FFT", "FFF", "TFL", "FTF", "LTFL"])
@pytest.mark.parametrize("seed", range(3))
def test_kept_is_what_autograd_keeps(kinds, seed):
    layers = kept.mlp(np.random.default_rng(seed), kinds)
    assert kept.kept(7, layers) == kept_by_autograd(7, layers)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("sgd", torch.optim.SGD),
        ("adamw", torch.optim.AdamW),
        ("lion", bitsandbytes.optim.Lion32bit),
    ],
)
def test_means_are_those_of_the_optimizers(name, optimizer):
    weight = nn.Parameter(torch.randn(50, 30))
    weight.grad = torch.randn(50, 30)
    optimizer = optimizer([weight], lr=0.1)
    optimizer.step()
    state = optimizer.state[weight].values()
    means = [v for v in state if torch.is_tensor(v) and v.shape == weight.shape]
    assert rows.states(0, 1500, 4, 4, name, False)["optimizer"] == sum(m.nbytes for m in means)


@pytest.mark.parametrize("numbers", [64, 130, 16_384, 16_385, 100_003])
@pytest.mark.parametrize("double", [False, True])
def test_four_bits_are_those_of_bitsandbytes(numbers, double):
    weight = torch.randn(numbers)
    codes, state = bitsandbytes.functional.quantize_4bit(
        weight, blocksize=64, quant_type="nf4", compress_statistics=double
    )
    constants = state.absmax.nbytes
    if double:
        constants += state.state2.absmax.nbytes + state.offset.nbytes
    assert rows.four_bits(numbers, double) == codes.nbytes + constants


def test_published_bits_and_bytes():
    """QLoRA, section 3: 0.5 and 0.127 bits; and LLaMA-7B in 84 GB by 12 bytes for 7e9 numbers."""
    bits = [8 * rows.four_bits(2**30, double) / 2**30 - 4 for double in (False, True)]
    assert bits == [0.5, pytest.approx(0.126953125, abs=1e-6)]
    full = rows.states(0, 7 * 10**9, 2, 2, "adamw", False)
    assert sum(full.values()) == 84e9
    assert sum(rows.states(0, 7 * 10**9, 2, 2, "adamw", True).values()) == 112e9


class Layer(nn.Module):
    """Keeps two tensors beside its input: SiLU's input is that of the layer."""

    def forward(self, x):
        return torch.sin(torch.sin(torch.sin(x)))


@pytest.mark.parametrize(("layers", "segment"), [(6, 1), (6, 2), (7, 3), (5, 5)])
def test_peak_is_what_checkpointing_has_at_once(layers, segment):
    """Inputs of the segments, and all that one segment keeps while it is computed again."""
    x = torch.randn(1000, requires_grad=True)
    chain = [Layer() for _ in range(layers)]
    inputs = []

    def pack(tensor):
        inputs.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = x
        for start in range(0, layers, segment):
            part = nn.Sequential(*chain[start : start + segment])
            y = checkpoint(part, y, use_reentrant=False)
    again = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: again.append(tensor.nbytes) or tensor, lambda tensor: tensor
    )
    with hooks:
        nn.Sequential(*chain[:segment])(x)
    # Its first saved tensor is the input of the segment, which is there already.
    measured = sum(inputs) + sum(again) - 4000
    assert checkpoints.peak(layers, 4000, 8000, segment) == measured


def test_the_square_root_is_best_where_a_layer_keeps_its_input_alone():
    """Chen et al. 2016, section 3: O(sqrt n)."""
    for layers in (16, 64, 100):
        assert checkpoints.best(layers, 1000, 0)[0] == math.isqrt(layers)
    assert checkpoints.best(32, 1000, 22_000)[0] == 1


def written_as_sums(frozen, trained, frozen_bytes, trained_bytes, optimizer, master_copy):
    rows = dict.fromkeys(["frozen", "trained", "gradients", "optimizer", "master copy"], 0)
    rows["frozen"] = frozen * frozen_bytes
    rows["trained"] = rows["gradients"] = trained * trained_bytes
    for _ in range({"sgd": 0, "lion": 1, "adamw": 2}[optimizer]):
        rows["optimizer"] += 4 * trained
    if master_copy and trained_bytes < 4:
        rows["master copy"] += 4 * trained
    return rows


def written_with_floors(numbers, double):
    blocks = (numbers + 63) // 64
    constants = blocks + 4 * ((blocks + 255) // 256) + 4 if double else 4 * blocks
    return (numbers + 1) // 2 + constants


def written_backwards(rows, layers):
    """From the last layer down to the lowest that trains."""
    trains = [layer["kind"] == "lora" or layer.get("trained", False) for layer in layers]
    total = 0
    for place in reversed(range(len(layers))):
        layer = layers[place]
        if not any(trains[: place + 1]):
            break
        if trains[place] or layer["kind"] == "silu":
            total += layer["d_in"]
        if layer["kind"] == "lora":
            total += layer["r"]
    return rows * total * 4


def written_with_torch(rows, layers):
    return kept_by_autograd(rows, layers)


def written_with_a_table(layers, input_bytes, inside_bytes):
    table = []
    for k in range(1, layers + 1):
        starts = range(0, layers, k)
        table.append(
            (len(starts) * input_bytes + k * (inside_bytes + input_bytes) - input_bytes, k)
        )
    peak, segment = min(table)
    return [segment, peak]


def written_with_ratios(run):
    after = np.asarray(run["after_each_step"], dtype=float)
    if np.polyfit(range(len(after)), after, 1)[0] > 0.01 * after[0]:
        return "graphs are retained"
    if run["gradients"] != 4 * run["trained"]:
        return "the base takes gradients"
    if max(size for name, size in run["moved"].items() if name.endswith("lora_B")) == 0:
        return "the layers get no gradient"
    expected = run["layer_inputs"] if run["checkpointing"] else run["all_activations"]
    return "healthy" if run["activations"] == expected else "checkpointing is off"


def written_by_largest_step(run):
    after = run["after_each_step"]
    smallest = min(b - a for a, b in itertools.pairwise(after))
    if run["gradients"] / run["trained"] > 4.01:
        return "the base takes gradients"
    if smallest > 0:
        return "graphs are retained"
    still = [size == 0 for name, size in run["moved"].items() if "lora" in name]
    if all(still):
        return "the layers get no gradient"
    if run["checkpointing"] and run["activations"] == run["all_activations"]:
        return "checkpointing is off"
    return "healthy"


def sheet_in_fractions():
    base, trained = SHEET["linear"] + SHEET["other"], SHEET["trained"]
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    packed = SHEET["linear"] * bits / 8
    return {
        "full": 12 * base,
        "LoRA": 2 * base + 16 * trained,
        "QLoRA": int(packed) + 2 * SHEET["other"] + 16 * trained,
    }


def sheet_by_blocks():
    linear, other, n = SHEET.values()
    qlora = linear // 2 + linear // 64 + 4 * (linear // 16_384) + 2 * other
    states = sum(rows.states(linear + other, n, 2, 4, "adamw", False).values())
    return {
        "full": sum(rows.states(0, linear + other, 2, 2, "adamw", False).values()),
        "LoRA": states,
        "QLoRA": qlora + 16 * n,
    }


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("state_rows", written_as_sums),
        ("state_rows", lambda *given: rows.states(*given)),
        ("four_bit_bytes", written_with_floors),
        ("four_bit_bytes", lambda n, double: rows.four_bits(n, double)),
        ("kept_bytes", written_backwards),
        ("kept_bytes", written_with_torch),
        ("my_budget", sheet_in_fractions),
        ("my_budget", sheet_by_blocks),
        ("diagnose", written_with_ratios),
        ("diagnose", written_by_largest_step),
        ("best_segment", written_with_a_table),
        ("best_segment", lambda *given: checkpoints.best(*given)),
    ],
)
@pytest.mark.parametrize("seed", range(20))
def test_right_answers_written_otherwise_pass(name, function, seed):
    verdict = verdict_on(name, function, seed)
    assert verdict.right, verdict.message


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("four_bit_bytes", lambda n, double: -(-n // 2), "constants are missing"),
        ("four_bit_bytes", lambda n, double: n / 2, "right is"),
        ("kept_bytes", lambda rows, layers: 0, "right is"),
        ("diagnose", lambda run: "healthy", "every run healthy"),
        ("best_segment", lambda n, i, m: (1, n * i + m), "each layer by itself"),
        ("best_segment", lambda n, i, m: (round(n**0.5), 0), "right is"),
    ],
)
def test_what_people_write_is_told(name, function, says):
    verdict = verdict_on(name, function)
    assert not verdict.right
    assert says in verdict.message or says == "right is"


@pytest.mark.parametrize("wrong", [{"full": 1}, {"full": 1, "LoRA": 2, "QLoRA": 3}])
def test_the_sheet_never_prints_its_answers(wrong):
    message = verdict_on("my_budget", lambda: wrong).message
    for number in TASKS["my_budget"].answer(SHEET).values():
        assert str(number) not in message


def test_a_sheet_fills_its_blocks():
    for name in range(50):
        assert EXERCISE.sheet_for(f"student {name}")["linear"] % (64 * 256) == 0
