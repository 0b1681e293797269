"""Edit distance, error rates and exact match: against a twin, by hand, and inside a model."""

from functools import partial
from itertools import groupby

import numpy as np
import pytest
import reference_labels
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq
from fastseq import layers, losses, metrics, ops
from fastseq.text import CharacterTable

rng = np.random.default_rng(0)

# Corpora and the rates that jiwer 4.0.0 gives for them.
REFERENCES = ["the cat sat on the mat", "hello world", "a", "nothing  here"]
HYPOTHESES = ["the cat sit on mat", "hello", "a b c", ""]


def one_hot(rows, classes):
    return np.eye(classes, dtype=np.float32)[np.asarray(rows)]


def spelt(batch, classes=4, steps=6):
    """Random predictions and the class that is largest at each step."""
    prediction = rng.normal(size=(batch, steps, classes)).astype(np.float32)
    return prediction, prediction.argmax(-1)


def merged(path, blank):
    return [label for label, _ in groupby(path) if label != blank]


# --- functions of sequences ---------------------------------------------------------------------------

labels = st.lists(st.integers(0, 3), max_size=12)
# Beyond the basic plane, a surrogate, and characters whose code points are labels' numbers too.
text = st.text(alphabet="ab \x01é😀\ud800", max_size=12)
words = st.lists(st.sampled_from(["a", "b", "ab", "é"]), max_size=8)


@given(st.one_of(st.tuples(labels, labels), st.tuples(text, text), st.tuples(words, words)))
@settings(max_examples=300, deadline=None)
def test_edit_distance_is_the_twins(pair):
    first, second = pair
    expected = reference_labels.edit_distance(first, second)
    found = metrics.edit_distance(first, second)
    assert found == expected
    assert type(found) is int
    assert metrics.edit_distance(first, second, normalize=True) == expected / max(len(first), 1)


@given(st.lists(st.tuples(labels, labels), max_size=6))
@settings(max_examples=200, deadline=None)
def test_corpora_are_sums_over_the_twin(pairs):
    references, hypotheses = [a for a, _ in pairs], [b for _, b in pairs]
    edits = [reference_labels.edit_distance(a, b) for a, b in pairs]
    whole = max(sum(map(len, references)), 1)
    assert metrics.character_error_rate(references, hypotheses) == sum(edits) / whole
    assert metrics.word_error_rate(references, hypotheses) == sum(edits) / whole
    assert metrics.mean_edit_distance(references, hypotheses) == sum(edits) / max(len(pairs), 1)
    shares = [e / max(len(a), 1) for e, a in zip(edits, references, strict=True)]
    normalized = metrics.mean_edit_distance(references, hypotheses, normalize=True)
    assert normalized == pytest.approx(sum(shares) / max(len(pairs), 1), rel=1e-15)
    assert metrics.exact_match(references, hypotheses) == sum(a == b for a, b in pairs) / max(len(pairs), 1)


def test_rates_of_text():
    assert metrics.edit_distance("kitten", "sitting") == 3
    # 2 + 1 + 2 + 2 words of 6 + 2 + 1 + 2; 5 + 6 + 4 + 13 characters of 22 + 11 + 1 + 13
    assert metrics.word_error_rate(REFERENCES, HYPOTHESES) == 7 / 11
    assert metrics.character_error_rate(REFERENCES, HYPOTHESES) == 28 / 47
    assert metrics.mean_edit_distance(REFERENCES, HYPOTHESES) == 28 / 4
    shares = (5 / 22, 6 / 11, 4 / 1, 13 / 13)
    assert metrics.mean_edit_distance(REFERENCES, HYPOTHESES, normalize=True) == sum(shares) / 4
    assert metrics.exact_match(["a", "b", ""], ["a", "c", ""]) == 2 / 3
    assert metrics.character_error_rate("abcd", "abd") == 1 / 4  # one pair need not be a list
    assert metrics.word_error_rate([["new york", "is"]], [["new", "york", "is"]]) == 1.0
    assert metrics.word_error_rate(np.array(["a b", "c"]), np.array(["a", "c"])) == 1 / 3


def test_empty_references():
    assert metrics.character_error_rate([""], ["ab"]) == 2.0  # as jiwer
    assert metrics.word_error_rate([""], ["ab"]) == 1.0
    assert metrics.character_error_rate(["", "abcd"], ["ab", "abcd"]) == 0.5
    assert metrics.character_error_rate([""], [""]) == 0.0
    assert metrics.mean_edit_distance([[], [1, 2]], [[1, 1, 1], [1]], normalize=True) == (3 + 1 / 2) / 2
    assert metrics.exact_match([["a"], []], [[], []]) == 0.5
    assert metrics.exact_match(["a", ""], [[], []]) == 0.5
    for function in (metrics.character_error_rate, metrics.word_error_rate, metrics.exact_match,
                     metrics.mean_edit_distance):  # fmt: skip
        assert function([], []) == 0.0


def test_labels_in_arrays():
    padded = np.array([[1, 2, 3, -1], [2, -1, -1, -1]])
    wider = np.array([[1, 3, -1, -1, -1], [2, -1, -1, -1, -1]])
    assert metrics.exact_match(padded, wider) == 0.5
    assert metrics.character_error_rate(padded, wider) == 1 / 4
    assert metrics.character_error_rate(padded.astype(float), [[1, 3], [2]]) == 1 / 4
    assert metrics.character_error_rate([np.array([1, 2, -1])], [(1, 2)]) == 0.0
    assert metrics.exact_match(np.zeros((0, 3), int), []) == 0.0
    assert metrics.exact_match(np.zeros((2, 0), int), [[], [1]]) == 0.5
    assert metrics.word_error_rate([[32, 9, 32]], [[32, 9]]) == 1 / 3  # numbers, not white space
    assert metrics.edit_distance([0xD83D, 0xDE00], [0x1F600]) == 2  # nor halves of a character


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: metrics.exact_match(["a"], ["a", "b"]), ValueError,
         "exact_match: hypotheses must have 1 entries, as references has, got 2"),
        (lambda: metrics.word_error_rate(["a"], [[1]]), TypeError,
         "word_error_rate: hypotheses must be, with references, of one kind, got text and labels"),
        (lambda: metrics.edit_distance(["a"], [97]), TypeError,
         "edit_distance: hypothesis must be, with reference, of one kind, got words and labels"),
        (lambda: metrics.character_error_rate(3, ["a"]), TypeError,
         "character_error_rate: references must be a list of strings or of label sequences, got 3"),
        (lambda: metrics.character_error_rate([1, 2], [1, 2]), TypeError,
         "character_error_rate: references must be all strings, all lists of words or all rows of labels, "
         "got 1 among them"),
        (lambda: metrics.character_error_rate(["a", [1]], [[1], [1]]), TypeError,
         "character_error_rate: references must be all strings, all lists of words or all rows of labels, "
         "got 'a' among them"),
        (lambda: metrics.exact_match([[1, "a"]], [[1]]), TypeError,
         "exact_match: references must be an array of real numbers, got <U21 array of shape (2,)"),
        (lambda: metrics.edit_distance([1], [1114112]), ValueError,
         "edit_distance: hypothesis must hold labels below 1114112, got 1114112"),
        (lambda: metrics.mean_edit_distance([[1.5]], [[1]]), ValueError,
         "mean_edit_distance: references must be whole numbers, got 1.5"),
        (lambda: metrics.mean_edit_distance(np.zeros(3), np.zeros(3)), ValueError,
         "mean_edit_distance: references must have 2 dimensions, got shape (3,)"),
        (lambda: metrics.edit_distance("a", [[1], [2]]), ValueError,
         "edit_distance: hypothesis must have 1 dimensions, got shape (2, 1)"),
    ],
)  # fmt: skip
def test_errors_of_functions(call, kind, text):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == text


# --- metrics of a model's outputs -----------------------------------------------------------------------

ALL = [
    (metrics.CharacterErrorRate, metrics.character_error_rate, {}),
    (metrics.ExactMatch, metrics.exact_match, {}),
    (metrics.EditDistance, metrics.mean_edit_distance, {}),
    (
        metrics.EditDistance,
        partial(metrics.mean_edit_distance, normalize=True),
        {"normalize": True},
    ),
]


@pytest.mark.parametrize(("kind", "function", "options"), ALL)
@pytest.mark.parametrize("targets", ["one_hot", "labels", "column", "floats"])
def test_a_label_per_step(kind, function, options, targets):
    metric = kind(**options)
    references, hypotheses = [], []
    for batch in (3, 1, 5):
        prediction, path = spelt(batch)
        truth = np.where(rng.random(path.shape) < 0.7, path, rng.integers(0, 4, path.shape))
        truth[0] = path[0]
        references += truth.tolist()
        hypotheses += path.tolist()
        given = {"one_hot": one_hot(truth, 4), "labels": truth, "column": truth[..., None],
                 "floats": truth.astype(np.float32)}[targets]  # fmt: skip
        value = metric(given, prediction)
        assert value == metric.result() == pytest.approx(function(references, hypotheses), rel=1e-12)
    assert 0 < metric.result() < 6
    metric.reset_state()
    assert metric.result() == 0.0


@pytest.mark.parametrize(("kind", "function", "options"), ALL)
@pytest.mark.parametrize("blank", [0, 2, -1])
def test_ctc(kind, function, options, blank):
    metric = kind(decode="ctc", blank=blank, **options)
    references, hypotheses = [], []
    kept = [label for label in range(4) if label != blank % 4]
    for batch in (3, 1, 5):
        prediction, path = spelt(batch)
        found = [merged(row, blank % 4) for row in path]
        truth = np.full((batch, 9), -1)
        for n, row in enumerate(found):
            wanted = row if n == 0 else [*row[1:], *rng.choice(kept, n)]
            truth[n, : len(wanted)] = wanted
            references.append(wanted)
        hypotheses += found
        metric.update_state(truth, prediction)
    assert metric.result() == pytest.approx(function(references, hypotheses), rel=1e-12)


def test_ctc_drops_missing_steps_and_first_ones():
    #        skipped        a gap: one 1, not two       past the end
    path = [[2, 2, 1, 1, 0, 1, 2, 2], [3, 3, 0, 0, 0, 0, 0, 0]]
    mask = [[1, 1, 1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0, 0]]
    metric = metrics.ExactMatch(decode="ctc", skip_steps=2)
    truth = np.array([[1, 2, -1], [-1, -1, -1]])
    assert metric(truth, one_hot(path, 4), np.array(mask)) == 1.0
    metric.reset_state()
    assert metric(truth, one_hot(path, 4)) == 0.5  # without the mask 1, 1, 2
    everything = metrics.ExactMatch(decode="ctc", skip_steps=20)
    assert everything(truth, one_hot(path, 4)) == 0.5
    leading = metrics.ExactMatch(decode="ctc")
    assert leading([[1]], one_hot([[3, 1, 1]], 4), np.array([[0, 1, 1]])) == 1.0


def test_ctc_targets():
    prediction = one_hot([[1, 0, 1, 2], [0, 0, 0, 0]], 3)
    metric = metrics.CharacterErrorRate(decode="ctc", padding=9)
    assert metric([[1, 1, 2, 9, 9], [0, 9, 9, 9, 9]], prediction) == 0.0  # the blank says: nothing
    metric = metrics.CharacterErrorRate(decode="ctc")
    assert metric(np.zeros((2, 0), int), prediction) == 3.0


def test_padding_and_ignored_classes():
    prediction = one_hot([[1, 2, 3, 3], [2, 2, 0, 0]], 4)
    # A step whose target is no label counts on neither side, however it is said.
    zeros = one_hot([[1, 2, 0, 0], [2, 1, 0, 0]], 4)
    zeros[:, 2:] = 0
    for metric, truth in (
        (metrics.CharacterErrorRate(), zeros),
        (metrics.CharacterErrorRate(), [[1, 2, -1, -1], [2, 1, -1, -1]]),
        (metrics.CharacterErrorRate(padding=0), [[1, 2, 0, 0], [2, 1, 0, 0]]),
    ):
        assert metric(truth, prediction) == 1 / 4
    # An ignored class is dropped from each side by itself: 3, 3 are insertions.
    assert metrics.CharacterErrorRate(ignore=0)([[1, 2, 0, 0], [2, 1, 0, 0]], prediction) == 3 / 4
    assert metrics.CharacterErrorRate(ignore=[0, 3])([[1, 2, 0, 0], [2, 1, 0, 0]], prediction) == 1 / 4


def test_weights():
    prediction = one_hot([[1, 2, 3], [1, 1, 1], [2, 2, 2]], 4)
    truth = np.array([[1, 2, 3], [1, 1, 2], [3, 3, 3]])  # 0, 1 and 3 edits
    weights = np.array([1.0, 2.0, 0.5])
    assert metrics.CharacterErrorRate()(truth, prediction, weights) == (2 + 1.5) / (3 * 3.5)
    assert metrics.ExactMatch()(truth, prediction, weights) == 1 / 3.5
    assert metrics.EditDistance()(truth, prediction, weights[:, None]) == 3.5 / 3.5
    assert metrics.EditDistance(normalize=True)(truth, prediction, weights) == pytest.approx(1 / 3)
    # By steps: those of weight 0 are not there, and the mean of the others is the sample's weight.
    steps = np.array([[1, 1, 1], [3, 1, 0], [0, 0, 0]])
    assert metrics.EditDistance()(truth, prediction, steps) == 0.0
    steps[2, 1] = 5
    assert metrics.EditDistance()(truth, prediction, steps) == 5 / 8
    assert metrics.CharacterErrorRate()(truth, prediction, steps) == 5 / (3 + 4 + 5)
    nothing = metrics.CharacterErrorRate()
    assert nothing(truth, prediction, np.zeros(3)) == 0.0


def test_words_and_tokens():
    table = CharacterTable("ab ")  # " " is 0, "a" 1, "b" 2
    prediction = one_hot([[1, 2, 0, 2, 1], [0, 1, 0, 0, 1]], 3)
    truth = np.array([[1, 2, 0, 2, 2], [1, 0, 0, 0, 1]])
    assert metrics.word_error_rate(table.decode(truth, calc_argmax=False), table.decode(prediction)) == 1 / 4
    for options in ({"tokens": table}, {"tokens": " ab"}, {"tokens": [" ", "a", "b"]},
                    {"tokens": table.indices_char}, {"word_delimiter": 0}):  # fmt: skip
        assert metrics.WordErrorRate(**options)(truth, prediction) == 1 / 4
    # Pieces of several characters: edits are counted on the text they make.
    pieces = metrics.EditDistance(tokens=["", "the ", "cat"])
    assert pieces([[1, 2], [2, 0]], one_hot([[2, 0], [2, 2]], 3)) == (4 + 3) / 2
    accented = metrics.WordErrorRate(decode="ctc", blank=0, tokens={1: "é", 2: " ", 3: "ab"})
    assert accented([[1, 2, 3]], one_hot([[1, 1, 0, 1, 2, 3]], 4)) == 1 / 2


CONFIGURED = [
    metrics.CharacterErrorRate(
        "rate", decode="ctc", blank=-1, skip_steps=2, padding=-2, ignore=3, tokens="abc"
    ),
    metrics.WordErrorRate(tokens={1: "a", 5: "b"}),
    metrics.WordErrorRate(word_delimiter=2, ignore=[0, 1]),
    metrics.ExactMatch(tokens=CharacterTable("cab")),
    metrics.EditDistance(normalize=True),
]


@pytest.mark.parametrize("metric", CONFIGURED, ids=lambda metric: type(metric).__name__)
def test_config_makes_the_metric_again(metric):
    again = type(metric)(**metric.get_config())
    assert again.get_config() == metric.get_config()
    assert vars(again) == vars(metric)


def test_config_says_what_was_asked():
    assert CONFIGURED[0].get_config() == {
        "name": "rate", "decode": "ctc", "blank": -1, "skip_steps": 2, "padding": -2, "ignore": [3],
        "tokens": ["a", "b", "c"],
    }  # fmt: skip
    assert metrics.EditDistance().get_config() == {
        "name": "edit_distance", "decode": None, "blank": None, "skip_steps": None, "padding": None,
        "ignore": [], "tokens": None, "normalize": False,
    }  # fmt: skip


def test_names():
    for word, kind in (
        ("cer", metrics.CharacterErrorRate),
        ("character_error_rate", metrics.CharacterErrorRate),
        ("exact_match", metrics.ExactMatch),
        ("EditDistance", metrics.EditDistance),
    ):
        metric = metrics.get(word)
        assert type(metric) is kind
        assert metric.name == word
    assert type(metrics.get(metrics.character_error_rate)) is metrics.CharacterErrorRate
    assert type(metrics.get(metrics.exact_match)) is metrics.ExactMatch


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: metrics.get("wer"), ValueError,
         "WordErrorRate: tokens must be given, or else word_delimiter, got neither"),
        (lambda: metrics.WordErrorRate(tokens="ab", word_delimiter=1), ValueError,
         "WordErrorRate: tokens must be given, or else word_delimiter, got both"),
        (lambda: metrics.WordErrorRate(word_delimiter=-1), ValueError,
         "WordErrorRate: word_delimiter must be at least 0, got -1"),
        (lambda: metrics.ExactMatch(decode="beam"), ValueError,
         "ExactMatch: decode must be one of argmax, ctc, got 'beam'"),
        (lambda: metrics.ExactMatch(skip_steps=-1), ValueError,
         "ExactMatch: skip_steps must be at least 0, got -1"),
        (lambda: metrics.ExactMatch(blank="a"), TypeError, "ExactMatch: blank must be an integer, got 'a'"),
        (lambda: metrics.ExactMatch(padding=0.5), TypeError,
         "ExactMatch: padding must be an integer, got 0.5"),
        (lambda: metrics.ExactMatch(ignore=[-1]), ValueError,
         "ExactMatch: ignore must be at least 0, got -1"),
        (lambda: metrics.ExactMatch(tokens=3), TypeError,
         "ExactMatch: tokens must be a string, a list of strings, a dict by class or a CharacterTable, "
         "got 3"),
        (lambda: metrics.ExactMatch(tokens={"a": 0}), TypeError,
         "ExactMatch: tokens must be a string, a list of strings, a dict by class or a CharacterTable, "
         "got 0 for class 'a'"),
        (lambda: metrics.ExactMatch()([[1]], np.zeros((1, 4))), ValueError,
         "ExactMatch: y_pred must have 3 dimensions, got shape (1, 4)"),
        (lambda: metrics.ExactMatch()([[1, 2]], np.zeros((1, 3, 4))), ValueError,
         "ExactMatch: y_true must have shape (1, 3) or (1, 3, 4), got (1, 2)"),
        (lambda: metrics.ExactMatch(decode="ctc")(np.zeros((1, 3, 4)), np.zeros((1, 3, 4))), ValueError,
         "ExactMatch: y_true must have shape (1, labels), got (1, 3, 4)"),
        (lambda: metrics.ExactMatch()([[1, 4, -1]], np.zeros((1, 3, 4))), ValueError,
         "ExactMatch: y_true must hold classes in [0, 4) or the padding -1, got 4"),
        (lambda: metrics.ExactMatch(padding=0)([[1, -1, 0]], np.zeros((1, 3, 4))), ValueError,
         "ExactMatch: y_true must hold classes in [0, 4) or the padding 0, got -1"),
        (lambda: metrics.ExactMatch(decode="ctc", blank=4)([[1]], np.zeros((1, 3, 4))), ValueError,
         "ExactMatch: blank must be in [-4, 4), got 4"),
        (lambda: metrics.ExactMatch()([[1, 1]], np.zeros((1, 2, 4)), np.ones((1, 3))), ValueError,
         "ExactMatch: sample_weight must have shape (1,) or (1, 2), got (1, 3)"),
        (lambda: metrics.ExactMatch(tokens="ab")([[1, 2]], np.zeros((1, 2, 4))), ValueError,
         "ExactMatch: tokens must name every class that occurs, got none for class 2"),
    ],
)  # fmt: skip
def test_errors_of_metrics(call, kind, text):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value) == text


# --- in a model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_in_compile(sparse, masked):
    table = CharacterTable("ab ")
    x = rng.normal(size=(40, 5, 3)).astype(np.float32)
    lengths = rng.integers(0, 6, 40)
    if masked:
        x[np.arange(5) >= lengths[:, None]] = 0.0
    truth = rng.integers(0, 3, (40, 5))
    front = [layers.Masking(0.0)] if masked else []
    model = fastseq.Sequential(
        [
            layers.Input((5, 3)),
            *front,
            layers.LSTM(8, return_sequences=True),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(
        "adam",
        "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy",
        metrics=[
            "cer",
            "exact_match",
            metrics.EditDistance(normalize=True),
            metrics.WordErrorRate(tokens=table),
        ],
        weighted_metrics=[metrics.EditDistance()],
    )
    y = truth if sparse else one_hot(truth, 3)
    weights = rng.random(40).astype(np.float32)
    history = model.fit(x, y, batch_size=16, epochs=2, validation_data=(x, y), verbose=0).history
    logs = model.evaluate(x, y, batch_size=16, sample_weight=weights, verbose=0, return_dict=True)
    assert set(history) == {*logs, *(f"val_{key}" for key in logs)}

    path = model.predict(x, verbose=0).argmax(-1)
    there = lengths if masked else np.full(40, 5)
    references = [row[:n].tolist() for row, n in zip(truth, there, strict=True) if n]
    hypotheses = [row[:n].tolist() for row, n in zip(path, there, strict=True) if n]
    texts = [["".join(table.chars[c] for c in row) for row in rows] for rows in (references, hypotheses)]
    assert logs["cer"] == pytest.approx(metrics.character_error_rate(references, hypotheses))
    assert logs["exact_match"] == metrics.exact_match(references, hypotheses)
    assert logs["word_error_rate"] == pytest.approx(metrics.word_error_rate(*texts))
    normalized = metrics.mean_edit_distance(references, hypotheses, normalize=True)
    assert logs["edit_distance"] == pytest.approx(normalized)
    edits = [reference_labels.edit_distance(*pair) for pair in zip(references, hypotheses, strict=True)]
    counted = weights[there > 0]
    assert logs["weighted_edit_distance"] == pytest.approx(edits @ counted / counted.sum(), rel=1e-5)


def test_logits_serve():
    """Only the order of the classes counts, so the softmax stays joined with its loss."""
    operations = {}
    for asked in ("accuracy", "cer"):
        model = fastseq.Sequential([layers.Input((5, 3)), layers.Dense(4, activation="softmax")])
        model.compile("sgd", "categorical_crossentropy", metrics=[asked])
        model.evaluate(np.zeros((2, 5, 3)), one_hot(np.zeros((2, 5), int), 4), verbose=0)
        operations[asked] = model.objective.plan_testing().operations
    assert operations["cer"] == operations["accuracy"]


class _CTC(losses.Loss):
    """The least that a loss of unaligned labels needs in a model: logits in, blank last."""

    sparse = True
    spelling = {"decode": "ctc", "blank": -1}  # noqa: RUF012

    def target(self, y_true, prediction, function, argument):
        return np.asarray(y_true)

    def measure(self, prediction, target, weights, mask, logits, gradient):
        rows = [row[row >= 0] for row in target]
        found, gradient = ops.ctc_loss_and_gradient(prediction, rows, blank=-1)
        return float(found.mean()), gradient / len(prediction)


def test_metrics_follow_the_models_loss():
    # Each label is shown for three steps; a blank, the last class, after the only one.
    truth = np.array([[0, 1], [1, 2], [2, 0], [1, -1]] * 8)
    x = one_hot(np.repeat(np.where(truth < 0, 3, truth), 3, axis=1), 4)
    fastseq.set_seed(0)
    model = fastseq.Sequential([layers.Input((6, 4)), layers.GRU(16, return_sequences=True), layers.Dense(4)])
    own = metrics.CharacterErrorRate("own", decode="ctc", blank=0)
    model.compile(fastseq.optimizers.Adam(0.02), _CTC(), metrics=["cer", metrics.exact_match, own])
    before = model.evaluate(x, truth, verbose=0, return_dict=True)
    assert before["exact_match"] < 1
    history = model.fit(x, truth, batch_size=8, epochs=60, verbose=0).history
    assert history["exact_match"][-1] == 1.0
    assert history["cer"][-1] == 0.0
    found = [merged(row, 3) for row in model.predict(x, verbose=0).argmax(-1)]
    after = model.evaluate(x, truth, verbose=0, return_dict=True)
    assert after["cer"] == metrics.character_error_rate(truth, found) == 0.0
    assert after["own"] > 0  # what was given stays: 0 is a label, not the blank
