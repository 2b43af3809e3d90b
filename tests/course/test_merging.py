"""What lesson 12 measures, against bitsandbytes, transformers and arithmetic."""

import json

import matplotlib.pyplot as plt
import pytest
import torch
import transformers
from torch import nn

import minipeft
from minipeft.course.base import DATA, load_base
from minipeft.course.lab.pictures import lesson_12 as pictures
from minipeft.course.lessons.merging import (
    FORMATS,
    Bench,
    attached,
    attention_maps,
    attention_moved,
    cost_of_a_token,
    cuts,
    landed,
    landed_by_size,
    layers_of,
    matrices,
    merges_by_rate,
    random_update,
    size,
    stored,
    updates_of,
)
from minipeft.course.lessons.merging_recorded import recorded
from scripts import merging

TOKENS = torch.randint(2, 1000, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def pair():
    """(weight, update), (out, in) each, of a layer of some size."""
    torch.manual_seed(0)
    return torch.randn(128, 64) / 10, torch.randn(128, 64)


def test_an_update_that_is_all_there_is_kept_whole(pair):
    _, update = pair
    found = landed(update, update)
    assert found.kept == pytest.approx(1) and found.erased == pytest.approx(0, abs=1e-9)
    assert found.noise == pytest.approx(0, abs=1e-9)


def test_what_landed_is_split_at_right_angles(pair):
    weight, update = pair
    noise = weight - (weight * update).sum() / update.square().sum() * update
    found = landed(update, 0.25 * update + noise)
    assert found.kept == pytest.approx(0.25, abs=1e-6)
    assert found.noise == pytest.approx(float(noise.norm() / update.norm()), rel=1e-5)


def test_no_share_of_nothing():
    with pytest.raises(ValueError, match="the update is zero"):
        landed(torch.zeros(3), torch.ones(3))


def test_nf4_is_stored_as_bitsandbytes_stores_it(pair):
    functional = pytest.importorskip("bitsandbytes").functional
    weight, _ = pair
    codes, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    assert torch.equal(stored(weight, "nf4"), functional.dequantize_4bit(codes, state))


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_stored_stays_when_it_is_stored_again(pair, form):
    """Every format finds its own numbers: only so can a small update fall back onto them."""
    once = stored(pair[0], form)
    assert torch.equal(stored(once, form), once)


@pytest.mark.parametrize("form", FORMATS)
def test_small_updates_are_erased_and_large_ones_survive(pair, form):
    weight, update = pair
    shares = [found.erased for found in landed_by_size(weight, update, [1e-5, 3], form)]
    assert shares[0] > 0.9 and abs(shares[1]) < 0.05


def test_from_a_base_that_lies_between_the_levels_rounding_is_fair(pair):
    """There an update moves as many weights to the next level as it should, in the mean."""
    (found,) = landed_by_size(*pair, [0.03], "nf4", on_levels=False)
    assert abs(found.erased) < 0.15
    (on_levels,) = landed_by_size(*pair, [0.03], "nf4")
    assert on_levels.erased > 0.8


def test_unknown_formats_are_refused():
    with pytest.raises(ValueError, match="form='nf3' is not known; choose from 'bf16'"):
        stored(torch.ones(4), "nf3")


def test_attention_is_that_of_transformers(tmp_path):
    base, _ = load_base()
    config = transformers.LlamaConfig(**json.loads((DATA / "config.json").read_text()))
    config._attn_implementation = "eager"
    theirs = transformers.LlamaForCausalLM(config)
    theirs.load_state_dict(base.state_dict(), strict=False)
    theirs.tie_weights()
    with torch.no_grad():
        wanted = theirs.eval()(input_ids=TOKENS, output_attentions=True).attentions
    for ours, other in zip(attention_maps(base, TOKENS), wanted, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


def test_looking_leaves_the_model_as_it_was():
    base, _ = load_base()
    with torch.no_grad():
        before = base(TOKENS)
        attention_maps(base, TOKENS)
        assert torch.equal(base(TOKENS), before)


def test_attention_that_moved_is_between_nothing_and_all():
    here, there = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert attention_moved([here], [here]) == 0
    assert attention_moved([here, here], [there, here]) == pytest.approx(0.5)


def test_the_recorded_runs_are_those_of_the_script():
    found = {(run["rate"], run["seed"]) for run in recorded("merges")}
    assert found == {(rate, seed) for rate in merging.RATES["qlora"] for seed in merging.SEEDS}
    found = {(run["method"], run["rate"], run["seed"]) for run in recorded("ranks")}
    assert found == {
        (method, rate, seed)
        for method in ("dora", "ia3", "full")
        for rate in merging.RATES[method]
        for seed in merging.SEEDS
    }
    for run in recorded("ranks"):
        assert run["ranks"] == list(merging.RANKS)
        assert run["error"] == sorted(run["error"], reverse=True)
    with pytest.raises(ValueError, match="nothing is recorded of 'merge'; nearest: 'merges'"):
        recorded("merge")


@pytest.mark.parametrize("kind", ["merges", "ranks"])
def test_a_run_has_the_shape_of_the_recorded_ones(kind, monkeypatch):
    monkeypatch.setattr(merging, "STEPS", 1)
    first = recorded(kind)[0]
    if kind == "merges":
        made = merging.merges(first["seed"], first["rate"])
        assert made["losses"].keys() == first["losses"].keys()
    else:
        made = merging.ranks(first["seed"], first["method"], first["rate"])
    assert made.keys() == first.keys()
    assert 0 < made["size"] < first["size"]


def test_an_update_is_what_peft_calls_the_delta_weight():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    options = {"r": 3, "lora_alpha": 7, "target_modules": ["0"], "init_lora_weights": False}
    theirs = peft.get_peft_model(nn.Sequential(nn.Linear(8, 5)), peft.LoraConfig(**options))
    part = theirs.base_model.model[0]
    tensors = peft.get_peft_model_state_dict(theirs)
    ours = attached(nn.Sequential(nn.Linear(8, 5)), minipeft.LoraConfig(**options), tensors)
    torch.testing.assert_close(updates_of(ours)["0"], part.get_delta_weight("default"))
    assert layers_of(ours).keys() == {"0"} and not ours.training


def test_the_bench_measures_what_is_put_and_forgets_it():
    bench = Bench("instruction", test_batches=1, texts=8)
    before = bench.losses(bench.put({}))
    path = "model.layers.0.mlp.down_proj"
    assert bench.learned(bench.put({path: torch.zeros_like(bench.W0[path])})) != before[0]
    assert bench.losses(bench.put({})) == before
    assert before[0] > 5 > 0.1 > before[1], "the base knows its own world, and no chef"
    assert set(matrices(bench.plain)) == set(bench.W0) and "lm_head" not in bench.W0


def test_a_random_update_has_the_rank_and_the_size_that_was_asked_for(pair):
    weight, _ = pair
    update = random_update(weight, 3, 0.2)
    assert torch.linalg.matrix_rank(update) == 3
    assert size({"a": update}) == pytest.approx(0.2 * size({"a": weight}), rel=1e-5)


def test_a_merged_layer_takes_one_product_and_an_unmerged_one_three():
    config = minipeft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = minipeft.get_peft_model(load_base()[0], config).eval()
    count, milliseconds = cost_of_a_token(model, tries=1)
    model.merge_adapter()
    assert count - cost_of_a_token(model, tries=1)[0] == 2 * len(layers_of(model))
    assert milliseconds > 0


def test_recorded_runs_are_told_by_rate_and_the_best_rate_first():
    points = merges_by_rate()
    assert [point.rate for point in points] == sorted(merging.RATES["qlora"])
    assert all(low <= m <= high for p in points for low, m, high in p.losses.values())
    erased = [point.erased for point in points]
    assert erased == sorted(erased, reverse=True), "the larger the update, the less is erased"
    for method, found in cuts().items():
        assert [cut.method for cut in found] == [method] * len(merging.RATES[method])
        assert found[0].whole == min(cut.whole for cut in found)
        assert f"{found[0].whole:.2f}" in str(found[0])


def test_pictures_tell_their_numbers():
    _, alt, data = pictures.dial_picture([0, 1], [(9.0, 0.1), (0.2, 0.5)])
    assert "9.00 and 0.10 at c = 0" in alt and data["own world"] == [0.1, 0.5]
    _, alt, data = pictures.levels_picture([-1, 0, 1], [0, 1.0], [0.2, 0.3], [0, 0])
    assert alt.startswith("2 weights") and "re-quantizing, 1 are back" in alt
    assert data["re-quantized"] == (0.0, 0.0)
    trained = {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    merges = {name: {p: w + d for p, w in trained.items()} for name, d in MERGED.items()}
    losses = {"as trained": (0.1, 1)} | dict.fromkeys(merges, (0.2, 1))
    fig, alt, data = pictures.merges_picture(trained, merges, losses)
    assert "into W0 0.1," in alt and "re-quantized 0.20." in alt and len(fig.axes) == 2
    assert data["error, dequantized"] == pytest.approx([0.01, 0.01])
    _, alt, data = pictures.erased_picture([0.01, 0.1], {"nf4": [1.0, 0.2]}, [0.9, 0.1], "here")
    assert alt.startswith("here: of an update of 1% of the weight 90%") and "from 10% on" in alt
    best = [found[0] for found in cuts().values()]
    _, alt, data = pictures.ranks_picture(best)
    assert all(f"{cut.method} misses {cut.error[3]:.0%}" in alt for cut in best)
    assert len(data) == 2 * len(best)


MERGED = {"into W0": 0.1, "dequantized": 0.01, "re-quantized": 0.1}
