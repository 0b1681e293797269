"""Weights on disk come back equal, whole or not at all."""

import json
import os

import numpy as np
import pytest

from fastseq import weights
from fastseq.weights import read_weights, write_weights


def some_weights():
    rng = np.random.default_rng(0)
    return {
        "lstm/kernel": rng.normal(size=(3, 8)).astype(np.float32),
        "lstm/transposed": rng.normal(size=(4, 6)).T,
        "lstm/strided": rng.normal(size=(10, 6))[::2, ::-1],
        "step": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
    }


def test_there_and_back(tmp_path):
    path = tmp_path / "model.safetensors"
    written = some_weights()
    configuration = {"digits": 3, "cell": "lstm", "seed": None, "rate": 0.001, "name": "é"}
    write_weights(path, written, configuration)
    read, read_configuration = read_weights(str(path))
    assert read_configuration == configuration
    assert read.keys() == written.keys()
    for name, value in written.items():
        assert read[name].dtype == value.dtype
        assert read[name].shape == value.shape
        np.testing.assert_array_equal(read[name], value)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_others_can_read_it(tmp_path):
    from safetensors import safe_open

    write_weights(tmp_path / "m", some_weights(), {"a": [1, 2]})
    with safe_open(tmp_path / "m", framework="np") as file:
        assert json.loads(file.metadata()["configuration"]) == {"a": [1, 2]}


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_weights(path, some_weights(), {"version": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_weights(path, some_weights(), {"version": 2})
    assert read_weights(path)[1] == {"version": 1}
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        write_weights(tmp_path / "none" / "m", some_weights(), {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_weights(tmp_path / "m", some_weights(), {"a": object()})
    path = tmp_path / "text"
    path.write_text("hello, this is no safetensors file at all")
    with pytest.raises(ValueError) as error:
        read_weights(path)
    assert str(error.value).startswith(
        f"read_weights: path must be a safetensors file of fastseq, got '{path}' ("
    )

    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, str(path))
    with pytest.raises(ValueError) as error:
        read_weights(path)
    assert str(error.value) == (
        f"read_weights: path must be a safetensors file of fastseq, got '{path}' without fastseq's metadata"
    )
