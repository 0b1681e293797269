"""Reads strings of real handwritten digits with CTC: nobody says where in the image which digit stands.

    pip install scikit-learn
    python examples/digits_ctc.py           # about a minute: under 2 % of characters wrong

scikit-learn's `load_digits` holds 1797 digits of 43 people, 8 x 8 pixels each. A fifth of them is held out.
Digits drawn at random are joined into strings of 1 to 10, a few pixels apart and one up or down; every epoch
has new strings. Two columns of pixels are a step; `losses.CTC` finds out by itself which steps say what.
"""

import time

import numpy as np

import fastseq
from fastseq import layers, metrics

LONGEST, HEIGHT = 10, 10  # digits of a string; pixels: a digit may move by one
WIDTH = LONGEST * 11
BLANK = 10  # the class after the digits


def split_digits(seed=0, held_out=0.2):
    """((images, labels) to train on, (images, labels) held out), white on black, from 0 to 1."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images, labels = data.images[order].astype(np.float32) / 16, data.target[order]
    split = round(len(labels) * (1 - held_out))
    return (images[:split], labels[:split]), (images[split:], labels[split:])


def join(images, labels, count, rng):
    """(count, WIDTH, HEIGHT, 1) images of strings, and their labels (count, LONGEST), -1 after the last."""
    x = np.zeros((count, WIDTH, HEIGHT, 1), np.float32)
    y = np.full((count, LONGEST), -1)
    for string, spelt in zip(x, y, strict=True):
        chosen = rng.integers(len(labels), size=rng.integers(1, LONGEST + 1))
        gaps = rng.integers(-1, 4, len(chosen))  # some digits touch
        lefts = np.cumsum(8 + gaps) - 8 - gaps[0] + rng.integers(3)
        spelt[: len(chosen)] = labels[chosen]
        for digit, left in zip(chosen, lefts, strict=True):
            top = rng.integers(HEIGHT - 7)
            string[left : left + 8, top : top + 8, 0] += images[digit].T
    return np.minimum(x, 1), y


def reader():
    """Strings to probabilities: convolutions, a layer that looks both ways, a class for each step."""
    x = inputs = layers.Input((WIDTH, HEIGHT, 1))
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D((1, 2))(x)
    x = layers.Reshape((WIDTH // 2, HEIGHT // 4 * 64))(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Bidirectional(layers.GRU(48, return_sequences=True))(x)
    model = fastseq.Model(inputs, layers.Dense(BLANK + 1, activation="softmax")(x))
    model.compile(fastseq.optimizers.Adam(0.003, clipnorm=1.0), fastseq.losses.CTC(blank=BLANK))
    return model


def read(model, x):
    """The digits of each string."""
    steps = model.predict(x, verbose=0)
    found, _ = fastseq.backend.ctc_decode(steps, np.full(len(x), steps.shape[1]))
    return found[0]


def main(epochs=10, strings=4000):
    fastseq.set_seed(0)
    rng = np.random.default_rng(0)
    train, held_out = split_digits()
    x_test, y_test = join(*held_out, 1000, np.random.default_rng(1))
    print(f"{len(train[1])} digits to train on, {len(held_out[1])} held out for {len(x_test)} strings")

    model = reader()
    model.summary()
    start = time.perf_counter()
    for epoch in range(epochs):
        if epoch == epochs * 3 // 4:
            model.optimizer.learning_rate = 0.0005
        x, y = join(*train, strings, rng)
        loss = model.fit(x, y, batch_size=32, epochs=1, verbose=0).history["loss"][-1]
        wrong = metrics.character_error_rate(y_test, read(model, x_test))
        print(
            f"epoch {epoch + 1:2}  loss {loss:7.4f}  {100 * wrong:5.2f} % of held-out characters wrong"
            f"  {time.perf_counter() - start:5.1f} s"
        )

    for label, found in zip(y_test[:8], read(model, x_test[:8]), strict=True):
        print("written", *label[label >= 0], " read", *found[found >= 0])
    return wrong


if __name__ == "__main__":
    main()
