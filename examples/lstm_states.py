"""What an LSTM layer returns: its last output, its states, its outputs at every step.

The three cases of the notes "Learning LSTMs", with the values looked at, too, and the states that a stateful
layer keeps from one batch to the next. Run it with `python examples/lstm_states.py`.
"""

import numpy as np

import fastseq
from fastseq.layers import LSTM, Input
from fastseq.models import Model

DIGIT_LENGTH = 3
NUM_CHARS = 10


def my_model_func(num_timesteps, num_features, num_units=10, return_state=False, return_sequences=False):
    lstm_input = Input(shape=(num_timesteps, num_features))
    lstm = LSTM(units=num_units, return_state=return_state, return_sequences=return_sequences)
    lstm_output = lstm(lstm_input)
    model = Model(lstm_input, lstm_output)

    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, lstm_output


def stateful_model(batch_size, num_units=10):
    stateful_input = Input(batch_shape=(batch_size, 1, NUM_CHARS))
    lstm = LSTM(units=num_units, stateful=True)
    return Model(stateful_input, lstm(stateful_input)), lstm


def main(samples=4):
    fastseq.set_seed(0)
    X = np.eye(NUM_CHARS)[np.random.default_rng(0).integers(0, 10, (samples, DIGIT_LENGTH))]
    print(f"{samples} numbers of {DIGIT_LENGTH} one-hot digits: {X.shape}")

    model_func, lstm_output = my_model_func(
        num_timesteps=DIGIT_LENGTH, num_features=NUM_CHARS, return_state=False, return_sequences=False
    )
    print("\nAs it is, the layer returns its last output:", lstm_output.shape)
    weights = model_func.get_weights()
    last = model_func.predict(X, verbose=0)
    print("for these numbers:", last.shape)

    model_func, lstm_output = my_model_func(
        num_timesteps=DIGIT_LENGTH, num_features=NUM_CHARS, return_state=True, return_sequences=False
    )
    print("\nreturn_state=True: [output, h, c]:", [symbol.shape for symbol in lstm_output])
    model_func.set_weights(weights)
    output, h, c = model_func.predict(X, verbose=0)
    print("the output is the one before:", np.array_equal(output, last))
    print("and it is the state h once more:", np.array_equal(output, h), "while c is another:", c.shape)

    model_func, lstm_output = my_model_func(
        num_timesteps=DIGIT_LENGTH, num_features=NUM_CHARS, return_state=True, return_sequences=True
    )
    print("\nreturn_sequences=True, too: [outputs, h, c]:", [symbol.shape for symbol in lstm_output])
    model_func.set_weights(weights)
    sequence, h, c = model_func.predict(X, verbose=0)
    print("the last of the outputs is h:", np.array_equal(sequence[:, -1], h))

    model, lstm = stateful_model(samples)
    model.set_weights(weights)
    digits = [model.predict(X[:, t : t + 1], batch_size=samples, verbose=0) for t in range(DIGIT_LENGTH)]
    print("\nA stateful layer goes on where the batch before has ended. Given digit after digit,")
    print("it returns what the other returned at each step:", np.allclose(np.stack(digits, 1), sequence))
    model.reset_states()
    again = model.predict(X[:, :1], batch_size=samples, verbose=0)
    print("after reset_states() it starts anew:", np.array_equal(again, digits[0]))
    lstm.reset_states(states=[h, c])
    on = model.predict(X[:, :1], batch_size=samples, verbose=0)
    print("after reset_states(states=[h, c]) it goes on from those:", not np.allclose(on, digits[0]))
    return last, sequence, h, c


if __name__ == "__main__":
    main()
