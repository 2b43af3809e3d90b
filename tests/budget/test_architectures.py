"""Shapes against the real models of transformers, on the meta device."""

import pytest

from minipeft.shapes.architectures import FAMILIES, Architecture
from minipeft.shapes.naming import with_canonical_names

from .families import CONFIGS, HEADS, SEEDS, config, model


def shapes(module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", CONFIGS)
def test_every_parameter_has_the_name_and_shape_of_the_real_one(family, seed):
    shape = config(family, seed)
    for auto, task in HEADS[family][: None if seed < 2 else 1]:  # the usual head alone, then
        real = model(shape, auto)
        fields = shape.to_dict() | {"architectures": [type(real).__name__]}
        ours = Architecture.from_config(fields)
        assert ours.head == task
        assert shapes(ours.model) == shapes(real)
        assert ours.total == real.num_parameters()
        assert sum(p.numel() for p in with_canonical_names(ours.build()).parameters()) == ours.total


def test_every_family_is_tested():
    assert CONFIGS.keys() == FAMILIES.keys() == HEADS.keys()
