"""Published counts of trained parameters: what papers and libraries print, from shapes alone."""

import pytest
from torch import nn

from minipeft import BitFitConfig, IA3Config, LoraConfig, PartialConfig
from minipeft.budget import ARCHITECTURES, count_parameters

from .configs import ALL, DORA, QKVO, adapters, lora, prefix, printed, prompt, vera

TOTALS = {
    "LLaMA-7B": 6_738_415_616,
    "Llama-2-7B": 6_738_415_616,
    "Llama-2-70B": 68_976_648_192,
    "Llama-3-8B": 8_030_261_248,
    "Llama-3.1-8B": 8_030_261_248,
    "Mistral-7B v0.1": 7_241_732_096,
    "Mistral-7B v0.3": 7_248_023_552,
    "SmolLM2-1.7B": 1_711_376_384,
    "GPT-2 small": 124_439_808,
    "GPT-2 medium": 354_823_168,
    "GPT-3 175B": 174_604_259_328,
    "BERT-base uncased": 109_482_240,
    "BERT-base cased": 108_310_272,
    "RoBERTa-base": 124_645_632,
    "DeBERTa-v3-base": 183_831_552,
    "ViT-B/16": 86_567_656,
    "T5-small": 60_506_624,
    "T5-base": 222_903_552,
    "T5-large": 737_668_096,
    "T5-3B": 2_851_598_336,
    "T5-11B": 11_307_321_344,
    "T5-v1.1-base": 247_577_856,
    "T5-v1.1-XL": 2_849_757_184,
    "T0-3B": 2_849_757_184,
}


@pytest.mark.parametrize(("model", "total"), TOTALS.items(), ids=TOTALS)
def test_totals_of_published_models(model, total):
    assert ARCHITECTURES[model].total == total
    assert count_parameters(model).trainable == total


def test_totals_with_other_heads():
    assert ARCHITECTURES["gpt3-175b"].but(tie_word_embeddings=False).total == 175_221_817_344
    assert ARCHITECTURES["roberta-base"].but(add_pooling_layer=False).total == 124_055_040
    assert ARCHITECTURES["vit-b/16"].but(num_labels=0).total == 85_798_656


# (model, config, trained, what is printed: numbers and percents)
PRINTED = {
    "peft's print, r=8": ("llama-7b", lora(8), 4_194_304, ["0.0622%"]),
    "peft's print, r=16": ("llama-7b", lora(16, ALL), 39_976_960, ["0.5898%"]),
    "VeRA table 4, DoRA table 5": ("llama-7b", lora(64, ALL), 159_907_840, ["159.9M", "2.31%"]),
    "peft's print, GQA": ("llama-3-8b", lora(8), 3_407_872, ["0.0424%"]),
    "LoRA table 2, r=8": ("roberta-base", lora(8), 294_912, ["0.3M"]),
    "peft's print, with a head": (
        "roberta-base",
        lora(8, ["query", "value"], task_type="SEQ_CLS"),
        887_042,
        ["0.7066%", "0.8M"],
    ),
    "LoRA table 2, r=16": ("deberta-v2-xxl", lora(16), 4_718_592, ["4.7M"]),
    "LoRA table 4, r=1": ("gpt3-175b", lora(1), 4_718_592, ["4.7M"]),
    "LoRA table 4, r=8": ("gpt3-175b", lora(8), 37_748_736, ["37.7M"]),
    "LoRA table 15, r=4": ("gpt3-175b", lora(4, QKVO), 37_748_736, ["37.7M"]),
    "LoRA table 5, two matrices": ("gpt3-175b", lora(4), 18_874_368, ["18M", "18.8M"]),
    "LoRA table 5, one": ("gpt3-175b", lora(8, ["q_proj"]), 18_874_368, ["18.8M"]),
    "LoRA table 5, four": ("gpt3-175b", lora(2, QKVO), 18_874_368, ["18.8M"]),
    "LoRA table 4, AdapterH 1": (
        "gpt3-175b",
        adapters("houlsby", 1, ["o_proj", "down_proj"]),
        7_078_080,
        ["7.1M"],
    ),
    "LoRA table 4, AdapterH 8": (
        "gpt3-175b",
        adapters("houlsby", 8, ["o_proj", "down_proj"]),
        40_109_568,
        ["40.1M"],
    ),
    "LoRA table 4, PreEmbed": ("gpt3-175b", prompt(256 + 8), 3_244_032, ["3.2M"]),
    "LoRA table 3, AdapterL": (
        "gpt2-medium",
        adapters("houlsby", 224, ["down_proj"], modules_to_save=["ln_2"]),
        11_089_152,
        ["11.09M"],
    ),
    "LoRA table 3, FTTop2": ("gpt2-medium", PartialConfig(last_layers=2), 25_192_448, ["25.19M"]),
    "DoRA table 1, LoRA": ("llama-7b", lora(32, DORA), 56_098_816, ["0.83%", "0.826%"]),
    "DoRA table 1, r=32": (
        "llama-7b",
        lora(32, DORA, use_dora=True),
        56_975_360,
        ["0.84%", "0.838%"],
    ),
    "DoRA table 1, r=16": (
        "llama-7b",
        lora(16, DORA, use_dora=True),
        28_925_952,
        ["0.43%", "0.427%"],
    ),
    "DoRA table 1, LoRA, GQA": ("llama-3-8b", lora(32, DORA), 56_623_104, ["0.70%", "0.700%"]),
    "DoRA table 1, GQA": (
        "llama-3-8b",
        lora(32, DORA, use_dora=True),
        57_409_536,
        ["0.71%", "0.710%"],
    ),
    "ReFT table 1, GQA": ("llama-3-8b", lora(16, DORA, use_dora=True), 29_097_984, ["0.361%"]),
    "ReFT table 1, prefix": ("llama-7b", prefix(10), 2_621_440, ["0.039%"]),
    "DoRA table 1, prefix": ("llama-7b", prefix(30), 7_864_320, ["0.11%"]),
    "VeRA table 2": ("roberta-base", vera(1024), 43_008, ["0.043M"]),
    "VeRA table 4": ("llama-7b", vera(1024, ALL), 1_589_248, ["1.6M"]),
    "VeRA table 13": ("llama-7b", vera(256, ALL), 1_417_216, ["1.4M"]),
    "AdaLoRA table 1, r=2": (
        "deberta-v3-base",
        lora(2, [*QKVO, "up_proj", "down_proj"]),
        331_776,
        ["0.33M"],
    ),
    "AdaLoRA table 1, r=8": (
        "deberta-v3-base",
        lora(8, [*QKVO, "up_proj", "down_proj"]),
        1_327_104,
        ["1.33M"],
    ),
    "T-Few appendix D, (IA)3": (
        "t0-3b",
        IA3Config(target_modules=["k", "v", "wo"], feedforward_modules=["wo"]),
        540_672,
        ["540K"],
    ),
    "T-Few appendix D, 10": ("t0-3b", prompt(10, task_type="SEQ_2_SEQ_LM"), 40_960, ["41K"]),
    "T-Few appendix D, 100": ("t0-3b", prompt(100, task_type="SEQ_2_SEQ_LM"), 409_600, ["409K"]),
    "T-Few appendix D, norms": ("t0-3b", PartialConfig(norms=True), 249_856, ["250K"]),
    "Lester table 4": ("t5-v1.1-xxl", prompt(5), 20_480, ["20480"]),
    "peft's guide, prefix": (
        "t5-large",
        prefix(20, task_type="SEQ_2_SEQ_LM"),
        983_040,
        ["0.13309%"],
    ),
    "Without Regret figure 4": (
        "llama-3.1-8b",
        lora(256, [*ALL, "lm_head"]),
        704_970_752,
        ["0.70B"],
    ),
    "n d": ("llama-7b", prompt(20), 81_920, []),
    "Houlsby section 3.4": ("bert-base-uncased", PartialConfig(norms=True), 38_400, ["38K"]),
}


@pytest.mark.parametrize("row", PRINTED)
def test_printed_counts(row):
    model, config, trained, texts = PRINTED[row]
    count = count_parameters(model, config)
    assert count.trainable == trained
    assert count.total == count.base + count.added
    assert count.added in (0, trained)  # 0 where it is trained in its place
    for text in texts:
        assert printed(count.percent if text.endswith("%") else trained, text), text


def test_totals_that_peft_prints():
    """`print_trainable_parameters` and peft's documentation: a saved head counts twice."""
    assert count_parameters("llama-7b", lora(8)).total == 6_742_609_920
    assert count_parameters("llama-7b", lora(16, ALL)).total == 6_778_392_576
    assert count_parameters("llama-3-8b", lora(8)).total == 8_033_669_120
    classifier = lora(8, ["query", "value"], task_type="SEQ_CLS")
    assert count_parameters("roberta-base", classifier).total == 125_534_212
    both = prefix(20, task_type="SEQ_2_SEQ_LM")
    assert count_parameters("t5-large", both).total == 738_651_136
    pictures = ARCHITECTURES["vit-b/16"].but(num_labels=101)
    saved = lora(16, ["query", "value"], modules_to_save=["classifier"])
    count = count_parameters(pictures, saved)
    assert (count.trainable, count.total) == (667_493, 86_543_818)
    assert printed(count.percent, "0.7713%")
    assert count.table().endswith(
        "trainable params: 667,493 || all params: 86,543,818 || trainable%: 0.7713"
    )


def test_one_matrix():
    """Hu et al. 2021, section 4.1, on a matrix of 4096 x 4096: 99.6% fewer."""
    matrix = nn.Sequential(nn.Linear(4096, 4096, bias=False, device="meta"))
    count = count_parameters(matrix, LoraConfig(r=8, target_modules=["0"]))
    assert (count.trainable, count.base) == (65_536, 16_777_216)
    assert printed(100 * (1 - count.trainable / count.base), "99.6%")


def test_bert_large_with_adapters_of_three_sizes():
    """Houlsby et al. 2019, section 2.1: of 335M, with and without the norms behind the adapters."""
    base = ARCHITECTURES["bert-large"].total
    sizes = {8: "0.249%", 64: "1.893%", 256: "7.527%"}
    for size, share in sizes.items():
        config = adapters("houlsby", size, ["o_proj", "down_proj"])
        assert printed(100 * count_parameters("bert-large", config).trainable / base, share)
    norms = ["attention.output.LayerNorm", "output.LayerNorm"]
    config = adapters("houlsby", 64, ["o_proj", "down_proj"], modules_to_save=norms)
    assert count_parameters("bert-large", config).trainable == 6_441_984


def test_biases_of_bert():
    """BitFit (Ben Zaken et al. 2021) has 0.09%: without and with the pooler's biases."""
    count = count_parameters("bert-base-uncased", BitFitConfig())
    assert count.trainable == 102_912
    assert printed(count.percent, "0.09%")
    inside = ARCHITECTURES["bert-base-uncased"].but(add_pooling_layer=False)
    biases = count_parameters(inside, BitFitConfig()).trainable
    assert biases == 102_144
    assert printed(100 * biases / count.base, "0.0933%")


def test_compacter():
    """Compacter table 1: bottleneck 24, n = 4, one adapter after each attention and each MLP."""
    base = ARCHITECTURES["t5-base"]
    dim, size, n = 768, 24, 4
    places = 2 * (base.shape.num_hidden_layers + base.shape.num_decoder_layers)
    trained = places * (2 * (dim + size) + (size + dim)) + n**3
    trained += count_parameters(base, PartialConfig(norms=True)).trainable
    assert (places, trained) == (48, 161_728)
    assert printed(100 * trained / base.total, "0.073%")


def test_adapters_without_biases_on_llama():
    """DoRA table 1 and ReFT table 1: one for each layer, two, and one on each of two matrices."""
    wholes = {
        67_108_864: (["o_proj"], "houlsby", ["0.99%", "0.9861%"]),
        134_217_728: (["o_proj", "o_proj_again"], "houlsby", ["1.953%"]),
        247_463_936: (["up_proj", "down_proj"], "parallel", ["3.54%"]),
    }
    base = ARCHITECTURES["llama-7b"].total
    for weights, (targets, style, texts) in wholes.items():
        config = adapters(style, 256, targets[:1] if "again" in targets[-1] else targets)
        times = 2 if "again" in targets[-1] else 1
        count = count_parameters("llama-7b", config)
        outputs = [11_008 if "up_proj" in path else 4096 for path in count.by_module]
        biases = sum(256 + output for output in outputs)
        trained = times * (count.trainable - biases)
        assert trained == weights
        for text in texts:
            assert printed(100 * trained / (base + trained), text)


def test_prompts_of_two_sizes_of_t5():
    """Lester et al. 2021, table 4, with its misprint."""
    for rows in (1, 5, 20, 50, 100):
        small = count_parameters("t5-v1.1-small", prompt(rows))
        large = count_parameters("t5-v1.1-xl", prompt(rows))
        assert (small.trainable, large.trainable) == (512 * rows, 2048 * rows)
        assert bool(small.remarks) == (rows == 20)
    assert count_parameters("t5-v1.1-small", prompt(1)).total == 76_961_664
    assert count_parameters("t5-v1.1-xl", prompt(1)).total == 2_849_759_232


def test_norms_in_the_layers_of_bert_alone():
    """Houlsby et al. 2019, section 3.4, have 40k: 36,864 in the layers, 1,536 at the embeddings."""
    count = count_parameters("bert-base-uncased", PartialConfig(norms=True))
    layers = [n for path, n in count.by_module.items() if "encoder.layer" in path]
    assert sum(layers) == 36_864
    assert printed(count.trainable, "38.4K")
