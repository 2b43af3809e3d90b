"""Lesson 15's guide, on the cases that published guides get wrong, and what it computes with."""

from functools import partial

import pytest

from minipeft import LoraConfig, NotMergeable, count_parameters, get_peft_model, memory_budget
from minipeft.budget import Architecture
from minipeft.budget.fits import parse_size
from minipeft.course.base import load_base
from minipeft.course.lessons import choosing
from minipeft.course.lessons.choosing import METHODS, choose
from minipeft.course.lessons.choosing_reasons import AGAINST, FOR, NOTE, RULES_OUT, UNMERGEABLE

FEW = ("LoRA", "QLoRA", "(IA)3", "adapters", "prefix", "prompt")  # for speed
TINY = Architecture(
    vocab_size=500, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2,
)  # fmt: skip


def possible(model, room, **asked):
    return [choice.method for choice in choose(model, room, **asked) if choice.possible]


def one(method, model, room, **asked):
    (choice,) = choose(model, room, methods=[method], **asked)
    return choice


def test_a_7b_on_14_gb_takes_four_bits_where_a_threshold_says_lora():
    choices = choose("llama-7b", "14 GB")
    assert [choice.method for choice in choices if choice.possible] == ["QLoRA"]
    lora = next(choice for choice in choices if choice.method == "LoRA")
    assert lora.cost.needed >= 2 * count_parameters("llama-7b").total, "the weights alone"
    assert lora.reasons[0].effect == RULES_OUT and "13.48 GB" in lora.reasons[0].text


def test_a_7b_on_24_gb_needs_no_four_bits():
    found = possible("llama-7b", "24 GB", methods=FEW)
    assert found[0] == "LoRA" and found.index("LoRA") < found.index("QLoRA")
    assert any(r.effect == AGAINST for r in one("QLoRA", "llama-7b", "24 GB").reasons)


def test_a_65b_fits_48_gb_in_four_bits_and_24_gb_not_at_all():
    assert possible("llama-65b", "48 GB", methods=("LoRA", "QLoRA", "prompt")) == ["QLoRA"]
    small = choose("llama-65b", "24 GB", methods=("LoRA", "QLoRA", "prompt"))
    assert not any(choice.possible for choice in small)
    assert small[0].method == "QLoRA" and small[0].cost.needed > 32.5e9, "half a byte each"
    assert all(choice.cost.at_least for choice in small[1:])


@pytest.mark.parametrize("method", FEW)
def test_bytes_are_those_of_memory_budget(method):
    choice = one(method, "smollm2-135m", "24 GB", batch=2, length=128)
    four = {"quantization": "nf4_double", "optimizer": "paged_adamw"} if method == "QLoRA" else {}
    options = {"batch": 2, "length": 128, "checkpointing": True, "optimizer": "adamw_fused"} | four
    budget = memory_budget("smollm2-135m", choice.config, **options)
    assert choice.cost.needed == budget.needed_bytes and not choice.cost.at_least


def test_what_is_told_as_a_least_is_no_more_than_what_is_needed():
    choice = one("(IA)3", "smollm2-1.7b", "3 GB")
    assert choice.cost.at_least and parse_size("2 GB") < choice.cost.needed
    options = {"checkpointing": True, "optimizer": "adamw_fused"}
    needed = memory_budget("smollm2-1.7b", choice.config, **options).needed_bytes
    assert choice.cost.needed <= needed


def test_the_spare_room_is_kept_free():
    needed = one("LoRA", "smollm2-135m", "24 GB").cost.needed
    for spare, fits in ((0.5, True), (1.5, False)):
        room = needed + 10**9
        choice = one("LoRA", "smollm2-135m", room, spare=round(spare * 10**9))
        assert choice.possible is fits


@pytest.mark.parametrize("name", ["LoRA", "(IA)3", "prefix"])
def test_numbers_of_a_model_with_fewer_keys_are_its_own(name):
    grouped, plain = (one(name, model, "80 GB") for model in ("llama-3-8b", "llama-7b"))
    assert grouped.cost.trained == count_parameters("llama-3-8b", METHODS[name]).trainable
    assert grouped.cost.trained != plain.cost.trained
    if name == "prefix":  # 2 n L n_kv head_dim
        assert (grouped.cost.trained, plain.cost.trained) == (1_310_720, 5_242_880)


def test_what_must_merge_is_no_adapter_and_no_prompt():
    choices = choose(TINY, "24 GB", must_merge=True)
    out = {choice.method for choice in choices if not choice.possible}
    assert out == set(UNMERGEABLE) == {"adapters", "prefix", "prompt"}
    for choice in choices:
        if choice.method in UNMERGEABLE:
            assert UNMERGEABLE[choice.method][0] in str(choice)


def test_whatever_may_merge_does():
    """What the guide rules out is what the framework refuses, and nothing else."""
    for method, config in METHODS.items():
        if config is None:
            continue
        choice = one(method, TINY, "24 GB", must_merge=True)
        model = get_peft_model(load_base()[0], choice.config)
        if choice.possible:
            model.merge_and_unload()
        else:
            with pytest.raises(NotMergeable):
                model.merge_and_unload()


def test_single_answers_come_fast_where_nothing_stands_beside_the_weights():
    choices = {c.method: c for c in choose(TINY, "24 GB", fast_single=True)}
    assert FOR in {r.effect for r in choices["LoRA"].reasons}
    assert "20.7 to 30.3%" in str(choices["adapters"]) and choices["adapters"].against == 1
    together = {c.method: c for c in choose(TINY, "24 GB", fast_single=True, adapters=8)}
    assert "unmerged" in str(together["LoRA"]) and "unmerged" not in str(choices["LoRA"])


def test_few_examples_and_a_large_model_are_no_reason_for_a_prompt():
    choices = choose("llama-7b", "24 GB", small_data=True, methods=FEW)
    order = [choice.method for choice in choices]
    assert order[0] == "LoRA" and order.index("prompt") > order.index("LoRA")
    for method in ("prefix", "prompt"):
        (told,) = [r for c in choices if c.method == method for r in c.reasons if "MNLI" in r.text]
        assert told.effect == NOTE and "Li and Liang" in told.text, "papers disagree"


def test_many_tasks_are_many_models_for_full_tuning_and_small_files_for_lora():
    choices = {c.method: c for c in choose("smollm2-135m", "24 GB", adapters=32)}
    assert choices["full"].against == 1 and "32 whole models" in str(choices["full"])
    assert any(r.effect == FOR and "mixes all 32" in r.text for r in choices["LoRA"].reasons)
    assert "DoRA" in next(r.text for r in choices["DoRA"].reasons if "vLLM" in r.text)
    merged = {c.method: c for c in choose(TINY, "24 GB", adapters=32, must_merge=True)}
    assert all("32 whole models" in str(c) for c in merged.values() if c.possible)


def test_random_weights_are_trained_in_full():
    assert possible(TINY, "24 GB", pretraining=True) == ["full"]


def test_a_single_task_that_fits_in_full_is_tuned_in_full_first():
    assert possible("smollm2-135m", "24 GB")[0] == "full"


@pytest.mark.parametrize(("model", "new"), [("llama-7b", True), ("bert-base-uncased", False)])
def test_bitfit_says_where_a_model_has_no_biases(model, new):
    choice = one("BitFit", model, "24 GB")
    assert ("has no bias" in str(choice)) is new
    assert choice.cost.trained == {True: 1_359_872, False: 102_912}[new]


def test_new_tokens_have_rows_that_no_adapter_trains():
    for choice in choose(TINY, "24 GB", new_tokens=3):
        assert ("3 new rows" in str(choice)) is (choice.method != "full")


def test_a_method_that_is_not_built_on_a_model_is_ruled_out_with_the_reason():
    choices = {c.method: c for c in choose("t5-base", "24 GB")}
    assert choices["LoRA"].possible and not choices["adapters"].possible
    assert choices["adapters"].cost is None and "target_modules" in str(choices["adapters"])


def test_every_choice_has_what_it_takes_to_go_on():
    choices = choose(TINY, "24 GB", small_data=True, adapters=4, fast_single=True, new_tokens=2)
    assert {choice.method for choice in choices} == set(METHODS)
    assert all(reason.evidence for choice in choices for reason in choice.reasons)
    ranked = [choice.against for choice in choices if choice.possible]
    assert ranked == sorted(ranked)
    lora = next(choice for choice in choices if choice.method == "LoRA")
    assert isinstance(lora.config, LoraConfig)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"model": "lama-7b"}, "llama-7b"),
        ({"room": "24 quarts"}, "24 quarts"),
        ({"batch": 0}, "batch"),
        ({"adapters": 0}, "adapters"),
        ({"new_tokens": -1}, "new_tokens"),
        ({"methods": ["Lora"]}, "LoRA"),
    ],
)
def test_what_is_not_known_is_one_clear_error(asked, named):
    given = {"model": TINY, "room": "24 GB"} | asked
    with pytest.raises((ValueError, TypeError), match=named):
        choose(given.pop("model"), given.pop("room"), **given)


def test_a_named_model_is_calculated_once(monkeypatch):
    first = choose("smollm2-135m", "24 GB")
    for name in ("count_parameters", "memory_budget"):
        again = partial(pytest.fail, f"{name} was called again")
        again.__name__ = name
        monkeypatch.setattr(choosing, name, again)
    assert choose("smollm2-135m", "24 GB", must_merge=True)[0].cost == first[0].cost
