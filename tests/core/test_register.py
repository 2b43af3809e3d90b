"""Config classes enter themselves in METHODS by their `peft_type`."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from minipeft import LoraConfig
from minipeft.core.config import METHODS, LayerConfig


@pytest.fixture(autouse=True)
def unchanged():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def new_config() -> type[LayerConfig]:
    @dataclass
    class ScaleConfig(LayerConfig):
        peft_type: ClassVar[str] = "SCALE"

    return ScaleConfig


def test_a_class_enters_itself():
    assert METHODS["LORA"] is LoraConfig
    kind = new_config()
    assert METHODS["SCALE"] is kind


def test_a_cell_that_runs_again_replaces_its_class():
    first, second = new_config(), new_config()
    assert first is not second and METHODS["SCALE"] is second


def test_a_subclass_without_a_name_of_its_own_changes_nothing():
    @dataclass
    class Mine(LoraConfig):
        pass

    assert METHODS["LORA"] is LoraConfig


@pytest.mark.parametrize("name", ["LORA", "IA3"])
def test_another_class_cannot_take_a_name(name):
    with pytest.raises(ValueError, match=rf"peft_type='{name}' belongs to minipeft\.methods\."):

        @dataclass
        class Mine(LayerConfig):
            peft_type: ClassVar[str] = name

    assert METHODS["LORA"] is LoraConfig


def test_the_layer_s_old_name_is_still_importable():
    """Lessons that students copied from version 0.2 say LoraTuner."""
    from minipeft.methods import lora

    assert lora.LoraTuner is lora.LoraLayer
