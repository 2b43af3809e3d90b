"""Bottleneck adapters are those of the `adapters` library, style by style and place by place.

Where the two agree without more words: "houlsby" is its DoubleSeqBnConfig, "pfeiffer" its
SeqBnConfig, "parallel" its ParBnConfig, with the library's own defaults, on Llama and GPT-2. On
BERT, whose LayerNorm comes after the sum, ours stand where Houlsby et al. put them: on what the
projection gives, before the sum. "houlsby" is the library's there, too; SeqBnConfig reads
LayerNorm(x + h) there, and ours h: the library's with original_ln_before=False.
"""

import re

import adapters
import pytest
import torch
from adapters import AdapterModelInterface, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

import minipeft
from tests.closeness import assert_close

from .models import HIDDEN, LAYERS, build, logits
from .peers import scramble, trained_by_us

STYLES = {"houlsby": DoubleSeqBnConfig, "pfeiffer": SeqBnConfig, "parallel": ParBnConfig}
SIZE = 6


def ours(base: nn.Module, style: str, **options) -> minipeft.PeftModel:
    config = minipeft.BottleneckConfig(style=style, bottleneck_size=SIZE, **options)
    return minipeft.get_peft_model(base, config).eval()


def theirs(base: nn.Module, style: str, interface=None, **options) -> nn.Module:
    """The base with the library's adapter in it. HIDDEN / 4 is SIZE."""
    dtype = next(base.parameters()).dtype
    adapters.init(base, interface=interface)
    base.add_adapter("a", config=STYLES[style](reduction_factor=HIDDEN / SIZE, **options))
    base.train_adapter("a")
    return base.to(dtype).eval()


def place(name: str) -> tuple:
    """(block, whether after attention, which tensor): the same for both libraries."""
    block = int(re.search(r"\.(\d+)\.", name)[1])
    tensor = re.search(r"adapter_(down|up).*(weight|bias)", name)
    return block, "att" in name, tensor[1], tensor[2]


def twins(mine: minipeft.PeftModel, other: nn.Module) -> tuple[dict, dict]:
    """The trained tensors of both by their place, given the same random values."""
    named = [(n, v) for n, v in other.named_parameters() if ".a." in n and v.requires_grad]
    their_trained = {place(name): values for name, values in named}
    our_trained = {place(name): values for name, values in trained_by_us(mine).items()}
    assert len(their_trained) == len(named)
    assert sorted(our_trained) == sorted(their_trained)
    scramble(their_trained)
    with torch.no_grad():
        for where, values in their_trained.items():
            our_trained[where].copy_(values)
    return our_trained, their_trained


def assert_same(mine: minipeft.PeftModel, other: nn.Module, run=logits) -> None:
    """Logits and the gradient of every trained tensor, in float64."""
    our_trained, their_trained = twins(mine, other)
    assert_close(run(mine), run(other), "logits")
    expected = slopes(run(other), their_trained)
    for where, slope in slopes(run(mine), our_trained).items():
        assert slope.any(), where
        assert_close(slope, expected[where], str(where))


def slopes(answer: Tensor, trained: dict[tuple, nn.Parameter]) -> dict[tuple, Tensor]:
    """Gradients of a smooth function of the answer."""
    value = answer.pow(2).mean() + answer.sin().mean()
    return dict(zip(trained, torch.autograd.grad(value, list(trained.values())), strict=True))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_style_is_the_library_s_with_its_defaults(family, style):
    mine = ours(build(family, torch.float64), style)
    assert_same(mine, theirs(build(family, torch.float64), style))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("non_linearity", ["relu", "gelu", "swish", "tanh"])
def test_each_nonlinearity_and_scale(style, non_linearity):
    options = {"non_linearity": non_linearity, "scaling": 0.7}
    mine = ours(build("llama", torch.float64), style, **options)
    assert_same(mine, theirs(build("llama", torch.float64), style, **options))


@pytest.mark.parametrize(
    ("style", "options"), [("houlsby", {}), ("pfeiffer", {"original_ln_before": False})]
)
def test_bert_s_adapters_stand_before_the_sum(style, options):
    mine = ours(build("bert", torch.float64), style)
    assert_same(mine, theirs(build("bert", torch.float64), style, **options))


def test_on_bert_the_library_s_pfeiffer_reads_more_than_ours():
    """LayerNorm(x + h) (adapters/methods/modeling.py, `Adapter.pre_forward`)."""
    mine, other = (wrap(build("bert", torch.float64), "pfeiffer") for wrap in (ours, theirs))
    twins(mine, other)
    assert (logits(mine) - logits(other)).abs().max() > 1e-3


def vit() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ViTConfig(HIDDEN, LAYERS, 4, 36, image_size=8, patch_size=4, num_labels=3)
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
        return ViTForImageClassification(config).double().eval()


PIXELS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("style", ["houlsby", "pfeiffer"])
def test_vision_transformers(style):
    assert_same(ours(vit(), style), theirs(vit(), style), lambda model: model(PIXELS).logits)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_pfeiffer_without_a_norm_reads_what_the_mlp_gives(family):
    last = {"llama": "mlp.down_proj", "gpt2": "mlp.c_proj"}[family]
    mine = ours(build(family, torch.float64), "pfeiffer", target_modules=[last])
    other = theirs(build(family, torch.float64), "pfeiffer", original_ln_before=False)
    assert_same(mine, other)


def test_parallel_without_a_norm_reads_what_the_mlp_reads():
    """LayerNorm(x), the default of He et al.'s own code (petl/options.py, hi_lnbefore=0).

    The library does the same where its interface says that "mlp" is where x is taken, as it does
    for ModernBERT (adapters/wrappers/interfaces.py).
    """
    interface = AdapterModelInterface(
        adapter_methods=["bottleneck"],
        model_embeddings="embed_tokens",
        model_layers="layers",
        layer_self_attn="self_attn",
        layer_cross_attn=None,
        attn_k_proj="k_proj",
        attn_q_proj="q_proj",
        attn_v_proj="v_proj",
        attn_o_proj="o_proj",
        layer_intermediate_proj="mlp.up_proj",
        layer_output_proj="mlp.down_proj",
        layer_pre_ffn="mlp",
    )
    mine = ours(build("llama", torch.float64), "parallel", target_modules=["mlp"])
    assert_same(mine, theirs(build("llama", torch.float64), "parallel", interface))
