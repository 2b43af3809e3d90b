"""Bottleneck adapters in use: counts, start, files, merging, our own decoder, wrong options."""

import copy
import json

import pytest
import torch
from torch import nn

import minipeft
from minipeft.methods.bottleneck import BottleneckLayer
from minipeft.models.llama import Llama, LlamaConfig
from tests.closeness import RTOL, assert_all_close, assert_close

from .exchange import CONFIG
from .models import HIDDEN, LAYERS, batch, build, logits, toy
from .peers import gradients, scramble, trained_by_us
from .snapshots import assert_says, unchanged

STYLES = ["houlsby", "pfeiffer", "parallel"]
SIZE = 5


def wrap(base: nn.Module, style: str, **options) -> minipeft.PeftModel:
    config = minipeft.BottleneckConfig(style=style, bottleneck_size=SIZE, **options)
    return minipeft.get_peft_model(base, config).eval()


def scrambled(base: nn.Module, style: str, **options) -> minipeft.PeftModel:
    model = wrap(base, style, **options)
    scramble(trained_by_us(model))
    return model


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_count_is_the_papers_formula(family, style):
    """2 d r + r + d for each adapter (Houlsby et al. 2019, section 2.1: 2 m d + d + m)."""
    base = build(family)
    total = sum(values.numel() for values in base.parameters())
    adapters = LAYERS * (2 if style == "houlsby" else 1)
    count = adapters * (2 * HIDDEN * SIZE + SIZE + HIDDEN)
    assert wrap(base, style).get_nb_trainable_parameters() == (count, total + count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("style", STYLES)
def test_the_start_is_the_base_to_the_bit(style, dtype):
    bare = logits(build("llama", dtype))
    model = wrap(build("llama", dtype), style)
    assert torch.equal(logits(model), bare)
    trained = trained_by_us(model)
    assert {values.dtype for values in trained.values()} == {torch.float32}
    scramble(trained)
    answer = logits(model)
    assert answer.dtype == dtype and not torch.equal(answer, bare)
    answer.float().pow(2).mean().backward()
    for name, values in trained.items():
        assert values.grad.isfinite().all() and values.grad.any(), name


def decoder() -> Llama:
    """Ours, with the weights of transformers' Llama."""
    sizes = build("llama").config
    model = Llama(
        LlamaConfig(
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_hidden_layers=sizes.num_hidden_layers,
            num_attention_heads=sizes.num_attention_heads,
            num_key_value_heads=sizes.num_key_value_heads,
        )
    ).double()
    model.load_state_dict(build("llama", torch.float64).state_dict())
    return model


@pytest.mark.parametrize("style", STYLES)
def test_our_own_decoder_takes_the_same_adapter(style, tmp_path):
    """Trained on transformers' Llama, opened on ours, without a name being said."""
    model = scrambled(build("llama", torch.float64), style)
    model.save_pretrained(tmp_path)
    own = minipeft.PeftModel.from_pretrained(decoder(), tmp_path)
    usual = wrap(decoder(), style).adapters["default"]
    assert sorted(usual.layers) == sorted(model.adapters["default"].layers)
    tokens = batch()["input_ids"]
    # transformers rounds its norms and rotary angles to float32, whatever the model's dtype.
    assert_close(own(tokens), model(tokens).logits, "ours", rtol=RTOL[torch.float32])


@pytest.mark.parametrize("style", STYLES)
def test_folders_bring_everything_back(style, tmp_path):
    options = {"scaling": 0.5, "non_linearity": "gelu", "layers_to_transform": [0, 2]}
    model = scrambled(build("llama"), style, modules_to_save=["lm_head"], **options)
    assert {name.split(".")[2] for name in model.adapters["default"].layers} == {"0", "2"}
    model.add_adapter("mine", minipeft.BottleneckConfig(style="houlsby", bottleneck_size=2))
    model.save_pretrained(tmp_path)
    opened = minipeft.PeftModel.from_pretrained(build("llama"), tmp_path)
    assert torch.equal(logits(opened), logits(model))
    opened.load_adapter(tmp_path / "mine", "mine")
    assert opened.peft_config["mine"].bottleneck_size == 2
    fields = json.loads((tmp_path / CONFIG).read_text())
    assert fields["peft_type"] == "BOTTLENECK"
    assert (fields["style"], fields["scaling"], fields["non_linearity"]) == (style, 0.5, "gelu")


def test_norms_can_learn_beside_the_adapters(tmp_path):
    """As Houlsby et al. (section 2.1) let them; where a norm shows x, it must stay as it is."""
    norms = ["post_attention_layernorm", "input_layernorm"]
    model = scrambled(build("llama"), "houlsby", modules_to_save=norms)
    adapters = LAYERS * 2 * (2 * HIDDEN * SIZE + SIZE + HIDDEN)
    assert model.get_nb_trainable_parameters()[0] == adapters + LAYERS * 2 * HIDDEN
    model.save_pretrained(tmp_path)
    opened = minipeft.PeftModel.from_pretrained(build("llama"), tmp_path)
    assert torch.equal(logits(opened), logits(model))
    base = build("llama")
    for style in ("pfeiffer", "parallel"):
        with unchanged(base), pytest.raises(ValueError) as error:
            wrap(base, style, modules_to_save=norms)
        assert_says(error, "layers.0.post_attention_layernorm", "modules_to_save", "not both")


@pytest.mark.parametrize("style", STYLES)
def test_what_is_nonlinear_cannot_be_merged(style):
    model = scrambled(build("llama"), style)
    for safe in (False, True):
        for merge in (model.merge_adapter, model.merge_and_unload):
            with unchanged(model), pytest.raises(minipeft.NotMergeable, match="nonlinear"):
                merge(safe_merge=safe)


@pytest.mark.parametrize("style", ["pfeiffer", "parallel"])
def test_x_is_handed_over_and_never_kept(style):
    """The norm puts x down, the adapter takes it: no activation outlives its forward pass."""
    model = scrambled(build("llama", torch.float64), style)
    held = model.adapters["default"].shared.held
    expected = logits(model)
    assert not held
    twin = copy.deepcopy(model)
    scramble(trained_by_us(model), seed=7)
    assert torch.equal(logits(twin), expected)
    assert not torch.equal(logits(model), expected)
    plain = {name: g.clone() for name, g in gradients(model, trained_by_us(model)).items()}
    model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert_all_close(gradients(model, trained_by_us(model)), plain)
    assert not held


def test_an_adapter_before_its_norm_says_so_instead_of_guessing():
    """o_proj runs before the second norm: x would be that of another block, or another batch."""
    targets = ["o_proj", "post_attention_layernorm"]
    model = wrap(build("llama"), "pfeiffer", target_modules=targets)
    for _ in range(2):
        with pytest.raises(RuntimeError) as error:
            logits(model)
        assert_says(error, "model.layers.0", "norm", "checkpointing")
    targets = ["o_proj", "down_proj", "input_layernorm", "post_attention_layernorm"]
    model = scrambled(build("llama"), "pfeiffer", target_modules=targets)
    assert logits(model).isfinite().all()


@pytest.mark.parametrize("style", ["pfeiffer", "parallel"])
def test_it_compiles_in_one_graph(style):
    model = scrambled(decoder(), style)
    tokens = batch()["input_ids"]
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_close(compiled(tokens), model(tokens), "compiled")


def test_beside_a_linear_layer():
    """style="parallel" beside layers that change the width: h + s up(act(down(x)))."""
    model = scrambled(toy().double(), "parallel", target_modules=["first", "second"])
    assert model.get_nb_trainable_parameters()[0] == 2 * 24 * SIZE + 2 * SIZE + 16 + 8
    layer, x = model.base_model.first, torch.randn(3, 8, dtype=torch.float64)
    tuner = layer.tuner
    assert isinstance(tuner, BottleneckLayer)
    inside = torch.relu(x @ tuner.adapter_down.weight.T + tuner.adapter_down.bias)
    change = inside @ tuner.adapter_up.weight.T + tuner.adapter_up.bias
    assert_close(layer(x), layer.base_layer(x) + 4 * change)


BAD_OPTIONS = {
    "style": ({"style": "houlsbi"}, ("style", "houlsbi", "houlsby", "pfeiffer", "parallel")),
    "no size": ({"bottleneck_size": 0}, ("bottleneck_size", "0", "1")),
    "size in a text": ({"bottleneck_size": "8"}, ("bottleneck_size", "'8'")),
    "size a truth value": ({"bottleneck_size": True}, ("bottleneck_size", "True")),
    "nonlinearity": ({"non_linearity": "rleu"}, ("non_linearity", "rleu", "'relu'", "swish")),
    "scaling": ({"scaling": float("nan")}, ("scaling", "nan")),
    "learned scaling": ({"scaling": "learned"}, ("scaling", "learned", "number")),
}


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError) as error:
        minipeft.BottleneckConfig(**options)
    assert_says(error, *words)


BAD_PLACES = {
    "BERT has no single MLP": ("bert", "parallel", None, ("target_modules", "bert", "llama")),
    "misspelled": ("llama", "parallel", ["mpl"], ("'mpl'", "'mlp'")),
    "attention takes more": ("llama", "parallel", ["self_attn"], ("self_attn", "LlamaAttention")),
    "a list of blocks": ("gpt2", "parallel", ["h"], ("transformer.h", "ModuleList", "mlp")),
    "a whole block": ("gpt2", "pfeiffer", ["h.0"], ("transformer.h.0", "GPT2Block")),
    "an embedding": ("llama", "parallel", ["embed_tokens"], ("embed_tokens", "Embedding")),
    "an activation": ("llama", "parallel", ["mlp.act_fn"], ("act_fn", "SiLU")),
    "a norm alone": ("gpt2", "pfeiffer", ["ln_2"], ("transformer.h.0.ln_2", "mlp")),
    "a norm unread": ("llama", "houlsby", ["o_proj", "input_layernorm"], ("LlamaRMSNorm",)),
    "too wide": ("llama", "parallel", ["down_proj", "post_attention_layernorm"], ("24", "down_")),
    "too narrow": ("gpt2", "pfeiffer", ["c_fc", "ln_2"], ("ln_2", "24", "c_fc")),
}


@pytest.mark.parametrize(
    ("family", "style", "targets", "words"), BAD_PLACES.values(), ids=BAD_PLACES.keys()
)
def test_places_where_no_adapter_can_stand(family, style, targets, words):
    base = build(family)
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap(base, style, target_modules=targets)
    assert_says(error, *words)


@pytest.mark.parametrize("style", STYLES)
def test_other_models_must_name_their_places(style):
    base = toy()
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap(base, style)
    assert_says(error, "target_modules=None", "Toy", "gpt2")


def test_the_model_itself_has_no_place():
    base = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with unchanged(base), pytest.raises(ValueError) as error:
        wrap(base, "parallel", target_modules="(0)?")
    assert_says(error, "model itself")


def test_attention_that_reads_weights_past_the_layer():
    base = nn.TransformerEncoderLayer(8, 2, 16)
    with unchanged(base), pytest.raises(ValueError, match=r"self_attn\.out_proj.*Multihead"):
        wrap(base, "parallel", target_modules=["out_proj"])
