"""Counts that sources print and arithmetic doesn't give: the count says so."""

import pytest

from minipeft.budget import ARCHITECTURES, count_parameters
from minipeft.budget.discrepancies import DISCREPANCIES

from .configs import lora, printed

# What arithmetic gives where a source prints something else, by the place in DISCREPANCIES.
DIFFERENT = {
    "LoRA table 10": ("deberta-v2-xxl", 2_359_296, "4.7M"),
    "LoRA table 3, r=4": ("gpt2-medium", 393_216, "0.35M"),
    "LoRA table 3": ("gpt2-medium", 354_823_168, "354.92M"),
    "LoRA table 4": ("gpt3-175b", 174_604_259_328, "175,255.8M"),
    "LoRA table 4, PreLayer": ("gpt3-175b", 18_874_368, "20.2M"),
    "LoRA table 4, BitFit": ("gpt3-175b", 12_976_128 + 12_288, "14.2M"),  # with the last norm's
    "tutorials, GQA": ("llama-3-8b", 3_407_872, "4,194,304"),
    "DoRA table 1, GQA": ("llama-3-8b", 29_097_984, "0.35%"),
    "DoRA table 1, prefix": ("llama-7b", 2_621_440, "0.11%"),
    "a tutorial, prefix": ("llama-7b", 5_242_880, "1M"),
    "a tutorial, (IA)3": ("llama-7b", 614_400, "300K"),
    "VeRA table 1": ("roberta-large", 49_920, "49.5K"),
    "VeRA table 1, r=16": ("gpt3-175b", 2_362_368, "2.8M"),
    "VeRA table 1, r=256": ("gpt3-175b", 2_408_448, "8.7M"),
    "T-Few appendix D, 10": ("t0-3b", 20_480, "41K"),
    "T-Few appendix D, 100": ("t0-3b", 204_800, "409K"),
    "Lester table 4": ("t5-v1.1-small", 10_240, "10,420"),
    "Houlsby table 1": ("bert-large", 6_343_680, "2.1%"),
    "Without Regret figure 4": ("llama-3.1-8b", 671_088_640, "0.70B"),
}


@pytest.mark.parametrize(
    ("row", "claim"), zip(DIFFERENT, DISCREPANCIES, strict=True), ids=DIFFERENT
)
def test_where_a_source_prints_something_else_the_count_says_so(row, claim):
    model, trained, text = DIFFERENT[row]
    assert (claim.model, claim.printed) == (model, text)
    count = count_parameters(claim.model, claim.config)
    assert count.trainable == trained
    assert str(claim) in count.remarks
    assert str(claim) in count.table()
    number = text.replace(",", "")
    assert not printed(count.percent if text.endswith("%") else trained, number)


def test_a_count_that_nobody_printed_has_no_remark():
    assert not count_parameters("llama-3-8b", lora(9)).remarks
    assert not count_parameters("llama-7b", lora(8)).remarks
    same_shape = ARCHITECTURES["llama-3.1-8b"]
    assert count_parameters(same_shape, lora(8)).remarks
