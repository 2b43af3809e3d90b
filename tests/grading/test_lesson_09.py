"""Exercise 09: its references against peft, transformers and torch, and right answers."""

import json

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_09 import (
    attention,
    cache,
    diagnosis,
    nearest,
    prompt,
    sizes,
)
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("09")
TASKS = {task.name: task for task in EXERCISE.tasks}
SOLUTION = json.loads((ROOT / "solutions" / "09_soft_prompts.ipynb").read_text(encoding="utf-8"))


def verdict_on(name, function, seed=0):
    task = TASKS[name]
    cases = task.inputs(seed, EXERCISE.sheet_for("Ada"))
    return judge(task, cases, [call(function, case, task.calls) for case in task.told(cases)])


def llama(**options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 64, "vocab_size": 50}
    sizes |= {"num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | options)).eval()


def in_peft(config):
    return peft.get_peft_model(llama(), config).eval()


def test_a_prefix_is_read_as_peft_reads_it():
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    model = in_peft(config)
    P = peft.get_peft_model_state_dict(model)["prompt_embeddings"]  # as in a file
    filled = model.get_prompt(batch_size=1)
    ours = cache.as_cache(P.numpy(), 3, 2)
    for layer in range(3):
        keys, values = filled[layer][:2]
        np.testing.assert_array_equal(ours[layer, 0], keys[0].detach().numpy())
        np.testing.assert_array_equal(ours[layer, 1], values[0].detach().numpy())


def test_a_prompt_before_a_batch_gives_pefts_loss():
    """Our inputs and labels, in a plain model, make the loss that peft makes of the text."""
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model, plain = in_peft(config), llama()
    tokens = torch.randint(50, (3, 7))
    labels = tokens.clone()
    labels[0, -2:] = -100
    P = peft.get_peft_model_state_dict(model)["prompt_embeddings"]
    text = plain.get_input_embeddings()(tokens).detach()
    pair = prompt.with_prompt(P.numpy(), text.numpy(), labels.numpy())
    inputs, longer = (torch.from_numpy(part) for part in pair)
    ours = plain(inputs_embeds=inputs, labels=longer).loss
    theirs = model(input_ids=tokens, labels=labels).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def test_attention_with_a_prefix_is_torchs():
    generator = np.random.default_rng(0)
    for q, K, V, P_k, P_v in attention.attend_cases(generator):
        keys, values = (torch.from_numpy(np.concatenate(pair)) for pair in ((P_k, K), (P_v, V)))
        n, length = len(P_k), len(q)
        seen = torch.ones(length, n + length, dtype=torch.bool).tril(n)
        wanted = F.scaled_dot_product_attention(torch.from_numpy(q), keys, values, attn_mask=seen)
        found = attention.attend(q, K, V, P_k, P_v)
        np.testing.assert_allclose(found["out"], wanted.numpy(), atol=1e-5)
        # the two parts of He et al. 2022: gated by the share
        to_prefix, text = attention.apart(q, K, V, P_k, P_v)
        share = found["share"][:, None]
        np.testing.assert_allclose(found["out"], (1 - share) * text + share * to_prefix, atol=1e-5)


@pytest.mark.parametrize("projection", [False, True])
def test_the_counts_of_a_sheet_are_pefts(projection):
    sheet = {"layers": 3, "query heads": 6, "key/value heads": 2, "head_dim": 8, "width": 48}
    sheet |= {"virtual tokens": 5, "encoder width": 11}
    common = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
    options = {"prefix_projection": projection, "encoder_hidden_size": 11}
    model = in_peft(peft.PrefixTuningConfig(**common, **options))
    found = sizes.on_sheet(sheet)
    trained, _ = model.get_nb_trainable_parameters()
    assert trained == found["prefix with its MLP" if projection else "prefix"]
    (saved,) = peft.get_peft_model_state_dict(model).values()
    assert saved.numel() * 4 == found["bytes of its file"]
    prompted = in_peft(peft.PromptTuningConfig(**common))
    assert prompted.get_nb_trainable_parameters()[0] == found["prompt"]


def test_the_nearest_words_are_torchs():
    for P, table in nearest.nearest_cases(np.random.default_rng(0)):
        pair = (torch.from_numpy(P)[:, None], torch.from_numpy(table)[None])
        wanted = F.cosine_similarity(*pair, dim=2).argmax(1)
        np.testing.assert_array_equal(nearest.nearest(P, table), wanted.numpy())


RIGHT = {
    "with_prompt": [
        lambda P, text, labels: (
            torch.stack([torch.vstack([P, row]) for row in text]),
            F.pad(labels, (len(P), 0), value=-100),
        ),
        lambda P, text, labels: written_in_place(P, text, labels),
    ],
    "as_cache": [
        lambda P, layers, heads: torch.stack(
            [pair_of(P, layer, layers, heads) for layer in range(layers)]
        ),
        lambda P, layers, heads: P.T.reshape(layers, 2, heads, -1, len(P)).transpose(3, 4),
    ],
    "attend": [
        lambda q, K, V, P_k, P_v: token_by_token(q, K, V, P_k, P_v),
        lambda q, K, V, P_k, P_v: in_two_parts(q, K, V, P_k, P_v),
    ],
    "diagnose": [lambda record: mask_first(record), lambda record: by_entries(record)],
    "nearest_words": [
        lambda P, table: F.cosine_similarity(P[:, None], table[None], dim=2).max(1).indices,
        lambda P, table: [
            max(range(len(table)), key=lambda i: float(p @ table[i] / table[i].norm())) for p in P
        ],
    ],
}


def written_in_place(P, text, labels):
    batch, length, d = text.shape
    inputs = torch.empty(batch, len(P) + length, d)
    inputs[:, : len(P)], inputs[:, len(P) :] = P, text
    longer = torch.full((batch, len(P) + length), -100)
    longer[:, len(P) :] = labels
    return inputs, longer


def pair_of(P, layer, layers, heads):
    width = P.shape[1] // (2 * layers)
    parts = [P[:, (2 * layer + i) * width : (2 * layer + i + 1) * width] for i in range(2)]
    return torch.stack([torch.stack(part.chunk(heads, dim=1)) for part in parts])


def token_by_token(q, K, V, P_k, P_v):
    share, out = [], []
    for i, query in enumerate(q):
        keys, values = torch.cat([P_k, K[: i + 1]]), torch.cat([P_v, V[: i + 1]])
        weights = torch.softmax(keys @ query / len(query) ** 0.5, dim=0)
        share.append(weights[: len(P_k)].sum())
        out.append(weights @ values)
    return {"out": torch.stack(out), "share": torch.stack(share)}


def in_two_parts(q, K, V, P_k, P_v):
    scale = q.shape[1] ** -0.5
    text = (q @ K.T * scale).exp().tril()
    prefix = (q @ P_k.T * scale).exp()
    share = prefix.sum(1) / (prefix.sum(1) + text.sum(1))
    own, learned = (w / w.sum(1, keepdim=True) for w in (text, prefix))
    gate = share[:, None]
    return {"share": share, "out": (1 - gate) * (own @ V) + gate * (learned @ P_v)}


def mask_first(record):
    """The signs in another order, each by itself."""
    if int(record["position_ids"].min()) == 0:
        return "text not moved"
    if (record["attention_mask"] == 0).any():
        return "hidden"
    P, cached = record["P"].numpy(), record["cache"].numpy()
    right = cache.as_cache(P, record["layers"], record["heads"])
    others = {
        "healthy": right,
        "keys for values": right[:, ::-1],
        "keys first": cache.keys_first(P, record["layers"], record["heads"]),
    }
    return next((n for n, other in others.items() if (cached == other).all()), "axes swapped")


def by_entries(record):
    """By where single vectors of the file turn up."""
    cached, first = record["cache"], record["P"][0]
    width = cached.shape[-1]
    keys = first[: record["heads"] * width].view(-1, width)  # token 0, layer 0
    if record["attention_mask"].sum() < len(record["attention_mask"]):
        return "hidden"
    if record["position_ids"][0] != len(record["P"]):
        return "text not moved"
    if torch.equal(cached[0, 1, :, 0], keys):
        return "keys for values"
    if not torch.equal(cached[0, 0, :, 0], keys):
        return "axes swapped"
    values = first[record["heads"] * width : 2 * record["heads"] * width].view(-1, width)
    return "healthy" if torch.equal(cached[0, 1, :, 0], values) else "keys first"


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_written_otherwise_pass(name, answer):
    for seed in range(5):
        verdict = verdict_on(name, answer, seed)
        assert verdict.right, verdict.message


def test_numbers_of_the_sheet_written_otherwise_pass():
    sheet = EXERCISE.sheet_for("Ada")
    n, d_kv = sheet["virtual tokens"], sheet["key/value heads"] * sheet["head_dim"]
    row = 2 * sheet["layers"] * d_kv
    with torch.device("meta"):
        Z = nn.Embedding(n, d_kv)
        inner, outer = (
            nn.Linear(d_kv, sheet["encoder width"]),
            nn.Linear(sheet["encoder width"], row),
        )
    made = [*Z.parameters(), *inner.parameters(), *outer.parameters()]
    found = {
        "bytes of its file": 4 * n * row,
        "prefix with its MLP": sum(p.numel() for p in made),
        "prefix": n * row,
        "prompt": n * sheet["query heads"] * sheet["head_dim"],
    }
    assert verdict_on("my_numbers", lambda: found).right
    for wrong in ({}, dict.fromkeys(found, 1)):
        message = verdict_on("my_numbers", lambda wrong=wrong: wrong).message
        assert not any(str(number) in message for number in found.values())


def test_a_cache_right_where_it_cannot_go_wrong_earns_a_part():
    verdict = verdict_on(
        "as_cache",
        lambda P, layers, heads: (
            P.view(len(P), layers, 2, heads, -1).permute(1, 2, 3, 0, 4)
            if heads == len(P)
            else torch.zeros(1)
        ),
    )
    assert not verdict.right and verdict.points == pytest.approx(1.5)


def test_a_share_alone_earns_nothing():
    def share_alone(q, K, V, P_k, P_v):
        return attention.attend(*(t.numpy() for t in (q, K, V, P_k, P_v)))["share"]

    assert verdict_on("attend", share_alone).points == 0


@pytest.mark.parametrize("seed", range(30))
def test_no_specimen_has_two_bugs(seed):
    """Each sign is true of its own bug alone, so any order of tests is right."""
    for bug in diagnosis.SPECIMENS:
        record = diagnosis.specimen(np.random.default_rng(seed), bug)
        for other in diagnosis.SPECIMENS:
            wanted = diagnosis.HEALTHY if other == bug else bug
            assert diagnosis.diagnose(record, blind_to=other) == wanted


def test_the_solution_does_not_lean_on_the_framework():
    code = [c["source"] for c in SOLUTION["cells"] if c["cell_type"] == "code"]
    imports = [line for source in code for line in source if line.startswith(("import", "from"))]
    assert {line.strip() for line in imports} == {
        "import torch",
        "from minipeft.grading import checks",
    }
