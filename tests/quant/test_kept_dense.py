"""What quantize_model leaves dense: heads, what is read past its layer, layers of another kind."""

import copy

import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.quant import Linear4bit
from minipeft.quant.model import weights_read_by
from tests.core.snapshots import assert_says, unchanged

from .bases import llama

T5 = {
    "vocab_size": 96,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
BERT = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
IDS = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(0))
PAIR = {"input_ids": IDS, "decoder_input_ids": IDS[:, :6]}
MODELS = {  # class, options of its config, inputs, the layers that other code reads
    "T5": ("T5ForConditionalGeneration", T5, PAIR, "wo"),
    "mT5": ("MT5ForConditionalGeneration", T5, PAIR, "wo"),
    "UMT5": ("UMT5ForConditionalGeneration", T5, PAIR, "wo"),
    "LongT5": ("LongT5ForConditionalGeneration", T5 | {"feed_forward_proj": "relu"}, PAIR, "wo"),
    "Switch": (
        "SwitchTransformersForConditionalGeneration",
        T5
        | {
            "feed_forward_proj": "relu",
            "num_experts": 2,
            "num_decoder_layers": 2,
            "num_sparse_encoder_layers": 1,
            "num_sparse_decoder_layers": 1,
        },
        PAIR,
        "wo",
    ),
    "T5's encoder": ("T5EncoderModel", T5, {"input_ids": IDS}, "wo"),
    "VideoMAE": (
        "VideoMAEModel",
        {
            "image_size": 16,
            "patch_size": 8,
            "num_frames": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        {"pixel_values": torch.randn(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))},
        "query",
    ),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    kind = getattr(transformers, MODELS[name][0])
    return kind(kind.config_class(**MODELS[name][1])).eval()


def held_dense(model: nn.Module, packed: nn.Module) -> nn.Module:
    """The dense model with what four bits have left of its weights."""
    for path, layer in packed.named_modules():
        if isinstance(layer, Linear4bit):
            model.get_submodule(path).weight.data.copy_(layer.dequantize(torch.float32))
    return model


@pytest.mark.parametrize("compute_dtype", [None, torch.float32], ids=str)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_other_code_reads_stays_dense(name, compute_dtype):
    """The same numbers as with the same weights held dense, where the codes gave garbage."""
    model, (_, _, inputs, read) = build(name), MODELS[name]
    packed = minipeft.quantize_model(copy.deepcopy(model), compute_dtype=compute_dtype)
    layers = [p for p, m in packed.named_modules() if isinstance(m, Linear4bit)]
    assert layers and not any(path.endswith(f".{read}") for path in layers)
    right, found = held_dense(model, packed)(**inputs)[0], packed(**inputs)[0]
    assert (found - right).norm() <= 1e-5 * right.norm()


@pytest.mark.parametrize("fused", [True, False], ids=["fused kernel", "plain"])
@torch.no_grad()
def test_pytorchs_encoder_in_eval_mode(fused):
    """nn.TransformerEncoderLayer hands linear1.weight to a fused kernel; out_proj is read, too."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2)
    model = nn.Sequential(nn.Linear(64, 64), encoder, nn.Linear(64, 64)).eval()
    packed = minipeft.quantize_model(copy.deepcopy(model))
    layers = [path for path, module in packed.named_modules() if isinstance(module, Linear4bit)]
    assert layers == ["0", "2"]
    x = torch.randn(2, 5, 64).requires_grad_(not fused)
    with torch.set_grad_enabled(not fused):
        torch.testing.assert_close(packed(x), held_dense(model, packed)(x), atol=1e-5, rtol=1e-5)
    with unchanged(encoder), pytest.raises(ValueError) as error:
        minipeft.quantize_model(encoder)
    assert_says(error, "TransformerEncoder has no dense linear layer", "read past their forward")


def test_which_weights_a_class_reads():
    """Nested functions read; initializing, asking for the device and assigning is no reading."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = self.c = self.d = nn.Linear(2, 2)
            nn.init.zeros_(self.a.weight)

        def reset_parameters(self):
            nn.init.zeros_(self.a.weight)

        def forward(self, x):
            x = self.a(x.to(self.b.weight.device))
            return [y @ self.c.weight for y in x] + [self.helper()]

        def helper(self):
            return self.d.weight.dtype

        def tie_weights(self):
            self.a.weight = nn.Parameter(torch.zeros(2, 2))

    assert weights_read_by(Reads) == {"c", "d"}
    assert weights_read_by(nn.Linear) == weights_read_by(transformers.LlamaForCausalLM) == set()


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.called = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.called(x @ self.read.weight.T)


class Inherits(Reads):
    """Reads what the class above reads."""


def test_a_class_whose_source_is_nowhere_keeps_all_that_it_may_read():
    """As one that was typed at a prompt: the names in its code are all that is known."""
    scope = {"nn": nn}
    exec(  # a class without a file
        "class Typed(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return self.called(x @ self.read.weight.T)\n",
        scope,
    )
    assert {"read", "called"} <= weights_read_by(scope["Typed"])
    model = nn.Sequential(Inherits(), nn.Linear(64, 64))
    minipeft.quantize_model(model)
    dense = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert dense == ["0.read"]


class Rounded(nn.Linear):
    def forward(self, x):
        return super().forward(x).round()


class Doubled(Rounded):
    def forward(self, x):
        return 2 * super().forward(x)


class Renamed(nn.Linear):
    """Another name for the same product."""


def test_a_layer_with_a_forward_of_its_own():
    model = nn.Sequential(Rounded(64, 64), Doubled(64, 64), Renamed(64, 64), nn.Linear(64, 64))
    x = torch.randn(3, 64)
    right = model[:2](x)
    minipeft.quantize_model(model)
    assert [isinstance(layer, Linear4bit) for layer in model] == [False, False, True, True]
    assert torch.equal(model[:2](x), right)


def hooked(layer):
    layer.register_forward_hook(lambda module, inputs, output: output)


def prehooked(layer):
    layer.register_forward_pre_hook(lambda module, inputs: inputs)


def replaced(layer):
    layer.forward = layer.forward


def normed(layer):
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer)


@pytest.mark.parametrize("change", [hooked, prehooked, replaced, normed])
def test_hooks_would_be_lost(change):
    model = llama()
    change(model.model.layers[1].mlp.up_proj)
    with unchanged(model), pytest.raises(ValueError) as error:
        minipeft.quantize_model(model)
    assert_says(error, "model.layers.1.mlp.up_proj", "hooks", "quantize_model comes first")


CLASSIFIERS = {
    "BertForSequenceClassification": "classifier",
    "BertForTokenClassification": "classifier",
    "BertForQuestionAnswering": "qa_outputs",
    "LlamaForSequenceClassification": "score",
    "BertForMaskedLM": "cls.predictions.decoder",  # tied
}


@pytest.mark.parametrize("skip", [("lm_head",), ["query", "q_proj"]], ids=["default", "own"])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_heads(kind, skip):
    """A head is new, or tied: it stays dense beside names of one's own, and trains."""
    kind = getattr(transformers, kind)
    model = kind(kind.config_class(**BERT))
    names = [
        name
        for name in skip
        if name == "lm_head" or any(path.endswith(name) for path, _ in model.named_modules())
    ]
    minipeft.quantize_model(model, skip=names)
    head = CLASSIFIERS[kind.__name__]
    dense = {path for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert head in dense
    rest = {path for path in dense if path != head}
    assert all(path.endswith(tuple(names)) for path in rest)


def test_routers_that_want_32_bits():
    """A class says so by names; modules inside a model do, too, each for itself."""

    class Expert(nn.Module):
        _keep_in_fp32_modules_strict = ("gate",)

        def __init__(self):
            super().__init__()
            self.gate, self.up = nn.Linear(64, 64), nn.Linear(64, 64)

    model = nn.ModuleDict({"expert": Expert(), "gate": nn.Linear(64, 64)})
    minipeft.quantize_model(model, skip=[])
    kinds = {path: isinstance(m, Linear4bit) for path, m in model.named_modules() if "." in path}
    assert kinds == {"expert.gate": False, "expert.up": True}
    assert isinstance(model["gate"], Linear4bit)
