"""Arithmetic: values against numpy, gradients against differences, the same in a graph."""

import operator

import numpy as np
import pytest
from gradcheck import check_gradients

from fastseq import ops
from fastseq._symbol import Symbol, Variable, tracing
from fastseq.graph import Plan
from fastseq.ops import elementwise as el

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4, 5))
Y = rng.normal(size=(4, 1)) + 3
POSITIVE = rng.uniform(0.5, 2, size=(3, 4, 5))
CHOICE = rng.random((3, 1, 5)) < 0.5

OPS = [
    (el.ADD, {"a": X, "b": X[:1, :, :1] + 1}, {}),
    (el.SUBTRACT, {"a": X[0], "b": X}, {}),
    (el.MULTIPLY, {"a": X, "b": X[:, :1] + 2}, {}),
    (el.DIVIDE, {"a": X, "b": Y}, {}),
    (el.DIVIDE, {"a": Y, "b": POSITIVE}, {}),
    (el.MAXIMUM, {"a": X, "b": rng.normal(size=(4, 5))}, {}),
    (el.MINIMUM, {"a": X, "b": rng.normal(size=(3, 1, 1))}, {}),
    (el.POWERS, {"a": POSITIVE, "b": X[:1]}, {}),
    (el.POWERS, {"a": POSITIVE[0], "b": X}, {}),
    (el.EXP, {"x": X}, {}),
    (el.LOG, {"x": POSITIVE}, {}),
    (el.SQRT, {"x": POSITIVE}, {}),
    (el.ABSOLUTE, {"x": X}, {}),
    (el.SQUARE, {"x": X}, {}),
    (el.POWER, {"x": X}, {"exponent": 3.0}),
    (el.POWER, {"x": POSITIVE}, {"exponent": -1.5}),
    (el.POWER, {"x": X}, {"exponent": 0.0}),
    (el.CAST, {"x": X}, {"dtype": np.dtype(np.float64)}),
]


@pytest.mark.parametrize(("op", "inputs", "options"), OPS, ids=lambda value: getattr(value, "name", ""))
def test_gradients(op, inputs, options):
    check_gradients(op.forward, op.backward, inputs, **options)


def test_gradients_of_where():
    def forward(a, b, training):
        return el.WHERE.forward(CHOICE, a, b, training=training)

    check_gradients(forward, el.WHERE.backward, {"a": X, "b": X[:1, :, :1]})


def test_powers_where_they_have_no_slope_as_in_tensorflow():
    tensorflow = pytest.importorskip("tensorflow")
    a = np.array([0.0, 0.0, 0.0, -2.0, -2.0, 3.0, 0.0], np.float32)
    b = np.array([0.0, 2.0, 1.0, 2.0, 3.0, 0.0, 0.5], np.float32)
    with tensorflow.GradientTape() as tape:
        pair = tensorflow.constant(a), tensorflow.constant(b)
        tape.watch(pair)
        y = tensorflow.pow(*pair)
    expected = [np.array(gradient) for gradient in tape.gradient(y, pair)]
    expected[0][0] = 0  # 0 ** 0: theirs is NaN
    value, saved = el.POWERS.forward(a, b, training=True)
    np.testing.assert_allclose(value, y, rtol=1e-6)
    gradients = el.POWERS.backward(saved, np.ones_like(a))
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
        assert got.dtype == np.float32
    whole = el.POWERS.backward(
        el.POWERS.forward(a[5:6], np.array([2]), training=True)[1], np.ones(1, np.float32)
    )
    assert whole.a.dtype == np.float32
    assert whole.a[0] == 6


VALUES = [
    (ops.add, np.add),
    (ops.subtract, np.subtract),
    (ops.multiply, np.multiply),
    (ops.divide, np.true_divide),
    (ops.maximum, np.maximum),
    (ops.minimum, np.minimum),
    (ops.equal, np.equal),
    (ops.not_equal, np.not_equal),
    (ops.less, np.less),
    (ops.less_equal, np.less_equal),
    (ops.greater, np.greater),
    (ops.greater_equal, np.greater_equal),
    (ops.logical_and, np.logical_and),
    (ops.logical_or, np.logical_or),
]
WITH_TIES = rng.integers(-2, 3, size=(3, 4, 5)).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "twin"), VALUES)
def test_values_of_two(function, twin, dtype):
    a, b = WITH_TIES.astype(dtype), (np.round(Y) - 3.5).astype(dtype)
    for right in (b, -1.0, 2, np.float64(-1)):
        expected = twin(a, right)
        got = function(a, right)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == (np.bool_ if expected.dtype == np.bool_ else dtype)
        assert traced(lambda x, right=right: function(x, right), a).dtype == got.dtype


UNARY = [
    (ops.exp, np.exp),
    (ops.log, lambda x: np.log(np.where(x > 0, x, np.nan))),
    (ops.sqrt, lambda x: np.sqrt(np.where(x >= 0, x, np.nan))),
    (ops.absolute, np.abs),
    (ops.square, np.square),
    (ops.logical_not, np.logical_not),
    (lambda x: ops.power(x, 3), lambda x: x**3),
    (lambda x: ops.power(2.0, x), lambda x: 2.0**x),
    (lambda x: ops.power(abs(x), x + 2), lambda x: abs(x) ** (x + 2)),
    (lambda x: abs(x) ** x, lambda x: abs(x) ** x),
    (lambda x: ops.clip(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
    (lambda x: ops.average([x, x, 2 * x]), lambda x: x * 4 / 3),
    (lambda x: ops.where(x > 0, x, 0.0), lambda x: np.where(x > 0, x, 0)),
    (lambda x: ops.cast(x, "int32"), lambda x: x.astype(np.int32)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "twin"), UNARY)
def test_values_of_one(function, twin, dtype):
    got = function(X.astype(dtype))
    np.testing.assert_allclose(got, twin(X), rtol=1e-5 if dtype == np.float32 else 1e-14)
    symbolic = traced(function, X.astype(dtype))
    assert symbolic.dtype == got.dtype
    np.testing.assert_array_equal(symbolic, got)


def traced(function, *arrays):
    """What a plan of ``function`` gives for ``arrays``; shapes and types are as the Symbols said."""
    symbols = [Symbol((None, *array.shape[1:]), array.dtype) for array in arrays]
    made = function(*symbols)
    (value,) = Plan(symbols, [made]).run(arrays)
    assert value.dtype == made.dtype
    assert len(value.shape) == len(made.shape)
    assert all(n is None or n == m for n, m in zip(made.shape, value.shape, strict=True))
    return value


OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.lt, operator.le, operator.gt,
    operator.ge,
]  # fmt: skip


@pytest.mark.parametrize("function", OPERATORS)
def test_operators(function):
    a, b = X, rng.normal(size=(3, 4, 5))
    weight = Variable(b[0].copy(), "w")
    for other in (2.5, 3, b[0], np.float32(0.5), np.float64(0.5)):
        np.testing.assert_array_equal(traced(lambda x, o=other: function(x, o), a), function(a, other))
        np.testing.assert_array_equal(traced(lambda x, o=other: function(o, x), a), function(other, a))
        np.testing.assert_array_equal(function(weight, other), function(b[0], other))
        np.testing.assert_array_equal(function(other, weight), function(other, b[0]))
    np.testing.assert_array_equal(traced(function, a, b), function(a, b))
    np.testing.assert_array_equal(traced(lambda x: function(weight, x), a), function(b[0], a))


def test_other_operators():
    np.testing.assert_array_equal(traced(abs, X), abs(X))
    np.testing.assert_array_equal(traced(ops.abs, X), abs(X))
    np.testing.assert_array_equal(traced(operator.neg, X), -X)
    np.testing.assert_array_equal(traced(lambda x: ~((x > 0) & (x < 1) | (x < -1)), X),
                                  ~((X > 0) & (X < 1) | (X < -1)))  # fmt: skip
    np.testing.assert_allclose(traced(lambda x: x**2, X), X**2)
    np.testing.assert_allclose(traced(lambda x: 2**x, X), 2**X)
    assert traced(lambda x: x[:, 1:, ..., -1], X).shape == (3, 3)


def test_symbols_stay_keys():
    x, same = Symbol((None, 2)), Symbol((None, 2))
    assert x != same
    assert {x: 1}[x] == 1
    assert x in [same, x]
    assert Variable(X, "w") not in {Variable(X, "w"): 0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_take_the_type_of_the_graph(dtype):
    x = Symbol((None, 5), dtype)
    for other in (X[0], X[0].tolist()[0], np.float64(2), np.pi, np.arange(5), True):
        assert (x * other).dtype == dtype
        assert (other / x).dtype == dtype
        assert ops.where(x > other, other, x).dtype == dtype
    assert (Symbol((None, 5), np.int64) * x).dtype == dtype


def test_types_of_integers_and_bools():
    whole, flags = np.arange(4), np.array([True, False, True, True])
    for function, a in [
        (lambda x: x + 1, whole), (lambda x: x * 0.5, whole), (lambda x: x / 2, whole), (ops.exp, whole),
        (abs, whole), (lambda x: 1 - x, flags), (lambda x: x * 1.0, flags), (lambda x: x**2, whole),
        (ops.sqrt, flags), (lambda x: x * x, flags), (lambda x: ops.maximum(x, 2), flags),
    ]:  # fmt: skip
        assert traced(function, a).dtype in (np.float32, np.int64, np.bool_)
    assert (whole.astype(np.int32) + Symbol((4,), np.int32)).dtype == np.int32
    assert ops.divide(whole, 2).dtype == np.float32
    assert ops.add(flags, 1).dtype == np.int64
    np.testing.assert_array_equal(ops.subtract(1, flags), [0, 1, 0, 0])


def test_a_weight_alone_joins_the_graph_only_while_tracing():
    weight = Variable(np.array([1.0, 4.0]), "w")
    np.testing.assert_array_equal(ops.sqrt(weight), [1, 2])
    np.testing.assert_array_equal((weight * 2)[1:], [8])
    with tracing():
        with tracing():
            root = ops.sqrt(weight)
        assert isinstance(ops.exp(weight), Symbol)
    assert isinstance(root, Symbol)
    assert isinstance(ops.sqrt(weight), np.ndarray)
    (value,) = Plan([], [root]).run([])
    np.testing.assert_array_equal(value, [1, 2])


def test_outside_the_domain_is_silent():
    x = np.array([0.0, -1.0])
    np.testing.assert_array_equal(ops.log(x), [-np.inf, np.nan])
    np.testing.assert_array_equal(ops.divide(1.0, x), [np.inf, -1])
    np.testing.assert_array_equal(ops.exp(np.float32([1000])), [np.inf])
    _, saved = el.SQRT.forward(x, training=True)
    np.testing.assert_array_equal(el.SQRT.backward(saved, np.ones(2)).x, [np.inf, np.nan])
    _, saved = el.POWER.forward(x, exponent=0, training=True)
    np.testing.assert_array_equal(el.POWER.backward(saved, np.ones(2)).x, [0, 0])


def test_ties():
    a = np.array([1.0, 2.0])
    for op in (el.MAXIMUM, el.MINIMUM):
        _, saved = op.forward(a, a, training=True)
        gradients = op.backward(saved, np.array([3.0, 4.0]))
        np.testing.assert_array_equal(gradients.a, [3, 4])
        np.testing.assert_array_equal(gradients.b, [0, 0])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: x + "a", TypeError, "add: b must be an array of real numbers, got 'a'"),
        (lambda x: x / None, TypeError, "divide: b must be an array of real numbers, got None"),
        (
            lambda x: ops.where(x > 0, x, np.ones(3)),
            ValueError,
            "where: shapes must match or be 1, got (None, 7, 12) and (None, 7, 12) and (3,)",
        ),
        (
            lambda x: x < Symbol((None, 6, 12)),
            ValueError,
            "less: shapes must match or be 1, got (None, 7, 12) and (None, 6, 12)",
        ),
        (lambda x: ops.exp("x"), TypeError, "exp: x must be an array of real numbers, got 'x'"),
        (lambda x: x ** Symbol((None, 6, 12)), ValueError,
         "powers: shapes must match or be 1, got (None, 7, 12) and (None, 6, 12)"),
        (lambda x: ops.power(x, "2"), TypeError,
         "power: exponent must be a number, got '2'"),
        (lambda x: (-2) ** x, ValueError, "power: x must be more than 0, got -2.0"),
        (lambda x: ops.cast(x, "complex64"), TypeError,
         "cast: dtype must be a type of real numbers, got complex64"),
        (
            lambda x: ops.multiply([[1.0], [2.0, 3.0]], x),
            ValueError,
            "multiply: a must be an array with rows of equal length, got a ragged list",
        ),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call(Symbol((None, 7, 12)))
    assert str(caught.value) == text
