"""The painter and its words: the same whoever paints, ink where it belongs, styles by epoch, exact errors."""

import pickle
import re
import sys

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image, ImageDraw, ImageFont

from fastseq.recipes import painter, words
from fastseq.recipes.painter import BUILT_IN, DRAWS, Painter, Style, style_of

EVERYTHING = Style(True, True, True)
PLAIN = [BUILT_IN]


def draws(count, seed=0, **fixed):
    made = np.random.default_rng(seed).random((count, len(DRAWS)))
    for name, value in fixed.items():
        made[:, DRAWS.index(name)] = value
    return made


# --- words ----------------------------------------------------------------------------------------


def test_words_are_the_same_everywhere():
    assert words.made_words(12, 6, 1) == words.made_words(20, 6, 1)[:12]
    assert words.texts_to_read(30, 12, 0.5, seed=3) == words.texts_to_read(30, 12, 0.5, seed=3)
    assert words.made_words(5, 4, 1) != words.made_words(5, 4, 2)
    # Python promises that random() and what is made of it stays; these must then stay, too
    assert words.made_words(4, 4, 0) == ["phit", "wheu", "iell", "toow"]


def test_words_of_the_curriculum():
    short = words.texts_to_read(16_000, 4)
    assert len(short) == len(set(short)) == 16_000
    assert {len(word) for word in short} == {2, 3, 4}
    assert set("".join(short)) == set(words.LETTERS)
    long = words.texts_to_read(32_000, 12, 0.5)
    assert len(long) == len(set(long)) == 32_000
    assert max(map(len, long)) == 12
    assert sum(" " in text for text in long) == 16_000
    assert all(re.fullmatch("[a-z]+( [a-z]+)?", text) for text in [*short, *long])
    # no stretch of the list is of one kind: the last fifth is for validation
    assert 2500 < sum(" " in text for text in long[-6400:]) < 3900


def test_words_of_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("The cat, the DOG\nand café don't elephant\n")
    found = words.read_words(path)
    assert found == ["the", "dog", "and", "elephant"]
    assert sorted(words.texts_to_read(10, 4, words=found)) == ["and", "dog", "the"]
    pairs = words.texts_to_read(100, 7, 1.0, words=found)
    assert sorted(pairs) == sorted(f"{a} {b}" for a in found[:3] for b in found[:3])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: words.made_words(10_000, 2),
         "made_words: count must be at most what can be made up, got 10000"),
        (lambda: words.texts_to_read(10, 2, words=["cat"]),
         "texts_to_read: words must hold words of at most 2 letters, got none"),
    ],
)  # fmt: skip
def test_words_refuse(call, text):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == text


def test_files_without_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("1 2 3")
    with pytest.raises(ValueError) as error:
        words.read_words(path)
    assert str(error.value) == f"read_words: path must hold words of the letters a to z, got none in {path}"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError) as error:
        words.read_words(path)
    assert str(error.value) == "read_words: path must hold text in UTF-8, got invalid start byte"


# --- images ---------------------------------------------------------------------------------------


def ink(image):
    """(top, bottom, left, right) of what is dark."""
    rows, columns = np.nonzero(image < 128)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("width", [128, 512])
@pytest.mark.parametrize("style", [Style(), EVERYTHING])
def test_images(width, style):
    texts = words.texts_to_read(200, 4 if width == 128 else 12, 0.5)
    images = Painter(width).paint(texts, draws(200, severity=0.0), style)
    assert images.shape == (200, 64, width)
    assert images.dtype == np.uint8
    for text, image in zip(texts, images, strict=True):
        top, bottom, left, right = ink(image)
        assert bottom - top >= 8
        assert right - left >= 4 * len(text.replace(" ", "")) - 4, text
        assert (image[[0, -1]] == 255).mean() > 0.8  # nothing has been cut off
    places = np.array([ink(image) for image in images])
    assert places[:, 2].min() < 10  # everywhere across
    assert places[:, 3].max() > width - 25
    spread = places[:, 0].max() - places[:, 0].min()
    assert (spread > 25) if style.random_height else (spread < 15)


def test_text_looks_as_pillow_draws_it():
    (image,) = Painter(fonts=PLAIN).paint(["word"], draws(1, severity=0.0))
    font = ImageFont.load_default(25)
    drawn = Image.new("L", (128, 64), 255)
    box = font.getbbox("word")
    ImageDraw.Draw(drawn).text((20 - box[0], 20 - box[1]), "word", 0, font)
    top, bottom, left, right = ink(image)
    other = np.asarray(drawn)
    first, last, begin, end = ink(other)
    assert np.array_equal(image[top : bottom + 1, left : right + 1], other[first : last + 1, begin : end + 1])


def test_rotation_is_about_the_middle():
    """Held against Pillow's own rotation of the whole image."""
    paint = Painter(fonts=PLAIN).paint
    for across, angle in ((0.1, 0.0), (0.3, 0.9), (0.7, 0.2), (0.9, 1 - 1e-9)):
        row = draws(1, severity=0.0, across=across, angle=angle, height=0.5)
        straight = paint(["mild"], row, Style(True, False, False))[0]
        turned = paint(["mild"], row, Style(True, False, True))[0]
        box = ImageFont.load_default(25).getbbox("mild")
        left = int(across * (128 - (box[2] - box[0]) - 4))
        most = 3 * (128 - left) / 128 + 1
        whole = Image.fromarray(straight).rotate(
            most * (2 * angle - 1), Image.Resampling.BILINEAR, fillcolor=255
        )
        difference = np.abs(np.asarray(whole, np.int16) - turned)
        assert difference.max() <= 3, (across, angle)


def test_speckle():
    paint = Painter(fonts=PLAIN).paint
    count = 300
    rows = draws(count)
    images = paint([""] * count, rows)
    # half of the noise is cut off at white; of the other half, sqrt(2/pi)/2 of its deviation is the mean
    deviation = (
        255 * 0.6 * rows[:, DRAWS.index("severity")] * 0.2820948
    )  # a blur of 1 pixel leaves 1/sqrt(4 pi)
    darkness = 255 - images.reshape(count, -1).mean(axis=1)
    np.testing.assert_allclose(darkness.mean(), deviation.mean() * 0.3989, rtol=0.03)
    correlation = np.corrcoef(darkness, deviation)[0, 1]
    assert correlation > 0.99
    flat = paint(["", ""], draws(2, severity=0.99))
    assert flat.min() > 0  # nothing is as dark as ink
    a, b = flat.reshape(2, -1).astype(float)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    neighbours = np.corrcoef(flat[0, :, :-1].ravel(), flat[0, :, 1:].ravel())[0, 1]
    assert 0.6 < neighbours < 0.9  # exp(-1/4) before it is cut off


def test_flips_of_the_speckle():
    paint = Painter(fonts=PLAIN).paint
    four = [paint([""], draws(1, severity=0.9, flips=f))[0] for f in (0.1, 0.3, 0.6, 0.9)]
    assert np.array_equal(four[0], four[1][:, ::-1])
    assert np.array_equal(four[0], four[2][::-1])
    assert np.array_equal(four[0], four[3][::-1, ::-1])


def test_an_image_follows_from_its_text_and_draws_alone():
    texts, rows = words.texts_to_read(40, 4), draws(40)
    one = Painter(seed=5)
    all_at_once = one.paint(texts, rows, EVERYTHING)
    other = pickle.loads(pickle.dumps(one))
    painter._field.cache_clear()
    painter._font.cache_clear()
    for k in (7, 31, 7):
        assert np.array_equal(other.paint(texts[k : k + 1], rows[k : k + 1], EVERYTHING)[0], all_at_once[k])
    assert not np.array_equal(Painter(seed=6).paint(texts, rows, EVERYTHING), all_at_once)
    kept = all_at_once.copy()
    one.paint(texts, rows[::-1], EVERYTHING)
    assert np.array_equal(all_at_once, kept)  # the next images do not lie in the same memory


def test_long_texts_shrink():
    paint = Painter(fonts=PLAIN).paint
    (image,) = paint(["broad sailing"[:12]], draws(1, severity=0.0))
    _, _, left, right = ink(image)
    assert right - left <= 120
    with pytest.raises(ValueError) as error:
        paint(["m" * 60], draws(1))
    rule = "texts must be short enough for a width of 128 pixels"
    assert str(error.value) == f"Painter.paint: {rule}, got {'m' * 60!r}"


def test_curriculum():
    assert [style_of(epoch) for epoch in (0, 2)] == [Style()] * 2
    assert [style_of(epoch) for epoch in (3, 5)] == [Style(random_height=True)] * 2
    assert [style_of(epoch) for epoch in (6, 8)] == [Style(random_height=True, several_fonts=True)] * 2
    assert [style_of(epoch) for epoch in (9, 24)] == [EVERYTHING] * 2


def test_fonts():
    fonts = painter.find_fonts()
    assert fonts[0] == BUILT_IN
    assert len(set(fonts)) == len(fonts) <= painter.MOST_FONTS
    images = Painter(fonts=fonts).paint(
        ["bed", "gas"] * len(fonts), draws(2 * len(fonts), severity=0.0), EVERYTHING
    )
    assert images.min(axis=(1, 2)).max() < 128


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", ""),
        ("NotoSans-Bold.ttf NotoSans-Regular.ttf NotoSans-Italic.ttf", "NotoSans-Regular.ttf"),
        ("Ubuntu-B.ttf Ubuntu-R.ttf Ubuntu-RI.ttf cmsy10.ttf", "Ubuntu-R.ttf"),
        ("P052-Bold.otf P052-Roman.otf times.ttf timesbd.ttf", "P052-Roman.otf times.ttf"),
        ("DejaVuSans.ttf DejaVuSansMono.ttf DejaVuSans-Bold.ttf arial.ttf", "arial.ttf DejaVuSans.ttf"),
        (
            "arial.ttf c059.otf dejavuserif.ttf georgia.ttf times.ttf verdana.ttf",
            "arial.ttf dejavuserif.ttf georgia.ttf verdana.ttf",
        ),
    ],
)
def test_fonts_that_are_found(given, found, tmp_path, monkeypatch):
    """The plain file of each family, and of more than four families four."""
    for name in given.split():
        (tmp_path / name).touch()
    monkeypatch.setattr(painter, "_font_folders", lambda: [tmp_path])
    assert painter.find_fonts() == [BUILT_IN, *(str(tmp_path / name) for name in found.split())]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("DejaVuSans-Bold.ttf", True),
        ("LiberationMono-Regular.ttf", True),
        ("arialbd.ttf", True),
        ("courbi.ttf", True),
        ("Times New Roman Bold Italic.ttf", True),
        ("STIXGeneralBolIta.ttf", True),
        ("DejaVuMathTeXGyre.ttf", False),
        ("NotoSansThai-Regular.ttf", False),
        ("STIXSizOneSymReg.ttf", False),
        ("NotoColorEmoji.ttf", False),
        ("cmsy10.ttf", False),
        ("arial.txt", False),
    ],
)
def test_fonts_of_plain_letters(name, plain):
    assert bool(painter.FAMILIES.fullmatch(name)) == plain


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError) as error:
        Painter()
    assert (
        str(error.value)
        == "Painter: Pillow must be installed (pip install 'fastseq[ocr]'), got no such module"
    )
