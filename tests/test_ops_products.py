"""Products of matrices: values against numpy, gradients against differences, the same in a graph."""

import numpy as np
import pytest
from gradcheck import check_gradients
from test_ops_elementwise import traced

from fastseq import ops
from fastseq._symbol import Symbol, Variable
from fastseq.graph import Plan
from fastseq.ops import products

rng = np.random.default_rng(2)
SHAPES = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_gradients(left, right):
    inputs = {"a": rng.normal(size=left), "b": rng.normal(size=right)}
    check_gradients(products.MATMUL.forward, products.MATMUL.backward, inputs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_values(left, right, dtype):
    a, b = rng.normal(size=left).astype(dtype), rng.normal(size=right).astype(dtype)
    got = ops.matmul(a, b)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, a @ b, rtol=1e-5, atol=1e-6)
    if len(left) > 1:
        np.testing.assert_array_equal(traced(lambda x: x @ b, a), got)
    if len(right) > 2:
        np.testing.assert_array_equal(traced(lambda x: a @ x, b), got)


def test_integers_become_floats():
    assert ops.matmul(np.eye(2, dtype=int), np.eye(2, dtype=int)).dtype == np.float32
    assert traced(lambda x: x @ np.eye(3, dtype=int), np.ones((2, 3), np.float32)).dtype == np.float32


def test_a_product_with_a_weight_is_a_dense():
    x = Symbol((None, 7, 4))
    plan = Plan([x], [x @ Variable(np.ones((4, 5), np.float32), "w")])
    assert [name for name, _ in plan.operations] == ["dense"]
    plan = Plan([x], [x @ ops.transpose(x, (0, 2, 1))])
    assert [name for name, _ in plan.operations] == ["transpose", "matmul"]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: x @ np.ones((7, 2)),
            ValueError,
            "matmul: a must have as many columns as b has rows, got shapes (None, 7, 12) and (7, 2)",
        ),
        (
            lambda x: ops.matmul(Symbol((2, 5, 12)), Symbol((3, 12, 5))),
            ValueError,
            "matmul: shapes must match or be 1, got (2,) and (3,)",
        ),
        (lambda x: x @ 2.0, ValueError, "matmul: b must have at least 1 dimension, got shape ()"),
        (lambda x: x @ "a", TypeError, "matmul: b must be an array of real numbers, got 'a'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call(Symbol((None, 7, 12)))
    assert str(caught.value) == text
