"""Counts in print, beside arithmetic: the rows that lesson 04 shows."""

import pytest

from minipeft.budget.discrepancies import DISCREPANCIES
from minipeft.course.lessons.published_counts import (
    Published,
    calculated,
    in_print,
    published_counts,
    reasons,
    verdict,
)

ROWS = published_counts()
SEEN = [(row, figure) for row in ROWS for figure in row.figures()]


@pytest.mark.parametrize(
    ("counted", "printed", "expected"),
    [
        (4_194_304, "4,194,304", "exact"),
        (4_194_305, "4,194,304", "differs"),
        (4_718_592, "4.7M", "rounded"),
        (37_748_736, "37.7M", "rounded"),
        (18_874_368, "18M", "cut off"),
        (18_874_368, "18.8M", "cut off"),
        (887_042, "0.8M", "cut off"),
        (2.3181, "2.31%", "cut off"),
        (38_400, "40K", "rounded"),
        (34_400, "40K", "differs"),
        (249_856, "250K", "rounded"),
        (0.3610, "0.35%", "differs"),
        (671_088_640, "0.70B", "differs"),
        (20_480, "20480", "exact"),
    ],
)
def test_a_verdict_says_how_a_figure_follows(counted, printed, expected):
    assert verdict(counted, printed) == expected


def test_a_printed_text_as_a_number():
    assert in_print("37.7M") == 37_700_000
    assert in_print("0.06%") == 0.06
    assert in_print("4,194,304") == 4_194_304


def test_arithmetic_in_a_text():
    assert calculated("48 * (2 * (768 + 24) + (24 + 768)) + 62 * 768 + 4**3") == 161_728
    with pytest.raises(KeyError):
        calculated("7 - 2")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.source}, {row.method}")
def test_what_does_not_follow_has_a_reason_and_the_others_have_none(row):
    assert bool(row.why) == any(not figure.follows for figure in row.figures())


def test_the_frameworks_own_list_is_part_of_it():
    reasons = [row.why for row in ROWS]
    assert all(one.why in reasons for one in DISCREPANCIES)
    assert len({(r.source, r.model, r.method, *r.printed.values()) for r in ROWS}) == len(ROWS)


# What a few rows must give, by hand: (model, printed) -> counted.
BY_HAND = {
    ("llama-7b", "159.9M"): 32 * 64 * (4 * 8192 + 3 * 15104),
    ("gpt3-175b", "40.1M"): 96 * 2 * (2 * 12288 * 8 + 8 + 12288),
    ("gpt3-175b", "76.1M"): 96 * 12288 * 64,
    ("t0-3b", "540K"): 24 * (2 * 2048 + 5120) + 24 * (4 * 2048 + 5120),
    ("roberta-base", "0.043M"): 24 * (1024 + 768),
    ("vit-b/16", "667,493"): 24 * 16 * (768 + 768) + 768 * 101 + 101,
    ("llama-7b", "79,953,920"): 159_907_840,
    ("llama-7b", "1.953%"): 100 * 134_217_728 / (6_738_415_616 + 134_217_728),
}


@pytest.mark.parametrize("key", BY_HAND)
def test_rows_by_hand(key):
    model, printed = key
    (figure,) = [f for row, f in SEEN if row.model == model and f.printed == printed]
    assert figure.counted == pytest.approx(BY_HAND[key], rel=1e-12)


def test_no_right_answer_stands_in_a_row_that_differs():
    for row in ROWS:
        assert isinstance(row, Published)
        for figure in row.figures():
            assert figure.follows or f"{figure.counted:,}" not in figure.printed


def test_every_figure_that_differs_is_explained_once():
    said = reasons(ROWS)
    differing = [figure.printed for _, figure in SEEN if not figure.follows]
    assert sum(text.count(" (counted: ") for text in said) == len(differing)
    assert all(any(f"{printed} (counted" in text for text in said) for printed in differing)
    assert "VeRA, table 1, roberta-large: 49.5K (counted: 49,920): its own 195 KB are right" in said
