"""Operations that move or combine arrays: values against numpy, gradients against differences."""

import numpy as np
import pytest
from gradcheck import check_gradients

from fastseq import ops
from fastseq._symbol import Symbol
from fastseq.ops import arrays

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4, 5))


@pytest.mark.parametrize(
    ("op", "inputs", "options"),
    [
        (arrays.IDENTITY, {"x": X}, {}),
        (arrays.RESHAPE, {"x": X}, {"shape": (2, -1)}),
        (arrays.TRANSPOSE, {"x": X}, {"axes": (0, 2, 1)}),
        (arrays.REVERSE, {"x": X}, {}),
        (arrays.REPEAT, {"x": X[:, 0]}, {"n": 3}),
        (arrays.FOLD_STEPS, {"x": X}, {}),
        (arrays.GETITEM, {"x": X}, {"key": (slice(None), slice(1, None), None, 2)}),
        (arrays.GETITEM, {"x": X}, {"key": (..., -1)}),
    ],
    ids=lambda value: value.name if isinstance(value, arrays.Op) else "",
)
def test_gradients(op, inputs, options):
    check_gradients(op.forward, op.backward, inputs, **options)


def test_unfold_and_masked_gradients():
    mask = rng.random((3, 4)) < 0.5

    def unfold(x, training):
        return arrays.UNFOLD_STEPS.forward(x, X, training=training)

    check_gradients(unfold, arrays.UNFOLD_STEPS.backward, {"x": X.reshape(12, 5)})

    def masked(x, training):
        return arrays.MASKED.forward(x, mask, training=training)

    check_gradients(masked, arrays.MASKED.backward, {"x": X})


def test_values():
    np.testing.assert_array_equal(ops.concatenate([X, X], axis=1), np.concatenate([X, X], 1))
    np.testing.assert_array_equal(ops.repeat(X[:, 0], 2), np.stack([X[:, 0]] * 2, 1))
    np.testing.assert_array_equal(ops.reverse(X), X[:, ::-1])
    np.testing.assert_array_equal(ops.stack([X, -X], axis=-1), np.stack([X, -X], -1))
    np.testing.assert_array_equal(ops.expand_dims(X, 1), X[:, None])
    np.testing.assert_array_equal(ops.squeeze(X[..., :1], -1), X[..., 0])
    np.testing.assert_array_equal(ops.masked(X, np.eye(3, 4, dtype=bool)), X * np.eye(3, 4)[..., None])
    np.testing.assert_array_equal(ops.reshape(np.zeros((0, 6)), (2, -1)).shape, (0, 2, 3))


def test_masked_steps_hide_nan():
    x = np.ones((1, 2, 2), np.float32)
    x[0, 1] = np.nan
    np.testing.assert_array_equal(ops.masked(x, np.array([[True, False]])), [[[1, 1], [0, 0]]])


def test_shapes_of_symbols():
    x = Symbol((None, 7, 12))
    assert x[:, 2:].shape == (None, 5, 12)
    assert x[:, -1].shape == (None, 12)
    assert x[..., :3].shape == (None, 7, 3)
    assert x[:, None].shape == (None, 1, 7, 12)
    assert (x + Symbol((None, 1, 12))).shape == (None, 7, 12)
    assert (1 - 2 * x).shape == (None, 7, 12)
    assert (-x).dtype == np.float32
    assert ops.expand_dims(x, -1).shape == (None, 7, 12, 1)
    assert ops.expand_dims(x, 0).shape == (1, None, 7, 12)
    assert ops.squeeze(x[:, :1], 1).shape == (None, 12)
    assert ops.stack([x, x], axis=2).shape == (None, 7, 2, 12)
    assert (np.ones((7, 12), np.float32) * x).shape == (None, 7, 12)
    assert ops.reshape(x, (-1, 6)).shape == (None, 14, 6)
    assert ops.reshape(Symbol((None, None, 4)), (-1, 2)).shape == (None, None, 2)
    assert ops.concatenate([x, x]).shape == (None, 7, 24)
    assert ops.concatenate([x, Symbol((None, None, 12))], axis=1).shape == (None, None, 12)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda x: ops.reshape(x, (5, 5)),
            ValueError,
            "reshape: x must have as many elements per row as shape (5, 5), got shape (None, 7, 12)",
        ),
        (
            lambda x: ops.transpose(x, (0, 1)),
            ValueError,
            "transpose: axes must be an order of the axes 0 to 2, got (0, 1)",
        ),
        (lambda x: x[:, 9], IndexError, "getitem: key must be in [-7, 7), got 9"),
        (
            lambda x: x[:, [1, 2]],
            TypeError,
            "getitem: key must be slices, integers, None or ... for 3 axes, "
            "got (slice(None, None, None), [1, 2])",
        ),
        (
            lambda x: x + Symbol((None, 6, 12)),
            ValueError,
            "add: shapes must match or be 1, got (None, 7, 12) and (None, 6, 12)",
        ),
        (
            lambda x: ops.concatenate([x, Symbol((None, 6, 12))]),
            ValueError,
            "concatenate: inputs must match in all axes but -1, got (None, 7, 12), (None, 6, 12)",
        ),
        (
            lambda x: ops.squeeze(x, 1),
            ValueError,
            "squeeze: axis must be one of size 1, got 1 of shape (None, 7, 12)",
        ),
        (
            lambda x: ops.squeeze(x, 0),
            ValueError,
            "squeeze: axis must be one of size 1, got 0 of shape (None, 7, 12)",
        ),
        (lambda x: ops.expand_dims(x, 4), ValueError, "expand_dims: axis must lie in [-4, 4), got 4"),
        (lambda x: ops.expand_dims(x, 1.0), TypeError, "expand_dims: axis must be an integer, got 1.0"),
        (
            lambda x: ops.stack([x, x[:, 1:]], 1),
            ValueError,
            "concatenate: inputs must match in all axes but 1, got (None, 1, 7, 12), (None, 1, 6, 12)",
        ),
        (
            bool,
            TypeError,
            "a Symbol has no values, so it cannot be used as a condition; run a model on data instead",
        ),
        (
            np.asarray,
            TypeError,
            "a Symbol has no values, so it cannot be turned into an array; run a model on data instead",
        ),
        (
            len,
            TypeError,
            "a Symbol has no values, so it cannot be measured with len(); run a model on data instead",
        ),
        (
            list,
            TypeError,
            "a Symbol has no values, so it cannot be iterated over; run a model on data instead",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call(Symbol((None, 7, 12)))
    assert str(caught.value) == text
