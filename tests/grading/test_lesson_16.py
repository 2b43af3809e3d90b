"""Exercise 16: its references against torch, transformers and scikit-learn, and right answers."""

import json

import numpy as np
import pytest
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from torch import nn

import minipeft
from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_16 import attending, counting, diagnosis, probing, tokens
from minipeft.grading.sandboxed.call import call
from minipeft.models.vit import ViT, ViTConfig

from .handing_in import ROOT

EXERCISE = exercise("16")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads((ROOT / "solutions" / "16_vision.ipynb").read_text(encoding="utf-8"))
STRIPS = "strips, not squares"
SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 36, "image_size": 8, "patch_size": 4, "num_channels": 3}


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


@pytest.fixture(scope="module")
def vit():
    """A random ViT of transformers, biases and positions included, in float64."""
    torch.manual_seed(0)
    model = transformers.ViTModel(transformers.ViTConfig(**SIZES)).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def test_tokens_are_those_of_transformers(vit):
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    table = vit.embeddings
    E = table.patch_embeddings.projection.weight.detach().flatten(1).numpy()
    b = table.patch_embeddings.projection.bias.detach().numpy()
    cls, positions = (t.detach()[0].numpy() for t in (table.cls_token, table.position_embeddings))
    made = tokens.embed(tokens.cut(images.numpy(), 4), E, b, cls[0], positions)
    np.testing.assert_allclose(made, table(images).detach().numpy(), atol=1e-12)


def test_patches_are_torchs():
    images = torch.randn(2, 3, 9, 9)
    expected = nn.functional.unfold(images, 3, stride=3).mT
    np.testing.assert_array_equal(tokens.cut(images.numpy(), 3), expected.numpy())


def test_attention_is_that_of_transformers(vit):
    layer = vit.encoder.layer[0].attention.attention
    x = torch.randn(1, 5, 24, dtype=torch.float64)
    for part in (layer.query, layer.key, layer.value):
        nn.init.zeros_(part.bias)
    weights = (part.weight.detach().numpy() for part in (layer.query, layer.key, layer.value))
    made = attending.attention(x[0].numpy(), *weights, 4)
    np.testing.assert_allclose(made, layer(x)[0][0].detach().numpy(), atol=1e-10)


@pytest.mark.parametrize("targets", [["query", "value"], list(counting.ATTENTION + counting.MLP)])
def test_the_count_is_the_packages(targets):
    model = ViT(ViTConfig(**SIZES, num_labels=7))
    paths = {"attention.output": "attention.output.dense", "intermediate": "intermediate.dense"}
    paths |= {"output": "0.output.dense"}
    config = minipeft.LoraConfig(
        r=3, target_modules=[paths.get(t, t) for t in targets], modules_to_save=["classifier"]
    )
    counted = minipeft.count_parameters(model, config).trainable
    assert counting.count(1, 24, 36, 3, 7, targets) == counted


def test_a_long_probe_ends_where_scikit_learn_ends():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(90, 3)), np.arange(90) % 3
    weight, bias = probing.train_head(features, labels, 3, 1.0, 3000)
    theirs = LogisticRegression(C=1e6, tol=1e-8, max_iter=5000).fit(features, labels)
    expected = theirs.coef_ - theirs.coef_.mean(0)
    np.testing.assert_allclose(weight - weight.mean(0), expected, atol=1e-3)
    shift = theirs.intercept_ - theirs.intercept_.mean()
    np.testing.assert_allclose(bias - bias.mean(), shift, atol=1e-3)


def test_steps_of_the_probe_are_those_of_autograd():
    features, labels = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 3
    head = nn.Linear(4, 3, dtype=torch.float64)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.4)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    weight, bias = probing.train_head(features.numpy(), labels.numpy(), 3, 0.4, 5)
    np.testing.assert_allclose(weight, head.weight.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(bias, head.bias.detach().numpy(), atol=1e-12)


def unfolded(images, p):
    if images.shape[-1] % p:
        raise ValueError(p)
    return nn.functional.unfold(images, p, stride=p).transpose(1, 2)


def one_by_one(images, p):
    side = images.shape[-1]
    if (side // p) * p != side:
        raise ValueError("the patches do not fit")
    places = [(i, j) for i in range(0, side, p) for j in range(0, side, p)]
    parts = [images[:, :, i : i + p, j : j + p].flatten(1) for i, j in places]
    return torch.stack(parts, 1)


def filled(patches, E, b, cls, positions):
    x = torch.zeros(len(patches), *positions.shape)
    x[:, 0] = cls
    x[:, 1:] = nn.functional.linear(patches, E, b)
    return x + positions[None]


def head_by_head(x, Wq, Wk, Wv, heads):
    found = []
    for q, k, v in zip(*((x @ W.T).chunk(heads, 1) for W in (Wq, Wk, Wv)), strict=True):
        found.append(torch.softmax(q @ k.T / q.shape[1] ** 0.5, 1) @ v)
    return torch.cat(found, 1)


def by_torch(x, Wq, Wk, Wv, heads):
    q, k, v = ((x @ W.T).unflatten(1, (heads, -1)).transpose(0, 1) for W in (Wq, Wk, Wv))
    h = nn.functional.scaled_dot_product_attention(q, k, v)
    return h.transpose(0, 1).flatten(1)


def count_tensors(blocks, d, f, r, labels, targets):
    shapes = {"intermediate": (f, d), "output": (d, f)}
    total = 0
    for _ in range(blocks):
        for name in targets:
            out, into = shapes.get(name, (d, d))
            total += r * into + out * r
    return total + nn.Linear(d, labels, device="meta").weight.numel() + labels


def by_class_token(record):
    if len(record["saved"]) < len(record["trained"]):
        return "head not in the file"
    tokens, positions, p = record["tokens"], record["positions"], record["patch"]
    if (tokens[0] - record["cls"]).abs().max() < 1e-4:
        return "positions left out"
    image = record["image"]
    n = len(image) // p
    grid = nn.functional.unfold(image[None, None], p, stride=p)[0].T @ record["E"].T
    wanted = tokens[1:] - positions[1:] - record["b"]
    if wanted.norm() > 50 * grid.norm():
        return "pixels on another scale"
    if (wanted - grid).abs().max() < 1e-3:
        return "healthy"
    turned = grid.unflatten(0, (n, n)).transpose(0, 1).flatten(0, 1)
    return "column by column" if (wanted - turned).abs().max() < 1e-3 else STRIPS


def by_convolution(record):
    if not {"classifier.weight", "classifier.bias"} <= set(record["saved"]):
        return "head not in the file"
    p, image = record["patch"], record["image"]
    E, b, P = (record[name] for name in ("E", "b", "positions"))
    grid = nn.functional.conv2d(image[None, None], E.view(-1, 1, p, p), b, stride=p)[0]  # (d, n, n)
    inside = record["tokens"][1:]

    def is_near(x):
        return (inside - x).abs().max() < 1e-3 * (1 + x.abs().max())

    rows, columns = grid.flatten(1).T, grid.transpose(1, 2).flatten(1).T
    if is_near(rows + P[1:]):
        return "healthy"
    if is_near(rows):
        return "positions left out"
    if is_near(columns + P[1:]):
        return "column by column"
    return "pixels on another scale" if is_near(255 * (rows - b) + b + P[1:]) else STRIPS


def with_sgd(features, labels, classes, rate, steps):
    head = nn.Linear(features.shape[1], classes)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), labels).backward()
        optimizer.step()
    return head.weight.detach(), head.bias.detach()


def in_one_matrix(features, labels, classes, rate, steps):
    x = np.concatenate([features.numpy(), np.ones((len(labels), 1))], 1)
    W = np.zeros((classes, x.shape[1]))
    for _ in range(steps):
        p = np.exp(x @ W.T)
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(labels)), labels.numpy()] -= 1
        W -= rate * p.T @ x / len(labels)
    return W[:, :-1], W[:, -1]


RIGHT = {
    "cut": [unfolded, one_by_one],
    "embed": [
        filled,
        lambda patches, E, b, cls, positions: torch.stack(
            [torch.vstack([cls, one @ E.T + b]) + positions for one in patches]
        ),
    ],
    "attention": [head_by_head, by_torch],
    "count_trained": [
        count_tensors,
        lambda blocks, d, f, r, labels, targets: (d + 1) * labels + blocks * r * (
            2 * d * len(targets) + (f - d) * sum(t in ("intermediate", "output") for t in targets)
        ),
    ],
    "diagnose": [by_class_token, by_convolution],
    "train_head": [with_sgd, in_one_matrix],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    config = ViTConfig(
        hidden_size=sheet["d"], num_attention_heads=1, num_hidden_layers=sheet["blocks"],
        intermediate_size=4 * sheet["d"], image_size=sheet["side"], patch_size=sheet["patch"],
        num_labels=sheet["labels"],
    )  # fmt: skip
    with torch.device("meta"):
        model = ViT(config)
    lora = minipeft.LoraConfig(
        r=sheet["r"], target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    found = {
        "trained": minipeft.count_parameters(model, lora).trainable,
        "patches": config.patches,
        "attention entries": model.vit.embeddings.position_embeddings.shape[1] ** 2,
    }
    assert verdict_on("my_vit", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_vit", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_a_cut_that_never_refuses_earns_what_it_cuts():
    verdict = verdict_on("cut", lambda images, p: nn.functional.unfold(images, p, stride=p).mT)
    assert not verdict.right and verdict.points == pytest.approx(2.25)
    assert "passes in silence" in verdict.message


def test_the_commonest_mistakes_are_named():
    told = {
        "attention": lambda x, Wq, Wk, Wv, heads: nn.functional.scaled_dot_product_attention(
            *((x @ W.T).unflatten(1, (heads, -1)).transpose(0, 1) for W in (Wq, Wk, Wv)),
            is_causal=True,
        ).transpose(0, 1).flatten(1),
        "count_trained": lambda *given: counting.count(*given) - given[4] * given[1] - given[4],
        "diagnose": lambda record: "healthy",
    }  # fmt: skip
    words = {"attention": "mask", "count_trained": "head is missing", "diagnose": "every record"}
    for name, word in words.items():
        assert word in verdict_on(name, told[name]).message


@pytest.mark.parametrize("seed", range(10))
def test_no_specimen_has_two_bugs(seed):
    """Two kinds of bug never make the same record."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        fits = [
            other
            for other in diagnosis.SPECIMENS[:-1]
            if np.allclose(record["tokens"], diagnosis.made(record, other), rtol=1e-3, atol=1e-3)
        ]
        assert fits == ["healthy" if bug == diagnosis.NO_HEAD else bug]
        assert diagnosis.diagnose(record) == bug


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
