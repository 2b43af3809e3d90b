"""Gradients written out by hand, in LoRA's sum and DoRA's product, beside the plain equations."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import minipeft
from minipeft.core.adapted import AdaptedLinear
from minipeft.methods.dora import DoraLayer
from minipeft.methods.fast import AddProduct, DenseProduct, direction, row_norms
from minipeft.methods.lora import LoraLayer
from minipeft.quant.linear4bit import Linear4bit
from tests.closeness import assert_close

IN, OUT, R, ALPHA = 24, 40, 3, 5
SHAPES = {"vector": (IN,), "rows": (7, IN), "batch": (2, 5, IN), "four": (2, 3, 4, IN)}


def linear(bias: bool) -> nn.Linear:
    return nn.Linear(IN, OUT, bias=bias).double().requires_grad_(False)


def conv1d() -> nn.Module:
    layer = Conv1D(OUT, IN).double().requires_grad_(False)
    nn.init.normal_(layer.bias)
    return layer


def partly_trained(name: str) -> nn.Linear:
    layer = linear(bias=True)
    getattr(layer, name).requires_grad_(True)
    return layer


def hooked() -> nn.Linear:
    layer = linear(bias=True)
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return layer


def pre_hooked() -> nn.Linear:
    layer = linear(bias=False)
    layer.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return layer


def backward_hooked() -> nn.Linear:
    layer = linear(bias=True)
    layer.register_full_backward_hook(lambda module, dx, dy: (3 * dx[0],))
    return layer


def backward_pre_hooked() -> nn.Linear:
    layer = linear(bias=True)
    layer.register_full_backward_pre_hook(lambda module, dy: (3 * dy[0],))
    return layer


def parametrized() -> nn.Linear:
    layer = linear(bias=True)
    nn.utils.parametrizations.weight_norm(layer)
    return layer.requires_grad_(False)


def replaced() -> nn.Linear:
    """As accelerate does it: a forward of the instance's own."""
    layer = linear(bias=False)
    layer.forward = lambda x: 2 * F.linear(x, layer.weight)
    return layer


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


BASES = {
    "no bias": lambda: linear(bias=False),
    "bias": lambda: linear(bias=True),
    "4 bits": lambda: Linear4bit(linear(bias=True).float()),
    "Conv1D": conv1d,
    "trained bias": lambda: partly_trained("bias"),
    "trained weight": lambda: partly_trained("weight"),
    "hook": hooked,
    "hook before": pre_hooked,
    "backward hook": backward_hooked,
    "backward hook before": backward_pre_hooked,
    "weight norm": parametrized,
    "forward of its own": replaced,
    "subclass": lambda: Doubled(IN, OUT, bias=False).double().requires_grad_(False),
}
FROZEN = ("no bias", "bias", "4 bits")  # plain layers without hooks: DoRA takes their weight
FAST = (*FROZEN, "trained bias", "trained weight")


def tuner_on(kind: type[LoraLayer], base: nn.Module) -> LoraLayer:
    tuner = kind(IN, OUT, R, ALPHA).double().init_from(base)
    for parameter in tuner.parameters():
        nn.init.normal_(parameter)
    return tuner


def plain(tuner: LoraLayer, x: Tensor, base: nn.Module) -> Tensor:
    """The papers' equations, left to autograd."""
    h = base(x) + tuner.scaling * tuner.lora_B(tuner.lora_A(x))
    if not isinstance(tuner, DoraLayer):
        return h
    weight = base.dequantize() if isinstance(base, Linear4bit) else base.weight
    weight = weight.T if isinstance(base, Conv1D) else weight
    whole = weight + tuner.scaling * tuner.lora_B.weight @ tuner.lora_A.weight
    g = tuner.lora_magnitude_vector / whole.norm(dim=1).detach()
    b = 0 if base.bias is None else base.bias
    return b + g * (h - b)


def counted(monkeypatch, function: type) -> list[bool]:
    """One entry for each call of the written-out gradients."""
    calls, apply = [], function.apply
    monkeypatch.setattr(function, "apply", lambda *a: (calls.append(True), apply(*a))[1])
    return calls


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_equal_to_the_equations(kind, base, shape, monkeypatch):
    torch.manual_seed(0)
    layer = BASES[base]()
    tuner = tuner_on(kind, layer)
    sums, products = counted(monkeypatch, AddProduct), counted(monkeypatch, DenseProduct)
    x = torch.randn(SHAPES[shape], dtype=torch.float64, requires_grad=True)
    asked = [x, *tuner.parameters(), *(p for p in layer.parameters() if p.requires_grad)]
    outputs = [tuner(x, layer), plain(tuner, x, layer)]
    wanted = torch.randn_like(outputs[0])
    ours, theirs = (torch.autograd.grad(output, asked, wanted) for output in outputs)
    assert_close(*outputs, "output")
    for number, pair in enumerate(zip(ours, theirs, strict=True)):
        assert_close(*pair, f"gradient {number}")
    flat = shape != "vector"
    assert bool(products) == (flat and kind is DoraLayer and base in FROZEN)
    assert bool(sums) == (flat and kind is LoraLayer and base in FAST)


@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_hooks_see_what_they_see_without_an_adapter(kind):
    """Shapes in (batch, length, features), once for each call, forwards and backwards."""
    base, seen = linear(bias=True), []
    base.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    base.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    base.register_full_backward_hook(lambda module, dx, dy: seen.append(dy[0].shape))
    x = torch.randn(2, 5, IN, dtype=torch.float64, requires_grad=True)
    tuner_on(kind, base)(x, base).sum().backward()
    assert seen == [(2, 5, IN), (2, 5, OUT), (2, 5, OUT)]


@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_a_hook_for_all_modules_is_called(kind):
    base, calls = linear(bias=True), []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: calls.append(output.shape) if module is base else None
    )
    try:
        tuner_on(kind, base)(torch.randn(2, 5, IN, dtype=torch.float64), base)
    finally:
        handle.remove()
    assert calls == [(2, 5, OUT)]


@pytest.mark.parametrize("name, width", [("lora_A", R), ("lora_B", OUT)])
@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_hooks_on_a_factor_are_called(kind, name, width):
    """What it gives is what its hook sees and what the hook may change."""
    base, seen = linear(bias=True), []
    tuner, x = tuner_on(kind, base), torch.randn(2, 5, IN, dtype=torch.float64)
    before, none = tuner(x, base), nn.init.zeros_
    handle = getattr(tuner, name).register_forward_hook(lambda m, i, output: seen.append(output))
    assert_close(tuner(x, base), before)
    assert [output.shape for output in seen] == [(2, 5, width)]
    handle.remove()
    getattr(tuner, name).register_forward_hook(lambda m, i, output: none(output.detach().clone()))
    g = tuner.lora_magnitude_vector / tuner.norm(base.weight) if kind is DoraLayer else 1
    assert_close(tuner(x, base), g * F.linear(x, base.weight) + base.bias)


@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_torch_func_differentiates_it(kind):
    base = linear(bias=True)
    tuner = tuner_on(kind, base)
    x = torch.randn(3, 4, IN, dtype=torch.float64)
    per_sample = torch.func.vmap(lambda sample: tuner(sample, base))(x)
    assert_close(per_sample, tuner(x, base))
    theirs = torch.autograd.functional.jacobian(lambda x: plain(tuner, x, base).sum(), x)
    assert_close(torch.func.grad(lambda x: tuner(x, base).sum())(x), theirs)


@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_no_gradient_for_x_where_nobody_asks(kind):
    """The first layer's x comes from frozen embeddings: dx would be a product for nothing."""
    torch.manual_seed(0)
    base = linear(bias=False)
    tuner, x = tuner_on(kind, base), torch.randn(6, IN, dtype=torch.float64)
    trained = list(tuner.parameters())
    ours = torch.autograd.grad(tuner(x, base).square().sum(), trained)
    theirs = torch.autograd.grad(plain(tuner, x, base).square().sum(), trained)
    for pair in zip(ours, theirs, strict=True):
        assert_close(*pair)


def test_the_sum_can_be_differentiated_twice():
    torch.manual_seed(0)
    h, low, B = (torch.randn(*s, dtype=torch.float64) for s in ((4, 5), (4, 2), (5, 2)))
    inputs = [tensor.requires_grad_() for tensor in (h, low, B)]

    def added(h: Tensor, low: Tensor, B: Tensor) -> Tensor:
        return AddProduct.apply(h * 1, low, B, 0.7)

    assert torch.autograd.gradcheck(added, inputs)
    assert torch.autograd.gradgradcheck(added, inputs)


def test_dora_s_product_says_that_it_can_t():
    base = linear(bias=False)
    tuner, x = tuner_on(DoraLayer, base), torch.randn(6, IN, dtype=torch.float64)
    loss = tuner(x, base).square().sum()
    (once,) = torch.autograd.grad(loss, [tuner.lora_A.weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


@pytest.mark.parametrize("kind", [LoraLayer, DoraLayer])
def test_a_weight_that_changes_before_the_backward_pass_is_noticed(kind):
    base = linear(bias=False)
    tuner = tuner_on(kind, base)
    x = torch.randn(6, IN, dtype=torch.float64, requires_grad=True)
    loss = tuner(x, base).sum()
    with torch.no_grad():
        base.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast_has_the_plain_form_and_a_norm_in_32_bits(monkeypatch):
    torch.manual_seed(0)
    base = linear(bias=False).float()
    tuner, x = tuner_on(DoraLayer, base).float(), torch.randn(6, IN)
    norm = tuner.norm(base.weight)
    products = counted(monkeypatch, DenseProduct)
    with torch.autocast("cpu", torch.bfloat16):
        assert tuner(x, base).dtype == base(x).dtype == torch.bfloat16
        assert torch.equal(tuner.norm(base.weight), norm)
    assert not products


def test_a_small_update_is_not_rounded_away_in_16_bits(monkeypatch):
    """W0 + s B A in 16 bits would be W0, and the norm and the output the base's."""
    base = nn.Linear(IN, OUT, bias=False).bfloat16().requires_grad_(False)
    nn.init.ones_(base.weight)
    tuner = DoraLayer(IN, OUT, R, R).bfloat16().init_from(base)
    nn.init.constant_(tuner.lora_A.weight, 2**-5)
    nn.init.constant_(tuner.lora_B.weight, 2**-5)  # B A is 3/1024, less than half a step above 1
    products = counted(monkeypatch, DenseProduct)
    exact = (1 + R * 2**-10) * IN**0.5
    wide = direction(base.weight, tuner.lora_A.weight, tuner.lora_B.weight, tuner.scaling)
    assert wide.dtype == torch.float32
    assert row_norms(wide).tolist() == pytest.approx([exact] * OUT, rel=1e-6)
    assert tuner(torch.ones(6, IN).bfloat16(), base).dtype == torch.bfloat16
    assert not products


def test_one_forward_of_lora_is_read_in_three_files():
    """Whoever steps through it in a debugger sees core/adapted, methods/lora and methods/fast."""
    layer = AdaptedLinear(linear(bias=True), tuner_on(LoraLayer, linear(bias=True)))
    package, files = Path(minipeft.__file__).parent, set()

    def trace(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(package):
            files.add(path.relative_to(package).as_posix())

    x, before = torch.randn(2, 5, IN, dtype=torch.float64), sys.getprofile()
    sys.setprofile(trace)
    try:
        layer(x)
    finally:
        sys.setprofile(before)
    assert files == {"core/adapted.py", "methods/lora.py", "methods/fast.py"}
