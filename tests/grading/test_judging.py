"""How answers are compared, what travels, and what a natural answer gets."""

import json
import math
import time

import numpy as np
import pytest
import safetensors.numpy
import torch

from minipeft.grading.compare import agree, difference, judge
from minipeft.grading.sandboxed import protocol
from minipeft.grading.sandboxed.call import call
from minipeft.grading.sandboxed.protocol import Raised

from .handing_in import EXERCISE

TASKS = {task.name: task for task in EXERCISE.tasks}
SEEDS = range(1, 201)


def frame(tree, **arrays):
    """The bytes of a message as somebody would forge them."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return safetensors.numpy.save({**arrays, "tree": np.frombuffer(text, np.uint8)})


def points(name, function, seed=7):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


@pytest.mark.parametrize(
    ("data", "says"),
    {
        "400 digits": (frame({"plain": 10**400}), "64 bits"),
        "65 bits": (frame({"plain": 1 << 64}), "64 bits"),
        "2^40 rows of nothing": (
            frame({"array": "0"}, **{"0": np.zeros((1 << 40, 0))}),
            "shape",
        ),
        "20 dimensions": (frame({"array": "0"}, **{"0": np.zeros((1,) * 20)}), "shape"),
        "no such array": (frame({"array": "7"}), "not a message"),
        "50,000 references": (
            frame({"list": [{"array": "0"}] * 50_000}, **{"0": np.zeros(9)}),
            "more than",
        ),
        "deep": (frame(b'{"list": [' * 5_000 + b"]}" * 5_000), "not a message"),
        "nine deep": (
            frame(json.loads('{"list": [' * 10 + '{"plain": 1}' + "]}" * 10)),
            "nested too deeply",
        ),
        "an event that is a list": (frame({"dict": {"event": 1}}), "not a message"),
        "an exception of three": (frame({"raised": [1, 2, 3]}), "not a message"),
        "two kinds": (frame({"plain": 1, "list": []}), "not a message"),
        "half": (protocol.encode(1)[:-3], "not a message"),
        "nothing": (b"", "not a message"),
        "noise": (b"\xff" * 8 + b"{}", "not a message"),
        "a header of 2^60 bytes": ((1 << 60).to_bytes(8, "little") + b"{}", "not a message"),
    }.values(),
)
def test_a_forged_message_is_refused_with_one_kind_of_error(data, says):
    with pytest.raises(protocol.ProtocolError, match=says):
        protocol.decode(data)


@pytest.mark.parametrize("largest", [100, 1 << 20])
def test_the_length_of_a_message_is_believed_only_so_far(largest):
    with pytest.raises(protocol.ProtocolError, match="wrong length"):
        protocol.length_of(protocol.LENGTH.pack(3 * largest), largest)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        2.5,
        "text",
        math.inf,
        [1, [2, "x"]],
        {"a": {"b": np.arange(6).reshape(2, 3)}},
        np.float32(1.5),
        np.zeros((0, 3)),
        Raised("ValueError", "text", ("ValueError", "Exception"), "f"),
    ],
)
def test_a_value_comes_back_as_it_was(value):
    back = protocol.decode(protocol.encode(value))
    np.testing.assert_equal(back, value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(1 << 40, 0), "shape"),
        (10**400, "64 bits"),
        ([np.zeros(1000)] * 5_000, "larger than 4 MB"),
        ([0] * 30_000, "more than 20000 values"),
        (print, "holds a builtin_function_or_method"),
        (np.array(["x"]), "array of <U1"),
        (np.zeros(3, complex), "array of complex128"),
    ],
)
def test_an_answer_that_cannot_travel_says_why(value, says):
    with pytest.raises(protocol.ProtocolError, match=says):
        protocol.encode(value)


def test_agreement_is_relative_to_the_size_of_the_numbers():
    assert agree(np.float32([1e-6, 2e-6]), np.array([1e-6, 2e-6]), 1e-4)
    assert not agree(np.zeros(2), np.array([1e-6, 2e-6]), 1e-4)
    assert not agree(np.array([1e6, 2.001e6]), np.array([1e6, 2e6]), 1e-4)
    assert agree(np.zeros(3), np.zeros(3), 1e-4)
    assert not agree(np.array([np.nan]), np.array([1.0]), 1e-4)


def test_a_value_is_shown_in_few_words_however_large():
    nested = [[list(range(50))] * 50] * 50
    began = time.process_time()
    text = difference({"a": nested, "b": [np.zeros(10**6)] * 1000}, {"c": 1}, 1e-4)
    assert len(text) < 400
    assert time.process_time() - began < 1


class Mine(ValueError):
    """A subclass, as students write them to say more."""


class ValueErrorButNot(Exception):
    """Named alike, caught by no `except ValueError`."""


@pytest.mark.parametrize(("kind", "counts"), [(ValueError, True), (Mine, True), (KeyError, False)])
def test_a_subclass_of_the_asked_exception_counts(kind, counts):
    raised = call(lambda: (_ for _ in ()).throw(kind("x")), [])
    assert agree(raised, Raised("ValueError"), 0) is counts
    other = call(lambda: (_ for _ in ()).throw(ValueErrorButNot("x")), [])
    assert not agree(other, Raised("ValueError"), 0)


def lora_forward_wise(x, weight, A, B, alpha):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    return layer(x) + alpha * torch.einsum("or,ri,bi->bo", B, A, x) / len(A)


def forward_by_the_merged_weight(x, weight, A, B, alpha):
    return torch.nn.functional.linear(x, weight + B.mul(alpha / A.size(0)).mm(A))


def start_by_rand(d_in, d_out, r):
    return (2 * torch.rand(r, d_in) - 1) / d_in**0.5, torch.zeros(d_out, r)


def start_by_linear(d_in, d_out, r):
    down = torch.nn.Linear(d_in, r, bias=False)
    return down.weight, torch.nn.Parameter(torch.zeros(d_out, r))


def start_in_float64(d_in, d_out, r):
    bound = 1 / math.sqrt(d_in)
    return torch.empty(r, d_in, dtype=torch.float64).uniform_(-bound, bound), torch.zeros(d_out, r)


def merge_by_clone(weight, A, B, alpha):
    merged = weight.clone()
    merged += alpha / A.shape[0] * B @ A
    return merged


def train_by_sgd(x, target, weight, A, B, alpha, learning_rate, steps):
    A, B = torch.nn.Parameter(A.clone()), torch.nn.Parameter(B.clone())
    optimizer = torch.optim.SGD([A, B], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        h = x @ weight.T + alpha / A.shape[0] * x @ A.T @ B.T
        torch.nn.functional.mse_loss(h, target).backward()
        optimizer.step()
    return A, B


def train_in_float64(x, target, weight, A, B, alpha, learning_rate, steps):
    x, target, weight, A, B = (part.double() for part in (x, target, weight, A, B))
    s = alpha / A.shape[0]
    for _ in range(steps):
        error = 2 * (x @ (weight + s * B @ A).T - target) / target.numel()
        A, B = A - learning_rate * s * B.T @ error.T @ x, B - learning_rate * s * error.T @ x @ A.T
    return A, B


def targets_by_parts(names, targets):
    wanted = [target.split(".") for target in targets]
    found = [n for n in names if any(n.split(".")[-len(w) :] == w for w in wanted)]
    if len(found) == 0:
        raise ValueError("nothing")
    return found


NATURAL = {
    "lora_forward": [lora_forward_wise, forward_by_the_merged_weight],
    "lora_start": [start_by_rand, start_by_linear, start_in_float64],
    "merge": [merge_by_clone],
    "train_lora": [train_by_sgd, train_in_float64],
    "find_targets": [targets_by_parts],
}


@pytest.mark.parametrize(
    ("name", "function"), [(name, f) for name, functions in NATURAL.items() for f in functions]
)
def test_a_natural_answer_is_right_for_every_seed(name, function):
    task = TASKS[name]
    for seed in SEEDS if name != "lora_start" else range(1, 41):
        cases = task.inputs(seed, {})
        verdict = judge(task, cases, [call(function, case, task.calls) for case in cases])
        assert verdict.right, (seed, verdict.message)


def linspace(d_in, d_out, r):
    return torch.linspace(-1, 1, r * d_in).reshape(r, d_in) / d_in**0.5, torch.zeros(d_out, r)


def sine(d_in, d_out, r):
    return torch.sin(torch.arange(r * d_in)).reshape(r, d_in) / d_in**0.5, torch.zeros(d_out, r)


def one_row(d_in, d_out, r):
    return start_by_rand(d_in, d_out, 1)[0].repeat(r, 1), torch.zeros(d_out, r)


def repeated(d_in, d_out, r):
    A = start_by_rand(d_in, d_out, r)[0]
    return A[:, :2].repeat(1, d_in // 2 + 1)[:, :d_in], torch.zeros(d_out, r)


def a_description(d_in, d_out, r):
    bound = 1 / d_in**0.5
    pairs = [[np.random.uniform(-bound, bound, (r, d_in)), np.zeros((d_out, r))] for _ in "ab"]
    return TASKS["lora_start"].observe(pairs)


@pytest.mark.parametrize(
    "function", [linspace, sine, one_row, repeated, a_description, lambda *_: None, lambda *_: 1.0]
)
def test_a_start_that_is_not_random_or_no_matrices_gets_nothing(function):
    assert points("lora_start", function).points == 0


def seeded(d_in, d_out, r):
    torch.manual_seed(0)
    return start_by_rand(d_in, d_out, r)


def with_an_own_generator(d_in, d_out, r):
    own = torch.Generator().manual_seed(d_in)
    return torch.empty(r, d_in).uniform_(-1, 1, generator=own) / d_in**0.5, torch.zeros(d_out, r)


def seeded_in_numpy(d_in, d_out, r):
    drawn = np.random.default_rng(7).uniform(-1, 1, (d_out, r)) / r**0.5
    return torch.zeros(r, d_in), torch.from_numpy(drawn)


@pytest.mark.parametrize("function", [seeded, with_an_own_generator, seeded_in_numpy])
def test_a_seed_that_is_fixed_inside_the_start_is_noticed(function):
    verdict = points("lora_start", function)
    assert "a seed is fixed inside your function" in verdict.message
    assert verdict.right_parts == ["starts at the base"]


def test_a_start_that_was_called_once_is_judged_by_what_is_seen():
    task = TASKS["lora_start"]
    cases = task.inputs(7, {})
    assert judge(task, cases, [call(start_by_rand, case) for case in cases]).right
    assert not judge(task, cases, [call(linspace, case) for case in cases]).right


def test_our_own_draws_leave_a_students_alone():
    np.random.seed(5)
    drawn = np.random.random(3)
    np.random.seed(5)
    points("lora_start", lambda d_in, d_out, r: (torch.zeros(r, d_in), torch.zeros(d_out, r)))
    np.testing.assert_array_equal(np.random.random(3), drawn)


@pytest.mark.parametrize(
    ("name", "function", "earned"),
    [
        ("lora_start", lambda i, o, r: (torch.randn(r, i), torch.zeros(o, r)), 1),
        ("merge", lambda w, A, B, a: w.add_(a / len(A) * B @ A), 1),
        ("diagnose", lambda record: "healthy", 0),
        ("diagnose", lambda record: "merged twice", 0),
        (
            "diagnose",
            lambda r: "healthy" if r["start_A"].any() else "both start at zero",
            1,
        ),
        ("find_targets", lambda names, targets: 1 / 0, 0),
        ("find_targets", lambda names, targets: names, 0),
        (
            "find_targets",
            lambda n, t: [x for x in n if any(f".{x}".endswith(f".{y}") for y in t)],
            1.5,
        ),
        ("train_lora", lambda x, t, w, A, B, *_: (A, B), 0),
        ("my_counts", lambda: {"q and v": 1, "attention": 2, "all linear": 3}, 0),
    ],
)
def test_parts_of_a_task_count_and_answers_that_are_none_do_not(name, function, earned):
    verdict = points(name, function)
    assert not verdict.right
    assert verdict.points == earned


def test_two_of_three_numbers_of_a_sheet_are_two_thirds():
    right = TASKS["my_counts"].answer(EXERCISE.sheet_for("ada"))
    verdict = points("my_counts", lambda: {**right, "attention": 5})
    assert verdict.points == pytest.approx(2 / 3, abs=0.01)
    assert verdict.right_parts == ["q and v", "all linear"]
