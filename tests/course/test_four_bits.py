"""What lesson 10 computes, against torchao, torch.distributions and the definitions."""

import json
import math
from pathlib import Path

import pytest
import torch

from minipeft.course.base import DATA, load_base
from minipeft.course.lessons import four_bits
from minipeft.quant.codebooks import code_book
from minipeft.quant.nf4 import dequantize, quantize
from scripts import four_bits as script

# torchao 0.18.0 on weights that every machine has exactly, ties among them: MXTensor.to_mx(w,
# torch.float4_e2m1fn_x2, 32) and NVFP4Tensor.to_nvfp4(w, 16, per_tensor_amax_to_scale(max |w|)).
TORCHAO = json.loads((Path(__file__).parent / "four_bits_torchao.json").read_text())


@pytest.mark.parametrize("kind", ["mxfp4", "nvfp4"])
def test_microscaled_weights_are_torchaos(kind):
    w = torch.tensor(TORCHAO["weights"])
    assert torch.equal(four_bits.microscaled(w, kind), torch.tensor(TORCHAO[kind]))
    square = four_bits.microscaled(w.view(6, 16), kind)
    assert torch.equal(square.flatten(), torch.tensor(TORCHAO[kind]))


def test_scales_are_what_their_eight_bits_hold():
    absmax = torch.tensor([[0.75], [1.0], [3.999], [4.0], [1e-30], [0.0]])
    scale = four_bits.power_of_two(absmax)
    assert scale[:4].flatten().tolist() == [0.125, 0.25, 0.5, 1.0]
    assert torch.equal(scale.to(torch.float8_e8m0fnu).float(), scale)
    scale = four_bits.two_level(absmax)
    assert scale.max() == pytest.approx(4 / 6, rel=1e-6)
    assert scale.min() == pytest.approx(2**-6 * 4 / 6 / 448, rel=1e-6)


@pytest.mark.parametrize("kind", ["mxfp4", "nvfp4"])
def test_zeros_stay_zero_and_levels_stay_levels(kind):
    assert not four_bits.microscaled(torch.zeros(64), kind).any()
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6] * 4)
    w = torch.cat([levels, -levels]) / 32
    assert torch.allclose(four_bits.microscaled(w, kind), w, rtol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="40 weights are no whole blocks of 32"):
        four_bits.microscaled(torch.ones(40), "mxfp4")
    with pytest.raises(ValueError, match="nvfp4"):
        four_bits.microscaled(torch.ones(32), "nvfp5")
    with pytest.raises(ValueError, match="nf4"):
        four_bits.fit(torch.ones(64), "nf5")
    with pytest.raises(ValueError, match="block_size"):
        four_bits.fit(torch.ones(64), "nf4", 0)


def bits(counts):
    """The entropy of a distribution with these counts, by torch."""
    return torch.distributions.Categorical(counts.double()).entropy().item() / math.log(2)


def test_entropy_is_that_of_torchs_distributions():
    codes = torch.randint(0, 9, (40, 10))
    expected = bits(torch.bincount(codes.flatten()))
    assert four_bits.entropy(codes) == pytest.approx(expected)
    assert four_bits.entropy(torch.full((5,), 3)) == 0
    assert four_bits.entropy(torch.arange(16)) == pytest.approx(4)


@pytest.mark.parametrize("quant_type", four_bits.TYPES)
@pytest.mark.parametrize("block_size", [16, 100, 4096])
def test_a_fit_says_what_quantization_does(quant_type, block_size):
    w = torch.randn(3, 512)
    quantized = quantize(w, quant_type, block_size)
    found = four_bits.fit(w, quant_type, block_size)
    error = (dequantize(quantized) - w).square().sum() / w.square().sum()
    assert found.error == pytest.approx(error.item(), rel=1e-4)
    assert found.scaled.abs().max() == pytest.approx(1)
    assert torch.equal(found.levels, code_book(quant_type, w.device).levels.unique())
    assert found.bits == 4 + 32 * -(-1536 // block_size) / 1536
    packed = quantized.codes.flatten().int()
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten()
    levels = code_book(quant_type, w.device).levels[codes] + 0.0  # -0 is 0
    counts = levels.unique(return_counts=True)[1]
    assert found.entropy == pytest.approx(bits(counts))


def test_zero_weights_fit():
    found = four_bits.fit(torch.cat([torch.zeros(64), torch.randn(64)]))
    assert found.scaled[:64].eq(0).all() and found.error < 0.02


def test_published_errors():
    """Dettmers 2023's types on normal weights, blocks of 64; Yoshida 2023: it grows with them."""
    w = torch.randn(2**18, generator=torch.Generator().manual_seed(0))
    errors = [four_bits.fit(w, "nf4", block).error for block in (32, 64, 128, 4096)]
    assert errors == pytest.approx([0.0076, 0.0085, 0.0091, 0.0122], abs=2e-4)
    assert four_bits.fit(w, "nf4", 64).entropy == pytest.approx(3.88, abs=0.01)


def test_noise_has_the_size_that_is_asked_for():
    w = torch.randn(40, 30)
    for error in (0.01, 0.5):
        changed = four_bits.noisy(error, seed=1)(w)
        assert four_bits.relative_error(w, changed) == pytest.approx(error, rel=1e-4)
        assert torch.equal(changed, four_bits.noisy(error, seed=1)(w))
        assert not torch.equal(changed, four_bits.noisy(error, seed=2)(w))


def test_only_linear_layers_below_the_head_change():
    plain, _ = load_base()
    model, before, after = four_bits.base_with(lambda w: 2 * w)
    assert torch.equal(after, 2 * before)
    for (name, was), now in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(now, 2 * was if name.endswith("_proj.weight") else was), name


def test_every_run_of_the_script_is_recorded():
    runs = json.loads((DATA / four_bits.LOSSES).read_text(encoding="utf-8"))["runs"]
    assert [(run["name"], run["seed"]) for run in runs] == list(script.changes())
    assert all(len(run["above_floor"]) == len(four_bits.TEXTS) for run in runs)
    costs = four_bits.recorded_costs()
    assert costs["base"].added == (0, 0, 0) and costs["base"].error == 0
    assert costs["noise 0.01"].error == pytest.approx(0.01, rel=1e-3)
    least, most = costs["nf4"].added[1:]
    assert least < costs["nf4"].added[0] < most


@pytest.mark.slow
def test_a_run_made_again_is_the_recorded_one():
    runs = json.loads((DATA / four_bits.LOSSES).read_text(encoding="utf-8"))["runs"]
    (recorded,) = [run for run in runs if run["name"] == "mxfp4"]
    made = script.run("mxfp4", 0, script.changes()["mxfp4", 0], four_bits.TEXTS[:1])
    assert made["error"] == pytest.approx(recorded["error"], rel=1e-3)
    assert made["above_floor"][0] == pytest.approx(recorded["above_floor"][0], abs=3e-4)
