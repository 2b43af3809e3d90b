"""Adapter golf: the score is the file's, cheats are refused by name, the board is worked out."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from minipeft import IA3Config, LoraConfig, PartialConfig, VeraConfig, get_peft_model
from minipeft.budget import count_parameters
from minipeft.core.config import METHODS
from minipeft.course import evaluate, train
from minipeft.course.base import load_base
from minipeft.course.golf import (
    HOLES,
    Card,
    Refused,
    Scoreboard,
    dominates,
    hand_in,
    in_fewer_bits,
    pareto,
    ranked,
    recorded_entries,
    score,
    table,
)
from minipeft.course.golf.card import flops_of, seed_of
from minipeft.course.tasks import task

CHEF = HOLES["chef"]
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NORM_TOO = LoraConfig(r=1, target_modules=["q_proj"], modules_to_save=["model.norm"])
RANK_1 = LoraConfig(r=1, lora_alpha=2, target_modules=r"model\.layers\.3\..*_proj")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A short training, its folder and its card; a test changes a copy."""
    torch.manual_seed(0)
    model = get_peft_model(load_base()[0], RANK_1)
    train(model, task("instruction", batch_size=8).train, 3, learning_rate=0.03, show=False)
    folder = tmp_path_factory.mktemp("golf") / "entry"
    return model, folder, hand_in(model, CHEF, "rank 1", folder)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / "entry")


def tensors_of(folder):
    return safetensors.torch.load_file(folder / WEIGHTS)


def write(folder, tensors, **changes):
    """The files with other tensors, or another config."""
    safetensors.torch.save_file(tensors, folder / WEIGHTS)
    fields = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(fields))
    return folder


def test_a_card_says_what_is_in_the_file_and_what_peft_counts(made):
    model, folder, card = made
    assert card.numbers == model.get_nb_trainable_parameters()[0]
    assert card.numbers == count_parameters(load_base()[0], RANK_1).trainable
    assert card.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert card.flops == 2 * card.numbers  # A x and B (A x): one product for each number, doubled
    assert card.name == "rank 1" and card.method == "LORA" and not card.within


def test_the_loss_is_that_of_peft_on_the_entrys_own_texts(made):
    """Hugging Face peft puts the same file on transformers' Llama."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    _, folder, card = made
    ours = load_base()[0]
    fields = json.loads(json.dumps(ours.config.__dict__, default=str))
    known = transformers.LlamaConfig().to_dict()
    config = transformers.LlamaConfig(**{k: v for k, v in fields.items() if k in known})
    theirs = transformers.LlamaForCausalLM(config)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    batches, lowest = CHEF.texts(seed_of(card.digest, CHEF))
    above = evaluate(peft.PeftModel.from_pretrained(theirs, folder), batches) - lowest
    assert above == pytest.approx(card.above, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "numbers", "flops"),
    [
        (LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"), 108_544, 217_088),
        (IA3Config(), 2_560, 0),
        (PartialConfig(norms=True), 1_728, 0),
        (VeraConfig(r=8, target_modules="all-linear", save_projection=False), 7_136, None),
    ],
)
def test_methods_count_as_their_papers_say(config, numbers, flops, tmp_path):
    card = hand_in(get_peft_model(load_base()[0], config), CHEF, "start", tmp_path / "entry")
    assert card.numbers == numbers
    assert flops is None or card.flops == flops


def test_flops_of_the_base_are_two_for_each_weight():
    model = load_base()[0]
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert flops_of(model) == 2 * weights  # the tied matrix reads tokens for nothing, and scores


def test_nothing_but_the_file_is_scored(folder):
    before = score(folder, CHEF)
    write(folder, {name: 0 * tensor for name, tensor in tensors_of(folder).items()})
    after = score(folder, CHEF)
    assert after.numbers == before.numbers  # zeros count
    base = load_base()[0]
    batches, lowest = CHEF.texts(seed_of(after.digest, CHEF))
    assert after.above == pytest.approx(evaluate(base, batches) - lowest, abs=1e-6)


def test_other_bytes_and_another_word_bring_other_texts(folder):
    one = score(folder, CHEF)
    tensors = tensors_of(folder)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] += 1e-3
    write(folder, tensors)
    two = score(folder, CHEF)
    seeds = {seed_of(one.digest, CHEF), seed_of(two.digest, CHEF), seed_of(one.digest, CHEF, "x")}
    assert len(seeds) == 3
    first, again = (CHEF.texts(seed)[0][0].input_ids for seed in [max(seeds)] * 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, CHEF.texts(min(seeds))[0][0].input_ids)


def test_learning_the_test_texts_by_heart_does_not_help(made, tmp_path):
    """Who trains on the texts of a file gets another file, and other texts with it."""
    (known, *_), _ = CHEF.texts(seed_of(made[2].digest, CHEF))
    torch.manual_seed(0)
    model = get_peft_model(load_base()[0], LoraConfig(r=8, target_modules="all-linear"))
    train(model, [known], 60, learning_rate=0.01, show=False)
    later = hand_in(model, CHEF, "by heart", tmp_path / "entry")
    fresh, _ = CHEF.texts(seed_of(later.digest, CHEF))
    assert evaluate(model, fresh) > 2 * evaluate(model, [known])


def cheat_nan(folder):
    tensors = tensors_of(folder)
    tensors[sorted(tensors)[0]].view(-1)[3] = float("nan")
    write(folder, tensors)


def cheat_infinite(folder):
    tensors = tensors_of(folder)
    tensors[sorted(tensors)[0]].view(-1)[3] = -float("inf")
    write(folder, tensors)


def cheat_wide(folder):
    write(folder, {name: tensor.double() for name, tensor in tensors_of(folder).items()})


def cheat_whole(folder):
    write(folder, {name: tensor.to(torch.int8) for name, tensor in tensors_of(folder).items()})


def cheat_complex(folder):
    write(folder, {name: tensor.cfloat() for name, tensor in tensors_of(folder).items()})


def cheat_spare(folder):
    write(folder, tensors_of(folder) | {"base_model.model.secret": torch.ones(3)})


def cheat_missing(folder):
    tensors = tensors_of(folder)
    tensors.pop(sorted(tensors)[0])
    write(folder, tensors)


def cheat_turned(folder):
    tensors = tensors_of(folder)
    name = sorted(tensors)[0]
    write(folder, tensors | {name: tensors[name].T.contiguous()})


def cheat_empty(folder):
    write(folder, {})


def cheat_damaged(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-4])


def cheat_longer(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"more")


def cheat_second_file(folder):
    (folder / "adapter_model.bin").write_bytes(b"0")


def cheat_link(folder):
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def cheat_no_config(folder):
    (folder / CONFIG).unlink()


def cheat_no_method(folder):
    (folder / CONFIG).write_text("{}")


def cheat_list(folder):
    (folder / CONFIG).write_text("[1, 2]")


def cheat_unknown(folder):
    write(folder, tensors_of(folder), peft_type="LROA")


def cheat_option(folder):
    write(folder, tensors_of(folder), secret=[1.5, 2.5])


def cheat_tied(folder):
    """Two names for the same bytes, which no safetensors file can hold."""
    data = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(n for n in header if n != "__metadata__")
    header["twin"] = header[name]
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


CHEATS = {
    cheat_nan: "holds nan .1 in all.; allowed are finite numbers",
    cheat_infinite: "holds -inf",
    cheat_wide: "stored as F64; allowed are BF16, F16, F32",
    cheat_whole: "stored as I8; allowed",
    cheat_complex: "stored as C64; allowed",
    cheat_spare: "secret', unknown here",
    cheat_missing: "lacks 'base_model",
    cheat_turned: "in the file, but this base needs",
    cheat_empty: "holds 0 numbers; an entry trains at least 1",
    cheat_damaged: "damaged or not safetensors",
    cheat_longer: "damaged or not safetensors",
    cheat_second_file: "the folder holds 'adapter_model.bin'; allowed are adapter_model",
    cheat_link: "adapter_model.safetensors is a link",
    cheat_no_config: "lacks 'adapter_config.json'",
    cheat_no_method: "peft_type=None is not known; choose from 'ADALORA'",
    cheat_list: "holds a list, allowed is an object",
    cheat_unknown: "peft_type='LROA' is not known; choose from",
    cheat_option: "asks for secret=.*, which LoraConfig doesn't have",
    cheat_tied: "damaged or not safetensors",
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_file_against_the_rules_is_refused_by_name(cheat, folder):
    cheat(folder)
    with pytest.raises(Refused, match=CHEATS[cheat]):
        score(folder, CHEF)


def test_a_seed_that_was_searched_for_is_refused(tmp_path):
    config = VeraConfig(
        r=4, target_modules=["q_proj"], save_projection=False, projection_prng_key=71
    )
    with pytest.raises(Refused, match=r"projection_prng_key=71: .* allowed is 0"):
        hand_in(get_peft_model(load_base()[0], config), CHEF, "seed", tmp_path / "entry")


def test_what_a_file_need_not_hold_counts_all_the_same(tmp_path):
    """VeRA's random matrices, and a module that was trained beside the adapter."""
    for number, (config, numbers) in enumerate(
        [
            (VeraConfig(r=4, target_modules=["q_proj"]), 4 * (4 + 192) + 4 * (192 + 192)),
            (
                NORM_TOO,
                4 * 384 + 192,
            ),
        ]
    ):
        place = tmp_path / str(number)
        assert (
            hand_in(get_peft_model(load_base()[0], config), CHEF, "all", place).numbers == numbers
        )


def test_a_method_of_ones_own_is_refused(tmp_path, folder, monkeypatch):
    class Own(LoraConfig):
        peft_type = "OWN"

    monkeypatch.setitem(METHODS, "OWN", Own)
    write(folder, tensors_of(folder), peft_type="OWN")
    with pytest.raises(Refused, match="'OWN' is a method of your own"):
        score(folder, CHEF)


def test_a_changed_base_is_refused(tmp_path):
    model = get_peft_model(load_base()[0], RANK_1)
    with torch.no_grad():
        model.get_base_model().model.layers[2].mlp.up_proj.weight[0, 0] += 1e-3
    with pytest.raises(Refused, match=r"the first of them .model\.layers\.2\.mlp\.up_proj\.weight"):
        hand_in(model, CHEF, "thawed", tmp_path / "entry")
    assert not (tmp_path / "entry").exists(), "nothing is written"


def test_what_only_the_object_in_memory_knows_is_refused(tmp_path):
    model = get_peft_model(load_base()[0], RANK_1)
    model.get_base_model().model.norm.register_forward_hook(lambda module, given, out: out * 2)
    with pytest.raises(Refused, match="something that was trained is not in the file"):
        hand_in(model, CHEF, "hooked", tmp_path / "entry")


def test_a_bare_model_and_another_folder_are_refused(tmp_path):
    with pytest.raises(Refused, match="the model is a Llama; allowed is what get_peft_model"):
        hand_in(load_base()[0], CHEF, "bare", tmp_path)
    with pytest.raises(Refused, match="there is no folder 'nowhere'"):
        score(tmp_path / "nowhere", CHEF)


def test_an_adapter_of_another_name_is_handed_in_from_its_subfolder(tmp_path):
    model = get_peft_model(load_base()[0], RANK_1, adapter_name="mine")
    assert hand_in(model, CHEF, "mine", tmp_path / "entry").numbers == 3392


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_fewer_bits_are_fewer_bytes_and_as_many_numbers(made, dtype, tmp_path):
    _, folder, card = made
    small = score(in_fewer_bits(folder, dtype, tmp_path / "small"), CHEF)
    assert small.numbers == card.numbers
    assert card.bytes - small.bytes == pytest.approx((4 - dtype.itemsize) * card.numbers, abs=200)
    assert small.above == pytest.approx(card.above, abs=0.2)


def card(name="x", numbers=10, bytes=100, flops=5, above=0.1, own=0.0):
    return Card(name, "chef", "LORA", numbers, bytes, flops, above, own, digest=name)


def test_the_ranking_goes_by_numbers_then_bytes_then_flops():
    best = card("best", numbers=9, bytes=900, flops=90)
    small = card("small", bytes=90, flops=50)
    quick = card("quick", flops=4)
    low = card("low", above=0.05)
    plain, missed, worse = card("plain"), card("missed", 1, 1, 0, 0.35), card("worse", 1, 1, 0, 3.0)
    entries = [worse, plain, missed, low, quick, small, best]
    assert ranked(entries, CHEF) == [best, small, quick, low, plain, missed, worse]
    told = table(entries, CHEF).splitlines()
    assert [line.split()[0] for line in told[1:]] == ["1", "2", "3", "4", "5", "-", "-"]
    assert told[1].endswith("13 under") and "not in" in told[-1]


def test_strokes_count_halvings_of_par():
    assert [CHEF.under_par(n) for n in (108_544, 54_273, 54_272, 108_545)] == [0, 0, 1, -1]


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(0)
    for _ in range(20):
        entries = [card(str(n), int(a), above=float(b)) for n, (a, b) in
                   enumerate(rng.integers(1, 9, (12, 2)))]  # fmt: skip
        front = pareto(entries)
        for one in entries:
            beaten = any(
                o.numbers <= one.numbers
                and o.above <= one.above
                and (o.numbers, o.above) != (one.numbers, one.above)
                for o in entries
            )
            assert (one in front) != beaten
        assert [e.numbers for e in front] == sorted(e.numbers for e in front)
    assert not dominates(card(), card()) and dominates(card(numbers=9), card())


def test_the_board_keeps_every_entry_and_believes_no_card(made, tmp_path):
    _, folder, mine = made
    board = Scoreboard(tmp_path / "board")
    assert board.cards(CHEF) == []
    board.add(mine)
    fewer = score(in_fewer_bits(folder, torch.bfloat16, tmp_path / "small"), CHEF, "16 bits")
    board.add(fewer)
    board.add(fewer)
    assert {c.name for c in Scoreboard(board.folder).cards(CHEF)} == {"rank 1", "16 bits"}
    assert board.forged(CHEF) == [] and board.cards(HOLES["sailor"]) == []
    place = board.folder / f"chef-{mine.digest}"
    noted = json.loads((place / "card.json").read_text())
    (place / "card.json").write_text(json.dumps(noted | {"numbers": 13, "above": 0.01}))
    told = board.forged(CHEF)
    assert told[0].partition(": ")[2] == (f"the card says numbers 13, the files say {mine.numbers}")
    assert len(told) == 2 and "above 0.01" in told[1]
    assert {c.numbers for c in board.cards(CHEF)} == {mine.numbers}
    (place / "card.json").write_text("torn")
    assert mine.numbers in {c.numbers for c in board.cards(CHEF)}, "the files are what counts"
    cheat_nan(place)
    assert [c.name for c in board.cards(CHEF)] == ["16 bits"]
    assert any("holds nan" in line for line in board.forged(CHEF))


def test_a_failing_write_leaves_the_board_as_it_was(made, tmp_path, monkeypatch):
    board = Scoreboard(tmp_path / "board")
    board.add(made[2])
    before = {p: p.read_bytes() for p in board.folder.rglob("*") if p.is_file()}
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError):
        board.add(made[2])
    assert {p: p.read_bytes() for p in board.folder.rglob("*") if p.is_file()} == before


def test_where_nobody_watches_the_students_board_stays_untouched(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIPEFT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tmp_path not in Scoreboard().folder.resolve().parents


def test_recorded_entries_are_means_at_the_rate_that_validation_chose():
    entries = {entry.name: entry for entry in recorded_entries("chef")}
    par = entries["LoRA, r = 8"]
    assert par.numbers == CHEF.par and par.above <= CHEF.bound
    assert all(e.spread[0] <= e.above <= e.spread[1] for e in entries.values())
    with pytest.raises(ValueError, match="hole='cheff' is not known; choose from 'chef'"):
        recorded_entries("cheff")


def test_par_reaches_the_bound_of_every_hole():
    for hole in HOLES.values():
        par = {entry.name: entry for entry in recorded_entries(hole.name)}["LoRA, r = 8"]
        assert par.numbers == hole.par and par.spread[1] <= hole.bound
