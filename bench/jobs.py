"""What a peer is given to work on: a folder with the settings, the first weights and the questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
LABELS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}  # in Keras
CHARS = 12


def layer_weights(cell: str, features: int, units: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Keras's own initial weights: glorot_uniform, orthogonal, zeros with a forget bias of one."""
    width = GATES[cell] * units
    recurrent = np.linalg.qr(rng.normal(size=(width, units)))[0].T
    bias = np.zeros((2, width) if cell == "gru" else width)
    if cell == "lstm":
        bias[units : 2 * units] = 1
    weights = [glorot(features, width, rng), recurrent, bias]
    return [np.ascontiguousarray(w, np.float32) for w in weights]


def glorot(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    limit = np.sqrt(6 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def starting_weights(cell: str, units: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Those of the addition model: encoder, decoder, dense."""
    layers = [*layer_weights(cell, CHARS, units, rng), *layer_weights(cell, units, units, rng)]
    return [*layers, glorot(units, CHARS, rng), np.zeros(CHARS, np.float32)]


def questions(digits: int, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One-hot questions as the example's in shape and kind; which ones does not matter for time."""
    chars = "".join(sorted("0123456789+ "))
    points = np.array([chars.index(c) if c in chars else -1 for c in map(chr, range(128))])
    pairs = rng.integers(0, (10 ** rng.integers(1, digits + 1, (size, 2))))

    def encode(texts: list[str], length: int) -> np.ndarray:
        rows = np.frombuffer("".join(t.ljust(length) for t in texts).encode("ascii"), np.uint8)
        return np.eye(CHARS, dtype=bool)[points[rows].reshape(size, length)]

    x = encode([f"{a}+{b}" for a, b in pairs.tolist()], 2 * digits + 1)[:, ::-1]
    y = encode([str(s) for s in pairs.sum(1).tolist()], digits + 1)
    split = size - size // 10
    return {"x_train": x[:split], "y_train": y[:split], "x_val": x[split:], "y_val": y[split:]}


def write_job(
    folder: Path, cell: str, units: int, digits: int, batch_size: int, arrays: dict[str, Any]
) -> None:
    """Writes a job; `arrays` are x_train, y_train, x_val and y_val."""
    job = {"cell": cell, "units": units, "digits": digits, "batch_size": batch_size}
    (folder / "job.json").write_text(json.dumps(job))
    weights = starting_weights(cell, units, np.random.default_rng(0))
    np.savez(folder / "arrays.npz", **{f"weight{i}": w for i, w in enumerate(weights)}, **arrays)


# --- the OCR model ---------------------------------------------------------------------------------

OCR_CLASSES, OCR_BLANK, OCR_SKIPPED = 28, 27, 2


def ocr_weights(width: int, height: int, units: int, rng: np.random.Generator) -> list[np.ndarray]:
    """In Keras's order and layout: two convolutions, dense, four GRUs, dense; GRUs of today's form."""

    def normal(fan_in: int, *shape: int) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    weights = [normal(9, 3, 3, 1, 16), zeros(16), normal(144, 3, 3, 16, 16), zeros(16)]
    features = height // 4 * 16
    weights += [glorot(features, 32, rng), zeros(32)]
    for inputs in (32, 32, units, units):
        weights += layer_weights("gru", inputs, units, rng)
    return [*weights, normal(2 * units, 2 * units, OCR_CLASSES) / 2, zeros(OCR_CLASSES)]


def ocr_batch(batch: int, width: int, height: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images (batch, width, height, 1) and labels of four letters at most, the last three of none."""
    lengths = rng.integers(2, 5, batch)
    lengths[-3:] = 0
    labels = rng.integers(0, OCR_BLANK - 1, (batch, 4))
    labels[np.arange(4) >= lengths[:, None]] = 0
    return {
        "images": rng.random((batch, width, height, 1), np.float32),
        "labels": labels.astype(np.int32),
        "lengths": lengths.astype(np.int32),
    }
