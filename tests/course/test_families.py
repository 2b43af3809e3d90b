"""The family tree's counts, against closed forms, and that each adapter can be attached."""

import pytest

from minipeft import get_peft_model
from minipeft.course.base import load_base
from minipeft.course.lessons.baselines import untied
from minipeft.course.lessons.families import families, family_counts

D, WIDE, KEYS, LAYERS = 192, 512, 64, 4
MATRICES = [(D, D)] * 2 + [(KEYS, D)] * 2 + [(WIDE, D)] * 2 + [(D, WIDE)]
WANTED = {
    "norms": (2 * LAYERS + 1) * D,
    "head": 1024 * D,
    "adapters, 16 wide": LAYERS * 2 * (2 * D * 16 + 16 + D),
    "prefixes, 20 in each block": 2 * 20 * LAYERS * KEYS,
    "a prompt of 20 vectors": 20 * D,
    "(IA)³": LAYERS * (2 * KEYS + WIDE),
    "LoRA, r = 8": LAYERS * sum(8 * (a + b) for a, b in MATRICES),
    "DoRA, r = 8": LAYERS * sum(8 * (a + b) + a for a, b in MATRICES),
    "VeRA, r = 64": LAYERS * sum(64 + d_out for d_out, _ in MATRICES),
}


def test_counts_follow_from_the_shapes():
    counts = {name: count for family in family_counts().values() for name, count in family.items()}
    assert WANTED.items() <= counts.items()


@pytest.mark.parametrize("family", families())
def test_each_of_a_family_trains_as_much_as_it_says(family):
    for name, config in families()[family].items():
        model = get_peft_model(untied(load_base()[0]), config)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == family_counts()[family][name]
