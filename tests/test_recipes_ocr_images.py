"""Painted texts as the dataset of the OCR recipe: batches, lessons, whoever paints them."""

import pickle

import numpy as np
import pytest

pytest.importorskip("PIL")
from small_ocr import dataset

import fastseq
from fastseq.recipes import text_images
from fastseq.recipes.ocr_model import ocr_model
from fastseq.recipes.painter import BUILT_IN, Painter, style_of
from fastseq.recipes.text_images import Curriculum, labels_of, texts_from


def test_labels():
    texts = ["ab z", "", "hello", "q" * 12]
    labels = labels_of(texts)
    assert labels.shape == (4, 12)
    assert labels[0].tolist() == [0, 1, 26, 25] + [-1] * 8
    assert texts_from(labels) == texts


def test_batches():
    data = dataset(200, 32)
    assert len(data) == 5
    seen = []
    for index in range(len(data)):
        x, y = data[index]
        assert x.shape == (32, 64, 64, 1)
        assert x.dtype == np.float32
        assert x.min() >= 0
        assert x.max() == 1
        spelt = texts_from(y)
        assert spelt[-3:] == [""] * 3
        assert all(spelt[:-3])
        assert ((x[:-3] < 0.3).sum(axis=(1, 2, 3)) > 20).all()  # something is written
        assert not (x[-3:] < 0.05).any()  # nothing is, there
        seen += spelt[:-3]
    training, held_out = data.curriculum.texts(0)
    assert len(training) == 160
    assert len(held_out) == 40
    assert len(seen) == len(set(seen)) == 145
    assert set(seen) < set(training)


def test_images_are_turned():
    data = dataset()
    x, y = data[0]
    texts = texts_from(y)
    row = text_images._draws(3, text_images.TRAINING, 0, 48)[:1]
    image = Painter(64, fonts=[BUILT_IN], seed=0).paint(texts[:1], row, style_of(0))
    np.testing.assert_allclose(x[0, :, :, 0].T, image[0] / 255, atol=1e-6)


def test_the_same_images_whoever_paints():
    one, other = dataset(epoch=9), pickle.loads(pickle.dumps(dataset(epoch=9)))
    text_images._draws.cache_clear()
    text_images._order.cache_clear()
    order = [2, 0, 1]
    late = {index: other[index] for index in order}
    for index in range(3):
        for a, b in zip(one[index], late[index], strict=True):
            assert np.array_equal(a, b)
    assert not np.array_equal(dataset(epoch=10)[0][0], one[0][0])
    assert not np.array_equal(dataset(epoch=9, seed=4)[0][0], one[0][0])
    for _ in range(9):
        other.on_epoch_end()
    assert other.epoch == 18


def batches_of_two_epochs(data):
    """What fit is given, in order."""
    seen = []

    class Seen(fastseq.losses.CTC):
        def target(self, y_true, prediction, function, argument):
            seen.append(np.array(y_true))
            return super().target(y_true, prediction, function, argument)

    model = ocr_model(64, units=4)
    model.compile("sgd", Seen(blank=-1, skip_steps=2))
    history = model.fit(data, epochs=2, verbose=0, shuffle=False)
    return np.array(seen), history.history["loss"], data.epoch


@pytest.mark.slow
def test_workers_change_nothing():
    fastseq.set_seed(0)
    alone = batches_of_two_epochs(dataset(workers=0))
    fastseq.set_seed(0)
    ahead = batches_of_two_epochs(dataset(workers=2))
    assert np.array_equal(alone[0], ahead[0])
    assert alone[1:] == ahead[1:]
    assert alone[2] == 2
    assert not np.array_equal(alone[0][:3], alone[0][3:])


def test_cached_images_are_kept_for_a_lesson(monkeypatch):
    data = dataset(cache=True, epoch=1)
    assert data.cached
    first = {text: x for x, text in zip(data[0][0], texts_from(data[0][1]), strict=True) if text}
    data.on_epoch_end()
    second = {}
    for index in range(len(data)):
        x, y = data[index]
        assert texts_from(y)[-2:] == ["", ""]
        second.update(dict(zip(texts_from(y), x, strict=True)))
    assert list(first) != list(second)[: len(first)]  # in another order
    shared = set(first) & set(second)
    assert len(shared) > 8
    for text in shared:
        assert np.array_equal(first[text], second[text])
    data.on_epoch_end()  # another lesson
    third = {text: x for x, text in zip(data[0][0], texts_from(data[0][1]), strict=True) if text in shared}
    assert third
    assert not any(np.array_equal(first[text], x) for text, x in third.items())
    monkeypatch.setattr(text_images, "_free_memory", lambda: 1000)
    assert not dataset(cache=True).cached


def test_long_texts_come_late(tmp_path):
    curriculum = Curriculum(100, None, 0)
    assert max(map(len, curriculum.texts(20)[0])) == 4
    training, held_out = curriculum.texts(21)
    assert len(training) == 160
    assert len(held_out) == 40
    assert max(map(len, training)) > 8
    assert any(" " in text for text in held_out)
    few = Curriculum(100, ["cat", "dog", "ox"], 0)
    with pytest.raises(ValueError) as error:
        few.texts(0)
    assert str(error.value) == "train_ocr: words must hold at least 10 words of at most 4 letters, got 3"


def test_few_words_fill_an_epoch():
    words = [a + b for a in "abcd" for b in "xyz"]  # 12, of which 10 are to train on
    data = dataset(200, 32, words)
    spelt = [text for index in range(len(data)) for text in texts_from(data[index][1])]
    counts = {text: spelt.count(text) for text in set(spelt)}
    assert counts.pop("") == 15
    assert len(counts) == 10
    assert min(counts.values()) >= 11


def test_validation_images_are_apart():
    data = dataset(200, 32)
    x, texts = data.validation(20, 9)
    assert x.shape == (20, 64, 64, 1)
    assert len(texts) == 20
    assert not set(texts) & set(data.curriculum.texts(9)[0])
    again, _ = data.validation(20, 9)
    assert np.array_equal(x, again)
    assert not np.array_equal(x, data.validation(20, 10)[0])
