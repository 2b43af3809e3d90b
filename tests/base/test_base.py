"""The base model that ships: opens as it should, speaks as the world does, is near its floor."""

import json
import math
import re

import pytest
import torch
import transformers
from safetensors.torch import load_file

from minipeft.course.base import DATA, load_base
from minipeft.course.batches import count_predictions, floor, make_batches
from minipeft.course.lab.train import evaluate
from minipeft.course.world import World
from minipeft.course.world.grammar import derivations
from minipeft.course.world.lexicon import OPENINGS
from minipeft.models.llama import generate
from tests.closeness import assert_close

SEED = 20_260_801  # of documents that pretraining did not draw


@pytest.fixture(scope="module")
def base():
    return load_base()


def test_files_are_small_and_recorded():
    record = json.loads((DATA / "pretraining.json").read_text(encoding="utf-8"))
    tensors = load_file(DATA / "model.safetensors")
    parameters = sum(tensor.numel() for tensor in tensors.values())
    assert 1_000_000 < parameters == record["parameters"] < 3_000_000
    assert (DATA / "model.safetensors").stat().st_size < 8_000_000
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert record["steps"] == record["steps_planned"]  # the run came to its end
    assert record["all"]["ratio"] < 1.05


def test_loss_on_fresh_documents_is_within_5_percent_of_the_floor(base):
    model, tokenizer = base
    documents = World().documents(2_000, seed=SEED)
    batches = make_batches(tokenizer, sorted(documents, key=lambda d: len(d.text)), 100)
    least = floor(documents, batches)
    # The loss on a sample can lie below its floor only by chance, and then by very little.
    assert 0.995 * least < evaluate(model, batches) < 1.05 * least


def test_stories_of_people_it_does_not_know_are_far_from_the_floor(base):
    """The same grammar with another world's facts: what the base spends on not knowing them."""
    model, tokenizer = base
    documents = World(1).documents(200, seed=SEED, kind="portrait")
    batches = make_batches(tokenizer, documents, 50)
    assert evaluate(model, batches) > 2 * floor(documents, batches)


def test_transformers_opens_the_folder_and_agrees(base):
    model, tokenizer = base
    reference = transformers.AutoModelForCausalLM.from_pretrained(str(DATA))
    tokens = torch.tensor([tokenizer.encode(World().documents(1, SEED, "story")[0].text).ids])
    with torch.no_grad():
        assert_close(model(tokens), reference(tokens).logits)


def test_each_call_loads_a_model_of_its_own():
    first, second = load_base()[0], load_base()[0]
    with torch.no_grad():
        first.lm_head.weight.zero_()
    assert second.lm_head.weight.abs().sum() > 0
    assert not first.training and all(p.requires_grad for p in first.parameters())


def test_greedy_answers_are_true(base):
    model, tokenizer = base
    world, right, asked = World(), 0, 0
    for text, _ in list(derivations(world.question))[::10]:
        prompt = text[: text.index("answer:") + len("answer:")]
        right += generate(model, tokenizer, prompt, 20) == text
        asked += 1
    assert asked == 30 and right >= 29


@pytest.mark.parametrize("kind", ["speller", "translator", "shopkeeper", "copyist"])
def test_greedy_services_are_right(base, kind):
    model, tokenizer = base
    documents = World().documents(30, SEED, kind)
    right = 0
    for document in documents:
        prompt = document.text[: document.text.index("answer:") + len("answer:")]
        right += generate(model, tokenizer, prompt, 50) == document.text
    assert right >= (24 if kind == "copyist" else 29)


@pytest.mark.parametrize("kind", ["arithmetic", "calculator"])
def test_sums_are_near_the_truth(base, kind):
    """So small a model is often off by one, and seldom by more."""
    model, tokenizer = base
    near = 0
    for document in World().documents(50, SEED, kind):
        prompt, truth = re.fullmatch(r"(.*[=:]) (\d+)\.?", document.text, re.DOTALL).groups()
        answer = re.findall(r"\d+", generate(model, tokenizer, prompt, 8)[len(prompt) :])
        near += bool(answer) and abs(int(answer[0]) - int(truth)) <= 2
    assert near >= 42


def test_sampled_texts_are_texts_of_the_world(base):
    """At temperature 1 the model should draw from the world's own distribution."""
    model, tokenizer = base
    world = World()
    known = {
        text
        for kind in ("portrait", "question", "translator", "shopkeeper")
        for text, _ in derivations(world.writers[kind])
    }
    texts = [generate(model, tokenizer, "", 60, temperature=1.0, seed=s) for s in range(60)]
    openings = tuple(f"{opening}, " for opening in OPENINGS)
    others = ("speller: ", "copyist: ", "calculator: ", *"0123456789")  # seen in other tests
    checked = [t for t in texts if not t.startswith(openings + others)]
    assert len(checked) > 10
    assert sum(text in known for text in checked) > 0.9 * len(checked)
    stories = [text for text in texts if text.startswith(openings)]
    assert len(stories) > 15
    words = set(" ".join(d.text for d in world.documents(5_000, SEED, "story")).split())
    assert sum(set(story.split()) <= words for story in stories) > 0.9 * len(stories)


def test_entropy_and_loss_agree_on_a_kind_that_can_be_listed(base):
    """The model's own probabilities of all 300 questions add up to nearly their share, 14%."""
    model, tokenizer = base
    total = 0.0
    for text, _ in derivations(World().question):
        batch = make_batches(tokenizer, [Text(text)], 1)
        total += math.exp(-evaluate(model, batch) * count_predictions(batch))
    assert total == pytest.approx(0.14, rel=0.15)


class Text:
    """A document of which only the text matters."""

    def __init__(self, text):
        self.text = text
