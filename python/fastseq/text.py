"""Text to one-hot arrays and back: CharacterTable, one string at a time or half a million at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastseq._arrays import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["CharacterTable"]


class CharacterTable:
    """A fixed set of characters, encoded as one-hot rows in sorted order.

    ``encode`` and ``decode`` take one string as the Keras example ``addition_rnn`` does, and a list
    of strings (an array with one axis more) at no cost per string beyond reading it.

    Args:
        chars: The characters that may appear. Repeats count once, order does not matter.

    Attributes:
        chars: The characters, sorted; the class of ``chars[i]`` is ``i``.
        char_indices: Class of each character.
        indices_char: Character of each class.

    Raises:
        TypeError: ``chars`` is not a string or an iterable of strings of one character.
        ValueError: ``chars`` is empty.
    """

    def __init__(self, chars: Iterable[str]) -> None:
        name = "CharacterTable"
        self.chars: list[str] = sorted(set(_characters(name, chars)))
        if not self.chars:
            raise ValueError(f"{name}: chars must hold at least one character, got none")
        self.char_indices: dict[str, int] = {c: i for i, c in enumerate(self.chars)}
        self.indices_char: dict[int, str] = dict(enumerate(self.chars))
        self._points = np.array([ord(c) for c in self.chars], np.uint32)  # sorted, as chars is

    def __len__(self) -> int:
        return len(self.chars)

    def __repr__(self) -> str:
        return f"CharacterTable({''.join(self.chars)!r})"

    def indices(self, texts: str | Sequence[str], num_rows: int, *, fill: int = -1) -> Array:
        """The class of every character, int32: (num_rows,) for one string, (texts, num_rows) for a list.

        Args:
            texts: One string or a list of them, none longer than ``num_rows``.
            num_rows: Length of every row.
            fill: What stands after the end of a shorter string.

        Raises:
            TypeError: ``texts`` is neither a string nor a list of strings.
            ValueError: A string is too long or holds a character that is not in the table.
        """
        name = "CharacterTable.indices"
        one = isinstance(texts, str)
        classes = self._indices(name, _strings(name, texts), num_rows, fill)
        return classes.reshape(num_rows) if one else classes

    def encode(self, texts: str | Sequence[str], num_rows: int, *, dtype: DTypeLike = bool) -> Array:
        """One-hot rows: (num_rows, characters) for one string, (texts, num_rows, characters) for a list.

        Args:
            texts: One string or a list of them, none longer than ``num_rows``.
            num_rows: Rows of every encoding; those after the end of a shorter string are all zero.
            dtype: Of the result. bool is the smallest, and ``fit`` converts it batch by batch.

        Raises:
            TypeError: ``texts`` is neither a string nor a list of strings.
            ValueError: A string is too long or holds a character that is not in the table.
        """
        name = "CharacterTable.encode"
        one = isinstance(texts, str)
        hot = self._one_hot(self._indices(name, _strings(name, texts), num_rows, -1), dtype)
        return hot.reshape(hot.shape[1:]) if one else hot

    def decode(self, x: ArrayLike, calc_argmax: bool = True) -> str | list[str]:
        """The string of one encoding, or the list of strings of a batch of them.

        Args:
            x: One-hot rows or probabilities, (rows, characters) or (texts, rows, characters). With
                ``calc_argmax=False`` classes instead, (rows,) or (texts, rows).
            calc_argmax: Take the most probable character of each row.

        Raises:
            TypeError: Classes are not integers.
            ValueError: The axes are not those above, or a class is outside the table.
        """
        name = "CharacterTable.decode"
        array: Array = np.asarray(x)
        if calc_argmax:
            if array.ndim not in (2, 3) or array.shape[-1] != len(self.chars):
                raise ValueError(
                    f"{name}: x must have the shape (rows, {len(self.chars)}) or "
                    f"(texts, rows, {len(self.chars)}), got {array.shape}"
                )
            array = array.argmax(axis=-1)
        elif array.ndim not in (1, 2):
            raise ValueError(
                f"{name}: x must have the shape (rows,) or (texts, rows) "
                f"when calc_argmax is False, got {array.shape}"
            )
        if array.size == 0:  # an empty list has no dtype of its own
            return "" if array.ndim == 1 else [""] * len(array)
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name}: x must hold integer classes, got {array.dtype}")
        outside = (array < 0) | (array >= len(self.chars))
        if outside.any():
            raise ValueError(
                f"{name}: x must hold classes in [0, {len(self.chars)}), got {array[outside][0]}"
            )
        whole: str = self._points[array].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        if array.ndim == 1:
            return whole
        rows = array.shape[1]
        return [whole[i : i + rows] for i in range(0, len(whole), rows)]

    def _indices(self, name: str, texts: list[str], num_rows: int, fill: int) -> Array:
        if isinstance(num_rows, bool) or not isinstance(num_rows, (int, np.integer)):
            raise TypeError(f"{name}: num_rows must be an integer, got {type(num_rows).__name__}")
        if num_rows < 0:
            raise ValueError(f"{name}: num_rows must be at least 0, got {num_rows}")
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        longest = int(lengths.max(initial=0))
        if longest > num_rows:
            at = int(lengths.argmax())
            raise ValueError(
                f"{name}: texts must be at most {num_rows} characters long, got {texts[at]!r} with {longest}"
            )
        # every character of every string as one array of code points
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
        classes = np.searchsorted(self._points, points).astype(np.int32)
        known = self._points[np.minimum(classes, len(self.chars) - 1)] == points
        if not known.all():
            raise ValueError(
                f"{name}: texts must hold only {''.join(self.chars)!r}, got {chr(int(points[~known][0]))!r}"
            )
        rows = np.full((len(texts), num_rows), fill, np.int32)
        rows[np.arange(num_rows) < lengths[:, None]] = classes
        return rows

    def _one_hot(self, classes: Array, dtype: DTypeLike) -> Array:
        # rows beyond the end of a string have class -1: they match nothing
        hot = np.zeros((*classes.shape, len(self.chars)), dtype)
        flat = classes.reshape(-1)
        valid = np.flatnonzero(flat >= 0)
        hot.reshape(-1)[valid * len(self.chars) + flat[valid]] = 1
        return hot


def _characters(name: str, chars: Iterable[str]) -> list[str]:
    rule = f"{name}: chars must be a string or an iterable of single characters"
    try:
        listed = list(chars)
    except TypeError:
        raise TypeError(f"{rule}, got {type(chars).__name__}") from None
    for c in listed:
        if not isinstance(c, str) or len(c) != 1:
            raise TypeError(f"{rule}, got {c!r}")
    return listed


def _strings(name: str, texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    rule = f"{name}: texts must be a string or a list of strings"
    try:
        listed = list(texts)
    except TypeError:
        raise TypeError(f"{rule}, got {type(texts).__name__}") from None
    for text in listed:
        if not isinstance(text, str):
            raise TypeError(f"{rule}, got {type(text).__name__} in it")
    return listed
