"""Exercise 06: its references against peft, autograd and the package, and right answers."""

import json
from typing import ClassVar

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from torch import nn

from minipeft import AdaLoraConfig, LoraConfig, VeraConfig, count_parameters
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_06 import asked, core, diagnosis, oft
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("06")
TASKS = {task.name: task for task in EXERCISE.tasks}
NOTEBOOK = ROOT / "solutions" / "06_dora_and_relatives.ipynb"
SOLUTION = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def of_solution(*ids):
    """What these cells of the solution define, with its imports."""
    cells = {c["id"]: "".join(c["source"]) for c in SOLUTION}
    namespace = {"__name__": "of_solution"}
    source = cells["setup"].partition("torch.manual_seed")[0]
    for text in (source, *(cells[name] for name in ids)):
        exec(text, namespace)
    return namespace


def test_doras_output_and_gradients_are_pefts():
    torch.manual_seed(0)
    linear = nn.Linear(9, 6)
    config = peft.LoraConfig(r=3, lora_alpha=7, use_dora=True, target_modules=["0"])
    model = peft.get_peft_model(nn.Sequential(linear).double(), config).double()
    part = model.base_model.model[0]
    A, B = part.lora_A["default"].weight, part.lora_B["default"].weight
    m = part.lora_magnitude_vector["default"].weight
    nn.init.normal_(B)
    nn.init.uniform_(m, 0.5, 2)
    x, upstream = torch.randn(4, 9).double(), torch.randn(4, 6).double()
    h = model(x)
    theirs = torch.autograd.grad(h, [A, B, m], grad_outputs=upstream)
    given = [t.detach().numpy() for t in (part.base_layer.weight, A, B, m)]
    weight, *trained = given
    bias = part.base_layer.bias.detach().numpy()
    ours = core.forward(x.numpy(), weight, bias, *trained, 7)
    np.testing.assert_allclose(ours, h.detach().numpy(), atol=1e-6)  # peft's norm has 32 bits
    found = core.gradients(x.numpy(), weight, *trained, 7, upstream.numpy())
    for wanted, name in zip(theirs, ("A", "B", "magnitude"), strict=True):
        np.testing.assert_allclose(found[name], wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_moved_is_torchs():
    W0, W = torch.randn(5, 8).double(), torch.randn(5, 8).double()
    magnitude, direction = core.moved(W0.numpy(), W.numpy())
    assert magnitude == pytest.approx((W.norm(dim=1) - W0.norm(dim=1)).abs().mean().item())
    cosine = nn.functional.cosine_similarity(W0, W, dim=1)
    assert direction == pytest.approx((1 - cosine).mean().item())


def adapted(sheet):
    """One layer of the sheet's model, on meta."""
    hidden = sheet["hidden"]
    sides = {"q": (hidden, hidden), "v": (hidden, sheet["key_value"])}
    sides |= {"down": (sheet["intermediate"], hidden)}
    return nn.ModuleDict(
        {name: nn.Linear(*side, bias=False, device="meta") for name, side in sides.items()}
    )


@pytest.mark.parametrize("student", ["Ada", "Grace", "Edsger"])
def test_the_counts_are_the_packages_and_pefts(student):
    sheet = EXERCISE.sheet_for(student)
    right = TASKS["my_numbers"].answer(sheet)
    targets = {"target_modules": ["q", "v", "down"]}
    configs = {
        "LoRA": LoraConfig(r=sheet["r"], **targets),
        "DoRA": LoraConfig(r=sheet["r"], use_dora=True, **targets),
        "VeRA": VeraConfig(r=sheet["vera_r"], **targets),
        "AdaLoRA": AdaLoraConfig(init_r=sheet["init_r"], target_r=1, total_step=9, **targets),
    }
    for name, config in configs.items():
        trained = count_parameters(adapted(sheet), config).trainable
        assert right[name] == sheet["layers"] * trained, name
    config = peft.OFTConfig(oft_block_size=sheet["block"], **targets)
    with torch.device("meta"):
        model = peft.get_peft_model(adapted(sheet), config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert right["OFT"] == sheet["layers"] * trained


def test_the_rotation_is_pefts():
    numbers = torch.randn(3, 10)
    module = peft.tuners.oft.layer.OFTRotationModule(
        3, 10, 5, in_features=15, use_cayley_neumann=False
    )
    module.weight.data.copy_(numbers)
    theirs = module.get_weight().detach().numpy()
    np.testing.assert_allclose(oft.rotation(numbers.numpy(), 5), theirs, atol=1e-5)


def in_peft(given, content, folder):
    """peft's model of the layers of a case, (weights, biases), with a folder of this content."""
    tensors = {n: torch.tensor(t, dtype=torch.float32) for n, t in content["tensors"].items()}
    safetensors.torch.save_file(
        tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"}
    )
    (folder / "adapter_config.json").write_text(json.dumps(content["config"]))
    plain = of_solution("tried")["plain"](
        *({n: torch.tensor(t) for n, t in d.items()} for d in given)
    )
    return peft.PeftModel.from_pretrained(plain, folder, is_trainable=True)


@pytest.mark.parametrize("case", [0, 1])
def test_the_file_that_is_right_opens_in_peft_with_this_output_and_these_gradients(case, tmp_path):
    """What the hidden tests compare a student's file with is what peft reads and computes."""
    for seed in range(3):
        weights, biases, numbers, x, size = TASKS["oft_saved"].inputs(seed, {})[case]
        right = oft.saved(weights, biases, numbers, x, size)
        model = in_peft((weights, biases), right, tmp_path)
        output = model(torch.tensor(x))
        np.testing.assert_allclose(output.detach().numpy(), right["output"], rtol=1e-3, atol=1e-4)
        trained = [p for p in model.parameters() if p.requires_grad]
        for ours, theirs in zip(
            right["gradients"], torch.autograd.grad(output.square().sum(), trained), strict=True
        ):
            gap = np.abs(ours - theirs.numpy()).max()
            assert gap < 1e-3 * np.abs(ours).max()


WRONG_IN_PEFT = (oft.renamed, lambda *given: oft.with_config(*given, use_cayley_neumann=None))


@pytest.mark.parametrize("wrong", WRONG_IN_PEFT)
def test_files_that_are_called_wrong_give_another_output_in_peft(wrong, tmp_path):
    weights, biases, numbers, x, size = TASKS["oft_saved"].inputs(0, {})[1]
    content = wrong(weights, biases, numbers, x, size)
    model = in_peft((weights, biases), content, tmp_path)
    right = oft.saved(weights, biases, numbers, x, size)["output"]
    gap = np.abs(model(torch.tensor(x)).detach().numpy() - right).max()
    assert gap > 1e-2 * np.abs(right).max()


@pytest.mark.parametrize("case", [0, 1])
def test_the_solution_saves_the_file_that_is_right(case):
    namespace = of_solution("rotation", "tried", "oft-file", "oft-saved")
    weights, biases, numbers, x, size = TASKS["oft_saved"].inputs(7, {})[case]
    found = call(namespace["oft_saved"], [weights, biases, numbers, x, size])
    right = asked.saved_seen(oft.saved(weights, biases, numbers, x, size))
    assert asked.saved_seen(found).keys() == right.keys()
    for entry in (asked.NAMES, asked.SAID):
        assert asked.saved_seen(found)[entry] == right[entry]


def by_autograd(x, weight, A, B, magnitude, alpha, upstream):
    A, B, magnitude = (t.clone().requires_grad_() for t in (A, B, magnitude))
    V = weight + alpha / len(A) * (B @ A)
    W = magnitude[:, None] * V / V.norm(dim=1, keepdim=True).detach()
    grads = torch.autograd.grad((x @ W.T * upstream).sum(), [A, B, magnitude])
    return dict(zip(("A", "B", "magnitude"), grads, strict=True))


def through_g(x, weight, A, B, magnitude, alpha, upstream):
    s, norm = alpha / B.shape[1], (weight + alpha / B.shape[1] * B @ A).norm(dim=1)
    scaled = upstream * (magnitude / norm)  # (batch, out)
    h = x @ (weight + s * B @ A).T
    return {
        "magnitude": (upstream * h / norm).sum(0),
        "B": s * scaled.T @ (x @ A.T),
        "A": s * (scaled @ B).T @ x,
    }


def by_diagonal(x, weight, bias, A, B, m, alpha):
    V = weight + alpha / len(A) * (B @ A)
    return nn.functional.linear(x, torch.diag(m) @ nn.functional.normalize(V, dim=1), bias)


def around_the_base(x, weight, bias, A, B, m, alpha):
    s = alpha / B.shape[1]
    g = m / (weight + s * B @ A).norm(dim=1)
    h = x @ weight.T + bias
    return h + (g - 1) * (x @ weight.T) + g * s * ((x @ A.T) @ B.T)


def row_by_row(W0, W):
    pairs = list(zip(W0, W, strict=True))
    cosines = [torch.dot(a, b) / a.norm() / b.norm() for a, b in pairs]
    lengths = [abs(float(b.norm() - a.norm())) for a, b in pairs]
    return sum(lengths) / len(pairs), 1 - float(sum(cosines)) / len(pairs)


def by_solve(numbers, n):
    blocks = []
    for row in numbers:
        Q = torch.zeros(n, n)
        Q[tuple(torch.triu_indices(n, n, 1))] = row
        Q = Q - Q.T
        blocks.append(torch.linalg.solve(torch.eye(n) + Q, torch.eye(n) - Q))
    return torch.block_diag(*blocks)


def in_place(numbers, n):
    whole, place = torch.zeros(len(numbers) * n, len(numbers) * n), 0
    for row in numbers:
        entries, Q = iter(row), torch.zeros(n, n)
        for i in range(n):
            for j in range(i + 1, n):
                Q[i, j] = next(entries)
                Q[j, i] = -Q[i, j]
        whole[place : place + n, place : place + n] = torch.inverse(torch.eye(n) + Q) @ (
            torch.eye(n) - Q
        )
        place += n
    return whole


def by_ratio(record):
    """The length of each row of what the layer does, against the magnitude."""
    if bool((record["start"] == 1).all()):
        return "started at ones"
    s, m = record["alpha"] / len(record["A"]), record["magnitude"]
    for name, scale in (("healthy", s), ("scale dropped", 1.0)):
        V = record["weight"] + scale * record["B"] @ record["A"]
        product = record["x"] @ V.T
        g = m / V.norm(dim=1)
        if torch.allclose(record["h"] - record["bias"], g * product, atol=1e-3):
            return name
        if name == "healthy" and torch.allclose(
            record["h"] / g, product + record["bias"], atol=1e-2
        ):
            return "bias scaled"
        if name == "healthy":
            stale = m / record["weight"].norm(dim=1) * product
            if torch.allclose(record["h"] - record["bias"], stale, atol=1e-3):
                return "norm of W0"
    return "by columns"


def by_least_squares(record):
    h, x = record["h"].numpy(), record["x"].numpy()
    others = {
        name: value.numpy() if hasattr(value, "numpy") else value for name, value in record.items()
    }
    distance = {
        name: np.abs(h - y).max() for name, y in diagnosis.outputs(others | {"x": x}).items()
    }
    nearest = min(distance, key=distance.get)
    if nearest == "healthy" and np.ptp(others["start"]) == 0:
        return "started at ones"
    return nearest


def another_layer(weights, biases, numbers, x, block_size):
    """OFT on the weight in place of the input, with its tensor in a module of its own."""
    namespace = of_solution("tried")
    Tuner, LayerConfig = namespace["Tuner"], namespace["LayerConfig"]

    class Triangle(nn.Module):
        def __init__(self, d_in, n):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(d_in // n, n * (n - 1) // 2))

    class TurnedLayer(Tuner):
        def __init__(self, d_in, n):
            super().__init__()
            self.n, self.oft_R = n, Triangle(d_in, n)

        def forward(self, x, base):
            return nn.functional.linear(x, self.merged(base.weight), base.bias)

        def merged(self, weight):
            return weight @ by_solve(self.oft_R.weight, self.n).T

    @namespace["dataclass"]
    class TurnedConfig(LayerConfig):
        use_cayley_neumann: bool = False
        oft_block_size: int = 4
        r: int = 0
        peft_type: ClassVar[str] = "OFT"

        def tuner(self, path, layer):
            return TurnedLayer(layer.in_features, self.oft_block_size)

    config = TurnedConfig(oft_block_size=block_size, target_modules=["0", "1"])
    return namespace["tried"](config, weights, biases, numbers, x)


def as_the_solution(*given):
    namespace = of_solution("rotation", "tried", "oft-file", "oft-saved")
    return namespace["oft_saved"](*given)


RIGHT = {
    "dora_forward": [by_diagonal, around_the_base],
    "dora_gradients": [by_autograd, through_g],
    "moved": [row_by_row, lambda W0, W: (
        (torch.linalg.vector_norm(W, dim=1) - torch.linalg.vector_norm(W0, dim=1)).abs().mean(),
        1 - nn.functional.cosine_similarity(W0, W).mean(),
    )],
    "diagnose": [by_ratio, by_least_squares],
    "rotation": [by_solve, in_place],
    "oft_saved": [as_the_solution, another_layer],
}  # fmt: skip


@pytest.fixture
def methods():
    """The table of methods as it was: a test's own methods leave it again."""
    from minipeft.core.config import METHODS

    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer, methods):
    from minipeft.core.config import METHODS

    for seed in range(3):
        METHODS.pop("OFT", None)
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_no_message_prints_a_number_of_the_sheet():
    right = TASKS["my_numbers"].answer(EXERCISE.sheet_for("Ada"))
    assert verdict_on("my_numbers", lambda: dict(reversed(right.items()))).right
    for wrong in ({}, dict.fromkeys(right, 1), right | {"VeRA": right["VeRA"] + 1}):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in right.values())


def test_a_right_layer_with_a_wrong_file_earns_what_the_layer_is_worth():
    """Of seven parts the names in the file are one."""
    verdict = verdict_on("oft_saved", lambda *given: oft.renamed(*numpys(given)))
    assert not verdict.right and verdict.points == pytest.approx(18 / 7, abs=0.01)


def numpys(given):
    return [
        {n: t.numpy() for n, t in v.items()} if isinstance(v, dict)
        else v.numpy() if hasattr(v, "numpy") else v
        for v in given
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """Two kinds of bug never give the same answers."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        assert diagnosis.diagnose(record) == bug
        fits = [
            n
            for n, h in diagnosis.outputs(record).items()
            if np.allclose(h, record["h"], atol=1e-2)
        ]
        assert len(fits) == 1
