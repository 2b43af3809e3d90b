"""Does a published adapter fit a base? Adapters by peft, bases by transformers; some don't fit."""

import json
import subprocess
import sys

import peft
import pytest
from transformers import AutoModelForSequenceClassification, LlamaForCausalLM

import minipeft
from minipeft.command.inspect import MEASURED, forgetting_evidence, inspect_adapter

from .every_method import MAKERS, NOWHERE, config_for
from .models import FAMILIES, build, logits
from .peers import quiet
from .snapshots import assert_says

LLAMA2 = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "_name_or_path": "meta-llama/Llama-2-7b-hf",
}
PUBLISHED = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"],
    "base_model_name_or_path": "NousResearch/Llama-2-7b-hf",
}


def verdicts(report) -> dict[str, str]:
    """The worst verdict on each subject."""
    order = ["ok", "note", "wrong"]
    worst: dict[str, str] = {}
    for finding in report.findings:
        before = worst.get(finding.subject, "ok")
        worst[finding.subject] = max(before, finding.verdict, key=order.index)
    return worst


def said(report, subject: str) -> str:
    return " ".join(f.text for f in report.findings if f.subject == subject)


def by_peft(folder, family: str, **options):
    """A folder with an adapter, and the fields of the base's config.json."""
    base = build(family)
    settings = {"r": 3, "target_modules": list(FAMILIES[family].targets)} | options
    with quiet():
        peft.get_peft_model(base, peft.LoraConfig(**settings)).save_pretrained(folder)
    return folder, base.config.to_dict() | {"architectures": [type(base).__name__]}


def test_a_published_config_that_fits():
    report = inspect_adapter(PUBLISHED, LLAMA2)
    assert report.fits
    assert set(verdicts(report).values()) == {"ok"}
    assert "16 / 8 = 2" in said(report, "scale")
    assert "4,194,304 parameters" in said(report, "shapes")  # as peft prints for LLaMA-7B


@pytest.mark.parametrize("options", [
    {},
    {"use_rslora": True, "lora_alpha": 4},
    {"rank_pattern": {"query|q_proj|c_attn": 2}},
    {"bias": "all"},
], ids=str)  # fmt: skip
def test_what_peft_made_for_this_base_fits(tmp_path, family, options):
    report = inspect_adapter(*by_peft(tmp_path, family, **options))
    assert report.fits, report.table()
    assert verdicts(report)["shapes"] == "ok"


@pytest.mark.parametrize("changed, words", [
    ({"hidden_size": 48, "num_attention_heads": 4}, ("(24, 3)", "(48, 3)", "another base")),
    ({"num_key_value_heads": 4}, ("(12, 3)", "(24, 3)")),  # grouped-query attention
    ({"num_hidden_layers": 2}, ("layers.2.",)),
])  # fmt: skip
def test_a_base_of_other_sizes_does_not_fit(tmp_path, changed, words):
    folder, base = by_peft(tmp_path, "llama")
    report = inspect_adapter(folder, base | {"head_dim": None} | changed)
    assert not report.fits
    assert verdicts(report)["shapes"] == "wrong"
    for word in words:
        assert word in said(report, "shapes")


def test_added_tokens_are_seen(tmp_path):
    folder, base = by_peft(tmp_path, "llama", modules_to_save=["embed_tokens", "lm_head"])
    assert verdicts(inspect_adapter(folder, base))["embeddings"] == "ok"
    report = inspect_adapter(folder, base | {"vocab_size": 37})
    assert verdicts(report)["embeddings"] == "wrong"
    assert "resize_token_embeddings(40)" in said(report, "embeddings")
    fields = json.loads((folder / "adapter_config.json").read_text())
    assert verdicts(inspect_adapter(fields, base))["embeddings"] == "note"


@pytest.mark.parametrize("changed, subject, verdict, words", [
    ({"peft_type": "LORO"}, "method", "wrong", ("'LORO'", "'LORA'")),
    ({"target_modules": ["q_porj"]}, "targets", "wrong", ("'q_porj'", "'q_proj'")),
    ({"target_modules": r".*mlp\.c_fc"}, "targets", "wrong", ("c_fc",)),
    ({"use_wave": True}, "fields", "wrong", ("use_wave=True",)),
    ({"use_wave": False}, "fields", "note", ("use_wave", "off")),
    ({"r": 0}, "fields", "wrong", ("rank r=0",)),
    ({"r": 5000}, "shapes", "note", ("it loads", "r=5000", "4096")),
    ({"base_model_name_or_path": "mistralai/Mistral-7B-v0.1"}, "base", "note", ("Mistral",)),
    ({"base_model_name_or_path": None}, "base", "note", ("doesn't say its name",)),
    ({"alpha_pattern": {"q_proj": 3}}, "scale", "ok", ("alpha_pattern",)),
    ({"use_rslora": True}, "scale", "ok", ("16 / sqrt(8) = 5.657",)),
], ids=str)  # fmt: skip
def test_what_is_found_in_a_config(changed, subject, verdict, words):
    report = inspect_adapter(PUBLISHED | changed, LLAMA2)
    assert verdicts(report)[subject] == verdict, report.table()
    assert report.fits == (verdict != "wrong")
    for word in words:
        assert word in said(report, subject)


@pytest.mark.parametrize("rank", [1, 64, 100, 256, 512])
def test_the_evidence_is_published_and_says_so(rank):
    """A range of measured points, whatever the rank: none of it is made up for this adapter."""
    evidence = forgetting_evidence(rank)
    kept = [point.lora - point.full for point in MEASURED]
    assert evidence["range"] == pytest.approx((min(kept), max(kept)))
    assert len(evidence["sources"]) >= 3
    assert "Biderman" in evidence["sources"][0]
    below, above = rank < 64, rank > 256
    assert ("below all" in evidence["remark"], "above all" in evidence["remark"]) == (below, above)


def test_other_methods_have_no_evidence_of_their_own():
    report = inspect_adapter(
        {"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": []}, LLAMA2
    )
    assert report.fits
    assert report.forgetting is None


@pytest.mark.parametrize("text, words", [
    (None, ("is missing",)), ("{", ("not JSON",)), ("[1]", ("JSON object", "list")),
])  # fmt: skip
def test_files_that_cannot_be_read(tmp_path, text, words):
    path = tmp_path / "adapter_config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises((FileNotFoundError, ValueError)) as error:
        inspect_adapter(path, LLAMA2)
    assert_says(error, "adapter_config.json", *words)


def test_a_damaged_file_of_weights(tmp_path):
    folder, base = by_peft(tmp_path, "llama")
    (folder / "adapter_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="damaged"):
        inspect_adapter(folder, base)


@pytest.mark.slow
def test_the_command(tmp_path):
    folder, _ = by_peft(tmp_path / "adapter", "llama")
    base: LlamaForCausalLM = build("llama")
    base.config.save_pretrained(tmp_path / "base")

    def run(*more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "minipeft", "inspect", str(folder), "--base"]
        return subprocess.run([*command, *more], capture_output=True, text=True)

    fits = run(str(tmp_path / "base"))
    assert (fits.returncode, fits.stderr) == (0, "")
    assert "The adapter fits." in fits.stdout
    as_json = json.loads(run(str(tmp_path / "base"), "--json").stdout)
    assert as_json["fits"]
    assert as_json["forgetting"]["measured"]
    missing = run(str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr


CONFIGS = {family: build(family).config for family in ("bert", "gpt2", "llama")}
for _config in CONFIGS.values():
    _config.num_labels, _config.pad_token_id = 3, 0


def saved(folder, base, config, named: str | None = None):
    """A folder with an adapter of ours, and the fields of the base's config.json."""
    minipeft.get_peft_model(base, config).save_pretrained(folder)
    fields = base.config.to_dict() | {"architectures": [named or type(base).__name__]}
    return folder, fields


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_every_method_saves_fits(tmp_path, name, family):
    if (name, family) in NOWHERE:
        pytest.skip("this family has no place for it")
    report = inspect_adapter(*saved(tmp_path, build(family), config_for(name, family)))
    assert report.fits, report.table()


def test_an_adalora_folder_whose_ranks_have_fallen(tmp_path):
    base = build("llama")
    model = minipeft.get_peft_model(base, config_for("AdaLoRA", "llama"))
    for step in range(1, 9):
        logits(model).square().mean().backward()
        model.update_and_allocate(step)
        model.zero_grad()
    assert any(not all(kept) for kept in model.peft_config["default"].rank_pattern.values())
    model.save_pretrained(tmp_path)
    fields = base.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
    assert inspect_adapter(tmp_path, fields).fits


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_classifier_by_its_config_alone(tmp_path, family):
    """peft names "classifier" and "score", whichever there is."""
    config = CONFIGS[family]
    targets = list(FAMILIES[family].targets)[:1]
    with quiet():
        lora = peft.LoraConfig(r=3, target_modules=targets, task_type="SEQ_CLS")
        real = AutoModelForSequenceClassification.from_config(config)
        peft.get_peft_model(real, lora).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    base = config.to_dict() | {"architectures": [type(real).__name__]}
    for adapter in (fields, tmp_path):
        assert inspect_adapter(adapter, base).fits
    other = base | {"id2label": {str(label): label for label in range(7)}}
    report = inspect_adapter(tmp_path, other)
    assert not report.fits
    assert "(3," in said(report, "shapes") and "(7," in said(report, "shapes")
    headless = base | {"architectures": [type(build(family)).__name__], "id2label": None}
    if family != "bert":  # whose tiny model here is a classifier
        report = inspect_adapter(tmp_path, headless)
        assert report.fits, report.table()
        assert "num_labels=3" in said(report, "head")


@pytest.mark.parametrize("named", ["LlamaForCausalLMEagle", "MyOwnLlama", "LLaMAForCausalLM2"])
def test_a_base_with_an_unusual_class_is_taken_for_the_usual_one(named):
    report = inspect_adapter(PUBLISHED, LLAMA2 | {"architectures": [named]})
    assert report.fits
    assert named in said(report, "base")
    assert verdicts(report)["base"] == "note"


def test_a_pickle_is_not_loaded(tmp_path):
    folder, base = by_peft(tmp_path, "llama")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    report = inspect_adapter(folder, base)
    assert not report.fits
    assert "pickle" in said(report, "file")


def test_a_git_lfs_pointer_is_no_file_of_tensors(tmp_path):
    folder, base = by_peft(tmp_path, "llama")
    pointer = "version https://git-lfs.example/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "adapter_model.safetensors").write_text(pointer)
    with pytest.raises(ValueError, match="Git LFS pointer"):
        inspect_adapter(folder, base)


def test_a_rank_above_a_side_loads(tmp_path):
    folder, base = by_peft(tmp_path, "llama", r=30, target_modules=["k_proj"])
    assert verdicts(inspect_adapter(folder, base))["shapes"] == "ok"
    fields = json.loads((folder / "adapter_config.json").read_text())
    assert inspect_adapter(fields, base).fits
