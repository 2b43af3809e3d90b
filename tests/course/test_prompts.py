"""Lesson 09's soft prompts, their share of attention and nearest words; the recorded runs."""

import json
import math

import peft
import pytest
import torch
import torch.nn.functional as F
import transformers

from minipeft.course import evaluate
from minipeft.course.base import DATA, load_base
from minipeft.course.lab.pictures import lesson_09 as pictures
from minipeft.course.lessons import prompts
from minipeft.course.world import KINDS
from scripts import sweep, sweep_prompts

TOKENS = torch.arange(40, 52)[None]
RECORDED = json.loads((DATA / "soft_prompts.json").read_text(encoding="utf-8"))
COUNTS = {  # by hand: width 192, 4 layers, keys of 64
    "prompt": 3 * 192,
    "prompt, random": 3 * 192,
    "prefix": 3 * 2 * 4 * 64,
    "prefix, zero": 3 * 2 * 4 * 64,
    "prefix, mlp": 3 * 64 + 64 * 64 + 64 + 64 * 512 + 512,
    "p-tuning": 3 * 192 + 3 * (192 * 192 + 192),
}


@pytest.mark.parametrize("method", prompts.CONFIGS)
def test_each_kind_trains_what_was_counted_by_hand(method):
    model = prompts.soft_prompted(method, 3)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == COUNTS[method]


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'prefix, zero'"):
        prompts.soft_prompted("prefix, zeros", 3)


def test_a_sampled_prompt_starts_from_tokens_and_zeros_are_zeros():
    table = load_base()[0].get_input_embeddings().weight
    (P,) = [p for p in prompts.soft_prompted("prompt", 3).parameters() if p.requires_grad]
    assert all((row == table).all(1).any() for row in P)
    (Z,) = [p for p in prompts.soft_prompted("prefix, zero", 3).parameters() if p.requires_grad]
    assert not Z.any()


def test_the_share_on_a_prefix_is_that_of_transformers_and_peft(tmp_path):
    torch.manual_seed(0)
    model = prompts.soft_prompted("prefix", 3)
    model.peft_config["default"].task_type = "CAUSAL_LM"
    model.save_pretrained(tmp_path)
    config = transformers.LlamaConfig(**json.loads((DATA / "config.json").read_text()))
    config._attn_implementation = "eager"
    theirs = transformers.LlamaForCausalLM(config)
    theirs.load_state_dict(load_base()[0].state_dict())
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path).eval()
    with torch.no_grad():
        maps = theirs(input_ids=TOKENS, output_attentions=True).attentions
    ours = prompts.share_on_virtual(model, TOKENS, 3)
    for share, wanted in zip(ours, maps, strict=True):
        torch.testing.assert_close(share, wanted[0, ..., :3].sum(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_a_share_has_a_row_for_each_layer_and_lies_between_nothing_and_all(method):
    share = prompts.share_on_virtual(prompts.soft_prompted(method, 3), TOKENS, 3)
    assert share.shape == (4, 6, TOKENS.shape[1])
    assert bool((share >= 0).all() and (share <= 1 + 1e-6).all())
    assert float(share[:, :, 0].min()) > 0, "the first token sees little else"


def test_nearest_tokens_are_nearest_by_angle():
    torch.manual_seed(0)
    P, table = torch.randn(5, 8), torch.randn(30, 8) * torch.rand(30, 1)
    ids, cosines = prompts.nearest_tokens(P, table)
    wanted = F.cosine_similarity(P[:, None], table[None], dim=2).max(1)
    assert torch.equal(ids, wanted.indices)
    torch.testing.assert_close(cosines, wanted.values)


def test_of_translations_the_base_lacks_their_kind_alone():
    base, tokenizer = load_base()
    batches, test, least = prompts.translations(tokenizer, steps=3, seed=0)
    assert [len(batch.input_ids) for batch in batches] == [8, 8, 8]
    texts = sum(len(batch.input_ids) for batch in test)
    tokens = sum(int((batch.labels[:, 1:] != -100).sum()) for batch in test)
    per_text = (evaluate(base, test) - least) * tokens / texts
    assert per_text == pytest.approx(-math.log(KINDS["translator"]), abs=0.1)


def test_the_recorded_runs_are_those_of_the_script():
    assert (RECORDED["steps"], RECORDED["batch_size"]) == (sweep.STEPS, sweep.BATCH)
    wanted = sweep_prompts.wanted()
    assert len(RECORDED["runs"]) == len(wanted)
    assert all(sum(w.items() <= run.items() for run in RECORDED["runs"]) == 1 for w in wanted)


@pytest.mark.parametrize("task", sweep_prompts.RATES)
def test_the_script_still_makes_what_is_shipped(task, monkeypatch):
    monkeypatch.setattr(sweep_prompts, "STEPS", 1)
    asked = next(w for w in sweep_prompts.wanted() if w["task"] == task)
    made = sweep_prompts.run(**asked)
    (same,) = [run for run in RECORDED["runs"] if asked.items() <= run.items()]
    assert made.keys() == same.keys()
    for key in ("trained", "floor", "tokens", "own_floor"):
        assert made[key] == same[key]
    assert made["loss"] > same["loss"]


@pytest.mark.parametrize("task", sweep_prompts.RATES)
def test_what_ran_with_three_seeds_is_the_best_of_the_first(task):
    for method, best in sweep_prompts.BEST[task].items():
        same = {"task": task, "method": method, "n": sweep_prompts.N}
        runs = [run for run in RECORDED["runs"] if same.items() <= run.items()]
        first = [run for run in runs if run["seed"] == sweep_prompts.SEEDS[0]]
        assert min(first, key=lambda run: run["loss"])["rate"] == best, method
        assert {run["seed"] for run in runs if run["rate"] == best} == set(sweep_prompts.SEEDS)


def test_on_the_chef_a_best_rate_is_not_the_end_of_its_sweep():
    for method, points in prompts.by_rate(prompts.recorded_prompts("instruction")).items():
        rates = [point.rate for point in points]
        assert rates == sorted(rates)
        assert prompts.best(points).rate not in (rates[0], rates[-1]), method
        assert prompts.best(points).rate == sweep_prompts.BEST["instruction"][method]
        assert [point.seeds for point in points] == [1, 3, 1]


def test_lengths_run_at_one_rate_and_a_spread_holds_its_mean():
    points = prompts.recorded_prompts("instruction")
    lengths = prompts.by_length(points)
    assert {m: [p.n for p in ps] for m, ps in lengths.items()} == {
        "prompt": [1, 10, 30],
        "prefix": [1, 10, 30],
    }
    for point in points:
        low, high = point.spread
        assert low <= point.learned <= high


def test_a_task_that_was_not_swept_is_named():
    with pytest.raises(ValueError, match="'translator'"):
        prompts.recorded_prompts("translations")


def test_pictures_say_what_they_show():
    _, alt, data = pictures.places_picture(4, 3, ["a", "b"])
    assert data == {"trained embeddings": 3, "trained pairs": 12} and "12 pairs" in alt
    points = prompts.recorded_prompts("instruction")
    drawn = prompts.by_rate(points), prompts.by_length(points), {"lora": 0.04}
    _, alt, data = pictures.sweep_picture(*drawn)
    assert "lora 0.04" in alt and len(data) == len(drawn[0]) + 2 + 1
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])  # one virtual token
    _, alt, _ = pictures.map_picture(weights, 1, ["x", "y"], "a head")
    assert "38% of the attention" in alt and "'x' gives 50%" in alt
    _, alt, _ = pictures.share_picture({"kind": torch.full((2, 3, 4), 0.25)}, list("abcd"))
    assert "kind 25%, 25%" in alt
