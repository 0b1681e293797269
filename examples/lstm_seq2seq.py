"""Translation character by character: the canonical sequence-to-sequence model, trained, and restored.

    python examples/lstm_seq2seq.py               # dates: "may 3 1994" -> "1994-05-03", about a minute
    python examples/lstm_seq2seq.py fra.txt 30    # pairs of a file, split by tabs; so many epochs

An encoder reads the source and hands its states to a decoder, which is trained to say the next character of
the target (Sutskever et al., 2014, https://arxiv.org/abs/1409.3215). To translate, the same layers make two
more models: source to states, and one character with the states before it to the next with those after it.
`fastseq translation` does all of this at once, and many times as fast where it translates.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastseq
from fastseq.layers import LSTM, Dense, Input
from fastseq.models import Model, load_model

LATENT_DIM = 256
BATCH_SIZE = 64


class Pairs:
    """Pairs of texts one-hot, as the model reads them; a target starts with a tab and ends with a newline."""

    def __init__(self, pairs):
        self.texts = [(source, "\t" + target + "\n") for source, target in pairs]
        sources, targets = zip(*self.texts, strict=True)
        self.source_chars, self.target_chars = sorted(set("".join(sources))), sorted(set("".join(targets)))
        self.longest_target = max(map(len, targets))
        self.encoder_input = one_hot(sources, self.source_chars)
        self.decoder_input = one_hot(targets, self.target_chars)
        # what the decoder is to say is what it reads one step later
        self.decoder_target = one_hot(
            [target[1:] for target in targets], self.target_chars, self.longest_target
        )


def one_hot(texts, chars, longest=None):
    """(texts, longest, chars), all 0 after a text's end."""
    coded = np.zeros((len(texts), longest or max(map(len, texts)), len(chars)), "float32")
    for i, text in enumerate(texts):
        for t, char in enumerate(text):
            coded[i, t, chars.index(char)] = 1.0
    return coded


def read_pairs(path, most):
    if path is None:
        from fastseq.recipes.dates import date_pairs

        # short ones: the encoder reads the zeros after a text, too, and must remember it over all of them
        return [pair for pair in date_pairs(8 * most) if len(pair[0]) <= 12][:most]
    with open(path, encoding="utf-8") as lines:
        return [tuple(line.split("\t")[:2]) for line in list(lines)[:most]]


def training_model(num_encoder_tokens, num_decoder_tokens, latent_dim):
    encoder_inputs = Input(shape=(None, num_encoder_tokens))
    encoder = LSTM(latent_dim, return_state=True)
    _, state_h, state_c = encoder(encoder_inputs)
    encoder_states = [state_h, state_c]

    decoder_inputs = Input(shape=(None, num_decoder_tokens))
    decoder_lstm = LSTM(latent_dim, return_sequences=True, return_state=True)
    decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
    decoder_dense = Dense(num_decoder_tokens, activation="softmax")
    decoder_outputs = decoder_dense(decoder_outputs)
    return Model([encoder_inputs, decoder_inputs], decoder_outputs)


def restore(model, latent_dim):
    """The two models that translate, made of nothing but a trained model."""
    encoder_inputs = model.input[0]
    _, state_h_enc, state_c_enc = model.layers[2].output
    encoder_states = [state_h_enc, state_c_enc]
    encoder_model = Model(encoder_inputs, encoder_states)

    decoder_inputs = model.input[1]
    decoder_state_input_h = Input(shape=(latent_dim,))
    decoder_state_input_c = Input(shape=(latent_dim,))
    decoder_states_inputs = [decoder_state_input_h, decoder_state_input_c]
    decoder_lstm = model.layers[3]
    decoder_outputs, state_h_dec, state_c_dec = decoder_lstm(
        decoder_inputs, initial_state=decoder_states_inputs
    )
    decoder_states = [state_h_dec, state_c_dec]
    decoder_dense = model.layers[4]
    decoder_outputs = decoder_dense(decoder_outputs)
    decoder_model = Model([decoder_inputs, *decoder_states_inputs], [decoder_outputs, *decoder_states])
    return encoder_model, decoder_model


def decode_sequence(input_seq, encoder_model, decoder_model, target_chars, longest):
    """The most probable character, again and again, until the end or for so many characters."""
    states_value = encoder_model.predict(input_seq, verbose=0)
    target_seq = one_hot(["\t"], target_chars)
    decoded = ""
    while len(decoded) < longest and not decoded.endswith("\n"):
        output_tokens, h, c = decoder_model.predict([target_seq, *states_value], verbose=0)
        decoded += target_chars[output_tokens[0, -1].argmax()]
        target_seq = one_hot([decoded[-1]], target_chars)
        states_value = [h, c]
    return decoded


def main(path=None, epochs=20, pairs=None, samples=8_000, latent_dim=LATENT_DIM, shown=10):
    fastseq.set_seed(0)
    data = Pairs(read_pairs(path, samples) if pairs is None else pairs)
    print(f"{len(data.texts)} pairs; sources {data.encoder_input.shape}, targets {data.decoder_input.shape}")
    model = training_model(len(data.source_chars), len(data.target_chars), latent_dim)
    model.summary()
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        [data.encoder_input, data.decoder_input],
        data.decoder_target,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_split=0.2,
    )

    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "s2s_model.keras")
        restored = load_model(Path(folder) / "s2s_model.keras")
    print("\nSaved, and loaded again; its layers:", *(layer.name for layer in restored.layers))
    encoder_model, decoder_model = restore(restored, latent_dim)
    held = len(data.texts) - len(data.texts) // 5
    print("Translations of pairs it was not trained on:")
    right, start = 0, time.perf_counter()
    for k in range(held, min(held + shown, len(data.texts))):
        source, target = data.texts[k][0], data.texts[k][1][1:]
        found = decode_sequence(
            data.encoder_input[k : k + 1],
            encoder_model,
            decoder_model,
            data.target_chars,
            data.longest_target,
        )
        right += found == target
        print(f"  {source} -> {found.strip()}" + ("" if found == target else f"  (not {target.strip()})"))
    seconds = time.perf_counter() - start
    print(f"{right} of {shown} right, {1000 * seconds / shown:.0f} ms each")
    return history.history, right


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*arguments[:1], *map(int, arguments[1:2]))
