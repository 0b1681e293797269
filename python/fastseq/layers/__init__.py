"""Layers: parameters and operations joined, under Keras's names and with Keras's arguments."""

from fastseq.layers.base import Layer
from fastseq.layers.core import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
)
from fastseq.layers.function import Lambda
from fastseq.layers.input import Input, InputLayer
from fastseq.layers.merge import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    multiply,
    subtract,
)
from fastseq.layers.rnn import GRU, LSTM, SimpleRNN
from fastseq.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "Average",
    "Bidirectional",
    "Concatenate",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "Masking",
    "Maximum",
    "Multiply",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "Subtract",
    "TimeDistributed",
    "add",
    "average",
    "concatenate",
    "maximum",
    "multiply",
    "subtract",
]
