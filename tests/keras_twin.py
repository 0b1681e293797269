"""Keras as the reference for layers and training: the same code builds a model in both libraries."""

import os
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from fastseq import layers, models, optimizers  # noqa: E402

OURS = SimpleNamespace(
    layers=layers,
    Input=layers.Input,
    Model=models.Model,
    Sequential=models.Sequential,
    SGD=optimizers.SGD,
    Adam=optimizers.Adam,
    ours=True,
)
THEIRS = SimpleNamespace(
    layers=keras.layers,
    Input=keras.Input,
    Model=keras.Model,
    Sequential=keras.Sequential,
    SGD=keras.optimizers.SGD,
    Adam=keras.optimizers.Adam,
    ours=False,
)


def twins(build, seed=0, eager=True):
    """(our model, Keras's) from ``build(library)``, with the same random weights.

    Keras's runs eagerly: to trace it takes longer than the few small batches of a test. What depends on
    when it is traced asks for that with ``eager=False``.
    """
    ours, theirs = build(OURS), build(THEIRS)
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, 0.4, w.shape).astype(np.float32) for w in ours.get_weights()]
    assert [w.shape for w in weights] == [tuple(w.shape) for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    if eager:
        theirs.run_eagerly = True
        theirs.compile = partial(theirs.compile, run_eagerly=True)
    return ours, theirs


def close(a, b, tolerance=2e-5):
    flat_a = a if isinstance(a, (list, tuple)) else [a]
    flat_b = b if isinstance(b, (list, tuple)) else [b]
    assert len(flat_a) == len(flat_b)
    for x, y in zip(flat_a, flat_b, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, (x.shape, y.shape)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def check_outputs(ours, theirs, x):
    """The outputs for ``x`` agree."""
    expected = theirs(x) if not isinstance(x, list) else theirs([np.asarray(v) for v in x])
    close(ours.predict(x, verbose=0), expected)


def check_step(ours, theirs, x, y, loss, metrics=(), their_loss=None, loss_weights=None, **options):
    """A step of plain gradient descent at rate 1 gives the same losses, metrics and weights.

    The change of the weights then is the gradient. ``their_loss`` is Keras's where it is not ``loss``.
    """
    compiled = {"metrics": list(metrics), "loss_weights": loss_weights}
    ours.compile(OURS.SGD(1.0), loss, **compiled)
    theirs.compile(THEIRS.SGD(1.0), loss if their_loss is None else their_loss, run_eagerly=True, **compiled)
    for name in ("test_on_batch", "train_on_batch"):
        a = getattr(ours, name)(x, y, return_dict=True, **options)
        b = getattr(theirs, name)(x, y, return_dict=True, **options)
        assert set(a) == set(b)
        close([a[k] for k in sorted(a)], [b[k] for k in sorted(b)])
    close(ours.get_weights(), theirs.get_weights())
