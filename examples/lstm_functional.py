"""The functional model of the notes "Learning LSTMs", and what can be joined to the Symbol that it returns.

A second model is made of the first one's graph: it reads a number digit by digit and says after every digit
what the digits so far sum to, modulo 10. Run it with `python examples/lstm_functional.py`; it takes seconds.
"""

import numpy as np

import fastseq
from fastseq.layers import LSTM, Dense, Input
from fastseq.models import Model

NUM_CHARS = 10


def my_model_func(num_timesteps, num_features, num_units=10, return_state=False, return_sequences=False):
    lstm_input = Input(shape=(num_timesteps, num_features))
    lstm = LSTM(units=num_units, return_state=return_state, return_sequences=return_sequences)
    lstm_output = lstm(lstm_input)
    model = Model(lstm_input, lstm_output)

    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, lstm_output


def running_sum_model(digit_length, num_units):
    """(a model of the running sum, the model of its LSTM): the two share their layers and weights."""
    model_func, lstm_output = my_model_func(digit_length, NUM_CHARS, num_units, return_sequences=True)
    probabilities = Dense(NUM_CHARS, activation="softmax")(lstm_output)
    model = Model(model_func.input, probabilities)
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, model_func


def main(digit_length=8, samples=5000, epochs=40, num_units=32):
    fastseq.set_seed(0)
    digits = np.random.default_rng(0).integers(0, 10, (samples, digit_length))
    X, Y = np.eye(NUM_CHARS)[digits], np.eye(NUM_CHARS)[digits.cumsum(axis=1) % 10]
    print(
        f"{samples} numbers of {digit_length} digits: X {X.shape}, and the sum after each digit: Y {Y.shape}"
    )

    model, model_func = running_sum_model(digit_length, num_units)
    model.summary()
    before = model_func.predict(X[:1], verbose=0)
    history = model.fit(X, Y, batch_size=64, epochs=epochs, validation_split=0.1, verbose=0)
    for epoch in range(epochs // 5, epochs + 1, max(1, epochs // 5)):
        print(
            f"after {epoch:3} epochs {100 * history.history['val_accuracy'][epoch - 1]:5.1f} % of sums right"
        )

    after = model_func.predict(X[:1], verbose=0)
    print(f"The first model gives the LSTM's outputs, {after.shape}; training the second has changed them")
    print(f"by up to {np.abs(after - before).max():.2f}, because the layer is the same one.")
    guesses = model.predict(X[-3:], verbose=0).argmax(axis=-1)
    for row, guess in zip(digits[-3:], guesses, strict=True):
        print("digits", *row, " sums", *(row.cumsum() % 10), " the model says", *guess)
    return history.history["val_accuracy"][-1]


if __name__ == "__main__":
    main()
