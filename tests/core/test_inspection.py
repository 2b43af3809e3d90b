"""Does a published adapter fit a base? Adapters by peft, bases by transformers; some don't fit."""

import json
import subprocess
import sys

import peft
import pytest
from transformers import LlamaForCausalLM

from minipeft.command.evidence import MEASURED, forgetting_evidence
from minipeft.command.inspect import inspect_adapter

from .models import FAMILIES, build
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
    ({"r": 5000}, "shapes", "wrong", ("r=5000", "4096")),
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
