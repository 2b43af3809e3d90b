"""The levels against the published ones, and what each type costs on known distributions."""

import bitsandbytes.functional as bnb
import pytest
import torch

from minipeft.quant.codebooks import LEVELS, code_book
from minipeft.quant.nf4 import dequantize, quantize
from tests.closeness import assert_close

from . import oracle

CPU = torch.device("cpu")
PUBLISHED = [  # QLoRA, appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]


def test_nf4_levels_are_the_published_ones_to_the_last_bit():
    levels = code_book("nf4", CPU).levels
    assert levels.tolist() == PUBLISHED
    assert torch.equal(levels, bnb.get_4bit_type("nf4", device="cpu"))


@pytest.mark.parametrize(
    ("outermost", "within"), [(0.9677083, 1.2e-7), (1 - (1 / 32 + 1 / 30) / 2, 2e-7)]
)
def test_nf4_levels_follow_from_normal_quantiles(outermost, within):
    """QLoRA, appendix E, in 64 bits throughout: its levels hold the rounding of 32."""
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1)

    def quantiles(parts):
        return normal.icdf(torch.linspace(outermost, 0.5, parts, dtype=torch.float64)[:-1])

    levels = torch.cat([-quantiles(8), torch.zeros(1), quantiles(9).flip(0)])
    assert (levels / levels.max() - code_book("nf4", CPU).levels).abs().max() < within


def test_fp4_and_dynamic_levels_are_bitsandbytes_own():
    assert torch.equal(code_book("fp4", CPU).levels, bnb.get_4bit_type("fp4", device="cpu"))
    assert torch.equal(code_book("dynamic8", CPU).levels, bnb.create_dynamic_map())


def test_fp4_is_not_the_ocp_grid():
    """bitsandbytes' kernels and the OCP's E2M1 share a name, and not the levels."""
    fp4, e2m1 = (code_book(name, CPU).levels.unique() for name in ("fp4", "e2m1"))
    assert len(fp4) == len(e2m1) == 15
    assert_close(12 * fp4[fp4 >= 0], torch.tensor([0, 0.0625, 2, 3, 4, 6, 8, 12]))
    assert_close(6 * e2m1[e2m1 >= 0], torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("block_size", [32, 64, 256])
def test_fp4_weights_are_bitsandbytes_own(dtype, block_size):
    values = torch.randn(40, 256).to(dtype)
    theirs, state = oracle.quantize(values, block_size, "fp4")
    ours = quantize(values, "fp4", block_size)
    assert torch.equal(ours.codes, theirs)
    assert torch.equal(ours.absmax, state.absmax)
    assert torch.equal(dequantize(ours), oracle.dequantize(theirs, state))


@pytest.mark.parametrize(("quant_type", "bits"), [("int4", 3), ("int8", 7)])
def test_absmax_integers_by_their_formula(quant_type, bits):
    """q = round(w / scale), scale = absmax / (2^bits - 1)."""
    values = torch.randn(50, 64)
    scale = values.abs().amax(dim=1, keepdim=True) / (2**bits - 1)
    by_formula = (values / scale).round() * scale
    assert_close(dequantize(quantize(values, quant_type)), by_formula)


@pytest.mark.parametrize("quant_type", LEVELS)
def test_levels_survive(quant_type):
    """A block that holds every level comes back as it was."""
    levels = code_book(quant_type, CPU).levels
    values = 3 * torch.cat([levels, levels.new_ones(1)])  # absmax is exactly 3
    restored = dequantize(quantize(values, quant_type, len(values)))
    assert_close(restored, values, rtol=1 / 32768)  # bins of dynamic8


@pytest.fixture(scope="module")
def normal():
    """1.9 million weights: the standard error of a relative error below is under 1e-4."""
    return torch.randn(30_000, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("quant_type", "expected"),
    [
        ("nf4", 0.00845),
        ("uniform4", 0.01009),
        ("e2m1", 0.01117),
        ("int4", 0.01157),
        ("fp4", 0.01487),
        ("e3m0", 0.0354),
    ],
)
def test_error_on_normal_weights(normal, quant_type, expected):
    """Mean squared error over mean square, blocks of 64, nearest level: five runs' mean."""
    assert relative_error(normal, quant_type) == pytest.approx(expected, abs=2.5e-4)


def test_gaussian_error_does_not_foretell_perplexity(normal):
    """QLoRA, table 2, orders NF4 < E3M0 < E2M1 < Int4 by perplexity. Error doesn't."""
    perplexity = {"nf4": 27.41, "e3m0": 29.48, "e2m1": 31.07, "int4": 34.34}
    by_error = sorted(perplexity, key=lambda name: relative_error(normal, name))
    assert by_error[0] == min(perplexity, key=perplexity.get) == "nf4"
    assert by_error[-1] == "e3m0"


def test_which_type_wins_depends_on_the_weights(normal):
    """Int4 on uniform weights, NF4 on heavy tails."""
    generator = torch.Generator().manual_seed(1)
    uniform = 2 * torch.rand(30_000, 64, generator=generator) - 1
    ratio = relative_error(uniform, "int4") / relative_error(uniform, "nf4")
    assert ratio == pytest.approx(0.58, abs=0.01)
    torch.manual_seed(1)
    tails = torch.distributions.StudentT(4.0).sample((30_000, 64))
    ratio = relative_error(tails, "int4") / relative_error(tails, "nf4")
    assert ratio == pytest.approx(2.07, abs=0.05)


@pytest.mark.parametrize(
    ("block_size", "expected"), [(32, 0.0076), (64, 0.0085), (128, 0.0091), (4096, 0.0122)]
)
def test_error_grows_with_the_block(normal, block_size, expected):
    assert relative_error(normal, "nf4", block_size) == pytest.approx(expected, abs=1.5e-4)


def test_other_figures_of_nf4(normal):
    """Mean absolute error, entropy of the codes, the price of double quantization."""
    nf4 = quantize(normal)
    assert (dequantize(nf4) - normal).abs().mean() == pytest.approx(0.0727, abs=2e-4)
    assert entropy(nf4) == pytest.approx(3.88, abs=0.01)
    assert entropy(quantize(normal, "int4")) == pytest.approx(3.50, abs=0.01)
    doubled = relative_error(normal, "nf4", double_quant=True) / relative_error(normal, "nf4")
    assert 1 < doubled < 1.001


def relative_error(values, *options, **named):
    restored = dequantize(quantize(values, *options, **named))
    return ((restored - values).square().mean() / values.square().mean()).item()


def entropy(quantized):
    """Bits per code, were they compressed as well as can be."""
    packed = quantized.codes.int()
    counts = torch.cat([packed >> 4, packed & 15]).flatten().bincount()
    share = counts[counts > 0] / counts.sum()
    return -(share * share.log2()).sum().item()
