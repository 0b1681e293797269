"""Small models and data that the tests of training share."""

import numpy as np

import fastseq
from fastseq import layers

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4, 3)).astype(np.float32)
Y = np.eye(3, dtype=bool)[rng.integers(0, 3, 50)]


def model(**options):
    made = fastseq.Sequential([layers.LSTM(4, input_shape=(4, 3)), layers.Dense(3, activation="softmax")])
    made.compile("adam", "categorical_crossentropy", metrics=["accuracy"], **options)
    return made


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numbered(n):
    return np.arange(n, dtype=np.float32).reshape(n, 1)


def linear():
    made = fastseq.Sequential([layers.Dense(1, input_shape=(1,))])
    made.compile("sgd", "mse")
    return made
