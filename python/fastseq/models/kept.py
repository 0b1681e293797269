"""What models share of being kept: as JSON, in files, as copies and pickles."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from fastseq.layers.base import Layer
from fastseq.layers.description import to_config
from fastseq.models import copies, files

__all__ = ["Kept"]


class Kept(Layer, abstract=True):
    """Base of ``Model``: how it is written down and made again."""

    def to_json(self, **options: Any) -> str:
        """Its architecture as JSON, for ``models.model_from_json``.

        Args:
            options: As for ``json.dumps``.
        """
        return json.dumps(to_config(self), **options)

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, include_optimizer: bool = True
    ) -> None:
        """Writes the whole model into one safetensors file, for ``models.load_model``.

        Its architecture, weights, what ``compile`` was given, the optimizer's state and the counters of
        dropout. The file is replaced at once or not at all, whatever happens meanwhile.

        Args:
            filepath: The file; any name will do.
            overwrite: Whether it may exist.
            include_optimizer: Whether training belongs to it.
        Raises:
            OSError: The file cannot be written.
            ValueError: It exists, or something in the model has no plain form.
        """
        files.save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Writes the weights into one safetensors file, replaced at once or not at all.

        Args:
            filepath: The file; any name will do.
            overwrite: Whether it may exist.
        Raises:
            OSError: The file cannot be written.
            ValueError: It exists.
        """
        files.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
        """Reads the weights that ``save_weights`` or ``save`` wrote: in order, all or none.

        Args:
            filepath: The file.
            skip_mismatch: Whether weights of another shape keep their values.
        Raises:
            OSError: The file cannot be read.
            ValueError: It is damaged, or has other weights.
        """
        files.load_weights(self, filepath, skip_mismatch)

    def __reduce__(self) -> Any:
        return copies.unpacked, copies.packed(self)

    def __copy__(self) -> Any:
        return copy.deepcopy(self)  # one that shared its weights would share their training, too

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = memo[id(self)] = copies.unpacked(*copy.deepcopy(copies.packed(self), memo))
        return made
