"""The downstream tasks: strange to the base, learnable, and LoRA gets nearly as far as full."""

import pytest
import torch

from minipeft import LoraConfig, get_peft_model
from minipeft.course.base import load_base
from minipeft.course.lab.train import evaluate, train
from minipeft.course.tasks import TASKS, task
from minipeft.models.llama import generate

STEPS = 80  # of the comparison of LoRA with full fine-tuning


@pytest.fixture(scope="module")
def tasks():
    return {name: task(name, batches=4, test_batches=2) for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_train_and_test_sets(tasks, name):
    todo = tasks[name]
    assert todo.name == name and todo.description.endswith(".") and todo.prompts
    assert 0.05 < todo.floor < 1.0  # nats per token
    for batch in [*todo.train, *todo.test]:
        assert batch.input_ids.shape == batch.labels.shape
        assert batch.input_ids.dtype == batch.labels.dtype == torch.int64
        assert batch.input_ids.shape[1] <= 80
    if name == "memory":
        assert len(todo.examples) == len({d.text for d in todo.examples}) == 200
    else:
        assert len(todo.train) == 4 and len(todo.test) == 2
        assert not torch.equal(todo.train[0].input_ids, todo.test[0].input_ids)


def test_the_same_seed_gives_the_same_task(tasks):
    again, other = (task("pirate", seed=s, batches=4, test_batches=2) for s in (0, 1))
    for ours, theirs in zip(tasks["pirate"].train, again.train, strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)
    assert again.floor == tasks["pirate"].floor != other.floor


@pytest.mark.parametrize("name", TASKS)
def test_the_base_is_far_from_the_floor_of_each(tasks, name):
    model, _ = load_base()
    assert evaluate(model, tasks[name].test) > 2 * tasks[name].floor


def test_examples_mean_what_the_description_says(tasks):
    for document in tasks["operation"].examples:
        left, right = document.text.rstrip(".").split(" = ")
        a, b = left.split(" @ ")
        assert max(int(a), int(b)) == int(right)
    assert all("Cap'n" in document.text for document in tasks["pirate"].examples)
    for document in tasks["instruction"].examples:
        assert document.text.startswith("chef: ") and document.text.endswith(" minutes.")


def test_a_task_that_does_not_exist():
    with pytest.raises(ValueError, match=r"'pirates'.*nearest: 'pirate'"):
        task("pirates")


@pytest.mark.slow
def test_lora_learns_the_pirate_style_nearly_as_well_as_full_fine_tuning():
    """Rank 8 on all linear layers, at the same steps: test loss within 15% of full's."""
    todo = task("pirate", batches=STEPS, test_batches=8, batch_size=12)
    torch.manual_seed(0)
    full, tokenizer = load_base()
    before = generate(full, tokenizer, todo.prompts[0], 50)
    train(full, todo.train, steps=STEPS, learning_rate=2e-3, show=False)
    base, _ = load_base()
    lora = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    train(lora, todo.train, steps=STEPS, learning_rate=1.5e-2, show=False)
    least, best = evaluate(lora, todo.test), evaluate(full, todo.test)
    assert todo.floor < best < least < 1.15 * best
    after = generate(lora, tokenizer, todo.prompts[0], 50)
    assert "Cap'n" in after and "Cap'n" not in before
    with lora.disable_adapter():
        assert generate(lora, tokenizer, todo.prompts[0], 50) == before
