"""The translation recipe: its data, its model beside Keras, search beside exhaustion, files, exact errors."""

import datetime
import itertools
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

import fastseq
from fastseq.recipes import dates
from fastseq.recipes.translation import TranslationResult, read_pairs, train_translation
from fastseq.recipes.translator import Buckets, Translator, texts_of_pairs

# small enough to train in a blink
SMALL = {"units": 12, "training_size": 60, "epochs": 1, "batch_size": 16, "verbose": 0}


@pytest.fixture(scope="module")
def small():
    return train_translation(**SMALL)


# --- data -----------------------------------------------------------------------------------------


def test_dates_are_written_rightly():
    formats = ("%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d %Y", "%d.%m.%Y", "%A, %d %B %Y",
               "the %d of %B %Y", "%a %b %d, %Y")  # fmt: skip
    pairs = dates.date_pairs(3000, seed=1)
    assert len(set(pairs)) == 3000
    met = set()
    for text, iso in pairs:
        plain = re.sub(r"(?<=\d)(st|nd|rd|th)", "", text)
        ways = []
        for way in formats:
            try:
                ways.append((way, datetime.datetime.strptime(plain, way).date()))
            except ValueError:
                continue
        assert {date.isoformat() for _, date in ways} == {iso}, text
        met.update(way for way, _ in ways)
    assert met == set(formats)
    years = [int(iso[:4]) for _, iso in pairs]
    assert min(years) < 1910 < 2090 < max(years)
    assert dates.date_pairs(50, seed=1) == dates.date_pairs(50, seed=1) != dates.date_pairs(50, seed=2)


def test_ordinals():
    endings = {day: dates._ordinal(day)[-2:] for day in range(1, 32)}
    special = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    assert endings == {day: special.get(day, "th") for day in range(1, 32)}


def test_pairs_of_a_file(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes("Go.\tVa !\tCC-BY\r\nHi.\tSalut\u202f!\n\nTab\t\tx\nlast\tline".encode())
    pairs = [("Go.", "Va !"), ("Hi.", "Salut\u202f!"), ("Tab", ""), ("last", "line")]
    assert read_pairs(path) == pairs
    assert read_pairs(path, 2) == pairs[:2]
    path.write_text("a\tb\nno tab\n")
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert (
        str(error.value) == "read_pairs: path must have two texts a line, split by a tab, got one in line 2"
    )
    path.write_bytes(b"a\t\xff\xfe\n")
    with pytest.raises(ValueError) as error:
        read_pairs(path)
    assert str(error.value) == "read_pairs: path must hold text in UTF-8, got invalid start byte"


def test_targets_are_the_decoders_inputs_one_character_later():
    pairs = [("ab", "xyz"), ("a", "z")]
    source, target = fastseq.text.CharacterTable("ab"), fastseq.text.CharacterTable("xyz\t\n")
    data = texts_of_pairs(pairs, source, target, False)
    assert data.encoder.shape == (2, 2, 2)
    assert data.decoder.shape == data.target.shape == (2, 5, 5)

    def spelled(rows):
        return ["".join(target.chars[c.argmax()] if c.any() else "_" for c in row) for row in rows]

    assert spelled(data.decoder) == ["\txyz\n", "\tz\n__"]
    assert spelled(data.target) == ["xyz\n_", "z\n___"]
    ragged = texts_of_pairs(pairs, source, target, True)
    assert spelled(ragged.decoder) == ["\txyz", "\tz__"]
    assert target.decode(ragged.target[:, :2], calc_argmax=False) == ["xy", "z\n"]
    assert np.array_equal(ragged.target[0], data.target[0, :4].argmax(axis=-1))
    ids = texts_of_pairs(pairs, source, target, True, embedding=2)
    assert ids.encoder.tolist() == [[1, 2], [1, 0]]
    assert np.array_equal(ids.decoder > 0, ragged.decoder.any(axis=-1))


# --- the model ------------------------------------------------------------------------------------


def tables(source, target):
    return fastseq.text.CharacterTable(source), fastseq.text.CharacterTable(target + "\t\n")


def keras_model(source, target, units, cell, ragged, attention, embedding):
    keras = pytest.importorskip("keras")
    """The Keras example's, and what else the recipe offers, as one would write it in Keras."""
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
    inputs, read = [], []
    for size in (source, target):
        inputs.append(keras.Input((None,) if embedding else (None, size)))
        if embedding:
            read.append(keras.layers.Embedding(size + 1, embedding, mask_zero=ragged)(inputs[-1]))
        else:
            read.append(keras.layers.Masking()(inputs[-1]) if ragged else inputs[-1])
    sequence, *states = layer(units, return_state=True, return_sequences=attention)(read[0])
    decoder = layer(units, return_sequences=True, return_state=True)
    outputs, *_ = decoder(read[1], initial_state=states if cell == "lstm" else states[0])
    if attention:
        context = keras.layers.Attention()([outputs, sequence])
        outputs = keras.layers.Dense(units, "tanh")(keras.layers.Concatenate()([outputs, context]))
    outputs = keras.layers.Dense(target, activation="softmax")(outputs)
    # Hides the softmax from the loss, which would take its logits: TensorFlow's gradient from logits is wrong
    # (p instead of 0) where a target is all zeros.
    outputs = keras.layers.Rescaling(1.0)(outputs)
    model = keras.Model(inputs, outputs)
    return model


def random_pairs(count, rng):
    return [("".join(rng.choice(list("abcdef"), rng.integers(1, 9))),
             "".join(rng.choice(list("xyz"), rng.integers(1, 6)))) for _ in range(count)]  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "ragged", "attention", "embedding"),
    [
        ("lstm", False, False, 0),  # the Keras example
        ("gru", False, False, 0),
        ("simple_rnn", False, False, 0),
        ("lstm", True, False, 0),
        ("lstm", True, True, 0),
        ("gru", True, True, 3),
        ("lstm", False, True, 3),
        ("lstm", True, False, 3),
    ],
)
def test_it_trains_as_in_keras(cell, ragged, attention, embedding):
    source, target = tables("abcdef", "xyz")
    network = Translator(fastseq.recipes.common.CELLS[cell], 7, source, target, ragged, attention, embedding)
    ours, theirs = network.training, keras_model(6, 5, 7, cell, ragged, attention, embedding)
    theirs.set_weights(ours.get_weights())
    # Keras's own RMSprop squares the parts of an embedding's gradient before it adds them up
    optimizer = "sgd" if embedding else "rmsprop"
    loss = "sparse_categorical_crossentropy" if ragged else "categorical_crossentropy"
    ours.compile(optimizer, loss, metrics=["accuracy"])
    theirs.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    data = texts_of_pairs(random_pairs(20, np.random.default_rng(0)), source, target, ragged, embedding)
    encoder, decoder, later = (part.astype(np.float32) for part in data)
    for _ in range(3):
        got = ours.train_on_batch([encoder, decoder], later)
        theirs.reset_metrics()  # it would give the mean so far
        want = theirs.train_on_batch([encoder, decoder], later)
        np.testing.assert_allclose(got, [float(v) for v in want], rtol=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("embedding", [0, 3])
def test_ragged_it_is_the_same_however_long_the_padding(attention, embedding):
    source, target = tables("abcdef", "xyz")
    network = Translator(fastseq.layers.LSTM, 9, source, target, True, attention, embedding)
    rng = np.random.default_rng(1)
    pairs = [("".join(rng.choice(list("abcdef"), n)), "".join(rng.choice(list("xyz"), n // 2 + 1)))
             for n in range(1, 9)]  # fmt: skip
    encoder, decoder, later = texts_of_pairs(pairs, source, target, True, embedding)
    network.training.compile("rmsprop", "sparse_categorical_crossentropy")
    together = network.training.evaluate([encoder, decoder], later, batch_size=8, verbose=0)
    apart = []
    for k in range(8):
        e, d, t = texts_of_pairs(pairs[k : k + 1], source, target, True, embedding)
        value = network.training.evaluate([e, d], t, verbose=0)
        assert np.count_nonzero(d) == t.size == len(pairs[k][1]) + 1
        apart += [value] * (len(pairs[k][1]) + 1)
    assert together == pytest.approx(np.mean(apart), rel=1e-5)


def buckets(pairs, batch_size, seed=0):
    return Buckets(pairs, *tables("abcdef", "xyz"), 0, batch_size, seed)


def test_buckets_hold_every_pair_once_and_little_padding():
    pairs = random_pairs(203, np.random.default_rng(0))
    made = buckets(pairs, 8)
    source, target = tables("abcdef", "xyz")
    epochs = []
    for _ in range(2):
        found, steps, padded = [], 0, 0
        for (encoder, decoder), later, weights in made:
            assert encoder.any(axis=(0, 2))[-1]
            assert decoder.any(axis=(0, 2))[-1]  # no step that all pairs could do without
            steps, padded = steps + decoder.any(axis=-1).sum(), padded + later.size
            for row in range(len(encoder)):
                asked = source.decode(encoder[row][encoder[row].any(axis=-1)])
                fed = target.decode(decoder[row][decoder[row].any(axis=-1)])
                assert target.decode(later[row, : len(fed)], calc_argmax=False) == fed[1:] + "\n"
                found.append((asked, fed[1:]))
            assert np.ptp(weights) == 0
        assert sorted(found) == sorted(pairs)
        assert padded < 1.15 * steps
        epochs.append(found)
        made.on_epoch_begin()
    assert epochs[0] != epochs[1]
    assert len(made) == -(-203 // 8)
    again = buckets(pairs, 8)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(again, buckets(pairs, 8), strict=True))


def test_the_loss_of_buckets_is_that_of_characters():
    """However they are cut; and so is its gradient, in the mean."""
    pairs = random_pairs(23, np.random.default_rng(0))
    network = Translator(fastseq.layers.LSTM, 9, *tables("abcdef", "xyz"), True)
    model = network.training
    model.compile("sgd", "sparse_categorical_crossentropy")
    whole = model.evaluate(buckets(pairs, 23), verbose=0)
    assert model.evaluate(buckets(pairs, 4), verbose=0) == pytest.approx(whole, rel=1e-5)
    alone = [model.evaluate(buckets([pair], 1), verbose=0) * (len(pair[1]) + 1) for pair in pairs]
    assert whole == pytest.approx(sum(alone) / sum(len(text) + 1 for _, text in pairs), rel=1e-5)
    (x, y, weights), count = buckets(pairs, 23)[0], len(pairs)
    gradient = model.gradients(x, y, weights)
    parts = [model.gradients(*batch) for batch in buckets(pairs, 4)]
    rows = [len(batch[1]) for batch in buckets(pairs, 4)]
    for k, expected in enumerate(gradient):
        mean = sum(n * part[k] for n, part in zip(rows, parts, strict=True)) / count
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_sources_may_be_empty():
    model = Translator(fastseq.layers.LSTM, 4, *tables("abcdef", "xyz"), True).training
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(model.train_on_batch(*buckets([("", "x"), ("", "")], 2)[0][:2]))


# --- search ---------------------------------------------------------------------------------------


def next_characters(network, encoded, spelled, embedding):
    """The probabilities of what follows each beginning of a target, as the training model gives them."""
    table = network.target
    rows = table.indices([spelled], len(spelled)) + 1 if embedding else table.encode([spelled], len(spelled))
    return network.training.predict([encoded, rows], verbose=0)[0]


def score(network, encoded, text, ended, embedding):
    """The log-probability of a target."""
    probabilities = next_characters(network, encoded, "\t" + text, embedding)
    wanted = text + ("\n" if ended else "")
    return sum(np.log(probabilities[t, network.target.char_indices[c]]) for t, c in enumerate(wanted))


@pytest.mark.parametrize(
    ("cell", "ragged", "attention", "embedding"),
    [
        ("lstm", False, False, 0),
        ("gru", True, False, 0),
        ("simple_rnn", True, False, 0),
        ("lstm", True, True, 0),
        ("gru", False, True, 0),
        ("lstm", True, False, 2),
        ("simple_rnn", True, True, 2),
        ("lstm", False, True, 2),
    ],
)
def test_search_beside_exhaustion(cell, ragged, attention, embedding):
    fastseq.set_seed(3)
    source, target = tables("abc", "xy")
    network = Translator(fastseq.recipes.common.CELLS[cell], 5, source, target, ragged, attention, embedding)
    weights = network.training.get_weights()
    network.training.set_weights([3 * w for w in weights])  # surer of itself, so that choices matter
    texts = ["a", "bca", "cc", "abcab"]
    encoded = network.read(texts, 5)
    longest = 3
    every = [("".join(p), True) for n in range(longest) for p in itertools.product("xy\t", repeat=n)]
    every += [("".join(p), False) for p in itertools.product("xy\t", repeat=longest)]
    wide = network.search(encoded, 40, longest)
    greedy = network.search(encoded, 1, longest)
    for k in range(len(texts)):
        one = encoded[k : k + 1]
        scores = {text: score(network, one, text, ended, embedding) for text, ended in every}
        assert wide[k] == max(scores, key=scores.get)
        spelled = "\t"
        while len(spelled) <= longest and spelled[-1] != "\n":
            spelled += target.chars[next_characters(network, one, spelled, embedding)[-1].argmax()]
        assert greedy[k] == spelled[1:].rstrip("\n")
    assert network.search(encoded[:0], 3, longest) == []


# --- the program ----------------------------------------------------------------------------------


def test_result(small):
    assert small.epochs == 1
    assert small.history.history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert 0 <= small.exact_match <= 1
    assert small.character_error_rate > 0
    assert small.loss_per_character == pytest.approx(small.history.history["val_loss"][-1], rel=1e-4)
    assert isinstance(small.translate(small.example), str)
    assert small.translate([]) == []
    several = small.translate([small.example, "1 May 1999"], beam_width=3)
    assert len(several) == 2
    assert several[0] == small.translate(small.example, beam_width=3)
    assert re.fullmatch(
        r"dates, lstm 12: loss \S+ a character, \S+ % of characters wrong and \S+ % of translations right "
        r"after 1 epoch, \S+ s",
        str(small),
    )


def test_loss_per_character_of_padded_targets():
    result = train_translation(**SMALL, ragged=False)
    steps = result.configuration["longest_target"]
    held = dates.date_pairs(60, 0)[48:]
    characters = sum(len(text) + 1 for _, text in held)
    expected = result.history.history["val_loss"][-1] * len(held) * steps / characters
    assert result.loss_per_character == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"attention": True}, {"embedding": 4}, {"attention": True, "cell": "gru"}]
)
def test_options_are_kept_in_files(options, tmp_path):
    result = train_translation(**SMALL, **options)
    assert ("with attention" in str(result)) == ("attention" in options)
    result.save(tmp_path / "translator")
    loaded = TranslationResult.load(tmp_path / "translator")
    assert loaded.configuration == result.configuration
    texts = [text for text, _ in dates.date_pairs(8, seed=0)]
    assert loaded.translate(texts) == result.translate(texts)


def test_same_seed_same_bits():
    first, second = train_translation(**SMALL), train_translation(**SMALL)
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_file_of_pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"{n} apples\t{n} pommes\n" for n in range(40)))
    result = train_translation(path, **{**SMALL, "training_size": None}, cell="gru")
    assert result.configuration["training_size"] == 40
    assert result.configuration["target_exact_match"] is None
    assert str(result).startswith(f"{path}, gru 12: ")
    path.write_text("a\tb\n" * 9)
    with pytest.raises(ValueError) as error:
        train_translation(path)
    assert str(error.value) == "train_translation: path must hold at least 10 pairs, got 9"


@pytest.mark.parametrize("options", [{}, {"attention": True, "embedding": 8}], ids=["plain", "attention"])
def test_learns_a_small_language(options, tmp_path):
    """Words turned round: learnt to the last letter, it stops, and beams find no worse."""
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list("abcd"), rng.integers(1, 4))) for _ in range(4000)})
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{w}\t{w[::-1]}\n" for w in rng.permutation(words * 12)))
    result = train_translation(
        path, 32, epochs=60, target_exact_match=0.98, verbose=0, learning_rate=0.01, **options
    )
    assert result.exact_match >= 0.98
    assert result.epochs < 60
    assert result.translate("abc") == result.translate("abc", beam_width=4) == "cba"


def test_what_it_prints(capsys):
    train_translation(**{**SMALL, "verbose": 2}, samples=3)
    out = capsys.readouterr().out
    assert out.startswith("Pairs: 60, such as ")
    assert len(re.findall(r"^.+  T \d{4}-\d\d-\d\d [☑☒] .*$", out, re.MULTILINE)) == 3
    assert out.splitlines()[-1].startswith("dates, lstm 12: ")
    train_translation(**SMALL)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_save_and_load(small, tmp_path):
    path = tmp_path / "translator"
    small.save(path)
    loaded = TranslationResult.load(path)
    assert str(loaded) == str(small)
    assert loaded.configuration == small.configuration
    assert loaded.history.history == small.history.history
    texts = [text for text, _ in dates.date_pairs(20, seed=0)]
    assert loaded.translate(texts, 2) == small.translate(texts, 2)
    other = tmp_path / "adder"
    fastseq.train_addition(digits=1, units=4, epochs=1, verbose=0).save(other)
    with pytest.raises(ValueError) as error:
        TranslationResult.load(other)
    assert (
        str(error.value) == f"TranslationResult.load: path must hold a translation model, got {str(other)!r}"
    )


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_keeps_what_was_learnt(ctrl_c, capsys):
    def interrupt():
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    result = train_translation(**{**SMALL, "epochs": 100_000, "verbose": 2}, samples=0)
    assert result.interrupted
    assert result.epochs > 0
    assert "Interrupted: keeping what was learnt." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"embedding": -1}, ValueError, "embedding must be at least 0, got -1"),
        ({"units": 0}, ValueError, "units must be at least 1, got 0"),
        ({"cell": "rnn"}, ValueError, "cell must be one of gru, lstm, simple_rnn, got 'rnn'"),
        ({"training_size": 9}, ValueError, "training_size must be at least 10, got 9"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer, got 1.5"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be above 0, got 0"),
        ({"target_exact_match": 2}, ValueError, "target_exact_match must be above 0 and at most 1, got 2"),
    ],
)
def test_errors(arguments, kind, text):
    with pytest.raises(kind) as error:
        train_translation(**arguments)
    assert str(error.value) == f"train_translation: {text}"


def test_errors_of_translate(small):
    name = "TranslationResult.translate"
    with pytest.raises(ValueError) as error:
        small.translate("3 März")
    assert str(error.value) == f"{name}: texts must hold only {''.join(small.source.chars)!r}, got 'ä'"
    with pytest.raises(TypeError) as error:
        small.translate(["1 May 1999", 3])
    assert str(error.value) == f"{name}: texts must be a string or a list of strings, got int in it"
    with pytest.raises(TypeError) as error:
        small.translate(3)
    assert str(error.value) == f"{name}: texts must be a string or a list of strings, got int"
    with pytest.raises(ValueError) as error:
        small.translate("1 May 1999", beam_width=0)
    assert str(error.value) == f"{name}: beam_width must be at least 1, got 0"
    padded = train_translation(**{**SMALL, "epochs": 0}, ragged=False)
    longest = padded.configuration["longest_source"]
    text = "1" * (longest + 1)
    with pytest.raises(ValueError) as error:
        padded.translate(text)
    assert str(error.value) == (
        f"{name}: texts must be at most {longest} characters long, as in training, "
        f"got {text!r} with {longest + 1}"
    )
    assert isinstance(small.translate(text), str)
