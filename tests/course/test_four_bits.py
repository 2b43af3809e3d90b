"""What lesson 10 computes, against torchao, scipy and the definitions."""

import json
from pathlib import Path

import pytest
import scipy.stats
import torch

from minipeft.course import four_bits
from minipeft.quant.codebooks import code_book
from minipeft.quant.nf4 import dequantize, quantize

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


def test_entropy_is_scipys():
    codes = torch.randint(0, 9, (40, 10))
    expected = scipy.stats.entropy(torch.bincount(codes.flatten()).numpy(), base=2)
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
    assert found.entropy == pytest.approx(scipy.stats.entropy(counts.numpy(), base=2))


def test_zero_weights_fit():
    found = four_bits.fit(torch.cat([torch.zeros(64), torch.randn(64)]))
    assert found.scaled[:64].eq(0).all() and found.error < 0.02


def test_published_errors():
    """Dettmers 2023's types on normal weights, blocks of 64; Yoshida 2023: it grows with them."""
    w = torch.randn(2**18, generator=torch.Generator().manual_seed(0))
    errors = [four_bits.fit(w, "nf4", block).error for block in (32, 64, 128, 4096)]
    assert errors == pytest.approx([0.0076, 0.0085, 0.0091, 0.0122], abs=2e-4)
    assert four_bits.fit(w, "nf4", 64).entropy == pytest.approx(3.88, abs=0.01)
