"""The exercise itself: its references against peft and torch, its wrong answers against itself."""

import math

import numpy as np
import peft
import pytest
import torch

from minipeft.grading.compare import agree, judge
from minipeft.grading.exercises.lesson_03 import experiment, layer, targets
from minipeft.grading.sandboxed.call import call

from .handing_in import EXERCISE, ROOT, SOLUTION

TASKS = {task.name: task for task in EXERCISE.tasks}


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

    def drawn():
        linear.reset_lora_parameters("default", init_lora_weights=True)
        factors = (linear.lora_A["default"].weight, linear.lora_B["default"].weight)
        return [factor.detach().numpy().copy() for factor in factors]

    seen = layer.start_seen([drawn(), drawn()])
    mine = layer.start_seen([layer.start(400, 24, 8), layer.start(400, 24, 8)])
    assert agree(seen, mine, 0.05)


def torch_start(draw):
    """A start whose A is filled by `draw`, in torch, as a student would write it."""

    def start(d_in, d_out, r):
        return draw(torch.empty(r, d_in)), torch.zeros(d_out, r)

    return start


def verdict_on(name, function):
    task = TASKS[name]
    cases = task.inputs(0, EXERCISE.sheet_for("Ada"))
    told = task.told(cases)
    return judge(task, cases, [call(function, case, task.calls) for case in told])


@pytest.mark.parametrize(
    "start",
    [
        torch_start(lambda A: torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5))),
        torch_start(lambda A: torch.nn.init.kaiming_normal_(A, a=math.sqrt(5))),
        torch_start(lambda A: (torch.rand_like(A) * 2 - 1) / math.sqrt(A.shape[1])),
        torch_start(lambda A: torch.randn_like(A) / math.sqrt(3 * A.shape[1])),
        lambda d_in, d_out, r: (torch.nn.Linear(d_in, r).weight.data, torch.zeros(d_out, r)),
        lambda d_in, d_out, r: (torch.zeros(r, d_in), torch.nn.Linear(r, d_out).weight.data),
    ],
)
def test_every_sane_start_passes(start):
    torch.manual_seed(0)
    verdict = verdict_on("lora_start", start)
    assert verdict.right, verdict.message


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (torch.nn.init.kaiming_normal_, "gain of a ReLU"),
        (torch.nn.init.kaiming_uniform_, "gain of a ReLU"),
        (torch.nn.init.normal_, "110 times too large"),
        (torch.nn.init.zeros_, "Both are zero"),
        (lambda A: torch.linspace(-1, 1, A.numel()).view_as(A) / A.shape[1] ** 0.5, "not random"),
    ],
)
def test_what_people_write_for_the_start_has_its_own_message(draw, says):
    torch.manual_seed(0)
    assert says in verdict_on("lora_start", torch_start(draw)).message


def test_a_constant_start_is_refused():
    verdict = verdict_on("lora_start", torch_start(lambda A: torch.full_like(A, 0.02)))
    assert not verdict.right


def test_a_count_is_whole():
    right = TASKS["count_lora"].answer
    assert verdict_on("count_lora", right).right
    assert "divide with //" in verdict_on("count_lora", lambda *given: float(right(*given))).message


@pytest.mark.parametrize("wrong", [{"q and v": 1}, {"q and v": 1, "attention": 2, "all linear": 3}])
def test_the_sheet_never_prints_its_answers(wrong):
    sheet = EXERCISE.sheet_for("Ada")
    message = verdict_on("my_counts", lambda: wrong).message
    for number in TASKS["my_counts"].answer(sheet).values():
        assert str(number) not in message


def test_a_training_that_writes_over_its_inputs_is_refused():
    def in_place(x, target, weight, A, B, alpha, learning_rate, steps):
        with torch.no_grad():
            for _ in range(steps):
                scale = alpha / A.shape[0]
                error = x @ weight.T + scale * (x @ A.T @ B.T) - target
                error = 2 * error / error.numel()
                grad_A, grad_B = scale * B.T @ error.T @ x, scale * error.T @ (x @ A.T)
                A -= learning_rate * grad_A
                B -= learning_rate * grad_B
        return A, B

    assert "Work on copies" in verdict_on("train_lora", in_place).message


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


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import math",
        "import torch",
        "from minipeft.grading import checks",
    }
    assert (ROOT / "solutions").is_dir()
