"""The OCR recipe: training in two phases, reading, files, exact errors."""

import os
import re
import signal
import sys

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image
from small_ocr import SMALL, dataset

import fastseq
from fastseq.recipes import ocr, ocr_images, text_images
from fastseq.recipes.ocr import OcrResult, train_ocr
from fastseq.recipes.ocr_model import ocr_model
from fastseq.recipes.painter import BUILT_IN, Painter, style_of
from fastseq.recipes.text_images import ALPHABET
from fastseq.recipes.words import texts_to_read


@pytest.fixture(scope="module")
def small():
    return train_ocr(**SMALL)


# --- training -------------------------------------------------------------------------------------


def test_result(small):
    assert small.epochs == 2
    assert not small.interrupted
    assert small.seconds > 0
    assert set(small.history.history) == {"loss", "val_loss", "edit_distance", "normalized_edit_distance"}
    assert all(len(values) == 2 for values in small.history.history.values())
    assert small.history.epoch == [0, 1]
    assert small.model.history is small.history
    assert small.normalized_edit_distance == small.history.history["normalized_edit_distance"][-1]
    assert re.fullmatch(
        r"original, 6 units, images of 64x64: normalised edit distance \d\.\d{4}, \d\.\d{3} characters "
        r"a text, after 2 epochs, \d+\.\d s",
        str(small),
    )


def test_validation_figures(small):
    """Held against a loss and distances made by hand."""
    from rapidfuzz.distance import Levenshtein

    data = dataset(60, seed=0)
    data.curriculum.seed = 0
    x, texts = data.validation(256, 1)
    assert len(texts) == 12
    probabilities = small.model.predict(x, verbose=0)
    spelt = [[ALPHABET.index(c) for c in text] for text in texts]
    loss = fastseq.ops.ctc_loss(np.log(probabilities[:, 2:]), spelt, blank=27)
    assert small.history.history["val_loss"][-1] == pytest.approx(loss.mean(), rel=1e-4)
    read = small.read([image[:, :, 0].T for image in x])
    edits = [Levenshtein.distance(a, b) for a, b in zip(texts, read, strict=True)]
    assert small.edit_distance == pytest.approx(np.mean(edits))
    assert small.normalized_edit_distance == pytest.approx(
        np.mean([n / len(text) for n, text in zip(edits, texts, strict=True)])
    )


def test_same_seed_same_bits(small):
    again = train_ocr(**{**SMALL, "workers": 1})
    for a, b in zip(small.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    other = train_ocr(**{**SMALL, "seed": 1})
    assert not np.array_equal(small.model.get_weights()[0], other.model.get_weights()[0])


@pytest.mark.slow
def test_second_phase_begins_with_the_weights_of_the_first(small, tmp_path):
    folder = tmp_path / "made" / "here"
    result = train_ocr(**{**SMALL, "epochs": 3, "wide_from": 2}, folder=folder)
    assert result.history.epoch == [0, 1, 2]
    assert result.model.input_shape == (None, 96, 64, 1)
    assert result.configuration["width"] == 96
    kept = [OcrResult.load(folder / f"epoch_{k:02d}.safetensors") for k in (1, 2, 3)]
    assert [k.configuration["width"] for k in kept] == [64, 64, 96]
    assert [k.epochs for k in kept] == [1, 2, 3]
    for a, b in zip(kept[1].model.get_weights(), small.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    # the last epoch took 3 steps from there
    model = ocr_model(96, units=6)
    model.set_weights(kept[1].model.get_weights())
    model.compile(ocr._optimizer(0.02), fastseq.losses.CTC(blank=-1, skip_steps=2))
    data = dataset(60, 16, width=96, seed=0, epoch=2)
    data.curriculum.seed = 0
    for index in range(len(data)):
        model.train_on_batch(*data[index])
    model.optimizer.finalize()
    for a, b in zip(model.get_weights(), result.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    only_wide = train_ocr(**{**SMALL, "epochs": 1, "wide_from": 0})
    assert only_wide.model.input_shape == (None, 96, 64, 1)


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    result = train_ocr(**{**SMALL, "epochs": 1}, folder=tmp_path)
    with Image.open(tmp_path / "epoch_01.png") as picture:
        assert picture.size[0] > 400
        assert len(picture.convert("L").getcolors()) > 20
    result.plot(tmp_path / "curves.svg")
    assert "normalized_edit_distance" in (tmp_path / "curves.svg").read_text()


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train_ocr(**{**SMALL, "epochs": 1}, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch_01.safetensors", "training.safetensors"
    ]  # fmt: skip


def test_stops_at_the_target():
    result = train_ocr(**{**SMALL, "epochs": 50}, target_edit_distance=100.0)
    assert result.epochs == 1


def test_what_it_prints(capsys):
    train_ocr(**{**SMALL, "verbose": 2}, samples=3)
    out = capsys.readouterr().out
    assert out.startswith("Texts: 48 to train on, such as ")
    assert len(re.findall(r"^T [a-z]+ [☑☒] [a-z ]*$", out, re.MULTILINE)) == 6
    assert (
        len(
            re.findall(
                r"^12 images read: edit distance \S+, normalised \S+, \d+ s so far$", out, re.MULTILINE
            )
        )
        == 2
    )
    assert out.splitlines()[-1].startswith("original, 6 units")
    train_ocr(**SMALL)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_keeps_what_was_learnt(ctrl_c, capsys, monkeypatch):
    class Interrupting(ocr._AfterEpoch):
        def on_train_batch_end(self, batch, logs=None):
            if len(self.result.history.epoch) == 2 and batch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ocr, "_AfterEpoch", Interrupting)
    result = train_ocr(**{**SMALL, "epochs": 9, "wide_from": 5, "verbose": 2, "workers": 1}, samples=0)
    assert result.interrupted
    assert result.epochs == 2
    assert result.history.epoch == [0, 1]
    assert result.model.input_shape == (None, 64, 64, 1)
    assert "Interrupted: keeping what was learnt." in capsys.readouterr().out
    optimizer = result.model.optimizer
    assert optimizer.iterations % 3 != 0
    for variable, average in zip(result.model.trainable_weights, optimizer.state[-1], strict=True):
        assert np.array_equal(variable.value.ravel(), average)


def test_means_are_read_and_kept_while_weights_are_trained(tmp_path):
    result = train_ocr(**{**SMALL, "epochs": 2}, folder=tmp_path)
    data = dataset(60, 16, width=64, seed=0)
    fastseq.set_seed(0)
    model = ocr_model(64, units=6, variant=result.configuration["variant"])
    model.compile(ocr._optimizer(0.02), fastseq.losses.CTC(blank=-1, skip_steps=2))
    for epoch in range(2):
        data.curriculum.seed = 0
        for index in range(len(data)):
            model.train_on_batch(*data[index])
        data.on_epoch_end()
        kept = OcrResult.load(tmp_path / f"epoch_{epoch + 1:02d}.safetensors")
        model.optimizer.swap_averages(True)
        for a, b in zip(model.get_weights(), kept.model.get_weights(), strict=True):
            assert np.array_equal(a, b)
        model.optimizer.swap_averages(False)
        assert not np.array_equal(model.get_weights()[0], kept.model.get_weights()[0])


# --- reading --------------------------------------------------------------------------------------


def frames(spelt):
    """Probabilities whose best path is this: a character a step, "-" the blank; two steps before it."""
    p = np.full((len(spelt) + 2, 28), 0.01, np.float32)
    p[:2, 0] = 1
    for step, character in enumerate(spelt):
        p[step + 2, 27 if character == "-" else ALPHABET.index(character)] = 0.73
    return p / p.sum(axis=1, keepdims=True)


def test_decoding():
    p = np.stack([frames("hhe-l-loo"), frames("-a- -bb--"), frames("---------")])
    assert ocr.decoded(p) == ["hello", "a b", ""]
    assert ocr.decoded(p, 10) == ["hello", "a b", ""]
    # "a" by two paths is likelier than nothing by one
    q = np.zeros((1, 4, 28), np.float32)
    q[0, :, 27], q[0, 2:, 0] = 0.6, 0.4
    assert ocr.decoded(q) == [""]
    assert ocr.decoded(q, 5) == ["a"]


def test_read_takes_images_of_all_kinds(small, tmp_path):
    (painted,) = Painter(64, fonts=[BUILT_IN]).paint(["jug"], np.full((1, 8), 0.4))
    picture = Image.fromarray(painted)
    picture.save(tmp_path / "word.png")
    want = ocr_images.read_image("read", painted, 64, 64)
    assert want.shape == (64, 64, 1)
    np.testing.assert_allclose(want[:, :, 0].T, painted / 255, atol=1e-6)
    colours = np.repeat(painted[:, :, None], 3, axis=2)
    opaque = np.concatenate([colours, np.full((64, 64, 1), 255, np.uint8)], axis=2)
    through = np.zeros((64, 64, 4), np.uint8)
    through[:, :, 3] = 255 - painted  # black ink on nothing
    given = [
        painted, painted / 255, painted[:, :, None], colours, opaque, through, 255 - painted,
        picture, picture.convert("RGB"), Image.fromarray(through),
        tmp_path / "word.png", str(tmp_path / "word.png"),
    ]  # fmt: skip
    for image in given:
        np.testing.assert_allclose(ocr_images.read_image("read", image, 64, 64), want, atol=0.01)
    assert len(set(small.read(given))) == 1
    assert len(small.read(given)) == len(given)
    assert small.read(painted) == small.read([painted])
    assert small.read([]) == []


def test_images_of_other_sizes():
    def dark(image):
        rows, columns = np.nonzero(image[:, :, 0].T < 0.5)
        return rows.min(), rows.max(), columns.min(), columns.max()

    small = np.full((20, 30), 230, np.uint8)
    small[5:15, 10:20] = 0
    read = ocr_images.read_image("read", small, 128, 64)
    assert read.shape == (128, 64, 1)
    assert dark(read) == (22 + 5, 22 + 14, 49 + 10, 49 + 19)
    assert read[0, 0, 0] == pytest.approx(230 / 255)  # the paper's colour goes on
    large = np.full((128, 512), 255, np.uint8)
    large[32:96, 128:256] = 0
    read = ocr_images.read_image("read", large, 128, 64)
    top, bottom, left, right = dark(read)
    assert (left, right) == (32, 63)
    assert (top, bottom) == (24, 39)
    assert ocr_images.read_image("read", np.ones((3, 5000)), 128, 64).min() == 1


def test_save_and_load(small, tmp_path):
    path = tmp_path / "reader"
    small.save(path)
    loaded = OcrResult.load(path)
    assert str(loaded) == str(small)
    assert loaded.configuration == small.configuration
    assert loaded.history.history == small.history.history
    images = Painter(64).paint(texts_to_read(20, 4), np.random.default_rng(0).random((20, 8)), style_of(9))
    assert loaded.read(list(images), 3) == small.read(list(images), 3)
    x = text_images.inputs_of(images)
    assert np.array_equal(loaded.model.predict(x, verbose=0), small.model.predict(x, verbose=0))
    other = tmp_path / "adder"
    fastseq.train_addition(digits=1, units=4, epochs=1, verbose=0).save(other)
    with pytest.raises(ValueError) as error:
        OcrResult.load(other)
    assert str(error.value) == f"OcrResult.load: path must hold an ocr model, got {str(other)!r}"


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"units": 0}, ValueError, "units must be at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
        ({"variant": "turned"}, ValueError, "variant must be one of original, bidirectional, got 'turned'"),
        ({"training_size": 9}, ValueError, "training_size must be at least 10, got 9"),
        ({"width": 32}, ValueError, "width must be at least 64, got 32"),
        ({"wide": 130}, ValueError, "wide must be a multiple of 4, got 130"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be above 0, got 0"),
        ({"target_edit_distance": 0}, ValueError, "target_edit_distance must be above 0, got 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_errors(arguments, kind, text):
    with pytest.raises(kind) as error:
        train_ocr(**arguments)
    assert str(error.value) == f"train_ocr: {text}"


def test_errors_of_read(small, tmp_path, monkeypatch):
    kinds = "OcrResult.read: images must be paths, images of Pillow's or arrays of numbers, got"
    shapes = "OcrResult.read: images must have the shape (height, width) or (height, width, colours), got"
    for image, kind, text in (
        (3, TypeError, f"{kinds} int"),
        (np.array(["a"]), TypeError, f"{kinds} an array of <U1"),
        (np.zeros(3), ValueError, f"{shapes} (3,)"),
        (np.zeros((0, 4)), ValueError, f"{shapes} (0, 4)"),
        (np.zeros((3, 4, 2)), ValueError, f"{shapes} (3, 4, 2)"),
    ):
        with pytest.raises(kind) as error:
            small.read(image)
        assert str(error.value) == text
    path = tmp_path / "no.png"
    path.write_text("no image")
    with pytest.raises(OSError, match="cannot identify image file"):
        small.read(path)
    with pytest.raises(ValueError) as error:
        small.read([], beam_width=0)
    assert str(error.value) == "OcrResult.read: beam_width must be at least 1, got 0"
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError) as error:
        small.read(str(path))
    assert str(error.value) == (
        "OcrResult.read: Pillow must be installed (pip install 'fastseq[ocr]'), got no such module"
    )


@pytest.mark.slow
@pytest.mark.training
def test_learns_to_read(tmp_path):
    """Words of four different letters, in one font: read by a small network."""
    path = tmp_path / "words.txt"
    path.write_text(" ".join(a + b + c for a in "aoxt" for b in "aoxt" for c in ("", *"aoxt")))
    result = train_ocr(6, units=64, training_size=8000, width=64, words=path, verbose=0, fonts=[BUILT_IN],
                       target_edit_distance=0.05)  # fmt: skip
    assert result.normalized_edit_distance < 0.05
    texts = ["xo", "aat", "oxa"]
    images = Painter(64, fonts=[BUILT_IN]).paint(texts, np.random.default_rng(5).random((3, 8)))
    assert result.read(list(images)) == result.read(list(images), 10) == texts
