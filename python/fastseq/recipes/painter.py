"""Paints texts as the Keras example image_ocr does: black on white, the rest left to chance.

What an image looks like follows from its text and its row of draws alone, whoever paints it and when.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq.recipes.common import need_pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BUILT_IN", "DRAWS", "Painter", "Style", "find_fonts", "style_of"]

SIZE = 25  # of the letters, in pixels
SMALLEST_SIZE = 7  # to which they shrink where a text is too long for its image
BORDER = 4  # pixels left free beside a text
SEVERITY = 0.6  # of the speckle, at most
BLUR = 1.0  # pixels, the speckle's standard deviation
FIELD = (1024, 2048)  # of the noise that speckles are cut from

# One of each belongs to every image, uniform in [0, 1).
DRAWS = ("across", "height", "font", "angle", "severity", "field_row", "field_column", "flips")

BUILT_IN = "built-in"  # Pillow's own font
# Families of plain letters; a folder of fonts holds symbols and other scripts, too.
FAMILIES = re.compile(
    r"(arial|c059|cantarell|cmb10|cmr10|cmss10|cmti10|cmtt10|cour|courier|dejavusans|dejavuserif|freemono|freesans"
    r"|freeserif|georgia|helvetica|liberation|nimbus|notomono|notosans|notoserif|p052|stixgeneral|times|ubuntu"
    r"|verdana|z003)"
    r"(mono|sans|serif|roman|condensed|new|mt|ps|l|regular|bold|italic|oblique|bol|ita|bd|bi|[birz]|[-_ ])*"
    r"\.(ttf|otf|ttc)",
    re.IGNORECASE,
)
PLAIN = re.compile(r"[-_ ]?(regular|roman|r(?=\.))")  # says of a file that it is the plain one of its family
MOST_FONTS = 5  # as the example has


class Style(NamedTuple):
    """What is left to chance, the speckle and the place across aside."""

    random_height: bool = False
    several_fonts: bool = False
    rotation: bool = False


def style_of(epoch: int) -> Style:
    """The style of an epoch, counted from 0: plain; any height from 3; several fonts from 6; askew from 9."""
    return Style(random_height=epoch >= 3, several_fonts=epoch >= 6, rotation=epoch >= 9)


def find_fonts() -> list[str]:
    """Pillow's own font, and files of fonts of plain letters that this machine has.

    They are few, so that a machine with many fonts does not set a harder task, and of different families:
    of each the file with the shortest name, the plainest, whether or not its name says that it is.
    """
    found: dict[str, str] = {}
    for folder in _font_folders():
        for place, folders, names in os.walk(folder):
            folders.sort()
            for name in names:
                if FAMILIES.fullmatch(name):
                    found.setdefault(name.lower(), os.path.join(place, name))
    families: dict[str, str] = {}
    for name in sorted(found, key=lambda name: (len(PLAIN.sub("", name)), name)):
        family = FAMILIES.fullmatch(name)
        assert family is not None
        families.setdefault(family[1], found[name])
    paths = [families[family] for family in sorted(families)]
    most = MOST_FONTS - 1
    if len(paths) > most:  # neighbours by name are often of one designer
        paths = [paths[(2 * k + 1) * len(paths) // (2 * most)] for k in range(most)]
    return [BUILT_IN, *paths]


def _font_folders() -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        yield from (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts")
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin is not None:
        yield Path(matplotlib.origin).parent / "mpl-data/fonts/ttf"


class Painter:
    """Paints texts into images of one size.

    Args:
        width: Of the images, in pixels.
        height: Likewise.
        fonts: ``BUILT_IN`` and paths of font files; the first is the one of plain images. None for what
            ``find_fonts`` finds.
        seed: Of the noise.
    Attributes:
        fonts: The fonts.
    Raises:
        RuntimeError: Pillow is not installed.
        OSError: A font cannot be read.
    """

    def __init__(
        self, width: int = 128, height: int = 64, *, fonts: Sequence[str] | None = None, seed: int = 0
    ) -> None:
        need_pillow("Painter")
        self.width, self.height = width, height
        self.fonts = find_fonts() if fonts is None else list(fonts)
        self.seed = seed
        self._buffer = np.empty((0, height, width), np.float32)
        for font in self.fonts:
            _font(font, SIZE)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_buffer": self._buffer[:0]}

    def paint(
        self, texts: Sequence[str], draws: NDArray[np.float64], style: Style | None = None
    ) -> NDArray[np.uint8]:
        """The images of some texts.

        Args:
            texts: One for each image; an empty one leaves nothing but speckle.
            draws: (texts, len(DRAWS)), uniform in [0, 1): all that is left to chance.
            style: What is; None for plain images.
        Returns:
            (texts, height, width), 255 where white.
        Raises:
            ValueError: A text is too long for the width even in small letters.
        """
        field = _field(self.seed, self.height, self.width)
        speckle = self._buffer[: len(texts)]
        if len(speckle) < len(texts):
            speckle = self._buffer = np.empty((len(texts), self.height, self.width), np.float32)
        paper = np.full(speckle.shape, 255, np.uint8)
        style = Style() if style is None else style
        for image, noise, text, row in zip(paper, speckle, texts, draws, strict=True):
            chance = dict(zip(DRAWS, row.tolist(), strict=True))
            if text:
                self._write(image, text, chance, style)
            _cut(field, noise, chance)
        speckle += paper
        np.clip(speckle, 0, 255, out=speckle)
        speckle += 0.5  # to the nearest
        return speckle.astype(np.uint8)

    def _write(self, image: NDArray[np.uint8], text: str, chance: dict[str, float], style: Style) -> None:
        """Puts the text into a white image."""
        font = self.fonts[int(chance["font"] * len(self.fonts)) if style.several_fonts else 0]
        letters = self._letters(font, text)
        width, height = letters.size
        left = int(chance["across"] * max(self.width - width - BORDER, 1))
        top = min(self.height // 2, self.height - height)
        if style.random_height:
            top = int(chance["height"] * max(self.height - height - BORDER, 1))
        if style.rotation:
            most = 3 * (self.width - left) / self.width + 1
            letters, left, top = self._rotated(letters, left, top, most * (2 * chance["angle"] - 1))
        ink = np.asarray(letters)[: self.height, : self.width]
        rows, columns = ink.shape
        # what a rotation would have moved out of the image stays at its edge
        top, left = min(max(top, 0), self.height - rows), min(max(left, 0), self.width - columns)
        image[top : top + rows, left : left + columns] -= ink

    def _letters(self, font: str, text: str) -> Any:
        """The text in white on black: an image as small as it can be."""
        from PIL import Image, ImageDraw

        for size in range(SIZE, SMALLEST_SIZE - 1, -1):
            letters = _font(font, size)
            left, top, right, bottom = letters.getbbox(text)
            if right - left <= self.width - 2 * BORDER and bottom - top <= self.height - 2 * BORDER:
                image = Image.new("L", (right - left, bottom - top))
                ImageDraw.Draw(image).text((-left, -top), text, 255, letters)
                return image
        rule = f"be short enough for a width of {self.width} pixels"
        raise ValueError(f"Painter.paint: texts must {rule}, got {text!r}")

    def _rotated(self, letters: Any, left: int, top: int, degrees: float) -> tuple[Any, int, int]:
        """The letters turned about the middle of the image they lie in, and where they then lie."""
        from PIL import Image

        letters = letters.crop((-1, -1, letters.width + 1, letters.height + 1))  # so that edges stay soft
        width, height = letters.size
        left, top = left - 1, top - 1
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        across, down = left - self.width / 2, top - self.height / 2  # from the middle
        corners = [(x, y) for x in (across, across + width) for y in (down, down + height)]
        xs = [cosine * x + sine * y for x, y in corners]
        ys = [cosine * y - sine * x for x, y in corners]
        x, y = math.floor(min(xs)), math.floor(min(ys))
        size = (math.ceil(max(xs)) - x, math.ceil(max(ys)) - y)
        # where in the letters a pixel of the result comes from
        matrix = (cosine, -sine, cosine * x - sine * y - across, sine, cosine, sine * x + cosine * y - down)
        turned = letters.transform(
            size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=0
        )
        return turned, x + self.width // 2, y + self.height // 2


def _cut(field: NDArray[np.float32], noise: NDArray[np.float32], chance: dict[str, float]) -> None:
    """Fills an image with speckle from a random place of the field, turned about by chance."""
    height, width = noise.shape
    row = int(chance["field_row"] * (field.shape[0] - height + 1))
    column = int(chance["field_column"] * (field.shape[1] - width + 1))
    down, right = divmod(int(chance["flips"] * 4), 2)
    piece = field[row : row + height, column : column + width][:: 1 - 2 * down, :: 1 - 2 * right]
    np.multiply(piece, 255 * SEVERITY * chance["severity"], out=noise)


@functools.lru_cache(maxsize=1)
def _field(seed: int, height: int, width: int) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 1, then blurred, that images of some size can be cut from."""
    shape = (FIELD[0] + height, FIELD[1] + width)
    noise = np.random.default_rng([seed, 0]).standard_normal(shape, dtype=np.float32)
    reach = int(4 * BLUR + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / BLUR) ** 2)
    taps /= taps.sum()
    for _ in range(2):  # once along each axis
        blurred = np.zeros((noise.shape[1] - 2 * reach, noise.shape[0]), np.float32)
        for k, tap in enumerate(taps.astype(np.float32)):
            blurred += tap * noise.T[k : k + len(blurred)]
        noise = blurred
    return noise


@functools.cache
def _font(font: str, size: int) -> Any:
    from PIL import ImageFont

    if font == BUILT_IN:
        try:
            return ImageFont.load_default(size)
        except ImportError:
            raise RuntimeError(
                "Painter: Pillow must have been built with FreeType, got one without"
            ) from None
    return ImageFont.truetype(font, size, layout_engine=ImageFont.Layout.BASIC)
