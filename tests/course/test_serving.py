"""What lesson 13 computes: bytes and passes, published configs, run logs, adapters on one base."""

import hashlib
import json
import warnings

import matplotlib.pyplot as plt
import peft
import pytest
import torch
import transformers

from minipeft import LoraConfig, get_peft_model_state_dict
from minipeft.budget import Architecture
from minipeft.course.base import load_base
from minipeft.course.lab.pictures import lesson_13 as pictures
from minipeft.course.lessons import run_log, serving, shelf
from minipeft.course.lessons.merging import Bench, attached
from minipeft.course.lessons.recorded import recorded_runs
from minipeft.course.lessons.weighing_recorded import ADAPTERS, WAYS, weighed_by_pair
from minipeft.course.tasks import task
from scripts import weighing

TOKENS = torch.randint(2, 1000, (4, 12), generator=torch.Generator().manual_seed(0))
CONFIG = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
NAMES = ["a", "b", "a", "__base__"]
SIZES = {"a": 10, "b": 1}


@pytest.fixture
def two():
    """A base with the adapters "a" and "b", of which "a" is active."""
    torch.manual_seed(0)
    model = shelf.with_adapter(shelf.with_adapter(None, "a", CONFIG), "b", CONFIG)
    assert model.active_adapter == "b"
    model.set_adapter("a")
    return model.eval()


# Bytes and passes


@pytest.mark.parametrize("way", serving.WAYS)
def test_each_request_is_in_one_pass(way):
    groups = serving.passes(way, NAMES)
    assert sorted(i for rows in groups for i in rows) == [0, 1, 2, 3]
    assert len(groups) == {"one by one": 4, "by adapter": 3, "mixed": 1}[way]


def test_bytes_of_a_step():
    read = {way: serving.bytes_read(way, 1000, SIZES, NAMES) for way in serving.WAYS}
    assert read == {"one by one": 4021, "by adapter": 3011, "mixed": 1011}
    assert serving.bytes_read("mixed", 1000, SIZES, []) == 1000
    with pytest.raises(ValueError, match="way='mix' is not known"):
        serving.bytes_read("mix", 1000, SIZES, NAMES)
    with pytest.raises(KeyError, match="c"):
        serving.bytes_read("mixed", 1000, SIZES, ["c"])


def test_the_quickest_of_the_calls_is_timed():
    seen = []
    assert 0 <= serving.milliseconds(lambda: seen.append(1), tries=3) < 1000
    assert len(seen) == 3


def test_a_weighted_sum_is_put_on_the_base():
    W0 = {"x": torch.randn(3, 4), "y": torch.randn(2, 4)}
    D = [{path: torch.randn_like(W) for path, W in W0.items()} for _ in range(2)]
    made = serving.weighed(W0, D, [2, -1])
    for path in W0:
        torch.testing.assert_close(made[path], W0[path] + 2 * D[0][path] - D[1][path])
    with pytest.raises(ValueError, match="zip"):
        serving.weighed(W0, D, [1])


# Published configs


PUBLISHED = serving.published_adapters()
TOTALS = {  # of the published models, as their cards and configs give them
    "llama-7b": 6_738_415_616,
    "llama-2-7b": 6_738_415_616,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.1": 7_241_732_096,
    "qwen2.5-3b": 3_085_938_688,
    "flan-t5-xxl": 11_135_332_352,
    "phi-1.5": 1_418_270_720,
}


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_a_published_config_is_one_of_pefts(one):
    """With the fields of peft's own class, and of older ones of it, under the same method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fields that peft has no more
        kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[one.config["peft_type"]]
        theirs = kind.from_peft_type(**one.config)
    assert theirs.peft_type == one.config["peft_type"]
    assert theirs.r == one.config["r"]
    assert one.config["base_model_name_or_path"] == one.base == one.base_config["_name_or_path"]
    assert not any("/" in str(value) for value in one.config.values())


@pytest.mark.parametrize("base", TOTALS)
def test_the_bases_are_the_published_ones(base):
    fields = next(one.base_config for one in PUBLISHED if one.base == base)
    assert Architecture.from_config(fields).total == TOTALS[base]


@pytest.mark.parametrize(
    "one", [one for one in PUBLISHED if one.base == "tinyllama-1.1b"], ids=lambda one: one.name
)
def test_what_it_adds_is_what_peft_adds(one):
    fields = {k: v for k, v in one.base_config.items() if k not in ("_name_or_path",)}
    with torch.device("meta"):
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields))
        config = peft.LoraConfig(r=one.config["r"], target_modules=one.config["target_modules"])
        trained, _ = peft.get_peft_model(theirs, config).get_nb_trainable_parameters()
    assert one.added() == trained


def test_a_dozen_of_which_ten_fit():
    fits = {one.name: one.inspect().fits for one in PUBLISHED}
    assert len(fits) == 12
    assert [name for name, fine in fits.items() if not fine] == ["fused names", "OFT"]
    assert {one.name: one.added() for one in PUBLISHED}["OFT"] is None
    qlora = next(one for one in PUBLISHED if one.config["r"] == 64)
    assert qlora.added() == 159_907_840  # Kopiczko et al. 2024, "VeRA", Table 4: 159.9M
    assert qlora.inspect().forgetting["range"] == (0.072, 0.095)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"r": 16}, []),
        ({"r": 17}, ["rank 17 > 16"]),
        ({"use_dora": True, "modules_to_save": ["lm_head"]}, ["modules_to_save", "DoRA"]),
        ({"modules_to_save": []}, []),
        ({"bias": "all"}, ["biases"]),
        ({"use_rslora": True}, []),
    ],
)
def test_what_vllm_refuses(changes, reasons):
    fields = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]} | changes
    assert serving.refused_by_vllm(fields) == reasons
    assert serving.refused_by_vllm({"r": 8}) == ["no lora_alpha", "no target_modules"]
    assert not serving.refused_by_vllm(fields | {"r": 64, "use_dora": False}, 64)[2:]


def test_the_commands_name_every_adapter():
    told = serving.commands("base", {"a": "shelf/a", "b": "shelf/b"}, 8)
    assert " ".join(told["vLLM"]) == (
        "vllm serve base --enable-lora --lora-modules a=shelf/a b=shelf/b "
        "--max-loras 2 --max-lora-rank 8"
    )
    assert " ".join(told["SGLang"]).endswith("a=shelf/a b=shelf/b --max-loras-per-batch 3")


# Adapters on one base


def test_alone_is_what_mixed_gives(two):
    mixed = two(TOKENS, adapter_names=NAMES).detach()
    for i, name in enumerate(NAMES):
        single = shelf.alone(two, TOKENS[i : i + 1], name)[0]
        assert (mixed[i] - single).norm() < 1e-5 * single.norm()
    assert two.active_adapter == "a" and two.attached
    torch.testing.assert_close(shelf.alone(two, TOKENS, "__base__"), load_base()[0](TOKENS))


def test_names_exchanged_twice_are_back():
    tensors = {"layers.0.q": torch.zeros(1), "layers.1.q": torch.ones(1), "head": torch.ones(2)}
    once = shelf.exchanged(tensors, ".0.", ".1.")
    assert {name: t.sum().item() for name, t in once.items()} == {
        "layers.1.q": 0, "layers.0.q": 1, "head": 2,
    }  # fmt: skip
    assert shelf.exchanged(once, ".0.", ".1.").keys() == tensors.keys()


def test_swapped_names_load_without_an_error_and_give_other_numbers(two):
    held = get_peft_model_state_dict(two, adapter_name="a")
    wrong = attached(load_base()[0], CONFIG, shelf.exchanged(held, ".0.self", ".1.self"))
    right = attached(load_base()[0], CONFIG, held)
    assert not torch.allclose(wrong(TOKENS), right(TOKENS), atol=1e-2)


@pytest.mark.parametrize("reader", [None, "a"])
def test_a_cache_of_ones_own_changes_nothing(two, reader):
    batch = task("instruction", batches=1, test_batches=1, batch_size=4).test[0]
    with torch.no_grad():
        logits = two(batch.input_ids)[:, 3:]
    wanted = shelf.loss_after(logits, batch.labels, 3)
    assert shelf.answer_loss(two, batch, 3, reader) == pytest.approx(wanted, rel=1e-4)
    assert two.active_adapter == "a"


@pytest.mark.parametrize("reader", ["b", "__base__"])
def test_anothers_cache_changes_the_answer(two, reader):
    batch = task("instruction", batches=1, test_batches=1, batch_size=4).test[0]
    own = shelf.answer_loss(two, batch, 3)
    assert abs(shelf.answer_loss(two, batch, 3, reader) - own) > 1e-3
    assert two.active_adapter == "a" and two.attached


def test_losses_on_every_task_and_the_own_world():
    benches = {"chef": Bench("instruction", 0, test_batches=1, texts=4)}
    found = shelf.losses_on(benches, load_base()[0])
    assert list(found) == ["chef", "own world"] and found["chef"] > 5 > found["own world"]


@pytest.mark.parametrize("more", [0, 2])
def test_the_base_in_transformers_is_the_base(more):
    theirs = shelf.base_as(transformers.LlamaForCausalLM, more)
    with torch.no_grad():
        logits = theirs(input_ids=TOKENS).logits
        torch.testing.assert_close(logits[..., :1024], load_base()[0](TOKENS), rtol=1e-3, atol=1e-3)
    assert logits.shape[-1] == 1024 + more


# The run log


def test_a_fingerprint_changes_with_everything_but_the_order():
    tensors = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    word = run_log.fingerprint(tensors)
    assert word == run_log.fingerprint(dict(reversed(tensors.items())))
    others = [
        {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6.0), "c": torch.zeros(2)},
        {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.float64)},
        {"a": torch.arange(6.0), "b": torch.tensor([0, 1e-38])},
        {"a": torch.arange(6.0)},
    ]
    words = {run_log.fingerprint(other) for other in others}
    assert len(words) == 5 and word not in words


def test_a_fingerprint_is_sha_256_of_what_it_says():
    told = b"x torch.bfloat16 (1,)\n" + bytes([0x80, 0x3F])  # 1 in bfloat16, low byte first
    word = run_log.fingerprint({"x": torch.ones(1, dtype=torch.bfloat16)})
    assert hashlib.sha256(told).hexdigest().startswith(word)


@pytest.fixture
def log(two):
    batches = task("instruction", batches=2, test_batches=1, batch_size=4).train
    return run_log.run_log(two, "a", batches, seed=0, losses={"chef": 0.1})


def test_a_log_holds_for_its_own_model_alone(two, log, tmp_path):
    path = tmp_path / "log.json"
    run_log.write_run_log(path, log)
    assert json.loads(path.read_text()) == log
    assert log["told"] == {"seed": 0, "losses": {"chef": 0.1}}
    assert log["versions"].keys() == {*run_log.LIBRARIES, "python"}
    two.set_adapter("b")  # what is active makes no difference
    assert run_log.broken_promises(path, two, "a") == []
    assert run_log.broken_promises(log, two, "b") == ["adapter"]
    two.get_base_model().lm_head.weight.data[0, 0] += 1
    assert run_log.broken_promises(log, two, "a") == ["base"]
    assert run_log.broken_promises(log, two, "b") == ["base", "adapter"]


def test_a_log_says_which_data(two):
    made = task("instruction", batches=2, test_batches=1, batch_size=4)
    words = {run_log.of_data(made.train), run_log.of_data(made.train[::-1]), run_log.of_data([])}
    assert len(words) == 3
    assert run_log.of_data(made.train) == run_log.of_data(
        task("instruction", batches=2, test_batches=1, batch_size=4).train
    )


def test_bad_logs(two, tmp_path):
    with pytest.raises(ValueError, match="no adapter 'c'"):
        run_log.run_log(two, "c", [])
    with pytest.raises(TypeError, match="Tensor"):
        run_log.run_log(two, "a", [], loss=torch.ones(1))
    with pytest.raises(FileNotFoundError):
        run_log.broken_promises(tmp_path / "none.json", two, "a")


# What was recorded


def test_the_recorded_runs_are_those_of_the_script():
    found = {(tuple(run["pair"]), run["seed"], run["rate"]) for run in recorded_runs("weighing")}
    wanted = {(p, s, r) for p in weighing.PAIRS for s in weighing.SEEDS for r in weighing.RATES}
    assert found == wanted
    for run in recorded_runs("weighing"):
        assert run["losses"].keys() == set(WAYS)
        assert run["losses"]["sum"] != run["losses"]["svd"]


def test_a_run_has_the_shape_of_the_recorded_ones():
    (made,) = weighing.recorded_runs(0, 1e-3, pairs=weighing.PAIRS[:1], steps=1)
    first = recorded_runs("weighing")[0]
    assert made.keys() == first.keys() and made["losses"].keys() == first["losses"].keys()
    assert 0 < made["size"][0] < first["size"][0]


def test_points_are_the_means_of_the_better_rate():
    for points in weighed_by_pair():
        assert [point.way for point in points] == list(WAYS)
        for point in points:
            runs = [
                r
                for r in recorded_runs("weighing")
                if tuple(map(ADAPTERS.get, r["pair"])) == point.pair
            ]
            by_rate = {
                rate: [r["losses"][point.way] for r in runs if r["rate"] == rate]
                for rate in weighing.RATES
            }
            mine = by_rate[point.rate]
            for place, (low, mean, high) in enumerate(point.losses):
                column = [losses[place] for losses in mine]
                assert (low, high) == (min(column), max(column))
                assert mean == pytest.approx(sum(column) / len(column))
            asked = {"first alone": [0], "second alone": [1]}.get(point.way, [0, 1])
            sums = {
                rate: sum(losses[place] for losses in found for place in asked)
                for rate, found in by_rate.items()
            }
            assert sums[point.rate] == min(sums.values())


# Pictures


def test_pictures_say_what_they_show():
    ways = {way: [1.0, 2.0, 3.0] for way in serving.WAYS}
    fig, alt, data = pictures.read_picture([1, 2, 4], ways)
    assert "mixed 3" in alt and data == ways
    fig, alt, data = pictures.weighed_picture(weighed_by_pair())
    assert len(fig.axes) == len(weighing.PAIRS) and "trained on both" in alt
    losses = {"chef": 0.2, "larger": 0.3, "own world": 0.1}
    fig, alt, data = pictures.weights_picture(losses, losses, (1.0, 0.5))
    assert "0.5 x larger" in alt and data["weighed"] == [0.2, 0.3, 0.1]
    fig, alt, data = pictures.published_picture({"x": 2, "y": 1}, {"x": True, "y": False})
    assert list(data) == ["y", "x"] and "1 of them are refused" in alt
    fig, alt, data = pictures.cache_picture({"LoRA": [1.0, 1.0], "aLoRA": [0.0, 1.0]}, 1)
    assert "the first 1 are" in alt and "under LoRA 0" in alt
    plt.close("all")
