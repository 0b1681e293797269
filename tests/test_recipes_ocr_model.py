"""The network of the OCR recipe: the document's own program runs, and builds and trains the same."""

import re
import types

import numpy as np
import pytest

pytest.importorskip("PIL")

import fastseq
from fastseq.recipes import ocr, text_images
from fastseq.recipes.ocr_model import ocr_model
from fastseq.recipes.painter import BUILT_IN, Painter
from fastseq.recipes.text_images import ALPHABET, labels_of
from fastseq.recipes.words import texts_to_read


def painted_minibatch(count):
    """What the document's missing module gives: a batch, its last image empty."""
    texts = [*texts_to_read(count - 1, 4), ""]
    labels = np.ones((count, 16))  # as in the example, whose labels are 1 where there is none
    label_length = np.zeros((count, 1), np.int64)
    for row, text in enumerate(texts):
        labels[row, : len(text)] = [ALPHABET.index(c) for c in text]
        label_length[row] = len(text)
    labels[-1, 0], label_length[-1] = len(ALPHABET), 1  # the blank stands for nothing
    images = Painter(fonts=[BUILT_IN]).paint(texts, np.random.default_rng(0).random((count, 8)))
    inputs = {
        "the_input": text_images.inputs_of(images),
        "the_labels": labels,
        "input_length": np.full((count, 1), 30),
        "label_length": label_length,
    }
    return texts, (inputs, {"ctc": np.zeros([count])})


def document(util):
    """The document's code as it stands, but for its imports and prints, and reset_after."""
    from fastseq import backend as K
    from fastseq.layers import (
        GRU,
        Activation,
        Conv2D,
        Dense,
        Input,
        Lambda,
        MaxPooling2D,
        Reshape,
        add,
        concatenate,
    )
    from fastseq.models import Model
    from fastseq.optimizers import SGD

    # fmt: off
    def ctc_lambda_func(args):
        y_pred, labels, input_length, label_length = args
        # the 2 is critical here since the first couple outputs of the RNN
        # tend to be garbage:
        y_pred = y_pred[:, 2:, :]
        return K.ctc_batch_cost(labels, y_pred, input_length, label_length)

    def train():
        # Input Parameters
        img_w = 128
        img_h = 64
        words_per_epoch = 16000
        val_split = 0.2
        val_words = int(words_per_epoch * (val_split))  # noqa: F841

        # Network parameters
        conv_filters = 16
        kernel_size = (3, 3)
        pool_size = 2
        time_dense_size = 32
        rnn_size = 512
        minibatch_size = 32  # noqa: F841

        if K.image_data_format() == 'channels_first':  # noqa: SIM108
            input_shape = (1, img_w, img_h)
        else:
            input_shape = (img_w, img_h, 1)

        act = 'relu'
        input_data = Input(name='the_input', shape=input_shape, dtype='float32')
        inner = Conv2D(conv_filters, kernel_size, padding='same',
                       activation=act, kernel_initializer='he_normal',
                       name='conv1')(input_data)
        inner = MaxPooling2D(pool_size=(pool_size, pool_size), name='max1')(inner)
        inner = Conv2D(conv_filters, kernel_size, padding='same',
                       activation=act, kernel_initializer='he_normal',
                       name='conv2')(inner)
        inner = MaxPooling2D(pool_size=(pool_size, pool_size), name='max2')(inner)
        conv_to_rnn_dims = (img_w // (pool_size ** 2), (img_h // (pool_size ** 2)) * conv_filters)
        inner = Reshape(target_shape=conv_to_rnn_dims, name='reshape')(inner)
        # cuts down input size going into RNN:
        inner = Dense(time_dense_size, activation=act, name='dense1')(inner)

        # Two layers of bidirectional GRUs
        # GRU seems to work as well, if not better than LSTM:
        gru_1 = GRU(rnn_size, return_sequences=True, kernel_initializer='he_normal', name='gru1', reset_after=False)(inner)  # noqa: E501
        gru_1b = GRU(rnn_size, return_sequences=True, go_backwards=True, kernel_initializer='he_normal', name='gru1_b', reset_after=False)(inner)  # noqa: E501
        gru1_merged = add([gru_1, gru_1b])
        gru_2 = GRU(rnn_size, return_sequences=True, kernel_initializer='he_normal', name='gru2', reset_after=False)(gru1_merged)  # noqa: E501
        gru_2b = GRU(rnn_size, return_sequences=True, go_backwards=True, kernel_initializer='he_normal', name='gru2_b', reset_after=False)(gru1_merged)  # noqa: E501

        inner = Dense(len(util.all_chars)+1, kernel_initializer='he_normal',
                      name='dense2')(concatenate([gru_2, gru_2b]))
        y_pred = Activation('softmax', name='softmax')(inner)
        Model(inputs=input_data, outputs=y_pred).summary()

        labels = Input(name='the_labels', shape=[util.absolute_max_string_len], dtype='float32')
        input_length = Input(name='input_length', shape=[1], dtype='int64')
        label_length = Input(name='label_length', shape=[1], dtype='int64')

        loss_out = Lambda(ctc_lambda_func, output_shape=(1,), name='ctc')([y_pred, labels, input_length, label_length])  # noqa: E501

        # clipnorm seems to speeds up convergence
        sgd = SGD(lr=0.02, decay=1e-6, momentum=0.9, nesterov=True, clipnorm=5)

        model = Model(inputs=[input_data, labels, input_length, label_length], outputs=loss_out)

        # the loss calc occurs elsewhere, so use a dummy lambda func for the loss
        model.compile(loss={'ctc': lambda y_true, y_pred: y_pred}, optimizer=sgd)
        return model

    m = train()
    outputs = {'ctc': np.ones((1,1)) * 1 }
    data = util.get_minibatch()
    m.fit(x=data[0], y=outputs, batch_size=1, epochs=1)
    # fmt: on
    return m


def test_the_documents_program_runs(capsys):
    fastseq.set_seed(0)
    _, one = painted_minibatch(2)
    one = ({name: value[:1] for name, value in one[0].items()}, one[1])
    util = types.SimpleNamespace(
        all_chars=ALPHABET, absolute_max_string_len=16, get_minibatch=lambda: one, output=None
    )
    model = document(util)
    out = capsys.readouterr().out
    assert "4,862,444" in out
    assert [layer.name for layer in model.layers if layer.weights] == [
        "conv1", "conv2", "dense1", "gru1", "gru1_b", "gru2", "gru2_b", "dense2"
    ]  # fmt: skip
    assert np.isfinite(model.history.history["loss"]).all()

    # the recipe's model, trained as the recipe does it, has the same loss and takes the same step
    ours = ocr_model()
    assert ours.count_params() == 4_862_444
    before = ours.get_weights()
    before[-2] *= 0.2  # no probability is near 1e-7, which the document adds to all
    ours.set_weights(before)
    model.set_weights(before)
    texts, (inputs, targets) = painted_minibatch(4)
    ours.compile(ocr._optimizer(0.02), fastseq.losses.CTC(blank=-1, skip_steps=2))
    model.compile(loss={"ctc": lambda y_true, y_pred: y_pred}, optimizer=ocr._optimizer(0.02))
    want = model.train_on_batch(inputs, targets)
    got = ours.train_on_batch(inputs["the_input"], labels_of(texts))
    np.testing.assert_allclose(got, want, rtol=1e-3)
    for a, b, start in zip(ours.get_weights(), model.get_weights(), before, strict=True):
        moved = np.abs(b - start).max()
        assert moved > 0
        assert np.abs(a - b).max() < 0.01 * moved


SUMMARY = {  # of the document
    "the_input": ((128, 64, 1), 0),
    "conv1": ((128, 64, 16), 160),
    "max1": ((64, 32, 16), 0),
    "conv2": ((64, 32, 16), 2320),
    "max2": ((32, 16, 16), 0),
    "reshape": ((32, 256), 0),
    "dense1": ((32, 32), 8224),
    "gru1": ((32, 512), 837120),
    "gru1_b": ((32, 512), 837120),
    "add": ((32, 512), 0),
    "gru2": ((32, 512), 1574400),
    "gru2_b": ((32, 512), 1574400),
    "concatenate": ((32, 1024), 0),
    "dense2": ((32, 28), 28700),
    "softmax": ((32, 28), 0),
}


def test_model_is_the_documents():
    model = ocr_model()
    for layer, (name, (shape, parameters)) in zip(model.layers, SUMMARY.items(), strict=True):
        assert re.sub(r"_\d+$", "", layer.name) == name
        assert layer.count_params() == parameters
        assert fastseq.Model(model.input, layer.output).output_shape == (None, *shape)


def test_variants_differ_in_how_the_directions_meet():
    original, turned = ocr_model(64, units=5), ocr_model(64, units=5, variant="bidirectional")
    turned.set_weights(original.get_weights())  # the same weights in the same order
    assert original.count_params() == turned.count_params()
    inner = [fastseq.Model(m.input, m.get_layer("dense1").output) for m in (original, turned)]
    rng = np.random.default_rng(0)
    x = rng.random((2, 64, 64, 1), np.float32)
    np.testing.assert_array_equal(*(m.predict(x, verbose=0) for m in inner))
    forward = fastseq.Model(original.input, original.get_layer("gru1").output).predict(x, verbose=0)
    backward = fastseq.Model(original.input, original.get_layer("gru1_b").output).predict(x, verbose=0)
    (joined,) = (layer for layer in original.layers if layer.name.startswith("add"))
    np.testing.assert_allclose(
        fastseq.Model(original.input, joined.output).predict(x, verbose=0), forward + backward, rtol=1e-6
    )
    both = fastseq.Model(turned.input, turned.get_layer("bidirectional1").output).predict(x, verbose=0)
    np.testing.assert_allclose(both, forward + backward[:, ::-1], rtol=1e-6)
