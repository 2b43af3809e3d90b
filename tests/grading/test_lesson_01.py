"""The exercise itself: its references against torch and transformers, right and wrong answers."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minipeft.grading.compare import agree, judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_01 import answers, comparison, diagnosis, flops, memory
from minipeft.grading.sandboxed.call import call

EXERCISE = exercise("01")
TASKS = {task.name: task for task in EXERCISE.tasks}


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    told = task.told(cases)
    return judge(task, cases, [call(function, case, task.calls) for case in told])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_are_those_of_torchs_tensors(dtype):
    frozen, layer = nn.Linear(30, 20, dtype=dtype), nn.Linear(20, 10, dtype=dtype)
    frozen.requires_grad_(False)
    optimizer = torch.optim.AdamW([*frozen.parameters(), *layer.parameters()])
    layer(frozen(torch.ones(2, 30, dtype=dtype))).sum().backward()
    optimizer.step()
    parameters = [*frozen.parameters(), *layer.parameters()]
    total = sum(p.numel() for p in parameters)
    trained = sum(p.numel() for p in layer.parameters())
    width = dtype.itemsize
    want = memory.training_bytes(total, trained, width, width, width, 0)
    means = [s for state in optimizer.state.values() for s in state.values() if s.ndim]
    assert want["weights"] == sum(p.nbytes for p in parameters)
    assert want["gradients"] == sum(p.grad.nbytes for p in parameters if p.grad is not None)
    assert want["adam"] == sum(mean.nbytes for mean in means)


def test_published_bytes():
    def total(n, *widths):
        return sum(memory.training_bytes(n, n, *widths).values()) / 1e9

    assert total(7_000_000_000, 2, 2, 4, 0) == 84  # the convention of 12 bytes
    assert total(65_000_000_000, 2, 2, 4, 0) == 780  # QLoRA, section 1
    assert total(7_500_000_000, 2, 2, 4, 4) == 120  # ZeRO, figure 1
    assert total(7_000_000_000, 2, 4, 4, 4) == 126
    adapter = memory.training_bytes(7_000_000_000, 4_000_000, 2, 2, 4, 0)
    assert sum(adapter.values()) / 1e9 == pytest.approx(14.04, abs=0.01)


@pytest.mark.parametrize("learning", [[0, 1, 2, 3], [3], [0], [1], [1, 2]])
def test_flops_are_those_that_torch_counts(learning):
    sides, tokens = [12, 20, 8, 16, 4], 6
    chain = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(sides)))
    for at, layer in enumerate(chain):
        layer.requires_grad_(at in learning)
    with FlopCounterMode(display=False) as counter:
        chain(torch.randn(tokens, sides[0])).sum().backward()
    shapes = [tuple(layer.weight.shape) for layer in chain]
    trained = [at in learning for at in range(len(chain))]
    assert flops.step_flops(shapes, trained, tokens) == counter.get_total_flops()


def test_flops_of_lora_beside_a_square_matrix():
    """Schulman et al. 2025: (2 N^2 + 6 N r) / (3 N^2), when something below is trained too."""
    N, r = 4096, 8
    frozen = flops.step_flops([(1, 1), (N, N)], [True, False], 1) - flops.step_flops(
        [(1, 1)], [True], 1
    )
    assert (frozen + 6 * 2 * N * r) / (6 * N * N) == pytest.approx(0.67057, abs=1e-5)


def test_rounding_is_torchs():
    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    want = torch.tensor(numbers).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(diagnosis.bfloat16(numbers), want)


def test_transformers_collator_makes_the_specimen_of_the_masked_end():
    import transformers
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({f"t{n}": n for n in range(900)}, unk_token="t0"))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t1")
    collator = transformers.DataCollatorForLanguageModeling(theirs, mlm=False)
    record = diagnosis.specimen(np.random.default_rng(0), diagnosis.HEALTHY)
    labels = collator([{"input_ids": record["tokens"]}])["labels"][0].tolist()
    broken = record | {"labels": labels}
    assert diagnosis.diagnose(broken) == diagnosis.NO_END


def test_labels_mean_to_cross_entropy_what_the_task_says():
    """The loss of the labels is that of the answer's tokens alone."""
    tokens, marker, length = TASKS["label_answer"].inputs(3, {})[1]
    logits = torch.randn(len(tokens), 900)
    labels = torch.tensor(answers.label_answer(tokens, marker, length))
    loss = nn.functional.cross_entropy(logits[:-1], labels[1:])
    start = answers.place_of(tokens, marker) + len(marker)
    log_p = logits.log_softmax(-1)
    alone = [-log_p[at - 1, tokens[at]] for at in range(start, length)]
    assert loss.item() == pytest.approx(float(sum(alone) / len(alone)), rel=1e-5)


def test_means_are_numpys():
    (runs,) = TASKS["compare"].inputs(0, {})[0]
    for method, found in comparison.compare(runs).items():
        own = [r for r in runs if r["method"] == method]
        rates = sorted({r["rate"] for r in own})
        grid = np.array(
            [[r["loss"] - r["floor"] for r in own if r["rate"] == rate] for rate in rates]
        )
        assert found["rate"] == rates[int(grid.mean(1).argmin())]
        assert found["learned"] == pytest.approx(grid.mean(1).min())


def bytes_by_loop(total, trained, weight, gradient, mean, master):
    found = {"weights": 0, "gradients": 0, "adam": 0, "master": 0}
    found["weights"] += weight * total
    for name, each in (("gradients", gradient), ("adam", mean + mean), ("master", master)):
        found[name] = each * trained
    return dict(reversed(found.items()))


def labels_by_mask(tokens, marker, length):
    ids = torch.tensor(tokens)
    windows = ids.unfold(0, len(marker), 1)
    start = int((windows == torch.tensor(marker)).all(1).int().argmax()) + len(marker)
    place = torch.arange(len(tokens))
    return ids.where((place >= start) & (place < length), torch.tensor(-100)).tolist()


def labels_by_search(tokens, marker, length):
    labels, start = [-100] * len(tokens), 0
    while tokens[start : start + len(marker)] != marker:
        start += 1
    for place in range(start + len(marker), length):
        labels[place] = tokens[place]
    return labels


def flops_by_state(shapes, trained, tokens):
    total, below = 0, False
    for (d_out, d_in), learns in zip(shapes, trained, strict=True):
        total += d_out * d_in * (2 + 2 * learns + 2 * below)
        below = below or learns
    return tokens * total


def flops_by_autograd(shapes, trained, tokens):
    layers = [nn.Linear(d_in, d_out, bias=False) for d_out, d_in in shapes]
    for layer, learns in zip(layers, trained, strict=True):
        layer.requires_grad_(learns)
    with FlopCounterMode(display=False) as counter:
        out = nn.Sequential(*layers)(torch.zeros(tokens, shapes[0][1])).sum()
        if out.requires_grad:
            out.backward()
    return counter.get_total_flops()


def diagnose_in_another_order(record):
    start, end = record["embeddings_before"], record["embeddings_after"]
    if (start - end).abs().max() > 0:
        return "head tied to the embeddings"
    if (record["weight_after"] - record["weight_before"]).abs().sum() == 0:
        return "update rounded away"
    kept = [(t, lab) for t, lab in zip(record["tokens"], record["labels"], strict=True) if lab >= 0]
    if any(token != label for token, label in kept):
        return "labels shifted twice"
    return (
        "healthy" if record["end"] in {label for _, label in kept} else "end of text never trained"
    )


def compare_by_dictionary(runs):
    table = defaultdict(list)
    for r in runs:
        table[r["method"], r["rate"]].append(r)
    found = {}
    for (method, rate), same in sorted(table.items()):
        learned = sum(r["loss"] - r["floor"] for r in same) / len(same)
        if method not in found or learned < found[method]["learned"]:
            forgotten = sum(r["own_loss"] - r["own_floor"] for r in same) / len(same)
            found[method] = {"rate": rate, "learned": learned, "forgotten": forgotten}
    return found


def compare_by_numpy(runs):
    found = {}
    for method in {r["method"] for r in runs}:
        own = [r for r in runs if r["method"] == method]
        rates = np.unique([r["rate"] for r in own])
        of = [[r for r in own if r["rate"] == rate] for rate in rates]
        means = [np.mean([r["loss"] - r["floor"] for r in same]) for same in of]
        at = int(np.argmin(means))
        own_means = [r["own_loss"] - r["own_floor"] for r in of[at]]
        found[method] = {"rate": rates[at], "learned": means[at], "forgotten": np.mean(own_means)}
    return found


RIGHT = [
    ("training_bytes", memory.training_bytes),
    ("training_bytes", bytes_by_loop),
    ("my_bytes", lambda: memory.on_sheet(**EXERCISE.sheet_for("Ada"))),
    ("my_bytes", lambda: TASKS["my_bytes"].answer(EXERCISE.sheet_for("Ada"))),
    ("label_answer", labels_by_mask),
    ("label_answer", labels_by_search),
    ("step_flops", flops_by_state),
    ("step_flops", flops_by_autograd),
    ("diagnose", diagnosis.diagnose),
    ("diagnose", diagnose_in_another_order),
    ("compare", compare_by_dictionary),
    ("compare", compare_by_numpy),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_right_answers_written_differently_pass(name, function, seed):
    verdict = verdict_on(name, function, seed)
    assert verdict.right, verdict.message


def shifted(tokens, marker, length):
    labels = labels_by_search(tokens, marker, length)
    return [*labels[1:], -100]


def by_value(tokens, marker, length):
    labels = labels_by_search(tokens, marker, length)
    return [-100 if label == 1 else label for label in labels]


@pytest.mark.parametrize(
    ("name", "function", "says"),
    [
        ("label_answer", shifted, "shifted by one"),
        ("label_answer", by_value, "never learn to stop"),
        ("step_flops", lambda shapes, trained, tokens: 6 * tokens * sum(a * b for a, b in shapes),
         "as if everything"),
        ("step_flops", lambda *given: float(flops_by_state(*given)), "they are floats"),
        ("training_bytes", lambda total, trained, *w: bytes_by_loop(total, total, *w), "frozen"),
        ("compare", lambda runs: comparison.one_rate(runs), "one rate"),
        ("diagnose", lambda record: "healthy", "every specimen healthy"),
    ],
)  # fmt: skip
def test_what_people_write_has_its_own_message(name, function, says):
    assert says in verdict_on(name, function).message


@pytest.mark.parametrize("wrong", [{"12 bytes": 1}, dict.fromkeys(("12 bytes", "16 bytes"), 7)])
def test_the_sheet_never_prints_its_answers(wrong):
    message = verdict_on("my_bytes", lambda: wrong).message
    for number in TASKS["my_bytes"].answer(EXERCISE.sheet_for("Ada")).values():
        assert str(number) not in message and f"{number:,}" not in message


def test_parts_earn_points():
    def half(total, trained, weight, gradient, mean, master):
        return memory.training_bytes(total, trained, weight, gradient, mean, master) | {"adam": 0}

    verdict = verdict_on("training_bytes", half)
    assert verdict.points == pytest.approx(2.25)
    assert verdict.right_parts == ["weights", "gradients", "master"]


def test_every_case_of_the_comparison_has_one_best_rate():
    for seed in range(20):
        for (runs,) in TASKS["compare"].inputs(seed, {}):
            for method in comparison.methods_of(runs):
                own = comparison.of_method(runs, method)
                means = sorted(
                    np.mean([comparison.learned(r) for r in own if r["rate"] == rate])
                    for rate in {r["rate"] for r in own}
                )
                assert means[1] - means[0] > 0.02


def test_agreement_needs_whole_numbers():
    assert agree({"type": "int", "count": 5}, {"type": "int", "count": 5}, 1e-4)
    assert not agree({"type": "float", "count": 5.0}, {"type": "int", "count": 5}, 1e-4)
    assert math.isfinite(EXERCISE.points) and EXERCISE.points == 20
