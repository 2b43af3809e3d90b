"""The exercise itself: its references against peft and torch, its wrong answers against itself."""

import math

import numpy as np
import peft
import pytest
import torch

from minipeft.grading.compare import agree, expected, judge
from minipeft.grading.exercises.lesson_03 import experiment, layer, targets
from minipeft.grading.sandboxed import protocol
from minipeft.grading.sandboxed.call import call

from .handing_in import EXERCISE, ROOT, SOLUTION, grade_id

TASKS = {task.name: task for task in EXERCISE.tasks}
SEEDS = range(5)
WRONG = [
    pytest.param(task, wrong, id=f"{task.name}-{number}")
    for task in EXERCISE.tasks
    for number, wrong in enumerate(task.misconceptions)
]


def returned(task, function, cases):
    return [call(function, case, task.calls, tensors=False) for case in cases]


@pytest.mark.parametrize("task", EXERCISE.tasks, ids=TASKS)
def test_the_reference_is_right_and_says_why(task):
    for seed in SEEDS:
        cases = task.inputs(seed, EXERCISE.sheet_for(f"student {seed}"))
        verdict = judge(task, cases, returned(task, task.answer, cases))
        assert verdict.right
        assert verdict.message == task.why


@pytest.mark.parametrize(("task", "wrong"), WRONG)
def test_a_wrong_answer_is_caught_by_its_own_name(task, wrong, monkeypatch):
    own = np.random.default_rng
    for seed in SEEDS:
        cases = task.inputs(seed, EXERCISE.sheet_for(f"student {seed}"))
        with monkeypatch.context() as patch:  # a student's draws are not those of the reference
            patch.setattr(np.random, "default_rng", lambda seed: own(seed + 99))
            answers = returned(task, wrong.answer, cases)
        verdict = judge(task, cases, answers)
        assert not verdict.right
        assert verdict.message == wrong.message
        answers = expected(task, wrong.answer, cases)
        assert not all(isinstance(answer, protocol.Raised) for answer in answers), (
            "it must run somewhere"
        )


@pytest.mark.parametrize("task", EXERCISE.tasks, ids=TASKS)
def test_every_task_names_three_mistakes_and_more(task):
    messages = [wrong.message for wrong in task.misconceptions]
    assert len(messages) >= 3
    assert task.why


def test_no_two_mistakes_share_a_message():
    messages = [wrong.message for task in EXERCISE.tasks for wrong in task.misconceptions]
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("task", [t for t in EXERCISE.tasks if not t.from_sheet])
def test_inputs_follow_from_the_seed_alone_and_differ_between_seeds(task):
    def fingerprint(seed):
        return protocol.encode(task.inputs(seed, {}))

    assert fingerprint(1) == fingerprint(1)
    assert len({fingerprint(seed) for seed in range(20)}) == 20


def test_no_two_sheets_are_equal():
    sheets = [tuple(EXERCISE.sheet_for(f"student{n}").values()) for n in range(300)]
    assert len(set(sheets)) == len(sheets)
    assert EXERCISE.sheet_for(" Ada ") == EXERCISE.sheet_for("ada")


@pytest.fixture(scope="module")
def peft_layer():
    """(peft's layer, x, weight, A, B, alpha), in float64, with a trained B."""
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(8, 5, bias=False).double())
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=["0"])
    model = peft.get_peft_model(base, config).double()
    linear = model.base_model.model[0]
    torch.nn.init.normal_(linear.lora_B["default"].weight)
    parts = [linear.base_layer.weight, linear.lora_A["default"].weight]
    parts = [part.detach().numpy() for part in (*parts, linear.lora_B["default"].weight)]
    return linear, np.random.default_rng(0).normal(size=(4, 8)), *parts, 7


def test_forward_and_merge_equal_pefts(peft_layer):
    linear, x, weight, A, B, alpha = peft_layer
    with torch.no_grad():
        output = linear(torch.tensor(x)).numpy()
        update = linear.get_delta_weight("default").numpy()
    np.testing.assert_allclose(layer.forward(x, weight, A, B, alpha), output, atol=1e-12)
    np.testing.assert_allclose(layer.merge(weight, A, B, alpha), weight + update, atol=1e-12)


def test_the_start_has_the_spread_of_pefts():
    base = torch.nn.Sequential(torch.nn.Linear(400, 24, bias=False))
    model = peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules=["0"]))
    linear = model.base_model.model[0]
    A, B = linear.lora_A["default"].weight, linear.lora_B["default"].weight
    seen = layer.start_seen([A.detach().numpy(), B.detach().numpy()])
    mine = layer.start_seen(layer.start(400, 24, 8))
    assert mine["spread of A, in units of kaiming's"] == pytest.approx(1, abs=0.03)
    assert agree(seen, mine, 0.05)


def test_the_wrong_scale_of_randn_is_what_the_message_says():
    assert math.sqrt(3 * 4096) == pytest.approx(110, abs=1)


def test_the_gradients_equal_autograds(peft_layer):
    _, x, weight, A, B, alpha = peft_layer
    target = np.random.default_rng(1).normal(size=(4, 5))
    a, b = (torch.tensor(part, requires_grad=True) for part in (A, B))
    h = torch.tensor(x) @ torch.tensor(weight).T + alpha / 3 * (torch.tensor(x) @ a.T @ b.T)
    torch.nn.functional.mse_loss(h, torch.tensor(target)).backward()
    grad_A, grad_B = experiment.gradients(x, target, weight, A, B, alpha / 3)
    np.testing.assert_allclose(grad_A, a.grad, atol=1e-12)
    np.testing.assert_allclose(grad_B, b.grad, atol=1e-12)


@pytest.mark.parametrize("wanted", [["q_proj", "v_proj"], ["self_attn.v_proj"], ["k_proj"]])
def test_targets_are_those_that_peft_finds(wanted):
    names = targets.names_of_a_model(np.random.default_rng(0))
    names = [name for name in names if "lora_A" not in name]  # peft would see its parent as well
    model = torch.nn.Module()
    for name in names:
        parent = model
        *path, leaf = name.split(".")
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, torch.nn.Module())
            parent = getattr(parent, part)
        parent.add_module(leaf, torch.nn.Linear(2, 2))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=1, target_modules=wanted))
    assert set(adapted.base_model.targeted_module_names) == set(targets.find_targets(names, wanted))


def test_published_counts():
    count = TASKS["count_lora"].answer
    llama_7b, llama_3_8b = (32, 4096, 32, 32, 11008, 8), (32, 4096, 32, 8, 14336, 8)
    assert count(*llama_7b, ["q_proj", "v_proj"]) == 4_194_304
    assert count(*llama_3_8b, ["q_proj", "v_proj"]) == 3_407_872
    seven = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert count(*llama_7b, seven) == 19_988_480
    assert count(1, 64, 4, 4, 64, 4, ["q_proj"]) == 512
    assert count(1, 32, 4, 4, 64, 2, ["q_proj"]) == 128


def test_the_notebook_and_the_tasks_agree():
    marked = {
        grade_id(cell): cell["metadata"]["nbgrader"] for cell in SOLUTION["cells"] if grade_id(cell)
    }
    points = {name: data["points"] for name, data in marked.items() if data["grade"]}
    assert points == {f"{task.name}_check": task.points for task in EXERCISE.tasks} | {
        part.name: part.points for part in EXERCISE.by_hand
    }
    assert all(marked[task.name]["solution"] for task in EXERCISE.tasks)
    text = "\n".join("".join(cell["source"]) for cell in SOLUTION["cells"])
    assert f"{EXERCISE.points:g} points" in text


def test_every_task_shows_difficulty_minutes_points_and_two_hints():
    text = "\n".join(
        "".join(c["source"]) for c in SOLUTION["cells"] if c["cell_type"] == "markdown"
    )
    for task in EXERCISE.tasks:
        number, _, title = task.title.partition(". ")
        section = text.partition(f" {number}. {title}" if number.isalnum() else title)[2]
        section = section.partition("\n## ")[0].partition("\n### ")[0]
        assert "of 5" in section and "minutes" in section, task.title
        assert f"{task.points:g} point" in section, task.title
        assert section.count("<details>") == 2, task.title


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import math",
        "import torch",
        "from minipeft.grading import checks",
    }
    assert (ROOT / "solutions").is_dir()
