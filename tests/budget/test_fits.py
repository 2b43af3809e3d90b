"""Whether it fits: reasons and changes are what the ledger itself says."""

import pytest

from minipeft.budget import memory_budget
from minipeft.budget.fits import parse_size

from .configs import ALL, lora


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24 GB", 24 * 10**9),
        ("24GiB", 24 * 2**30),
        ("0.5 TB", 5 * 10**11),
        (" 512 mb ", 512 * 10**6),
        (1000, 1000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "24 gigs", "-1 GB", "", 0, -5, 2.5, None, True])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"room=.*24 GB"):
        parse_size(text)


SMALL = "smollm2-135m"


def test_it_fits():
    budget = memory_budget(SMALL, lora(8, ALL), quantization="nf4", checkpointing=True)
    fit = budget.fits("24 GB")
    assert fit
    assert fit.needed == budget.peak_bytes <= budget.total_bytes
    assert not fit.changes
    assert "fits into 24.00 GB = 22.35 GiB" in str(fit)
    assert budget.fits(budget.peak_bytes)
    assert not budget.fits(budget.peak_bytes - 1)


def test_it_does_not_fit_and_each_change_says_what_it_brings():
    recipe = {"batch": 8, "length": 64}
    budget = memory_budget(SMALL, lora(8, ALL), **recipe)
    fit = budget.fits("600 MB")
    assert not fit
    assert fit.reasons[0].startswith("activations: ")
    tried = {"batch=1": {"batch": 1}, "length=32": {"length": 32}}
    tried |= {"checkpointing=True": {"checkpointing": True}}
    tried |= {"quantization='nf4_double'": {"quantization": "nf4_double"}}
    for name, change in tried.items():
        other = memory_budget(SMALL, lora(8, ALL), **recipe | change)
        assert fit.changes[name] == other.peak_bytes
    assert "does not fit into" in str(fit)
    assert min(fit.changes.values()) <= 600e6


def test_changes_together_where_none_is_enough_alone():
    fit = memory_budget(SMALL, lora(8, ALL), batch=8).fits("300 MB")
    together, needed = list(fit.changes.items())[-1]
    assert together.startswith("checkpointing=True and ")
    assert needed <= 300e6 < min(list(fit.changes.values())[:-1])


def test_full_fine_tuning_is_told_of_lora():
    fit = memory_budget(SMALL, length=64).fits("700 MB")
    assert any("LoRA" in change and needed <= 700e6 for change, needed in fit.changes.items())


def test_hopeless():
    fit = memory_budget("gpt2").fits("1 MB")
    assert not fit
    assert all(needed > 1e6 for needed in fit.changes.values())


def test_pages_make_room():
    recipe = {"quantization": "nf4_double", "checkpointing": True}
    plain = memory_budget("llama-65b", lora(64, ALL), optimizer="adamw_fused", **recipe)
    paged = memory_budget("llama-65b", lora(64, ALL), optimizer="paged_adamw", **recipe)
    assert paged.peak_bytes == plain.peak_bytes > 45e9
    fit = paged.fits("45 GB")
    assert fit
    assert fit.needed == paged.peak_bytes - paged.paged_bytes
    assert "may be paged out" in str(fit)


def test_table_names_units_and_conventions():
    budget = memory_budget("gpt2", lora(4), optimizer="lion")
    table = budget.table()
    assert "GB (10^9)" in table
    assert "GiB (2^30)" in table
    assert "2 bytes each (bfloat16)" in table
    assert "lion, means in float32" in table
    assert f"{budget.total_bytes:,}" in table
    assert budget.notes.keys() == budget.rows.keys()
    assert sum(budget.rows.values()) == budget.total_bytes + budget.rows["adapter file"]


def test_plot_has_a_bar_for_each_row():
    budget = memory_budget("gpt2", lora(4))
    (axes,) = budget.plot().axes
    shown = {name: count for name, count in budget.in_memory.items() if count}
    assert [label.get_text() for label in axes.get_yticklabels()] == list(shown)
    assert [round(bar.get_width() * 1e9) for bar in axes.patches] == list(shown.values())
    assert "GB" in axes.get_title(loc="left")
