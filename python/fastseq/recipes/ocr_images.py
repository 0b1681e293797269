"""Images from anywhere as the OCR model takes them, and pictures of images with what was read in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq.recipes.common import need_pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_readings", "read_image"]

COLUMNS = 4  # of a picture


def read_image(function: str, image: Any, width: int, height: int) -> NDArray[np.float32]:
    """One image as the model takes it, (width, height, 1), dark letters on white: see ``OcrResult.read``."""
    gray = _gray(function, image)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if np.median(border) < 0.5:
        gray, border = 1 - gray, 1 - border
    if gray.shape[0] > height or gray.shape[1] > width:
        gray = _smaller(gray, width, height)
    rows, columns = gray.shape
    if (rows, columns) != (height, width):
        paper = np.full((height, width), np.median(border), np.float32)
        top, left = (height - rows) // 2, (width - columns) // 2
        paper[top : top + rows, left : left + columns] = gray
        gray = paper
    return np.ascontiguousarray(gray.T)[:, :, None]


def _gray(function: str, image: Any) -> NDArray[np.float32]:
    """(height, width), from 0 for black to 1 for white."""
    if isinstance(image, (str, os.PathLike)):
        need_pillow(function)
        from PIL import Image

        with Image.open(image) as opened:
            return _gray(function, opened)
    if hasattr(image, "convert"):  # one of Pillow's
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            from PIL import Image

            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        return _share_of_white(np.asarray(image.convert("L")))
    rule = f"{function}: images must be paths, images of Pillow's or arrays of numbers"
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "uif":
        got = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"{rule}, got {got}")
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"{function}: images must have the shape (height, width) or (height, width, colours), "
            f"got {image.shape}"
        )
    scaled = _share_of_white(image)
    if scaled.ndim == 2:
        return scaled
    colours: NDArray[np.float32] = scaled[:, :, :3].mean(axis=2)
    if scaled.shape[2] == 4:  # on white paper
        colours = 1 + scaled[:, :, 3] * (colours - 1)
    return colours


def _share_of_white(image: NDArray[Any]) -> NDArray[np.float32]:
    whole: NDArray[np.float32] = np.asarray(image, np.float32)
    return whole if image.dtype.kind == "f" else np.multiply(whole, np.float32(1 / 255))


def _smaller(gray: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """As large as fits, in its own proportions."""
    need_pillow("OcrResult.read")
    from PIL import Image

    rows, columns = gray.shape
    share = min(height / rows, width / columns)
    size = (max(int(columns * share), 1), max(int(rows * share), 1))
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def draw_readings(
    path: str | os.PathLike[str], images: Sequence[NDArray[np.float32]], texts: Sequence[str],
    readings: Sequence[str],
) -> None:  # fmt: skip
    """Draws images with what they say and what was read; nothing where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = -(-len(images) // COLUMNS)
    wide = images[0].shape[1] / images[0].shape[0]
    figure = Figure(figsize=(COLUMNS * max(wide, 2) * 1.1, rows * 1.5), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, text, read in zip(grid.flat, images, texts, readings, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        colour = "black" if text == read else "red"
        axes.set_title(f"{text}\nread: {read}", fontsize=9, color=colour, family="monospace")
    figure.savefig(path, dpi=100)
