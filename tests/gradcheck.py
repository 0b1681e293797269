"""Gradients against central differences, by one random direction per input.

For u shaped like the outputs and v shaped like one input, ``<u, J v>`` (two forward passes) must
equal ``<J' u, v>`` (one backward pass). It costs the same at any size, so sizes can sit where the
kernels have their edges.
"""

import numpy as np

TOLERANCE = 1e-7
STEP = 1e-5  # truncation about STEP**2, rounding about 1e-16 / STEP: both far below TOLERANCE


def _like(rng, value):
    """Random values in the shape of an array, or of a tuple of arrays and Nones."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_like(rng, each) for each in value)
    return rng.standard_normal(np.shape(value))


def _moved(value, direction, distance):
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_moved(a, d, distance) for a, d in zip(value, direction, strict=True))
    return np.asarray(value) + distance * direction


def _leaves(value):
    if value is None:
        return []
    if isinstance(value, tuple):
        return [leaf for each in value for leaf in _leaves(each)]
    return [np.asarray(value, dtype=np.float64)]


def _products(a, b):
    """Elementwise products of two equal structures, flat."""
    pairs = zip(_leaves(a), _leaves(b), strict=True)
    flat = [(x * y).ravel() for x, y in pairs]
    return np.concatenate(flat) if flat else np.zeros(0)


def compare(name, before, after, u, gradient, direction, *, step=STEP, tolerance=TOLERANCE):
    """``before`` and ``after`` are the outputs at ``-step`` and ``+step`` along ``direction``."""
    terms = (_products(u, after) - _products(u, before)) / (2 * step)
    numeric, analytic = terms.sum(), _products(gradient, direction).sum()
    # 1e-3 of the terms: a sum that happens to cancel is not held to its own tiny size.
    scale = max(abs(numeric), abs(analytic), 1e-3 * np.abs(terms).sum())
    assert np.isfinite(numeric), f"{name}: central difference is {numeric}"
    assert abs(numeric - analytic) <= tolerance * scale, (
        f"gradient of {name}: <u, J v> = {numeric!r} by central differences, "
        f"<J' u, v> = {analytic!r} from backward, {abs(numeric - analytic) / scale:.2e} apart"
    )


def check_gradients(
    forward, backward, inputs, *, wanted=None, direction_seed=0, step=STEP, tolerance=TOLERANCE, **options
):
    """Check ``backward`` against ``forward`` for every name in ``wanted`` (default: all inputs).

    Args:
        forward: ``forward(**inputs, **options, training=True) -> (outputs..., saved)``; an output
            is an array, None, or a tuple of those.
        backward: ``backward(saved, *doutputs, wanted=names)`` -> object with a field per name.
        inputs: name -> float64 array or tuple of arrays (a state).
    """
    rng = np.random.default_rng(direction_seed)
    wanted = tuple(inputs) if wanted is None else tuple(wanted)

    def outputs_of(values):
        return tuple(forward(**values, **options, training=True))[:-1]

    *outputs, saved = forward(**inputs, **options, training=True)
    u = _like(rng, tuple(outputs))
    gradients = backward(saved, *u, wanted=wanted)
    for name in wanted:
        direction = _like(rng, inputs[name])
        gradient = getattr(gradients, name)
        for g, x in zip(_leaves(gradient), _leaves(inputs[name]), strict=True):
            assert g.shape == x.shape, f"gradient of {name} is {g.shape}, input {x.shape}"
        before = outputs_of({**inputs, name: _moved(inputs[name], direction, -step)})
        after = outputs_of({**inputs, name: _moved(inputs[name], direction, step)})
        compare(name, before, after, u, gradient, direction, step=step, tolerance=tolerance)


def check_loss_gradient(function, prediction, *, direction_seed=0, step=STEP, tolerance=TOLERANCE):
    """The same for ``function(prediction) -> (losses, dprediction)``, gradient of the losses' sum."""
    rng = np.random.default_rng(direction_seed)
    direction = rng.standard_normal(prediction.shape)
    losses, gradient = function(prediction)
    before, _ = function(prediction - step * direction)
    after, _ = function(prediction + step * direction)
    u = np.ones_like(losses)
    compare("prediction", before, after, u, gradient, direction, step=step, tolerance=tolerance)
