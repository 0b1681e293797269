"""Optimizer steps against their twins, on every instruction set."""

import numpy as np
import pytest
import reference

from fastseq import _core, set_num_threads
from fastseq.ops import ParameterTable, adam_step, rmsprop_step, sgd_step

TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}
CLIPS = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.3}, {"global_clipnorm": 0.5}, {"clipnorm": 1e6}]


def sizes(dtype):
    lanes = _core.vector_bytes() // np.dtype(dtype).itemsize
    return [1, max(lanes - 1, 1), lanes, lanes + 1, 0, 20_011]


def parameters(rng, dtype, lengths=None):
    """Values and three steps of gradients."""
    lengths = sizes(dtype) if lengths is None else lengths
    values = [rng.standard_normal(n).astype(dtype) for n in lengths]
    return values, [[rng.standard_normal(n).astype(dtype) for n in lengths] for _ in range(3)]


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam(isa, dtype, decay, clip):
    values, steps = parameters(np.random.default_rng(0), dtype)
    ours, gradients = [v.copy() for v in values], [np.zeros_like(v) for v in values]
    m, v = [np.zeros_like(w) for w in values], [np.zeros_like(w) for w in values]
    table = ParameterTable(zip(ours, gradients, strict=True))
    slots = [(np.zeros(w.shape), np.zeros(w.shape)) for w in values]
    options = {"learning_rate": 0.01, "weight_decay": decay}
    for step, raw in enumerate(steps, start=1):
        for array, gradient in zip(gradients, raw, strict=True):
            array[...] = gradient
        adam_step(table, m, v, step=step, **options, **clip)
        for k, gradient in enumerate(reference.clip_gradients(raw, **clip)):
            values[k], *slots[k] = reference.adam(values[k], gradient, *slots[k], step=step, **options)
        assert not any(array.any() for array in gradients)
    for k, expected in enumerate(values):
        for array, twin in ((ours[k], expected), (m[k], slots[k][0]), (v[k], slots[k][1])):
            np.testing.assert_allclose(array, twin, rtol=5 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("rule", ["plain", "momentum", "nesterov"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd(isa, dtype, rule, clip):
    values, steps = parameters(np.random.default_rng(1), dtype)
    ours, gradients = [v.copy() for v in values], [np.zeros_like(v) for v in values]
    velocities = None if rule == "plain" else [np.zeros_like(w) for w in values]
    table = ParameterTable(zip(ours, gradients, strict=True))
    slots = [np.zeros(w.shape) for w in values]
    options = {"learning_rate": 0.1, "momentum": 0.0 if rule == "plain" else 0.9}
    options |= {"nesterov": rule == "nesterov", "weight_decay": 0.01}
    for raw in steps:
        for array, gradient in zip(gradients, raw, strict=True):
            array[...] = gradient
        sgd_step(table, velocities, clear_gradients=False, **options, **clip)
        for k, gradient in enumerate(reference.clip_gradients(raw, **clip)):
            values[k], slots[k] = reference.sgd(values[k], gradient, slots[k], **options)
        for array, gradient in zip(gradients, raw, strict=True):
            np.testing.assert_array_equal(array, gradient)
    for array, expected in zip(ours, values, strict=True):
        np.testing.assert_allclose(array, expected, rtol=5 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("momentum", [None, 0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rmsprop(isa, dtype, centered, momentum, clip):
    values, steps = parameters(np.random.default_rng(3), dtype)
    ours, gradients = [v.copy() for v in values], [np.zeros_like(v) for v in values]
    squares, momenta, means = ([np.zeros_like(w) for w in values] for _ in range(3))
    table = ParameterTable(zip(ours, gradients, strict=True))
    slots = [(np.zeros(w.shape),) * 3 for w in values]
    options = {"learning_rate": 0.01, "rho": 0.8, "momentum": momentum or 0.0, "weight_decay": 0.1}
    for raw in steps:
        for array, gradient in zip(gradients, raw, strict=True):
            array[...] = gradient
        rmsprop_step(
            table, squares, None if momentum is None else momenta, means if centered else None,
            **options, **clip,
        )  # fmt: skip
        for k, gradient in enumerate(reference.clip_gradients(raw, **clip)):
            values[k], *slots[k] = reference.rmsprop(
                values[k], gradient, *slots[k], centered=centered, **options
            )
        assert not any(array.any() for array in gradients)
    for k, expected in enumerate(values):
        square, last, mean = slots[k]
        pairs = [(ours[k], expected), (squares[k], square)]
        pairs += [(momenta[k], last)] if momentum is not None else []
        pairs += [(means[k], mean)] if centered else []
        for array, twin in pairs:
            # after one step from 0 the spread is a small difference: rounding weighs more there
            np.testing.assert_allclose(array, twin, rtol=20 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rho": 1.1}, "rho must be in [0, 1], got 1.1"),
        ({"momentum": 0.5}, "momenta must be given where there is momentum, got None"),
        ({"momentum": 1.5, "momenta": [np.zeros(2)]}, "momentum must be in [0, 1], got 1.5"),
        ({"squares": []}, "squares must have one array for each of 1 parameters, got 0"),
        ({"means": [np.zeros(3)]}, "means[0] must have the shape of its parameter, (2,), got (3,)"),
    ],
)
def test_rmsprop_errors(options, text):
    table = ParameterTable([(np.ones(2), np.ones(2))])
    with pytest.raises(ValueError) as error:
        rmsprop_step(table, **{"squares": [np.zeros(2)], **options})
    assert str(error.value) == f"rmsprop_step: {text}"


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_any_team_gives_the_same_bits(isa, clip):
    results = []
    for threads in (1, 2, 3):
        values, steps = parameters(np.random.default_rng(2), np.float32, [70_000, 12, 150_001])
        m, v = [np.zeros_like(w) for w in values], [np.zeros_like(w) for w in values]
        try:
            set_num_threads(threads)
            for step, gradients in enumerate(steps, start=1):
                adam_step(ParameterTable(zip(values, gradients, strict=True)), m, v, step=step, **clip)
        finally:
            set_num_threads(0)
        results.append([*values, *m, *v])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_views_of_one_buffer_and_mixed_dtypes(isa):
    """Segments may be views of a flat buffer; what lies between them is left alone."""
    buffer, gradients = np.ones(100, np.float32), np.ones(100, np.float32)
    other, slope = np.ones((2, 2)), np.ones((2, 2))
    table = ParameterTable(
        [
            (buffer[3:40], gradients[3:40]),
            (buffer[50:74].reshape(4, 6), gradients[50:74].reshape(4, 6)),
            (other, slope),
        ]
    )
    assert len(table) == 3
    assert table.count == 37 + 24 + 4
    sgd_step(table, learning_rate=0.5)
    expected = np.ones(100, np.float32)
    expected[3:40] = expected[50:74] = 0.5
    np.testing.assert_array_equal(buffer, expected)
    np.testing.assert_array_equal(gradients, np.where(expected == 1, 1, 0))
    np.testing.assert_array_equal(other, 0.5)


def test_weight_decay_for_some(isa):
    values = [np.ones(5), np.ones(5)]
    table = ParameterTable([(w, np.zeros(5)) for w in values], decays=[True, False])
    sgd_step(table, learning_rate=0.5, weight_decay=0.1)
    np.testing.assert_allclose(values[0], 0.95)
    np.testing.assert_array_equal(values[1], 1)


def test_empty_table_and_nan(isa):
    adam_step(ParameterTable([]), [], [], step=1)
    values, gradients = np.ones(3), np.array([np.nan, np.inf, 1])
    sgd_step(ParameterTable([(values, gradients)]), learning_rate=1.0)
    np.testing.assert_array_equal(values, [np.nan, -np.inf, 0])
    values, gradients = [np.ones(3), np.ones(3)], [np.array([np.nan, 1, 1]), np.ones(3)]
    table = ParameterTable(zip(values, gradients, strict=True))
    sgd_step(table, learning_rate=1.0, clipnorm=1.0)  # a norm of NaN spoils its own variable, as in Keras
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()


def test_table_keeps_its_arrays_alive():
    table = ParameterTable([(np.ones(1000), np.ones(1000)) for _ in range(50)])
    junk = [np.zeros(1000) for _ in range(200)]
    sgd_step(table, learning_rate=1.0)
    assert not any(array.any() for array in junk)


def frozen(n):
    array = np.ones(n)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("pairs", "kind", "text"),
    [
        (
            [(np.ones(2), np.ones(3))],
            ValueError,
            "gradients[0] must have the shape of values[0], (2,), got (3,)",
        ),
        (
            [(np.ones(2), np.ones(2)), (np.ones(2), np.ones(2, np.float32))],
            TypeError,
            "gradients[1] must be a C-contiguous array of float64, got float32 array of shape (2,)",
        ),
        (
            [(np.ones(2, int), np.ones(2))],
            TypeError,
            "values[0] must be an array of float32 or float64, got int64 array of shape (2,)",
        ),
        (
            [(np.ones(4)[::2], np.ones(2))],
            TypeError,
            "values[0] must be a C-contiguous array of float64, "
            "got float64 array of shape (2,), not contiguous",
        ),
        ([(frozen(2), np.ones(2))], ValueError, "values[0] must be writable, got a read-only array"),
        ([([1.0], np.ones(1))], TypeError, "values[0] must be an array, got list"),
    ],
)
def test_table_errors(pairs, kind, text):
    with pytest.raises(kind) as error:
        ParameterTable(pairs)
    assert str(error.value) == f"ParameterTable: {text}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"step": 0}, "step must be at least 1, got 0"),
        ({"beta_1": 1.0}, "beta_1 must be in [0, 1), got 1"),
        ({"beta_2": -0.1}, "beta_2 must be in [0, 1), got -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
        ({"clipnorm": 0.0}, "clipnorm must be more than 0, got 0"),
        (
            {"clipnorm": 1.0, "clipvalue": 1.0},
            "clipping must be one of clipnorm, clipvalue, global_clipnorm, got several",
        ),
        ({"m": []}, "m must have one array for each of 1 parameters, got 0"),
        ({"v": [np.ones(3)]}, "v[0] must have the shape of its parameter, (2,), got (3,)"),
    ],
)
def test_adam_errors(options, text):
    table = ParameterTable([(np.ones(2), np.ones(2))])
    arguments = {"m": [np.zeros(2)], "v": [np.zeros(2)], "step": 1, **options}
    with pytest.raises(ValueError) as error:
        adam_step(table, **arguments)
    assert str(error.value) == f"adam_step: {text}"


def test_other_errors():
    table = ParameterTable([(np.ones(2), np.ones(2))])
    with pytest.raises(ValueError) as error:
        sgd_step(table, learning_rate=0.1, momentum=0.9)
    assert str(error.value) == "sgd_step: velocities must be given where there is momentum, got None"
    with pytest.raises(ValueError) as error:
        sgd_step(table, [np.zeros(2)], learning_rate=0.1, momentum=1.5)
    assert str(error.value) == "sgd_step: momentum must be in [0, 1], got 1.5"
    with pytest.raises(TypeError) as error:
        sgd_step(table, ["x"], learning_rate=0.1, momentum=0.5)
    assert str(error.value) == "sgd_step: velocities[0] must be an array, got str"
    with pytest.raises(ValueError) as error:
        ParameterTable([(np.ones(2), np.ones(2))], decays=[])
    assert str(error.value) == "ParameterTable: decays must have one entry for each of 1 parameters, got 0"
