"""The tests' own measure: a share of the size, in any unit; and it can fail."""

import math

import pytest
import torch

from tests.closeness import RTOL, assert_all_close, assert_close

SCALES = [1e-6, 1.0, 1e4]
numbers = torch.tensor([1.0, -3.0, 0.0, 1e-3], dtype=torch.float64)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_bound_is_a_share_of_the_largest_magnitude(dtype, scale):
    expected = (scale * numbers).to(dtype)
    for index in range(len(expected)):
        actual = expected.clone()
        actual[index] += 0.5 * RTOL[dtype] * 3 * scale
        assert_close(actual, expected)
        actual[index] += RTOL[dtype] * 3 * scale
        with pytest.raises(AssertionError, match="a layer: largest difference"):
            assert_close(actual, expected, "a layer")


@pytest.mark.parametrize("dtype", RTOL, ids=str)
def test_rounding_once_is_allowed_and_a_wrong_number_is_not(dtype):
    expected = torch.linspace(-2, 2, 101).to(dtype)
    step = torch.finfo(dtype).eps
    assert_close(expected * (1 + step), expected)
    with pytest.raises(AssertionError):
        assert_close(expected * 1.1, expected)


@pytest.mark.parametrize(
    "wrong",
    [
        numbers.float(),
        numbers[:3],
        numbers[None],
        numbers.clone().fill_(math.nan),
        numbers + torch.tensor([0.0, 0.0, math.inf, 0.0]),
        -numbers,
    ],
)
def test_another_dtype_shape_or_what_is_no_number_fails(wrong):
    with pytest.raises(AssertionError):
        assert_close(wrong, numbers)
    with pytest.raises(AssertionError):
        assert_all_close({"x": wrong}, {"x": numbers})


def test_nothing_but_zero_is_near_zero():
    zero = torch.zeros(3)
    assert_close(zero, zero)
    with pytest.raises(AssertionError):
        assert_close(zero + 1e-30, zero)


def test_each_of_many_has_a_bound_of_its_own():
    expected = {"large": 100 * numbers.float(), "small": 0.01 * numbers.float(), "none": None}
    assert_all_close(expected, expected)
    wrong = expected | {"small": 1.1 * expected["small"]}
    with pytest.raises(AssertionError, match="step 3 small"):
        assert_all_close(wrong, expected, "step 3")


def test_noise_of_what_cancelled_is_allowed():
    """The gradient of a key's bias is 0 in attention, but for the rounding of its terms."""
    expected = {"weight": numbers, "key.bias": torch.zeros(4, dtype=torch.float64)}
    assert_all_close(expected | {"key.bias": expected["key.bias"] + 1e-15}, expected)
    with pytest.raises(AssertionError, match=r"key\.bias"):
        assert_all_close(expected | {"key.bias": expected["key.bias"] + 1e-13}, expected)


@pytest.mark.parametrize("wrong", [{}, {"x": None}, {"x": numbers, "y": numbers}])
def test_other_names_or_nothing_fail(wrong):
    with pytest.raises(AssertionError):
        assert_all_close(wrong, {"x": numbers})
    with pytest.raises(AssertionError):
        assert_all_close({"x": numbers}, wrong)
