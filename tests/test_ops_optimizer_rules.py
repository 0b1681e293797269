"""The optimizers after Adam and running means of parameters against their twins, on every instruction set."""

import numpy as np
import pytest
import reference
import reference_optimizers as twins
from test_ops_optimizer import CLIPS, TOLERANCE, parameters

from fastseq import set_num_threads
from fastseq.ops import (
    ParameterTable,
    adagrad_step,
    adam_step,
    adamax_step,
    average_step,
    lion_step,
    nadam_step,
)


def momenta(step, beta_1=0.9, **_):
    return float(np.prod([beta_1 * (1 - 0.5 * 0.96**t) for t in range(1, step + 1)]))


# name: (the step, its twin, how many slots, what only ours is told)
RULES = {
    "amsgrad": (adam_step, twins.amsgrad, 3, lambda step, _: {"step": step}),
    "nadam": (
        nadam_step, twins.nadam, 2,
        lambda step, options: {"step": step, "momentum_product": momenta(step, **options)},
    ),
    "adamax": (adamax_step, twins.adamax, 2, lambda step, _: {"step": step}),
    "adagrad": (adagrad_step, twins.adagrad, 1, lambda step, _: {}),
    "lion": (lion_step, twins.lion, 1, lambda step, _: {}),
}  # fmt: skip
OPTIONS = {
    "amsgrad": {"beta_1": 0.8, "beta_2": 0.5, "epsilon": 1e-3},
    "nadam": {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
    "adamax": {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3},
    "adagrad": {"epsilon": 1e-2},
    "lion": {"beta_1": 0.3, "beta_2": 0.7},
}


def slots_like(values, count):
    return [[np.full_like(w, 0.1) for w in values] for _ in range(count)]


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("own", [False, True], ids=["defaults", "options"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rule(isa, dtype, rule, own, clip):
    step_of, twin, count, told = RULES[rule]
    values, steps = parameters(np.random.default_rng(4), dtype)
    ours, gradients = [w.copy() for w in values], [np.zeros_like(w) for w in values]
    slots = slots_like(values, count)
    table = ParameterTable(zip(ours, gradients, strict=True))
    expected = [(w.astype(float), *(np.full(w.shape, 0.1, dtype).astype(float),) * count) for w in values]
    options = OPTIONS[rule] if own else {}
    for step, raw in enumerate(steps, start=1):
        for array, gradient in zip(gradients, raw, strict=True):
            array[...] = gradient
        step_of(table, *slots, learning_rate=0.01, weight_decay=0.1, **told(step, options), **options, **clip)
        for k, gradient in enumerate(reference.clip_gradients(raw, **clip)):
            w, *kept = expected[k]
            w = w - 0.01 * 0.1 * w
            expected[k] = twin(w, gradient, *kept, step=step, learning_rate=0.01, **options)
        assert not any(array.any() for array in gradients)
    for k, (w, *kept) in enumerate(expected):
        for array, want in zip([ours[k], *(slot[k] for slot in slots)], [w, *kept], strict=True):
            np.testing.assert_allclose(array, want, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_average(isa, dtype, overwrite):
    values, (averages, gradients, _) = parameters(np.random.default_rng(5), dtype)
    before = [w.copy() for w in values]
    expected = [0.7 * a.astype(float) + 0.3 * w for a, w in zip(averages, values, strict=True)]
    slopes = [g.copy() for g in gradients]
    table = ParameterTable(zip(values, gradients, strict=True))
    average_step(table, averages, momentum=0.7, overwrite=overwrite)
    for k, want in enumerate(expected):
        np.testing.assert_allclose(averages[k], want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        np.testing.assert_array_equal(values[k], averages[k] if overwrite else before[k])
        np.testing.assert_array_equal(gradients[k], slopes[k])


@pytest.mark.parametrize("rule", [*RULES, "average"])
def test_any_team_gives_the_same_bits(isa, rule):
    results = []
    for threads in (1, 2, 3):
        values, steps = parameters(np.random.default_rng(2), np.float32, [70_000, 12, 150_001])
        slots = slots_like(values, 1 if rule == "average" else RULES[rule][2])
        try:
            set_num_threads(threads)
            for step, gradients in enumerate(steps, start=1):
                table = ParameterTable(zip(values, gradients, strict=True))
                if rule == "average":
                    average_step(table, *slots, momentum=0.3, overwrite=step == 2)
                else:
                    step_of, _, _, told = RULES[rule]
                    step_of(table, *slots, learning_rate=0.1, clipnorm=0.5, **told(step, {}))
        finally:
            set_num_threads(0)
        results.append([*values, *(array for slot in slots for array in slot)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_lion_stands_still_where_the_mean_is_0_and_keeps_nan(isa):
    values = np.ones(3)
    table = ParameterTable([(values, np.array([0.0, np.nan, -2.0]))])
    lion_step(table, [np.zeros(3)], learning_rate=0.5)
    np.testing.assert_array_equal(values, [1, np.nan, 1.5])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda t, z: adam_step(t, z, z, [], step=1),
         "adam_step: largest must have one array for each of 1 parameters, got 0"),
        (lambda t, z: nadam_step(t, z, z, step=0, momentum_product=0.5),
         "nadam_step: step must be at least 1, got 0"),
        (lambda t, z: nadam_step(t, z, z, step=1, momentum_product=1.0),
         "nadam_step: momentum_product must be in [0, 1), got 1"),
        (lambda t, z: nadam_step(t, z, z, step=1, momentum_product=0.5, beta_2=1.0),
         "nadam_step: beta_2 must be in [0, 1), got 1"),
        (lambda t, z: adamax_step(t, z, z, step=1, beta_1=-0.5),
         "adamax_step: beta_1 must be in [0, 1), got -0.5"),
        (lambda t, z: adamax_step(t, z, [np.zeros(3)], step=1),
         "adamax_step: u[0] must have the shape of its parameter, (2,), got (3,)"),
        (lambda t, z: adagrad_step(t, []),
         "adagrad_step: squares must have one array for each of 1 parameters, got 0"),
        (lambda t, z: adagrad_step(t, z, learning_rate=np.inf),
         "adagrad_step: learning_rate must be finite, got inf"),
        (lambda t, z: lion_step(t, z, beta_1=0.0), "lion_step: beta_1 must be in (0, 1], got 0"),
        (lambda t, z: lion_step(t, z, beta_2=1.5), "lion_step: beta_2 must be in [0, 1], got 1.5"),
        (lambda t, z: average_step(t, z, momentum=1.5), "average_step: momentum must be in [0, 1], got 1.5"),
        (lambda t, z: average_step(t, [], momentum=0.5),
         "average_step: averages must have one array for each of 1 parameters, got 0"),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises(ValueError) as error:
        call(ParameterTable([(np.ones(2), np.ones(2))]), [np.zeros(2)])
    assert str(error.value) == text
