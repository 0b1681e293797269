"""Reductions: values against numpy, gradients against differences, the same in a graph."""

import numpy as np
import pytest
from gradcheck import check_gradients
from test_ops_elementwise import traced

from fastseq import ops
from fastseq._symbol import Symbol
from fastseq.ops import reduce

rng = np.random.default_rng(1)
X = rng.normal(size=(3, 4, 5))
AXES = [None, 0, -1, (0, 2), [1, -1], ()]
PAIRS = [(ops.sum, np.sum), (ops.mean, np.mean), (ops.max, np.max), (ops.min, np.min)]


@pytest.mark.parametrize("op", [reduce.SUM, reduce.MEAN, reduce.MAX, reduce.MIN], ids=lambda op: op.name)
@pytest.mark.parametrize("axes", [(0, 1, 2), (0,), (1, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients(op, axes, keepdims):
    check_gradients(op.forward, op.backward, {"x": X}, axes=axes, keepdims=keepdims)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.bool_])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(("function", "twin"), PAIRS)
def test_values(function, twin, axis, dtype):
    x = (X * 2).astype(dtype)
    for keepdims in (False, True):
        expected = twin(x, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)
        got = function(x, axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        assert got.shape == expected.shape
        symbolic = traced(lambda s, k=keepdims: function(s, axis=axis, keepdims=k), x)
        np.testing.assert_array_equal(symbolic, got)
        assert symbolic.dtype == got.dtype
    if function is ops.mean:
        assert got.dtype == (dtype if np.dtype(dtype).kind == "f" else np.float32)
    if function is ops.sum:
        assert got.dtype == (dtype if np.dtype(dtype).kind == "f" else np.int64)


def test_ties_share_the_gradient():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])
    _, saved = reduce.MAX.forward(x, axes=(1,), keepdims=False, training=True)
    np.testing.assert_array_equal(reduce.MAX.backward(saved, np.array([2.0, 5.0])).x, [[0, 1, 1], [5, 0, 0]])


def test_sums_of_many_small_numbers_in_float32():
    x = np.full((1, 100_000), 0.1, np.float32)
    np.testing.assert_allclose(ops.sum(x, axis=1), [10_000], rtol=1e-6)
    np.testing.assert_allclose(ops.mean(x), 0.1, rtol=1e-6)


def test_the_mean_of_nothing_is_nan_without_a_warning():
    assert np.isnan(ops.mean(np.zeros((0, 2)), axis=0)).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: ops.sum(x, axis=3), ValueError, "sum: axis must lie in [-3, 3), got 3"),
        (lambda x: ops.mean(x, axis=(0, -3)), ValueError, "mean: axis must name each axis once, got (0, -3)"),
        (lambda x: ops.max(x, axis=1.0), TypeError, "max: axis must be an integer, got 1.0"),
        (lambda x: ops.min("abc"), TypeError, "min: x must be an array of real numbers, got 'abc'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call(Symbol((None, 7, 12)))
    assert str(caught.value) == text
