"""Exercise 04: its references against transformers, peft, adapters and bitsandbytes."""

import json
import math
from math import prod

import numpy as np
import peft
import pytest
import torch
import transformers
from torch import nn

from minipeft.grading.compare import judge
from minipeft.grading.exercises import exercise
from minipeft.grading.exercises.lesson_04 import budget, loaded, methods, model
from minipeft.grading.exercises.lesson_04.asked import decoder
from minipeft.grading.sandboxed.call import call

from .handing_in import ROOT

EXERCISE = exercise("04")
TASKS = {task.name: task for task in EXERCISE.tasks}
TIES = "tie_word_embeddings"


def llama(config: dict) -> nn.Module:
    """transformers' own model of a config, on the meta device."""
    known = {name: value for name, value in config.items() if name not in ("r", "n")}
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**known))


def verdict_on(name, function, student="Ada"):
    task = TASKS[name]
    cases = task.inputs(0, EXERCISE.sheet_for(student))
    told = task.told(cases)
    return judge(task, cases, [call(function, case, task.calls) for case in told])


@pytest.mark.parametrize("seed", range(3))
def test_a_model_counts_as_transformers_builds_it(seed):
    for (config,) in model.cases(np.random.default_rng(seed)):
        assert model.count_model(config) == llama(config).num_parameters()


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("LoRA", lambda r: peft.LoraConfig(r=r)),
        ("DoRA", lambda r: peft.LoraConfig(r=r, use_dora=True)),
        ("AdaLoRA", lambda r: peft.AdaLoraConfig(init_r=r, target_r=1, total_step=10)),
        ("VeRA", lambda r: peft.VeraConfig(r=r)),
    ],
)
def test_methods_at_matrices_count_as_peft_trains(method, config):
    cases = [c for seed in range(3) for c in methods.matrix_cases(np.random.default_rng(seed))]
    for asked, shapes, r in cases:
        if asked == method:
            layers = [nn.Linear(in_, out, bias=False) for out, in_ in shapes]
            options = config(r)
            options.target_modules = {str(n) for n in range(len(layers))}
            adapted = peft.get_peft_model(nn.Sequential(*layers), options)
            trained = adapted.get_nb_trainable_parameters()[0]
            assert methods.at_matrices(method, shapes, r) == trained


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("(IA)3", lambda n: peft.IA3Config()),
        ("prompt", lambda n: peft.PromptTuningConfig(num_virtual_tokens=n)),
        ("prefix", lambda n: peft.PrefixTuningConfig(num_virtual_tokens=n)),
    ],
)
def test_methods_in_blocks_count_as_peft_trains(method, options):
    for seed in range(2):
        sizes = decoder(np.random.default_rng(seed))
        if method == "prefix":  # peft takes hidden_size / heads for the size of a head
            sizes["head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
        config = options(sizes["n"])
        config.task_type = "CAUSAL_LM"
        trained = peft.get_peft_model(llama(sizes), config).get_nb_trainable_parameters()[0]
        assert methods.in_blocks(method, sizes, sizes["n"]) == trained


def test_a_prefix_with_its_mlp_is_pefts():
    sizes = decoder(np.random.default_rng(0))
    kv = sizes["num_key_value_heads"] * sizes["head_dim"]
    config = peft.PrefixTuningConfig(
        num_virtual_tokens=sizes["n"],
        num_layers=sizes["num_hidden_layers"],
        token_dim=kv,
        encoder_hidden_size=kv,
        prefix_projection=True,
    )
    with torch.device("meta"):
        encoder = peft.PrefixEncoder(config)
    trained = sum(parameter.numel() for parameter in encoder.parameters())
    assert methods.in_blocks("prefix with its MLP", sizes, sizes["n"]) == trained


def test_adapters_are_those_of_the_adapters_library():
    import adapters

    sizes = decoder(np.random.default_rng(1)) | {"vocab_size": 50, "num_hidden_layers": 2}
    sizes["head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
    known = {name: value for name, value in sizes.items() if name not in ("r", "n")}
    real = transformers.LlamaForCausalLM(transformers.LlamaConfig(**known))
    adapters.init(real)
    real.add_adapter("one", config=adapters.DoubleSeqBnConfig(reduction_factor=8))
    named = [(name, p) for name, p in real.named_parameters() if "adapters" in name]
    width = sizes["hidden_size"] // 8
    assert methods.in_blocks("adapters", sizes, width) == sum(p.numel() for _, p in named)


def entries_of(adapted: nn.Module) -> list[dict]:
    """The list of a real model, as task 4 tells it."""
    found, numbers = [], {}
    for name, tensor in adapted.named_parameters(remove_duplicate=False):
        place = numbers.setdefault(id(tensor), len(numbers))
        packed = type(tensor).__name__ == "Params4bit"
        found.append(loaded.entry(name, list(tensor.shape), place, packed, tensor.requires_grad))
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_what_is_loaded_counts_as_peft_counts_it(tied, packed):
    import bitsandbytes as bnb

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 90, TIES: tied}
    real = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    for layer in real.model.layers if packed else ():
        for owner in (layer.self_attn, layer.mlp):
            for name, linear in list(owner.named_children()):
                if isinstance(linear, nn.Linear):
                    four = bnb.nn.Linear4bit(linear.in_features, linear.out_features, bias=False)
                    four.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False)
                    setattr(owner, name, four.to("cpu"))
    adapted = peft.get_peft_model(real, peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj"]))
    counts = loaded.count_loaded(entries_of(adapted))
    assert (counts["trained"], counts["all"]) == adapted.get_nb_trainable_parameters()


def test_a_budget_is_met_and_one_more_is_too_much():
    for amount, config in budget.cases(np.random.default_rng(3)):
        found = budget.meet_budget(amount, config)
        shapes = model.block_shapes(config)
        both = [shapes["q_proj"], shapes["v_proj"]]
        counts = {
            "LoRA": lambda r, c=config, s=both: (
                c["num_hidden_layers"] * methods.at_matrices("LoRA", s, r)
            ),
            "adapters": lambda n, c=config: methods.in_blocks("adapters", c, n),
            "prefix": lambda n, c=config: methods.in_blocks("prefix", c, n),
        }
        for name, size in found.items():
            assert size == 0 or counts[name](size) <= amount
            assert counts[name](size + 1) > amount


def test_published_counts():
    llama_7b = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
    llama_7b |= {"num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128}
    llama_7b |= {"vocab_size": 32000, TIES: False, "attention_bias": False}
    assert model.count_model(llama_7b) == 6_738_415_616
    assert methods.in_blocks("(IA)3", llama_7b, 1) == 614_400
    assert methods.in_blocks("prefix", llama_7b, 20) == 5_242_880
    assert methods.in_blocks("prompt", llama_7b, 20) == 81_920
    shapes = list(model.block_shapes(llama_7b).values())
    assert 32 * methods.at_matrices("LoRA", shapes, 16) == 39_976_960
    assert 32 * methods.at_matrices("VeRA", shapes, 1024) == 1_589_248
    five = [shapes[n] for n in (0, 1, 2, 5, 6)]
    assert 32 * methods.at_matrices("DoRA", five, 16) == 28_925_952


# Right answers, written otherwise than the reference and the solution.


def model_by_lists(config):
    d, L = config["hidden_size"], config["num_hidden_layers"]
    q, kv = (config["head_dim"] * config[f"num_{k}_heads"] for k in ("attention", "key_value"))
    sizes = [config["vocab_size"] * d, d]
    for _ in range(L):
        sizes += [q * d, kv * d, kv * d, d * q, *[config["intermediate_size"] * d] * 3, d, d]
        sizes += [q, kv, kv, d] if config["attention_bias"] else []
    return sum(sizes) + (not config[TIES]) * config["vocab_size"] * d


def matrices_by_cases(method, shapes, r):
    outs, ins = (sum(side) for side in zip(*shapes, strict=True))
    low_rank = r * outs + r * ins
    match method:
        case "LoRA":
            return low_rank
        case "DoRA":
            return low_rank + outs
        case "AdaLoRA":
            return low_rank + r * len(shapes)
        case "VeRA":
            return len(shapes) * r + outs
        case "BitFit":
            return outs
    return len(shapes) + sum(2 * a * b for a, b in shapes)


def blocks_by_tensors(method, config, n):
    d, kv = config["hidden_size"], config["head_dim"] * config["num_key_value_heads"]
    L, f = config["num_hidden_layers"], config["intermediate_size"]
    tensors = {
        "(IA)3": [(L, kv), (L, kv), (L, f)],
        "adapters": [(2 * L, n, d), (2 * L, n), (2 * L, d, n), (2 * L, d)],
        "prompt": [(n, d)],
        "prefix": [(L, 2, n, kv)],
        "prefix with its MLP": [(n, kv), (kv, kv), (kv,), (2 * L * kv, kv), (2 * L * kv,)],
    }
    return sum(prod(shape) for shape in tensors[method])


def loaded_by_dictionary(entries):
    sizes = {}
    for e in entries:
        sizes[e["tensor"]] = (prod(e["shape"]) << e["packed"], e["trained"])
    trained = sum(size for size, learns in sizes.values() if learns)
    return {"all": sum(size for size, _ in sizes.values()), "trained": trained}


def diagnosis_by_candidates(record):
    L, d, V, r = (record[name] for name in ("layers", "hidden", "vocab", "r"))
    shapes = {name: tuple(shape) for name, shape in record["shapes"].items()}
    wide = shapes | dict.fromkeys(("k_proj", "v_proj"), shapes["q_proj"])
    inside = L * sum(a * b for a, b in shapes.values())
    rest = V * d + (2 * L + 1) * d

    def lora(shapes):
        return L * r * sum(sum(shapes[name]) for name in record["targets"])

    right = lora(shapes)
    candidates = {
        (right, rest + inside): "right",
        (lora(wide), rest + inside): "k and v as wide as q",
        (right, rest + inside + V * d): "tied table counted twice",
        (right + L * len(record["targets"]), rest + inside): "alpha counted",
        (right, rest + inside // 2): "packed weights counted as half",
        (right // L, rest + inside): "one block only",
    }
    return candidates[record["trained"], record["all"] - record["trained"]]


def budget_by_trying(amount, config):
    def largest(count):
        size = 0
        while count(size + 1) <= amount:
            size += 1
        return size

    d, kv = config["hidden_size"], config["head_dim"] * config["num_key_value_heads"]
    q, L = config["head_dim"] * config["num_attention_heads"], config["num_hidden_layers"]
    return {
        "LoRA": largest(lambda r: L * r * (q + d + kv + d)),
        "adapters": largest(lambda n: blocks_by_tensors("adapters", config, n)),
        "prefix": largest(lambda n: blocks_by_tensors("prefix", config, n)),
    }


@pytest.mark.parametrize(
    ("name", "right"),
    {
        "count_model": model_by_lists,
        "count_at_matrices": matrices_by_cases,
        "count_in_blocks": blocks_by_tensors,
        "count_loaded": loaded_by_dictionary,
        "diagnose": diagnosis_by_candidates,
        "meet_budget": budget_by_trying,
    }.items(),
)
def test_a_right_answer_written_otherwise_passes(name, right):
    verdict = verdict_on(name, right)
    assert verdict.right, verdict.message


def test_the_sheet_is_right_by_other_functions_too():
    sheet = EXERCISE.sheet_for("Ada")
    shapes = model.block_shapes(sheet).values()
    q, _, v, *_ = shapes
    L = sheet["num_hidden_layers"]
    mine = {
        "the model": model_by_lists(sheet | {"attention_bias": False}),
        "LoRA": L * matrices_by_cases("LoRA", list(shapes), sheet["r"]),
        "DoRA": L * matrices_by_cases("DoRA", [q, v], sheet["r"]),
        "(IA)3": blocks_by_tensors("(IA)3", sheet, sheet["n"]),
        "prefix": blocks_by_tensors("prefix", sheet, sheet["n"]),
    }
    assert verdict_on("my_counts", lambda: mine).right
    assert "a number" not in verdict_on("my_counts", lambda: mine | {"LoRA": 1}).right_parts


@pytest.mark.parametrize("wrong", [{"LoRA": 1}, {}, {"the model": 1, "DoRA": 2, "prefix": 3}])
def test_the_sheet_never_prints_its_answers(wrong):
    sheet = EXERCISE.sheet_for("Ada")
    message = verdict_on("my_counts", lambda: wrong).message
    for number in TASKS["my_counts"].answer(sheet).values():
        assert str(number) not in message


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("count_model", lambda c: model_by_lists(c | {TIES: False}), "counted twice"),
        (
            "count_model",
            lambda c: model_by_lists(c | {"num_key_value_heads": c["num_attention_heads"]}),
            "num_key_value_heads * head_dim",
        ),
        (
            "count_at_matrices",
            lambda m, shapes, r: matrices_by_cases(m, [shape[::-1] for shape in shapes], r),
            "(d_out, d_in)",
        ),
        (
            "count_in_blocks",
            lambda m, c, n: blocks_by_tensors(
                m, c | {"num_key_value_heads": c["num_attention_heads"]}, n
            ),
            "for every head",
        ),
        (
            "count_loaded",
            lambda es: loaded_by_dictionary([e | {"tensor": e["name"]} for e in es]),
            "by name",
        ),
        (
            "count_loaded",
            lambda es: loaded_by_dictionary([e | {"packed": False} for e in es]),
            "half of what it is",
        ),
        ("diagnose", lambda record: "right", "Work out both counts"),
        (
            "meet_budget",
            lambda b, c: {
                name: max(0, math.ceil((b - fixed) / each))
                for name, (each, fixed) in budget.per_size(c).items()
            },
            "round up",
        ),
    ],
)
def test_what_people_write_has_its_own_message(name, wrong, says):
    verdict = verdict_on(name, wrong)
    assert not verdict.right
    assert says in verdict.message


def test_the_line_to_explain_is_what_the_shapes_give():
    lora, head = 12 * 2 * 8 * (768 + 768), (768 * 768 + 768) + (768 * 2 + 2)
    assert (lora, head, lora + head) == (294_912, 592_130, 887_042)
    body = 125_534_212 - lora - 2 * head
    config = transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1
    )
    with torch.device("meta"):
        base = transformers.RobertaModel(config, add_pooling_layer=False)
    assert base.num_parameters() == body


def test_the_solution_does_not_lean_on_the_framework():
    text = (ROOT / "solutions" / f"{EXERCISE.notebook}.ipynb").read_text(encoding="utf-8")
    code = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    lines = [line.strip() for source in code for line in source]
    imports = {line for line in lines if line.startswith(("import", "from"))}
    assert imports == {"import math", "from minipeft.grading import checks"}
