"""Rows picked from arrays, embeddings and dropout, on every instruction set."""

import numpy as np
import pytest
import reference
from gradcheck import check_gradients

from fastseq import ops, set_num_threads

SOURCES = [np.bool_, np.uint8, np.int32, np.int64, np.float32, np.float64]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", SOURCES)
def test_gather_rows(isa, kind, dtype):
    rng = np.random.default_rng(0)
    for shape in ((50,), (50, 1), (50, 7, 12), (50, 33)):
        source = rng.integers(0, 2 if kind is np.bool_ else 200, shape).astype(kind)
        indices = rng.integers(0, 50, 20)
        out = np.full((20, *shape[1:]), np.nan, dtype)
        assert ops.gather_rows(source, indices, out) is out
        np.testing.assert_array_equal(out, source[indices])
        out[...] = np.nan
        ops.gather_rows(source, indices.astype(np.int32), out)
        np.testing.assert_array_equal(out, source[indices])


def test_gather_rows_edges(isa):
    out = np.empty((0, 3), np.float32)
    assert ops.gather_rows(np.ones((4, 3)), np.zeros(0, int), out) is out
    assert ops.gather_rows(np.ones((4, 0)), [1, 2], np.empty((2, 0))).shape == (2, 0)
    strided = np.arange(24.0).reshape(4, 6)[::2, ::3]
    np.testing.assert_array_equal(ops.gather_rows(strided, [1, 0], np.empty((2, 2))), strided[::-1])
    np.testing.assert_array_equal(ops.gather_rows(np.float16([1.5, 2]), [1], np.empty(1)), [2])


def frozen():
    array = np.empty((2, 3))
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (
            (np.ones((4, 3)), [0, 4], np.empty((2, 3))),
            ValueError,
            "indices must be in [0, 4), got 4 at index 1",
        ),
        (
            (np.ones((4, 3)), [-1, 0], np.empty((2, 3))),
            ValueError,
            "indices must be in [0, 4), got -1 at index 0",
        ),
        ((np.ones((0, 3)), [0], np.empty((1, 3))), ValueError, "indices must be in [0, 0), got 0 at index 0"),
        ((np.ones((4, 3)), [0], np.empty((2, 3))), ValueError, "out must have shape (1, 3), got (2, 3)"),
        (
            (np.ones((4, 3)), [[0, 1]], np.empty((2, 3))),
            ValueError,
            "indices must have 1 dimensions, got shape (1, 2)",
        ),
        ((np.ones((4, 3)), [0, 1], frozen()), ValueError, "out must be writable, got a read-only array"),
        (
            (np.ones((4, 3)), [0, 1], np.empty((2, 3), int)),
            TypeError,
            "out must be an array of float32 or float64, got int64 array of shape (2, 3)",
        ),
        (
            (np.ones((4, 3)), [0, 1], np.empty((3, 2)).T),
            TypeError,
            "out must be a C-contiguous array of float64, got float64 array of shape (2, 3), not contiguous",
        ),
        ((np.ones((4, 3)), [0, 1], [[0.0] * 3] * 2), TypeError, "out must be an array, got list"),
    ],
)
def test_gather_errors(arguments, kind, text):
    with pytest.raises(kind) as error:
        ops.gather_rows(*arguments)
    assert str(error.value) == f"gather_rows: {text}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embedding(isa, dtype):
    rng = np.random.default_rng(1)
    for features in (1, 3, 8, 17):
        table = rng.standard_normal((6, features)).astype(dtype)
        for shape in ((), (5,), (4, 7), (0, 3)):
            ids = rng.integers(0, 6, shape)
            y, saved = ops.embedding_forward(ids, table)
            np.testing.assert_array_equal(y, table[ids])
            dy = rng.standard_normal(y.shape).astype(dtype)
            expected = reference.embedding_gradient(ids, dy, 6)
            gradient = ops.embedding_backward(saved, dy, keep=True).table
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
            into = np.ones_like(table)
            assert ops.embedding_backward(saved, dy, into={"table": into}).table is into
            np.testing.assert_allclose(into, expected + 1, rtol=1e-5, atol=1e-6)


def test_embedding_gradient(isa):
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 5, (4, 6))
    check_gradients(
        lambda table, training: ops.embedding_forward(ids, table, training=training),
        ops.embedding_backward,
        {"table": rng.standard_normal((5, 9))},
    )


def test_embedding_on_any_team_gives_the_same_bits(isa):
    rng = np.random.default_rng(3)
    ids = np.minimum(rng.integers(0, 400, 20_000), rng.integers(0, 400, 20_000))
    dy = rng.standard_normal((20_000, 24)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        try:
            set_num_threads(threads)
            y, saved = ops.embedding_forward(ids, dy[:400])
            results.append((y, ops.embedding_backward(saved, dy).table))
        finally:
            set_num_threads(0)
    for y, gradient in results[1:]:
        np.testing.assert_array_equal(results[0][0], y)
        np.testing.assert_array_equal(results[0][1], gradient)


def test_embedding_errors():
    table = np.ones((4, 3))
    for ids, text in (
        ([0, 4], "ids must be in [0, 4), got 4 at index 1"),
        ([-1], "ids must be in [0, 4), got -1 at index 0"),
        ([0.5], "ids must be whole numbers, got 0.5"),
    ):
        with pytest.raises(ValueError) as error:
            ops.embedding_forward(ids, table)
        assert str(error.value) == f"embedding_forward: {text}"
    with pytest.raises(ValueError) as error:
        ops.embedding_forward([0], np.ones(4))
    assert str(error.value) == "embedding_forward: table must have 2 dimensions, got shape (4,)"
    _, saved = ops.embedding_forward([0, 1], table)
    with pytest.raises(ValueError) as error:
        ops.embedding_backward(saved, np.ones((3, 3)), keep=True)
    assert str(error.value) == "embedding_backward: dy must have shape (2, 3), got (3, 3)"
    with pytest.raises(ValueError) as error:
        ops.embedding_backward(saved, np.ones((2, 3)), into={"table": np.ones((3, 3))}, keep=True)
    assert str(error.value) == (
        "embedding_backward: into['table'] must have shape (4, 3), got float64 array of shape (3, 3)"
    )
    assert ops.embedding_backward(saved, np.ones((2, 3)), wanted=()).table is None
    with pytest.raises(RuntimeError):
        ops.embedding_backward(saved, np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout(isa, dtype):
    x = np.random.default_rng(4).standard_normal((500, 41)).astype(dtype)
    y, saved = ops.dropout_forward(x, 0.25, seed=7)
    kept = y != 0
    np.testing.assert_allclose(y[kept], (x / 0.75)[kept], rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.01
    assert abs(kept[:, 1:][kept[:, :-1]].mean() - 0.75) < 0.01  # neighbours do not know each other
    dy = np.ones_like(x)
    dx = ops.dropout_backward(saved, dy).x
    np.testing.assert_array_equal(dx != 0, kept)
    np.testing.assert_array_equal(y, ops.dropout_forward(x, 0.25, seed=7)[0])
    assert (ops.dropout_forward(x, 0.25, seed=8)[0] != y).any()
    np.testing.assert_array_equal(ops.dropout_forward(x, 0.0, seed=7)[0], x)
    assert ops.dropout_forward(x, 0.5, seed=7, training=False) == (x, None)


def test_dropout_of_everything():
    x = np.array([[1.0, np.inf, np.nan]], np.float32)
    y, saved = ops.dropout_forward(x, 1.0, seed=7)
    dx = ops.dropout_backward(saved, x).x
    for made in (y, dx):
        np.testing.assert_array_equal(made, np.zeros_like(x))
        assert made.dtype == x.dtype
    assert ops.dropout_forward(x, 1.0, seed=7, training=False)[0] is x


def test_dropout_is_the_same_everywhere():
    """The same elements on every instruction set, for every team, at every place in every shape."""
    from fastseq import _core

    before = _core.isa()
    x = np.ones(100_003, np.float32)
    kept = []
    try:
        for isa in _core.available_isas():
            _core.set_isa(isa)
            for threads in (1, 2):
                set_num_threads(threads)
                kept.append(ops.dropout_forward(x, 0.5, seed=2**64 - 1)[0])
        kept.append(ops.dropout_forward(x.astype(np.float64), 0.5, seed=2**64 - 1)[0])
    finally:
        _core.set_isa(before)
        set_num_threads(0)
    for other in kept[1:]:
        np.testing.assert_array_equal(kept[0], other)
    short = ops.dropout_forward(x[:77].reshape(7, 11), 0.5, seed=2**64 - 1)[0]
    np.testing.assert_array_equal(short.ravel(), kept[0][:77])


def test_dropout_gradient(isa):
    x = np.random.default_rng(5).standard_normal((5, 13))
    check_gradients(ops.dropout_forward, ops.dropout_backward, {"x": x}, rate=0.3, seed=11)


def test_dropout_errors():
    x = np.ones((2, 3))
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"dropout_forward: rate must be in \[0, 1\], got "):
            ops.dropout_forward(x, rate, seed=0)
    for seed, kind in ((-1, ValueError), (2**64, ValueError), (0.5, TypeError)):
        with pytest.raises(kind, match="dropout_forward: seed must be "):
            ops.dropout_forward(x, 0.5, seed=seed)
    _, saved = ops.dropout_forward(x, 0.5, seed=0)
    with pytest.raises(ValueError) as error:
        ops.dropout_backward(saved, np.ones((3, 2)))
    assert str(error.value) == "dropout_backward: dy must have the shape of y, (2, 3), got (3, 2)"
