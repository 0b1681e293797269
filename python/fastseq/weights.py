"""Weights on disk: one safetensors file, the configuration as JSON in its metadata, written whole or not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastseq._arrays import Array

__all__ = ["read_weights", "write_weights"]

FORMAT = "fastseq"


def write_weights(
    path: str | os.PathLike[str], weights: Mapping[str, Array], configuration: Mapping[str, Any]
) -> None:
    """Writes named arrays and a configuration into one safetensors file.

    The file is written under a temporary name beside ``path``, synced and renamed: whatever
    happens, ``path`` holds either what it held before or all of the new.

    Args:
        path: The file, replaced if it exists.
        weights: Name of each array and the array.
        configuration: What JSON can hold; ``read_weights`` returns it equal.

    Raises:
        TypeError: The configuration holds what JSON cannot.
        OSError: The file cannot be written.
    """
    from safetensors.numpy import save

    metadata = {"format": FORMAT, "configuration": json.dumps(configuration)}
    # safetensors writes memory as it lies, so other layouts would come back scrambled
    data = save({name: np.asarray(value, order="C") for name, value in weights.items()}, metadata)
    path = os.fspath(path)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    if os.name == "posix":  # the new name itself must survive a power cut too
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the configuration of a file that ``write_weights`` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no safetensors file, or not one of fastseq's.
    """
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    with open(path, "rb"):
        pass  # a plain OSError where the file cannot be read
    rule = "read_weights: path must be a safetensors file of fastseq"
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # the last: of a type numpy has not
        raise ValueError(f"{rule}, got {path!r} ({error})") from None
    if metadata.get("format") != FORMAT or "configuration" not in metadata:
        raise ValueError(f"{rule}, got {path!r} without fastseq's metadata")
    try:
        configuration = json.loads(metadata["configuration"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{rule}, got {path!r} (configuration: {error})") from None
    if not isinstance(configuration, dict):
        raise ValueError(f"{rule}, got {path!r} with a configuration that is no mapping")
    return weights, configuration
