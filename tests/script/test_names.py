"""Names and keywords of peft: there under the same meaning, or refused with the reason."""

import copy
import json
import pickle

import peft
import pytest
import torch
from peft.tuners.lora import LoraModel
from peft.utils import constants
from torch import nn

import minipeft
from minipeft.methods import families
from tests.core.models import TOKENS, build, toy
from tests.core.snapshots import assert_says, unchanged
from tests.quant.bases import in_bitsandbytes, in_ours, llama

OPTIONS = {"r": 2, "target_modules": ["first"], "init_lora_weights": False}
LLAMA = {"r": 2, "target_modules": ["q_proj"]}


def adapted(base=None, **options):
    return minipeft.get_peft_model(base or toy(), minipeft.LoraConfig(**(OPTIONS | options)))


PUBLIC = [name for kind in (peft.PeftModel, LoraModel) for name in dir(kind) if name[0] != "_"]
OF_BASES = ["enable_adapters", "disable_adapters", "get_adapter_state_dict", "push_to_hub"]


@pytest.mark.parametrize("name", sorted({*PUBLIC, *OF_BASES}))
def test_no_name_of_peft_reaches_the_base(name):
    """Ours, nn.Module's, or an AttributeError; what the base calls so has another meaning."""
    base = build("llama")
    model = adapted(base, **LLAMA)
    try:
        found = getattr(model, name)
    except AttributeError as error:
        assert name in str(error)
        return
    assert hasattr(type(model), name) or name in vars(model), name
    assert getattr(found, "__self__", model) is not base


def test_the_error_says_what_there_is_instead():
    with pytest.raises(AttributeError) as error:
        adapted(build("llama"), **LLAMA).push_to_hub("somewhere")
    assert_says(error, "push_to_hub", "save_pretrained", "get_base_model().push_to_hub")
    with pytest.raises(AttributeError) as error:
        adapted().disable_adapter_layers()
    assert_says(error, "disable_adapter_layers", "disable_adapter()")
    for name in (name for name in dir(peft) if name.startswith("AutoPeftModel")):
        with pytest.raises(AttributeError) as error:
            getattr(minipeft, name)
        assert_says(error, name, "AutoModel", "PeftModel.from_pretrained")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_base_model_has_pefts_model(family):
    """What peft's wrapper calls `model`; every other name is the base's own."""
    base = build(family)
    model = minipeft.get_peft_model(base, minipeft.LoraConfig(r=2))
    assert model.base_model.model is model.get_base_model() is base
    assert isinstance(model.base_model, nn.Module)
    assert model.base_model.config is base.config is model.config
    model.base_model.note = 3
    assert base.note == 3
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.base_model.model is again.get_base_model() is not base
        assert copy.deepcopy(again.base_model).note == 3


def test_families():
    """peft's own tables, whatever of them is here."""
    lora = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    adalora = constants.TRANSFORMERS_MODELS_TO_ADALORA_TARGET_MODULES_MAPPING
    vera = constants.TRANSFORMERS_MODELS_TO_VERA_TARGET_MODULES_MAPPING
    ia3 = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    fed = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
    for ours, theirs in (
        (families.ATTENTION, lora),
        (families.ADALORA, adalora),
        (minipeft.VeraConfig.families, vera),
        (families.IA3, ia3),
    ):
        assert {name: list(targets) for name, targets in ours.items()} == {
            name: theirs[name] for name in ours
        }
    assert all(fed[name] == [targets[-1]] for name, targets in families.IA3.items())
    assert set(adalora) - set(families.ADALORA) == {"gemma4", "nemotron_h"}  # no such model here


def test_no_family_no_targets():
    with pytest.raises(ValueError) as error:
        minipeft.get_peft_model(toy(), minipeft.LoraConfig(r=2))
    assert_says(error, "target_modules=None", "'first'")


ACCEPTED = [
    {"torch_device": "cpu", "low_cpu_mem_usage": True, "revision": "main", "token": None},
    {"autocast_adapter_dtype": True, "ephemeral_gpu_offload": False, "key_mapping": None},
    {"autocast_adapter_dtype": False},  # of 32 bits as its base
    {"cache_dir": "nowhere", "local_files_only": True, "device_map": "auto"},
    {"offload_folder": "x", "max_memory": {0: 1}, "ignore_mismatched_sizes": False},
    {"subfolder": None},
]
REFUSED = [
    ({"autocast_adapter_dtype": False}, ["autocast_adapter_dtype=False", "32 bits"]),
    ({"ephemeral_gpu_offload": True}, ["ephemeral_gpu_offload=True"]),
    ({"key_mapping": {"a": "b"}}, ["key_mapping", "rename"]),
    ({"ignore_mismatched_sizes": True}, ["ignore_mismatched_sizes=True", "random"]),
    ({"torch_devise": "cpu"}, ["torch_devise", "nearest: 'torch_device'"]),
]


@pytest.mark.parametrize("options", ACCEPTED, ids=str)
def test_keywords_that_mean_nothing_here(tmp_path, options):
    model = adapted().eval()
    model.save_pretrained(tmp_path, save_embedding_layers="auto", push_to_hub=False)
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path, **options)
    assert torch.equal(again(TOKENS), model(TOKENS))
    again.load_adapter(tmp_path, "more", **options)
    again.set_adapter("more")
    assert torch.equal(again(TOKENS), model(TOKENS))


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=str)
def test_keywords_that_would_change_something(tmp_path, options, words):
    adapted().save_pretrained(tmp_path)
    base = toy().bfloat16()
    with unchanged(base), pytest.raises((TypeError, ValueError)) as error:
        minipeft.PeftModel.from_pretrained(base, tmp_path, **options)
    assert_says(error, *words)
    model = adapted(toy().bfloat16())
    with unchanged(model), pytest.raises((TypeError, ValueError)) as error:
        model.load_adapter(tmp_path, "more", **options)
    assert_says(error, *words)


@pytest.mark.parametrize("options", [{"safe_serialization": False}, {"push_to_hub": True}], ids=str)
def test_saving_otherwise(tmp_path, options):
    with pytest.raises(ValueError) as error:
        adapted().save_pretrained(tmp_path / "out", **options)
    assert_says(error, next(iter(options)))
    adapted().save_pretrained(tmp_path / "out", is_main_process=False)
    assert not (tmp_path / "out").exists()


TRAINING = {  # by method: what only says how training starts, goes, or saves memory
    "LORA": [
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"loftq_config": {"loftq_bits": 4}, "runtime_config": {"ephemeral_gpu_offload": True}},
        {"corda_config": {"x": 1}, "lora_ga_config": {"x": 1}, "velora_config": {"x": 1}},
    ],
    "ADALORA": [
        {"total_step": None, "tinit": 200, "tfinal": 1000, "deltaT": 10},
        {"beta1": 1.5, "orth_reg_weight": -1.0, "target_r": 99},
    ],
}


@pytest.mark.parametrize(("method", "changes"), [(m, c) for m in TRAINING for c in TRAINING[m]])
def test_options_for_training_are_no_reason_not_to_open(tmp_path, method, changes):
    kind = {"LORA": minipeft.LoraConfig, "ADALORA": minipeft.AdaLoraConfig}[method]
    needed = {"r": 2} if method == "LORA" else {"total_step": 9, "init_r": 4, "target_r": 2}
    options = {"target_modules": ["first"], "init_lora_weights": False} | needed
    model = minipeft.get_peft_model(toy(), kind(**options)).eval()
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes | {"inference_mode": False}))
    again = minipeft.PeftModel.from_pretrained(toy(), tmp_path)
    assert torch.equal(again(TOKENS), model(TOKENS))


def test_starts_that_change_the_base_are_refused(tmp_path):
    adapted().save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    text = file.read_text()
    for start in ("olora", "corda", "loftq", "pissa_niter_4"):
        file.write_text(json.dumps(json.loads(text) | {"init_lora_weights": start}))
        with pytest.raises(ValueError, match=start):
            minipeft.PeftModel.from_pretrained(toy(), tmp_path)


def test_loading_over_an_adapter(tmp_path):
    """In place where it computes the same, so that an optimizer goes on; else the file's."""
    saved = {"same": {}, "rank": {"r": 3}, "alpha": {"lora_alpha": 2}}
    models = {name: adapted(**options).eval() for name, options in saved.items()}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
    learner = adapted()
    before = [p for p in learner.parameters() if p.requires_grad]
    learner.load_adapter(tmp_path / "same", "default", is_trainable=True)
    after = [p for p in learner.parameters() if p.requires_grad]
    assert len(before) == 2 and all(p is q for p, q in zip(before, after, strict=True))
    for name in ("same", "rank", "alpha", "same"):
        learner.load_adapter(tmp_path / name, "default")
        assert torch.equal(learner(TOKENS), models[name](TOKENS)), name
    learner.merge_adapter()
    with unchanged(learner), pytest.raises(RuntimeError, match="merged"):
        learner.load_adapter(tmp_path / "same", "default")


def test_a_state_dict_of_ones_own():
    """As scripts that patch `model.state_dict` hand it over: values from there."""
    model = adapted()
    own = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    plain = minipeft.get_peft_model_state_dict(model)
    for name, tensor in minipeft.get_peft_model_state_dict(model, own).items():
        assert torch.equal(tensor, plain[name] + 1)
    with pytest.raises(ValueError, match="state_dict lacks"):
        minipeft.get_peft_model_state_dict(model, {})


def test_setting_what_does_not_fit():
    model = adapted()
    state = minipeft.get_peft_model_state_dict(model)
    for wrong in ({}, state | {"more": torch.ones(1)}, {n: t[:1] for n, t in state.items()}):
        with unchanged(model), pytest.raises(ValueError):
            minipeft.set_peft_model_state_dict(model, wrong)
    model.merge_adapter()
    with unchanged(model), pytest.raises(RuntimeError, match="merged"):
        minipeft.set_peft_model_state_dict(model, state)


def test_deleting_what_is_merged_and_the_last():
    model = adapted()
    model.add_adapter("other", minipeft.LoraConfig(**OPTIONS))
    model.merge_adapter()
    with unchanged(model), pytest.raises(RuntimeError, match="merged"):
        model.delete_adapter("default")
    model.delete_adapter("other")
    model.unmerge_adapter()
    model.delete_adapter("default")
    assert (model.active_adapter, model.penalty(), model.merged) == (None, 0.0, False)
    assert torch.equal(model(TOKENS), toy()(TOKENS))
    assert model.get_nb_trainable_parameters()[0] == 0
    with pytest.raises(RuntimeError, match="not attached"):
        model.merge_adapter()
    assert not any(isinstance(m, minipeft.AdaptedLinear) for m in model.unload().modules())


@pytest.mark.parametrize("pack", [in_ours, in_bitsandbytes])
def test_packed_weights_are_counted_whole(pack):
    dense = sum(p.numel() for p in llama().parameters())
    trained, total = adapted(pack(llama()), **LLAMA).get_nb_trainable_parameters()
    assert total == dense + trained


def test_a_method_is_shown_in_messages_by_its_plain_name():
    """So that an error says IA3, and not PeftType.IA3, which no file and no paper does."""
    kind = minipeft.PeftType.IA3
    assert (f"{kind}", f"{kind:>4}") == ("IA3", " IA3")
    model = adapted()
    options = {"target_modules": ["first"], "feedforward_modules": []}
    model.add_adapter("scales", minipeft.IA3Config(**options))
    with pytest.raises(ValueError, match=r"'scales' \(IA3\) is more than low-rank"):
        model.eval()(torch.randn(1, *TOKENS.shape[1:], 8), adapter_names=["scales"])
