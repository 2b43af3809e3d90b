"""Published figures of memory and storage by the ledger's arithmetic."""

import pytest
import torch

from minipeft.budget import ARCHITECTURES, count_parameters, memory_budget
from minipeft.quant import quantize_nf4

from .configs import ALL, lora, printed, vera

GB, GIB, MIB = 1e9, 2**30, 2**20
STATES = ("weights", "gradients", "optimizer", "master copy")


def each(model: str = "llama-7b", **recipe) -> dict[str, float]:
    """Bytes for each trained number, by row; full fine-tuning."""
    rows = memory_budget(model, **recipe).rows
    return {name: round(rows[name] / ARCHITECTURES[model].total, 4) for name in STATES}


def test_full_fine_tuning_with_twelve_bytes_each():
    """84 GB for 7e9 numbers; LLaMA-7B has 6.74e9. QLoRA, section 1: 780 GB for 65e9."""
    assert list(each().values()) == [2, 2, 8, 0]
    assert 7e9 * sum(each().values()) == 84 * GB
    rows = memory_budget("llama-7b").rows
    total = sum(rows[name] for name in STATES)
    assert printed(total / GB, "80.86")
    assert printed(total / GIB, "75.31")
    assert 65e9 * sum(each("llama-65b").values()) == 780 * GB
    rows = memory_budget("llama-65b").rows
    assert printed(sum(rows[name] for name in STATES) / GB, "783.4")


def test_sixteen_and_eighteen_bytes_each():
    """ZeRO, section 3.1, has a copy in 32 bits; Hugging Face's notes also gradients in 32 bits."""
    zero, hugging_face = each(master_copy=True), each(master_copy=True, gradient_dtype="float32")
    assert 7e9 * sum(zero.values()) == 112 * GB
    assert 7e9 * sum(hugging_face.values()) == 126 * GB
    total = ARCHITECTURES["llama-7b"].total
    assert printed(total * sum(zero.values()) / GB, "107.81")
    assert printed(total * sum(hugging_face.values()) / GB, "121.29")


def test_lora_with_one_percent_trained():
    """Biderman et al. 2024, table S14: all in 32 bits, then Lion, then a base in 16 bits."""
    full, lion = each(dtype="float32"), each(dtype="float32", optimizer="lion")
    assert 7e9 * sum(full.values()) == 112 * GB
    assert 7e9 * sum(lion.values()) == 84 * GB
    wide, narrow = full["weights"], each()["weights"]
    assert round(7e9 * (wide + 0.01 * sum(full.values())) / GB, 2) == 29.12
    assert round(7e9 * (narrow + 0.01 * sum(full.values())) / GB, 2) == 15.12
    assert round(7e9 * (narrow + 0.01 * sum(lion.values())) / GB, 2) == 14.84


def test_lora_with_four_million_trained():
    """A tutorial's 14.05 GB, 83.3% less than 84, cut to 83.2%."""
    rates = each()
    total = 7e9 * rates["weights"] + 4e6 * sum(rates.values())
    assert printed(total / GB, "14.05")
    assert printed(100 * (1 - total / (84 * GB)), "83.2%")


def test_zero_on_64_devices():
    """ZeRO, figure 1, for 7.5e9 numbers: optimizer, gradients, weights are dealt out."""
    rates = each(master_copy=True)
    optimizer = rates["optimizer"] + rates["master copy"]
    stages = [
        (1, 1, 1, "120"),
        (64, 1, 1, "31.4"),
        (64, 64, 1, "16.6"),
        (64, 64, 64, "1.9"),
    ]
    for among, gradients, weights, text in stages:
        each_device = optimizer / among + rates["gradients"] / gradients
        each_device += rates["weights"] / weights
        assert printed(7.5 * each_device, text)


def test_gpt3_with_and_without_lora():
    """LoRA, section 4.2: 350 GB are the weights alone; no convention gives its 1.2 TB."""
    budget = memory_budget("gpt3-175b", dtype="float16")
    assert 175e9 * budget.rows["weights"] / ARCHITECTURES["gpt3-175b"].total == 350 * GB
    assert any("1.2 TB" in remark for remark in budget.remarks)
    for recipe in ({}, {"master_copy": True}, {"optimizer": "lion"}):
        assert sum(each("gpt3-175b", **recipe).values()) > 1.2e12 / 175e9


def test_gpt3_checkpoints():
    """LoRA, section 4.2 and footnote 4: 35 MB, "10,000 times" smaller, and a hundred of them."""
    rows = memory_budget("gpt3-175b", lora(4), adapter_dtype="float16").rows
    assert (rows["adapter"], rows["adapter"] / MIB) == (37_748_736, 36.0)
    assert rows["adapter file"] > rows["adapter"]  # by the file's header
    assert round(175_255.8e6 / count_parameters("gpt3-175b", lora(4)).trainable) == 9_285
    assert round(175_255.8e6 / count_parameters("gpt3-175b", lora(1)).trainable) == 37_142
    assert printed(350 + 100 * 0.035, "354")


def test_double_quantization():
    """QLoRA, section 3: 0.5 -> 0.127 bits for each number's constants; 3 GB less at 65B."""
    numbers = 2**30
    weight = torch.empty(2**15, 2**15, device="meta")
    made = [quantize_nf4(weight, double_quant=double) for double in (False, True)]
    bits = [8 * (one.nbytes - one.codes.nbytes) / numbers for one in made]
    assert bits[0] == 0.5
    assert bits[1] == pytest.approx(0.126953125, abs=1e-7)
    assert printed(bits[0] - bits[1], "0.373")
    assert printed((bits[0] - bits[1]) * 65e9 / 8 / GB, "3.03")


def test_llama_7b_in_four_bits():
    """3.87 GB, 4.17 without double quantization; the 5,048 MB of QLoRA, section 2, have more."""
    config = lora(64, ALL)
    budget = memory_budget("llama-7b", config, quantization="nf4_double")
    base = budget.rows["weights"] + budget.rows["quantization constants"]
    offsets = 4 * 7 * 32  # the mean of each matrix's constants
    assert base - offsets == 3_865_591_808
    assert printed(base / MIB, "3686.5")
    rows = memory_budget("llama-7b", config, quantization="nf4").rows
    assert printed((rows["weights"] + rows["quantization constants"]) / GB, "4.17")
    assert any("5,048 MB" in remark for remark in budget.remarks)


def test_lora_weights_of_qlora():
    """QLoRA, section 2: 0.2% of 7B in 16 bits are 26 MB, in units of 2^20."""
    assert printed(0.002 * ARCHITECTURES["llama-7b"].total * 2 / MIB, "26")


def test_qlora_on_llama_7b():
    """QLoRA prints 5 GB and, in table 1, 6 GB: it depends on what an adapter's number takes."""
    printed_as = {"bfloat16": ("5.784", "5.39"), "float32": ("6.42", "5.98")}
    for dtype, (in_gb, in_gib) in printed_as.items():
        recipe = {"quantization": "nf4_double", "adapter_dtype": dtype}
        rows = memory_budget("llama-7b", lora(64, ALL), **recipe).rows
        names = ("weights", "quantization constants", "adapter", "gradients", "optimizer")
        total = sum(rows[name] for name in names)
        assert printed(total / GB, in_gb)
        assert printed(total / GIB, in_gib)


def test_activations_of_a_gpt3_layer():
    """Korthikanti et al. 2022, equation 1: s b h (34 + 5 a s / h), or 2 s b h if recomputed."""
    s, b, h, a, layers = 2048, 1, 12_288, 96, 96
    recipe = {"length": s, "batch": b, "dtype": "float16", "attention": "eager"}
    formula = s * b * h * (34 + 5 * a * s / h)
    assert formula == 2_868_903_936
    kept = memory_budget("gpt3-175b", **recipe).rows["activations"]
    shallower = ARCHITECTURES["gpt3-175b"].but(n_layer=layers - 1)
    layer = kept - memory_budget(shallower, **recipe).rows["activations"]
    assert layer == formula + 2 * 2 * 4 * s * b  # and each norm's mean and deviation
    assert printed(layer / GIB, "2.672")
    fused = memory_budget("gpt3-175b", **recipe | {"attention": "flash"}).rows["activations"]
    assert fused / layers == pytest.approx(s * b * h * 34, rel=0.03)  # no table of s times s
    inputs = memory_budget("gpt3-175b", checkpointing=True, **recipe).rows
    assert inputs["activations"] == pytest.approx(layers * 2 * s * b * h, rel=0.03)
    assert printed(layers * 2 * s * b * h / GB, "4.83")
    assert inputs["recomputation"] == pytest.approx(formula, rel=0.03)


def test_in_context_learning_with_gpt3():
    """T-Few, section 2.1: keys and values of 32 examples of 512 tokens, 144 "gigabytes" of 2^30."""
    recipe = {"batch": 32, "length": 512, "dtype": "float32", "training": False}
    row = memory_budget("gpt3-175b", **recipe).rows["key/value cache"]
    assert row == 154_618_822_656
    assert printed(row / GIB, "144")


def test_compute_of_t_few():
    """T-Few, table 1: 2 N for each token, 6 N in training; half of that in an encoder-decoder."""
    assert printed(3 * 11e9 * 1000 * 8 * 103 / 1e16, "2.7")
    assert printed(2 * 175e9 * (41 * 98 + 103) / 1e15, "1.4")
    assert printed(11e9 * 103 / 1e12, "1.1")


def test_vera_beside_lora():
    """VeRA, table 1: what a file holds, in 32 bits: "KB" and "MB" are KiB and MiB."""
    small = 4 * count_parameters("roberta-base", vera(16)).trainable
    assert printed(small / 2**10, "73.5")
    assert 4 * count_parameters("roberta-base", lora(16)).trainable == 2.25 * MIB
    large = 4 * count_parameters("gpt3-175b", lora(16)).trainable
    assert large == 288 * MIB
    assert printed(large * 1e6 / 2**40, "274.6")
    rows = memory_budget("roberta-base", vera(16)).rows
    assert rows["gradients"] == small
    assert rows["adapter"] > small  # A and B are random, but they are there


def test_grouped_queries_save_cache():
    rows = {
        model: memory_budget(model, length=4096, training=False).rows["key/value cache"]
        for model in ("llama-2-7b", "llama-3-8b")
    }
    assert rows["llama-2-7b"] == 4 * rows["llama-3-8b"] == 2 * GIB
