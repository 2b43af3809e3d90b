"""Exercise 10: its references against bitsandbytes and torch, right answers in other words."""

import json
import math

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_10 import counting, diagnosis, integers, levels, packing, use
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("10")
TASKS = {task.name: task for task in EXERCISE.tasks}
NF4 = levels.normal_levels(*levels.NF4)


def verdict_on(name, function):
    task = TASKS[name]
    torch.manual_seed(0)
    for seed in range(3):
        cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
        verdict = judge(task, cases, [call(function, c, task.calls) for c in task.told(cases)])
        if not verdict.right:
            break
    return verdict


# The references against libraries.


def test_integers_are_those_of_bitsandbytes():
    w = integers.weights(np.random.default_rng(0), 6, 32)
    codes, scale = integers.blockwise(w, 32)
    theirs, absmax, _ = bnb.int8_vectorwise_quant(torch.from_numpy(w).view(6, 32).half())
    assert np.abs(codes - theirs.numpy()).max() <= 1  # theirs are made in 16 bits
    np.testing.assert_allclose(127 * scale, absmax.numpy(), rtol=1e-3)


def test_levels_are_those_of_bitsandbytes_and_quantiles_those_of_torch():
    np.testing.assert_allclose(NF4, bnb.get_4bit_type("nf4", device="cpu"), atol=2e-7)
    p = torch.linspace(0.95, 0.5, 6, dtype=torch.float64)[:-1]
    np.testing.assert_allclose(levels.quantiles(5, 0.95), torch.special.ndtri(p), atol=1e-12)


def test_bytes_and_the_way_back_are_those_of_bitsandbytes():
    w = torch.randn(4, 64)
    packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
    scaled = (w / state.absmax[:, None])[..., None]
    codes = (scaled - torch.tensor(NF4)).abs().argmin(-1).flatten().to(torch.uint8)
    assert np.array_equal(packing.pack(codes.numpy()), packed.flatten().numpy())
    restored = packing.restore(packed.flatten().numpy(), state.absmax.numpy(), NF4, 64, 256)
    np.testing.assert_allclose(restored, bnb.dequantize_4bit(packed, state).flatten(), atol=1e-6)


def test_bits_are_those_of_the_paper():
    """QLoRA, section 3: 0.5 bits of constants become 0.127, a saving of 0.373."""
    plain = counting.bits_per_weight(4, 64, 32, 0, 0)
    double = counting.bits_per_weight(4, 64, 8, 256, 32)
    assert plain == 4.5
    assert round(double - 4, 3) == 0.127 and round(plain - double, 3) == 0.373


def test_bytes_are_those_that_bitsandbytes_stores():
    w = torch.randn(512, 128)
    stored = counting.stored(1, 512, 128, 64, 256)
    packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
    assert (stored["codes"], stored["constants"]) == (packed.nbytes, state.absmax.nbytes)
    _, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
    again = state.absmax.nbytes + state.state2.absmax.nbytes + state.offset.nbytes
    assert stored["constants again"] == again


def test_entropy_is_that_of_torchs_distributions():
    codes = np.random.default_rng(0).integers(0, 16, 500)
    counts = torch.bincount(torch.from_numpy(codes)).double()
    expected = torch.distributions.Categorical(counts).entropy().item() / math.log(2)
    assert use.entropy(codes) == pytest.approx(expected, abs=1e-12)


def test_specimens_are_what_they_are_called():
    """A healthy one restores the weight to NF4's error; every bug makes that larger."""

    def error(bug):
        record = diagnosis.specimen(np.random.default_rng(0), bug)
        return (
            np.square(record["restored"] - record["weight"]).sum()
            / np.square(record["weight"]).sum()
        )

    healthy = error(diagnosis.HEALTHY)
    assert healthy < 0.012
    for bug in diagnosis.SPECIMENS[1:]:
        assert error(bug) > 1.15 * healthy, bug


# Right answers in other words.


def by_rows(w, block):
    codes, scales = [], []
    for start in range(0, len(w), block):
        part = w[start : start + block]
        scale = part.abs().max() / 127
        codes.append(torch.round(part / scale) if scale > 0 else torch.zeros(block))
        scales.append(scale)
    return torch.stack(codes).to(torch.int8), torch.stack(scales)


def by_dividing(w, block):
    rows = w.view(-1, block).numpy()
    scale = np.abs(rows).max(axis=1) / 127
    with np.errstate(invalid="ignore"):
        codes = np.nan_to_num(np.rint(rows / scale[:, None]))
    return codes.astype(int), scale


def by_icdf(below, above, outermost):
    normal = torch.distributions.Normal(0.0, 1.0)
    up = [
        normal.icdf(torch.tensor(outermost - i * (outermost - 0.5) / above)) for i in range(above)
    ]
    down = [
        -normal.icdf(torch.tensor(outermost - i * (outermost - 0.5) / below)) for i in range(below)
    ]
    found = torch.stack(sorted([*up, *down, torch.tensor(0.0)]))
    return found / found[-1]


def from_below(below, above, outermost):
    up = torch.special.ndtri(torch.linspace(0.5, outermost, above + 1).double())
    down = torch.special.ndtri(torch.linspace(1 - outermost, 0.5, below + 1).double())
    return torch.cat([down[:-1], up]) / up.max()


def by_shift(codes):
    if len(codes) % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    first, second = codes.view(-1, 2).int().unbind(1)
    return (first << 4) | second


def by_loop(codes):
    whole = [*codes.tolist(), 0]
    return torch.tensor([whole[i] << 4 | whole[i + 1] for i in range(0, len(codes), 2)])


def restore_by_mask(packed, absmax, levels, block, n):
    codes = torch.empty(2 * len(packed), dtype=torch.long)
    codes[0::2], codes[1::2] = packed.long() >> 4, packed.long() & 15
    return torch.stack([levels[codes[i]] * absmax[i // block] for i in range(n)])


def restore_padded(packed, absmax, levels, block, n):
    codes = torch.stack([packed >> 4, packed & 0xF], -1).reshape(-1).tolist()
    values = torch.zeros(len(absmax) * block)
    values[:n] = torch.tensor([levels[c].item() for c in codes[:n]])
    return (values.view(-1, block) * absmax[:, None]).view(-1)[:n]


def bits_by_block(bits, block, scale_bits, second_block, second_bits):
    whole = block * max(second_block, 1)
    total = whole * bits + max(second_block, 1) * scale_bits + (second_bits if second_block else 0)
    return torch.tensor(total / whole, dtype=torch.float64)


def bits_by_parts(bits, block, scale_bits, second_block, second_bits):
    shared = scale_bits + (second_bits / second_block if second_block > 0 else 0)
    return bits + shared / block


def by_error(record):
    """By what brings `restored` and `weight` together again, not by the way back."""
    weight, restored = record["weight"], record["restored"]
    block, absmax, kept = record["block"], record["absmax"], record["kept"]
    if weight.view(-1, block).abs().amax(1).sub(absmax).abs().max() > 1e-6:
        return "one absmax for all blocks"
    if ((kept - absmax).abs() / absmax).max() > 0.1:
        return "mean not added back"
    if restored.abs().max() > 0.5:
        return "scale not applied"
    turned = restored.view(-1, 2)[:, [1, 0]].flatten()
    if (turned - weight).norm() < 0.2 * weight.norm():
        return "halves of the bytes swapped"
    is_zero = (restored == 0).any()
    return "healthy" if is_zero else "levels taken as symmetric"


def by_tables(record):
    levels, block = record["levels"].double(), record["block"]
    codes = [half for byte in record["packed"].tolist() for half in divmod(byte, 16)]
    kept = record["kept"].double().repeat_interleave(block)
    turned = [codes[i ^ 1] for i in range(len(codes))]
    upper = levels[8:]
    table = torch.cat([-upper.flip(0), upper])
    candidates = {
        "healthy": levels[codes] * kept,
        "halves of the bytes swapped": levels[turned] * kept,
        "scale not applied": levels[codes],
        "levels taken as symmetric": table[codes] * kept,
    }
    if record["absmax"].unique().numel() == 1:
        return "one absmax for all blocks"
    if (kept[::block] - record["absmax"]).abs().max() > 0.3 * record["absmax"].mean():
        return "mean not added back"
    return min(candidates, key=lambda bug: (candidates[bug] - record["restored"]).abs().sum())


def entropy_by_unique(codes):
    share = codes.unique(return_counts=True)[1] / codes.numel()
    return -(share * torch.log2(share)).sum()


def entropy_by_categorical(codes):
    counts = torch.tensor([(codes == code).sum() for code in range(16)]).double()
    return torch.distributions.Categorical(counts).entropy().item() / math.log(2)


def bytes_by_words():
    s = EXERCISE.sheet_for("Ada")
    weights = s["matrices"] * s["d_out"] * s["d_in"]
    blocks = weights // s["block"]
    again = blocks + 4 * blocks // s["second_block"] + 4 * s["matrices"]
    return {"codes": weights // 2, "constants": 4 * blocks, "constants again": again}


def bytes_by_bits():
    s = EXERCISE.sheet_for("Ada")
    weights = s["matrices"] * s["d_out"] * s["d_in"]
    again = 8 / s["block"] + 32 / (s["block"] * s["second_block"])
    return {
        "constants again": round(weights * again / 8) + 4 * s["matrices"],
        "constants": round(weights * 32 / s["block"] / 8),
        "codes": round(weights * 4 / 8),
    }


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("absmax_int8", by_rows),
        ("absmax_int8", by_dividing),
        ("normal_levels", by_icdf),
        ("normal_levels", from_below),
        ("pack", by_shift),
        ("pack", by_loop),
        ("restore", restore_by_mask),
        ("restore", restore_padded),
        ("bits_per_weight", bits_by_block),
        ("bits_per_weight", bits_by_parts),
        ("my_bytes", bytes_by_words),
        ("my_bytes", bytes_by_bits),
        ("diagnose", by_error),
        ("diagnose", by_tables),
        ("code_entropy", entropy_by_unique),
        ("code_entropy", entropy_by_categorical),
    ],
)
def test_right_answers_in_other_words_pass(name, function):
    verdict = verdict_on(name, function)
    assert verdict.right, verdict.message


# What people write, in torch.


def naive_int8(w, block):
    scale = w.abs().max() / 127
    return (w / scale).round().view(-1, block), scale.expand(len(w) // block)


def cast_int8(w, block):
    rows = w.view(-1, block)
    scale = rows.abs().amax(1) / 127
    return torch.nan_to_num(rows / scale[:, None]).to(torch.int8), scale


def middles(below, above, outermost):
    n = below + above + 1
    found = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    return found / found.max()


def unshifted_levels(below, above, outermost):
    return torch.special.ndtri(torch.linspace(1 - outermost, outermost, below + above + 1))


def low_half_first(codes):
    codes = torch.nn.functional.pad(codes, (0, len(codes) % 2))
    return codes[0::2] | codes[1::2] << 4


def without_scale(packed, absmax, levels, block, n):
    return levels[torch.stack([packed >> 4, packed & 15], 1).flatten().long()][:n]


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("absmax_int8", naive_int8, "one absmax for the whole tensor"),
        ("absmax_int8", cast_int8, "cut off, as a cast"),
        ("normal_levels", middles, "as some tutorials do"),
        ("pack", low_half_first, "as ONNX has it"),
        ("restore", without_scale, "scale isn't applied"),
        ("bits_per_weight", lambda bits, *rest: bits, "You count the codes alone"),
        ("diagnose", lambda record: "healthy", "every specimen healthy"),
        (
            "code_entropy",
            lambda codes: torch.tensor(codes.unique().numel()).log2(),
            "not how often",
        ),
    ],
)
def test_what_people_write_has_its_own_message(name, function, says):
    verdict = verdict_on(name, function)
    assert not verdict.right
    assert says in verdict.message


@pytest.mark.parametrize(
    ("name", "function"),
    [("normal_levels", unshifted_levels), ("code_entropy", lambda codes: 4.0)],
)
def test_other_wrong_answers_are_refused_too(name, function):
    assert not verdict_on(name, function).right


def test_a_zero_block_that_becomes_nan_earns_the_rest():
    def careless(w, block):
        rows = w.view(-1, block)
        absmax = rows.abs().amax(dim=1, keepdim=True)
        return (rows * 127 / absmax).round(), absmax[:, 0] / 127

    verdict = verdict_on("absmax_int8", careless)
    assert "nan" in verdict.message
    assert 0 < verdict.points < 2


@pytest.mark.parametrize(
    "wrong", [{"codes": 1}, {"codes": 1, "constants": 2, "constants again": 3}]
)
def test_the_sheet_never_prints_its_answers(wrong):
    message = verdict_on("my_bytes", lambda: wrong).message
    for number in TASKS["my_bytes"].answer(EXERCISE.sheet_for("Ada")).values():
        assert str(number) not in message


def test_the_solution_does_not_lean_on_the_framework():
    path = ROOT / "solutions" / f"{EXERCISE.notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "code")
    imports = {line for line in code.splitlines() if line.startswith(("import", "from"))}
    assert imports == {"import torch", "from minipeft.grading import checks"}
