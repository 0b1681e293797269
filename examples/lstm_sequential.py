"""An LSTM that reads a number digit by digit and says the last digit of the digits' sum: 361 -> 0.

The Sequential model of the notes "Learning LSTMs", first as they have it, then with the layer it lacks.
Run it with `python examples/lstm_sequential.py`; it takes a few seconds.
"""

import numpy as np

import fastseq
from fastseq.layers import LSTM, Dense
from fastseq.models import Sequential

NUM_CHARS = 10


def my_model(num_features, num_timesteps, num_units=10):
    model = Sequential()
    model.add(LSTM(units=num_units, input_shape=(num_timesteps, num_features)))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def my_model_with_softmax(num_features, num_timesteps, num_units=10):
    model = Sequential()
    model.add(LSTM(units=num_units, input_shape=(num_timesteps, num_features)))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def one_hot(digits):
    """Integers to vectors that are 1 in that place and 0 elsewhere."""
    return np.eye(NUM_CHARS)[digits]


def numbers(digit_length, rng):
    """Every number of so many digits, in random order: (numbers, digits)."""
    every = rng.permutation(np.arange(10 ** (digit_length - 1), 10**digit_length))
    return np.array([[int(c) for c in str(number)] for number in every])


def main(digit_length=3, epochs=480, num_units=32):
    fastseq.set_seed(0)
    digits = numbers(digit_length, np.random.default_rng(0))
    X, Y = one_hot(digits), one_hot(digits.sum(axis=1) % 10)
    print(f"{len(X)} numbers, such as {''.join(map(str, digits[0]))}, whose digits sum to {digits[0].sum()}")
    print(f"X {X.shape}: numbers, digits of each, one-hot; Y {Y.shape}: the sum modulo 10, one-hot")

    print("\nThe LSTM alone. Its 10 outputs lie between -1 and 1 and are no probabilities, so the")
    print("cross-entropy means little and the model does not learn:")
    model = my_model(NUM_CHARS, digit_length)
    model.summary()
    history = model.fit(X, Y, epochs=max(1, epochs // 10), validation_split=0.1, verbose=0)
    alone = history.history["val_accuracy"][-1]
    print(f"right on numbers it has not seen: {100 * alone:.0f} %, where guessing gives 10 %")

    print("\nThe LSTM with a softmax after it, which makes probabilities of what the LSTM has gathered:")
    model = my_model_with_softmax(NUM_CHARS, digit_length, num_units)
    model.summary()
    history = model.fit(X, Y, epochs=epochs, validation_split=0.1, verbose=0)
    for epoch in range(epochs // 6, epochs + 1, max(1, epochs // 6)):
        accuracy, unseen = (history.history[name][epoch - 1] for name in ("accuracy", "val_accuracy"))
        print(
            f"after {epoch:3} epochs {100 * accuracy:5.1f} % right, {100 * unseen:5.1f} % on unseen numbers"
        )

    for row in digits[-5:]:
        guess = model.predict(one_hot(row[None]), verbose=0)[0].argmax()
        print(f"{' + '.join(map(str, row))} = {row.sum():2}, the model says {guess}")
    return alone, history.history["val_accuracy"][-1]


if __name__ == "__main__":
    main()
