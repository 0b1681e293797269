"""Copies and pickles of models: equal, on their own, and training goes on in them with the same bits."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
from small_models import X, Y
from test_models_config import KINDS, Scaled, same
from test_models_files import cubed, equal, random_model, trained

import fastseq
from fastseq import layers

WAYS = pytest.mark.parametrize(
    "way",
    [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["copy", "deepcopy", "pickle"],
)


@WAYS
@KINDS
def test_every_kind_of_model(build, way):
    made, x = build()
    expected = made.predict(x, verbose=0)
    other = way(made)
    assert type(other) is type(made)
    assert other.name == made.name
    assert not set(other.weights) & set(made.weights)
    same(other.predict(x, verbose=0), expected)


@WAYS
def test_training_goes_on_in_both(way):
    made = random_model()
    fresh = way(made)
    trained(made)
    equal(trained(fresh), (made.history.history, made.get_weights()))
    other = way(made)
    assert other.history.history == made.history.history
    assert other.history is not made.history
    assert other.optimizer is not made.optimizer
    result = trained(other)
    equal(trained(made), result)


@WAYS
def test_own_layers_and_losses_need_no_registration(way):
    made = fastseq.Sequential([layers.Input((3,)), Scaled(2.0, layers.Dense(1))])
    made.compile(fastseq.optimizers.SGD(0.1, momentum=0.5), cubed)
    made.fit(X[:, 0], Y[:, :1], verbose=0)
    other = way(made)
    assert type(other.layers[0]) is Scaled
    a = made.fit(X[:, 0], Y[:, :1], shuffle=False, verbose=0).history
    assert other.fit(X[:, 0], Y[:, :1], shuffle=False, verbose=0).history == a


@WAYS
def test_one_that_is_not_built_yet(way):
    made = fastseq.Sequential([layers.Dense(2)])
    made.compile("sgd", "mse")
    other = way(made)
    assert not other.built
    other.fit(X[:, 0], Y[:, :2], verbose=0)
    assert not made.built


def test_copies_draw_no_random_numbers():
    made = random_model()
    fastseq.set_seed(1)
    a = fastseq._random.draw_seed()
    fastseq.set_seed(1)
    copy.deepcopy(made)
    assert fastseq._random.draw_seed() == a


def predicted(model):
    return model.predict(X, verbose=0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_through_multiprocessing(method):
    made = random_model()
    trained(made)
    with multiprocessing.get_context(method).Pool(1) as pool:
        (result,) = pool.map(_fresh_prediction, [made]) if method == "spawn" else pool.map(predicted, [made])
    np.testing.assert_array_equal(result, made.predict(X, verbose=0))


from small_workers import predicted as _fresh_prediction  # noqa: E402  (a spawned process imports it alone)


class Estimator:
    """What scikit-learn's searches ask of an estimator: its arguments by name, ``fit``, ``score``."""

    def __init__(self, units=3, model=None):
        self.units, self.model = units, model

    def get_params(self, deep=True):
        return {"units": self.units, "model": self.model}

    def set_params(self, **values):
        for name, value in values.items():
            setattr(self, name, value)
        return self

    def fit(self, x, y):
        self.model_ = self.model if self.model is not None else random_model()
        self.model_.fit(x, y, verbose=0)
        return self

    def score(self, x, y):
        return -self.model_.evaluate(x, y, verbose=0)[0]


def test_as_scikit_learn_clones():
    """Its clone deep-copies every argument that is no estimator, and wants the copy to be taken as it is."""
    template = Estimator(model=random_model())
    arguments = {name: copy.deepcopy(value) for name, value in template.get_params(deep=False).items()}
    cloned = Estimator(**arguments)
    assert cloned.get_params()["model"] is arguments["model"]
    cloned.fit(X, Y)
    assert template.model.optimizer.iterations == 0
    score = cloned.score(X, Y)
    assert pickle.loads(pickle.dumps(cloned)).score(X, Y) == score
