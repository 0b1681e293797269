"""CTC decoding beside brute force over all alignments, twins in Python, and TensorFlow."""

import itertools
import math

import numpy as np
import pytest
import reference
import reference_labels
from ctc_batches import guarded, spoilt
from ctc_decodes import assert_same_paths, frames, log_softmax, paths, same
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq
from fastseq import backend, ops

INF = math.inf


# --------------------------------------------------------------------------------- the best path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_greedy_matches_the_twin(dtype, isa):
    for seed, (batch, steps, classes) in enumerate(
        [(1, 1, 1), (3, 7, 2), (5, 40, 3), (4, 33, 28), (2, 70, 17), (1, 300, 5), (2, 9, 1000)]
    ):
        x = frames(seed, batch, steps, classes, scale=3, dtype=dtype)
        lengths = np.random.default_rng(seed).integers(0, steps + 1, batch)
        for blank in (0, -1, classes // 2):
            got = ops.ctc_greedy_decode(x, lengths, blank=blank)
            want = [
                reference_labels.ctc_greedy_decode(log_softmax(x[n, :steps]), blank % classes)
                for n, steps in enumerate(lengths)
            ]
            longest = max(len(labels) for labels, _, _ in want)
            assert got.labels.shape == got.starts.shape == (batch, longest)
            for n, (labels, score, starts) in enumerate(want):
                padding = [-1] * (longest - len(labels))
                assert got.labels[n].tolist() == labels + padding
                assert got.starts[n].tolist() == starts + padding
                assert got.lengths[n] == len(labels)
                assert got.scores[n] == pytest.approx(score, rel=1e-5 if dtype == np.float32 else 1e-12)
            assert same([got.totals], [got.scores])
            for kind, values in (("log_probs", log_softmax(x)), ("probs", np.exp(log_softmax(x)))):
                other = ops.ctc_greedy_decode(values, lengths, blank=blank, input=kind)
                assert same(other[:2], got[:2])
                np.testing.assert_allclose(other.scores, got.scores, rtol=1e-5)


def test_greedy_matches_tensorflow():
    tf = pytest.importorskip("tensorflow")
    x = frames(0, 8, 50, 12, scale=2, dtype=np.float32)
    lengths = np.array([50, 0, 1, 50, 33, 20, 49, 7])
    found, minus_logits = tf.nn.ctc_greedy_decoder(tf.constant(x.swapaxes(0, 1)), lengths, blank_index=3)
    got = ops.ctc_greedy_decode(x, lengths, blank=3)
    assert np.array_equal(got.labels, tf.sparse.to_dense(found[0], default_value=-1))
    logits = ops.ctc_greedy_decode(x, lengths, blank=3, input="log_probs").scores
    np.testing.assert_allclose(logits, -minus_logits.numpy()[:, 0], rtol=1e-6)


def test_the_first_of_equal_classes_counts(isa):
    for classes in (2, 5, 16, 17, 40):
        x = np.zeros((1, 3, classes), np.float32)
        x[0, 1, classes // 2 :] = 1
        found = ops.ctc_greedy_decode(x, blank=-1)
        blank = classes - 1
        assert found.labels[0].tolist() == [c for c in (0, classes // 2, 0) if c != blank]


# ------------------------------------------------------------------------------- prefix beam search


def alignments(log_probs, blank):
    """{labels: [(log-probability, starts) of every alignment]} of one sequence."""
    steps, classes = log_probs.shape
    found = {}
    for path in itertools.product(range(classes), repeat=steps):
        starts = [t for t, c in enumerate(path) if c != blank and (t == 0 or c != path[t - 1])]
        labels = tuple(path[t] for t in starts)
        found.setdefault(labels, []).append((sum(log_probs[t, c] for t, c in enumerate(path)), starts))
    return found


@pytest.mark.parametrize(
    ("steps", "classes"), [(1, 2), (4, 2), (6, 2), (4, 3), (6, 3), (3, 4), (5, 4), (6, 4)]
)
def test_all_tiny_cases_by_brute_force(steps, classes, isa):
    """Wide enough, the search is exact: every labelling, its score, and its best alignment."""
    blank = (steps + classes) % classes
    x = frames(steps * classes, 1, steps, classes, scale=1.5)
    every = alignments(log_softmax(x[0]), blank)
    want = sorted(
        ((list(labels), np.logaddexp.reduce([p for p, _ in ways])) for labels, ways in every.items()),
        key=lambda each: -each[1],
    )
    found = ops.ctc_beam_search(x, blank=blank, beam_width=5000, top_paths=len(every) + 3)
    assert_same_paths(paths(found), [(labels, score, score) for labels, score in want], 1e-11)
    losses = ops.ctc_loss(np.repeat(x, len(want), 0), [labels for labels, _ in want], blank=blank)
    np.testing.assert_allclose(found.scores[0, : len(want)], -losses, rtol=1e-11)
    for k, (labels, _) in enumerate(want):
        starts = max(every[tuple(labels)])[1]
        assert found.starts[0, k].tolist() == starts + [-1] * (found.starts.shape[2] - len(starts))
    assert found.lengths[0, len(want) :].tolist() == [-1] * 3
    assert found.scores[0, len(want) :].tolist() == [-INF] * 3
    assert (found.labels[0, len(want) :] == -1).all()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 12), classes=st.integers(1, 6),
    width=st.integers(1, 12), scale=st.sampled_from([0.3, 1.0, 4.0, 30.0]), blank=st.integers(0, 5),
    token_threshold=st.sampled_from([None, -1.5, -4.0]), beam_threshold=st.sampled_from([None, 0.5, 3.0]),
    max_tokens=st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_any_search_matches_the_twin(
    seed, steps, classes, width, scale, blank, token_threshold, beam_threshold, max_tokens
):
    x, blank = frames(seed, 1, steps, classes, scale=scale), blank % classes
    options = {"token_threshold": token_threshold, "beam_threshold": beam_threshold, "max_tokens": max_tokens}
    given_ = {name: value for name, value in options.items() if value is not None}
    want = reference_labels.ctc_beam_search(log_softmax(x[0]), width, blank, **given_)
    got = ops.ctc_beam_search(x, blank=blank, beam_width=width, top_paths=width, **options)
    assert_same_paths(paths(got), want)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_wide_searches_match_the_twin(dtype, isa):
    for seed, (steps, classes, width, scale) in enumerate(
        [(40, 5, 30, 1.0), (30, 28, 100, 2.0), (12, 70, 40, 1.0), (60, 3, 25, 3.0), (8, 300, 20, 3.0)]
    ):
        x = frames(seed, 1, steps, classes, scale=scale, dtype=dtype)
        want = reference_labels.ctc_beam_search(log_softmax(x[0]), width)
        got = ops.ctc_beam_search(x, beam_width=width, top_paths=5)
        assert_same_paths(paths(got), want[:5], 1e-5 if dtype == np.float32 else 1e-9)


def test_equal_candidates_go_by_the_rule():
    """The better prefix first, then as it is before grown, then the lower label; sums would not be exact."""
    one = np.full((1, 1, 6), -2.0)
    order = [[], [1], [2], [3], [4], [5]]
    for width in range(1, 7):
        got = ops.ctc_beam_search(one, input="log_probs", beam_width=width, top_paths=width)
        assert [labels for labels, _, _ in paths(got)] == order[:width]
    two = np.full((1, 2, 5), -INF)
    two[0, 0, [1, 2]] = two[0, 1, [3, 4]] = -1.0
    order = [[1, 3], [1, 4], [2, 3], [2, 4]]
    for width in range(2, 5):
        got = ops.ctc_beam_search(two, input="log_probs", beam_width=width, top_paths=width)
        assert [labels for labels, _, _ in paths(got)] == order[:width]
    many = np.full((1, 1, 400), -2.0)  # enough to be cut on the way
    got = ops.ctc_beam_search(many, input="log_probs", beam_width=50, top_paths=50)
    assert [labels for labels, _, _ in paths(got)] == [[], *([c] for c in range(1, 50))]


def test_the_likeliest_label_may_be_the_worse_way_on():
    """After half an "a" and half a blank, "b" goes on further than a second "a", likelier as that is."""
    p = np.full((1, 3, 5), 1e-9)
    p[0, 0, 1] = 1
    p[0, 1, [0, 1]] = 0.5
    p[0, 2] = [0.01, 0.4, 0.3, 0.29, 1e-9]
    assert paths(ops.ctc_beam_search(p, input="probs", beam_width=1))[0][0] == [1, 2]


def test_ragged_batch_is_each_sequence_alone():
    x, lengths = frames(1, 6, 30, 9, scale=2), [30, 0, 17, 1, 30, 5]
    whole = ops.ctc_beam_search(x, lengths, beam_width=20, top_paths=3)
    x[1:4, 25:] = np.nan  # not read
    for n, steps in enumerate(lengths):
        alone = ops.ctc_beam_search(x[n : n + 1, :steps], beam_width=20, top_paths=3)
        assert paths(alone) == paths(whole, n)
    assert paths(whole, 1) == [([], 0.0, 0.0)]


@pytest.mark.parametrize(("scale", "width"), [(1.0, 60), (3.0, 60), (3.0, 400), (6.0, 100)])
def test_as_likely_as_what_tensorflow_finds(scale, width):
    tf = pytest.importorskip("tensorflow")
    """TensorFlow does not grow prefixes that it has just dropped, so its beams are not quite ours."""
    x = frames(3, 16, 60, 12, scale=scale, dtype=np.float32)
    lengths = np.random.default_rng(0).integers(20, 61, 16)
    found, scores = tf.nn.ctc_beam_search_decoder(tf.constant(x.swapaxes(0, 1)), lengths, beam_width=width)
    theirs = [row[row >= 0].tolist() for row in tf.sparse.to_dense(found[0], default_value=-1).numpy()]
    got = ops.ctc_beam_search(x, lengths, blank=-1, beam_width=width)
    ours = [labels for n in range(16) for labels, _, _ in paths(got, n)]
    exact = [-ops.ctc_loss(x.astype(float), labels, lengths, blank=-1) for labels in (ours, theirs)]
    assert (got.scores[:, 0] < exact[0] + 1e-4).all()
    assert np.mean(exact[0] - exact[1]) > -0.02
    alike = [n for n in range(16) if ours[n] == theirs[n]]
    assert len(alike) >= (10 if scale == 1 else 14)
    if scale * width > 500:
        assert len(alike) == 16
        np.testing.assert_allclose(got.scores[:, 0], scores.numpy()[:, 0], atol=1e-3)


def test_kinds_of_input_agree():
    x = frames(4, 3, 25, 7, scale=2)
    want = ops.ctc_beam_search(x, beam_width=15, top_paths=2)
    for kind, values in (("log_probs", log_softmax(x)), ("probs", np.exp(log_softmax(x)))):
        got = ops.ctc_beam_search(values, beam_width=15, top_paths=2, input=kind)
        assert same([got.labels, got.lengths, got.starts], [want.labels, want.lengths, want.starts])
        np.testing.assert_allclose(got.scores, want.scores, rtol=1e-12)


def test_impossible_classes():
    """A class of probability 0 is in no path; where all are, there is no path."""
    for kind, value in (("logits", -INF), ("log_probs", -INF), ("probs", 0.0)):
        x = np.full((1, 4, 3), 0.25)
        x[:, :, 1] = value
        got = ops.ctc_beam_search(x, input=kind, beam_width=50, top_paths=50)
        assert all(1 not in labels for labels, _, _ in paths(got))
        assert len(paths(got)) == 3  # [], [2], [2, 2]
    nothing = ops.ctc_beam_search(np.zeros((1, 4, 3)), input="probs", beam_width=3, top_paths=2)
    assert nothing.lengths.tolist() == [[-1, -1]]
    assert nothing.scores.tolist() == [[-INF, -INF]]
    assert nothing.labels.shape == (1, 2, 0)


@pytest.mark.parametrize("bad", [np.nan, INF])
@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
def test_nan_and_inf_frames_do_not_spread(bad, kind, isa):
    for classes in (3, 20):
        x = np.exp(log_softmax(frames(5, 4, 9, classes)))
        clean = ops.ctc_beam_search(x, input=kind, top_paths=2), ops.ctc_greedy_decode(x, input=kind)
        x[1, 8, 2], x[2, 0, 0] = bad, bad
        for decoded, was in zip(
            (ops.ctc_beam_search(x, input=kind, top_paths=2), ops.ctc_greedy_decode(x, input=kind)),
            clean,
            strict=True,
        ):
            assert (decoded.lengths[1:3] == 0).all()
            assert np.isnan(decoded.scores[1:3]).all()
            assert np.isnan(decoded.totals[1:3]).all()
            assert (decoded.labels[1:3] == -1).all()
            for n in (0, 3):
                length = was.lengths[n].max()
                assert same([decoded.scores[n]], [was.scores[n]])
                assert same([decoded.labels[n, ..., :length]], [was.labels[n, ..., :length]])
    x = np.full((1, 2, 3), 0.5)
    x[0, 1, 1] = -0.5
    assert np.isnan(ops.ctc_greedy_decode(x, input="probs").scores).all()
    assert np.isnan(ops.ctc_beam_search(x, input="probs").scores).all()


def test_edges():
    for shape in [(0, 5, 4), (2, 0, 4), (0, 0, 4), (2, 3, 1)]:
        x = np.zeros(shape)
        greedy = ops.ctc_greedy_decode(x)
        assert greedy.labels.shape == (shape[0], 0)
        assert greedy.scores.tolist() == [0] * shape[0]
        found = ops.ctc_beam_search(x, top_paths=2)
        assert found.labels.shape == found.starts.shape == (shape[0], 2, 0)
        assert found.lengths.tolist() == [[0, -1]] * shape[0]
        assert found.scores.tolist() == [[0, -INF]] * shape[0]
    x = frames(6, 1, 5000, 3)
    one = ops.ctc_beam_search(x, beam_width=1)
    many = ops.ctc_beam_search(x, beam_width=100)
    assert many.scores[0, 0] >= one.scores[0, 0]
    assert -ops.ctc_loss(x, [many.labels[0, 0].tolist()])[0] >= many.scores[0, 0]


def test_starts_lie_on_an_alignment():
    x = frames(7, 3, 400, 12, scale=3)
    found = ops.ctc_beam_search(x, beam_width=50, top_paths=4)
    for n in range(3):
        for k, (labels, _, _) in enumerate(paths(found, n)):
            starts = found.starts[n, k, : len(labels)]
            gaps = 1 + (np.diff(labels) == 0)  # a blank between equal ones
            assert (np.diff(starts) >= gaps).all()
            assert len(starts) == len(labels)
    best = np.zeros((1, 12, 4))
    for t, c in enumerate([0, 0, 2, 2, 0, 2, 0, 0, 1, 1, 3, 0]):
        best[0, t, c] = 8
    assert ops.ctc_beam_search(best).starts.tolist() == [[[2, 5, 8, 10]]]


def test_results_do_not_depend_on_threads():
    x = frames(8, 7, 60, 30, scale=2, dtype=np.float32)
    lengths = [60, 3, 59, 0, 41, 60, 17]
    before = fastseq.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            fastseq.set_num_threads(threads)
            results.append(
                (*ops.ctc_greedy_decode(x, lengths), *ops.ctc_beam_search(x, lengths, top_paths=3))
            )
    finally:
        fastseq.set_num_threads(before)
    assert same(results[0], results[1])
    assert same(results[0], results[2])


# ------------------------------------------------------------------------------------------- errors

X = np.zeros((2, 5, 4), np.float32)
ABC = ["", "a", "b", " "]


@pytest.mark.parametrize("function", ["ctc_greedy_decode", "ctc_beam_search"])
@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"logits": X[0]}, ValueError, "logits must have 3 dimensions, got shape (5, 4)"),
        ({"logits": "x"}, TypeError, "logits must be an array of real numbers, got 'x'"),
        ({"logit_lengths": [5, 6]}, ValueError, "logit_lengths must lie in [0, 5], got 6 at index 1"),
        ({"logit_lengths": [-1, 6]}, ValueError, "logit_lengths must lie in [0, 5], got -1 at index 0"),
        ({"logit_lengths": [5]}, ValueError, "logit_lengths must have shape (2,), got (1,)"),
        ({"logit_lengths": [1.5, 2]}, ValueError, "logit_lengths must be whole numbers, got 1.5"),
        ({"blank": 4}, ValueError, "blank must be a class in [0, 4) or count from the end, got 4"),
        ({"blank": -5}, ValueError, "blank must be a class in [0, 4) or count from the end, got -5"),
        ({"blank": None}, TypeError, "blank must be an integer, got None"),
        ({"input": "odds"}, ValueError, "input must be one of logits, log_probs, probs, got 'odds'"),
    ],
)
def test_errors_of_frames(function, change, kind, text):
    with pytest.raises(kind) as error:
        getattr(ops, function)(**{"logits": X, **change})
    assert str(error.value) == f"{function}: {text}"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"beam_width": 0}, ValueError, "beam_width must be in [1, 16777216], got 0"),
        ({"beam_width": 2**40}, ValueError, "beam_width must be in [1, 16777216], got 1099511627776"),
        ({"beam_width": 1.5}, TypeError, "beam_width must be an integer, got 1.5"),
        ({"top_paths": 0}, ValueError, "top_paths must be in [1, 100], got 0"),
        ({"top_paths": 4, "beam_width": 3}, ValueError, "top_paths must be in [1, 3], got 4"),
        ({"token_threshold": "x"}, TypeError, "token_threshold must be a number, got 'x'"),
        ({"token_threshold": np.nan}, ValueError, "token_threshold must be a number, got nan"),
        ({"beam_threshold": -1}, ValueError, "beam_threshold must be at least 0, got -1.0"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1, got 0"),
        ({"tokens": ["a", "b"]}, ValueError, "tokens must be one for each of the 4 classes, got 2"),
        ({"tokens": [1, 2, 3, 4]}, TypeError, "tokens must be a string, got 1"),
        (
            {"tokens": ["", "a ", "b", " "]},
            ValueError,
            "tokens must have the delimiter, ' ', only at their beginning, got 'a '",
        ),
        (
            {"tokens": ["", "\udc80", "b", " "]},
            ValueError,
            "tokens must be text that UTF-8 can hold, got '\\udc80'",
        ),
        ({"words": ["a"]}, ValueError, "tokens must be given with words, got None"),
        ({"hotwords": ["a"]}, ValueError, "tokens must be given with hotwords, got None"),
        ({"word_bonus": 1}, ValueError, "tokens must be given with word_bonus, got None"),
        ({"tokens": ABC, "words": "ab"}, TypeError, "words must be a list of strings, got 'ab'"),
        (
            {"tokens": ABC, "words": ["a b"]},
            ValueError,
            "words must be words without the delimiter, ' ', got 'a b'",
        ),
        ({"tokens": ABC, "words": [""]}, ValueError, "words must be words of at least one letter, got ''"),
        ({"tokens": ABC, "hotwords": 3}, TypeError, "hotwords must be a list of strings, got 3"),
        ({"tokens": ABC, "hotwords": {"a": -1}}, ValueError, "hotwords must be in [0, 1000000.0], got -1.0"),
        (
            {"tokens": ABC, "hotwords": [" "]},
            ValueError,
            "hotwords must be words without the delimiter, ' ', got ' '",
        ),
        ({"hotword_weight": -1}, ValueError, "hotword_weight must be at least 0, got -1.0"),
        ({"language_model": "x.arpa"}, TypeError, "language_model must be an NgramModel, got 'x.arpa'"),
        ({"lm_unit": "letter"}, ValueError, "lm_unit must be one of word, token, got 'letter'"),
        ({"lm_weight": -0.5}, ValueError, "lm_weight must be at least 0, got -0.5"),
        ({"lm_weight": INF}, ValueError, "lm_weight must be finite, got inf"),
        ({"unknown_score": 1}, ValueError, "unknown_score must be at most 0, got 1.0"),
        ({"word_bonus": None}, TypeError, "word_bonus must be a number, got None"),
        ({"token_bonus": -INF}, ValueError, "token_bonus must be finite, got -inf"),
        ({"word_delimiter": None}, TypeError, "word_delimiter must be a string, got None"),
    ],
)  # fmt: skip
def test_errors_of_searches(change, kind, text):
    with pytest.raises(kind) as error:
        ops.ctc_beam_search(X, **change)
    assert str(error.value) == f"ctc_beam_search: {text}"
    if "top_paths" not in change:
        with pytest.raises(kind) as error:
            ops.CtcBeamSearch(4, **change)
        assert str(error.value) == f"CtcBeamSearch: {text}"


def test_other_forms_of_arguments():
    x = frames(12, 2, 6, 4, dtype=np.float32)
    want = ops.ctc_beam_search(x, [6, 4], tokens=ABC, words=["ab", "b"])
    strided = np.zeros((2, 6, 8), np.float32)[:, :, ::2]
    strided[:] = x
    lengths = np.array([[6.0], [4.0]])
    assert same(want, ops.ctc_beam_search(strided, lengths, tokens=" ab ", words=iter(["ab", "b"])))
    assert same(ops.ctc_greedy_decode(x, [6, 4]), ops.ctc_greedy_decode(strided, lengths))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_arguments_give_a_result_or_a_clear_error(data):
    """What is out of range is refused, and nothing else; NaN and inf stay in their sequence, and nothing
    beside the arrays, or beyond the lengths, is read."""
    draw = lambda most, low=0: data.draw(st.integers(low, most))  # noqa: E731
    wrong = draw(1)
    batch, steps, classes, width = draw(3, 1), draw(5), draw(4, 1 - wrong), draw(5, 1)
    blank, count = draw(classes - 1 + wrong, -classes - wrong), draw(width + wrong, 1)
    kind = data.draw(st.sampled_from(["logits", "log_probs", "probs"]))
    rng = np.random.default_rng(draw(2**32 - 1))
    x = rng.normal(size=(batch, steps, classes)).astype(data.draw(st.sampled_from([np.float32, np.float64])))
    if classes and kind != "logits":
        x = (log_softmax(x) if kind == "log_probs" else np.exp(log_softmax(x))).astype(x.dtype)
    spoilt(draw, rng, x, [np.nan, INF, -INF, -INF, -0.5])
    lengths = rng.integers(0, steps + 1, batch)
    if wrong and draw(1):
        spoilt(draw, rng, lengths, [-1, steps + 1, 1 << 62])
    sound = classes > 0 and -classes <= blank < classes and ((lengths >= 0) & (lengths <= steps)).all()
    given_ = guarded(x, np.nan), guarded(lengths, -1)
    options = {"beam_width": width, "top_paths": count}
    for function, more in ((ops.ctc_greedy_decode, {}), (ops.ctc_beam_search, options)):
        if not sound or (more and count > width):
            with pytest.raises(ValueError, match=f"^{function.__name__}: "):
                function(*given_, blank=blank, input=kind, **more)
            continue
        got = function(*given_, blank=blank, input=kind, **more)
        for n, length in enumerate(lengths):
            with np.errstate(invalid="ignore", divide="ignore"):
                used = x[n, :length].astype(np.float64)
                log_probs = {"logits": log_softmax, "log_probs": np.array, "probs": np.log}[kind](used)
            if np.isnan(log_probs).any() or (log_probs == INF).any():
                assert np.isnan(got.scores[n]).all()
                assert (got.lengths[n] == 0).all()
                continue
            if more:
                want = reference_labels.ctc_beam_search(log_probs, width, blank % classes)[:count]
                assert_same_paths(paths(got, n), want, 1e-5)
                continue
            labels, score, starts = reference_labels.ctc_greedy_decode(log_probs, blank % classes)
            assert got.lengths[n] == len(labels)
            assert got.labels[n].tolist() == labels + [-1] * (got.labels.shape[1] - len(labels))
            assert got.starts[n, : len(labels)].tolist() == starts
            assert got.scores[n] == pytest.approx(score, rel=1e-5, abs=1e-5)


# ------------------------------------------------------------------------------- keras.backend.ctc_decode


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backend_matches_keras(dtype):
    keras_backend = pytest.importorskip("keras.src.legacy.backend")
    for seed, scale in enumerate((1.0, 4.0)):
        y = np.exp(log_softmax(frames(seed, 6, 12, 4, scale=scale))).astype(dtype)
        lengths = np.array([12, 12, 5, 9, 12, 2])
        for shape in ((6,), (6, 1)):
            got, minus_score = backend.ctc_decode(y, lengths.reshape(shape))
            want, theirs = keras_backend.ctc_decode(y, lengths)
            assert len(got) == len(want) == 1
            assert np.array_equal(got[0], want[0])
            assert got[0].shape == (6, 12)
            assert minus_score.dtype == theirs.numpy().dtype == dtype
            np.testing.assert_allclose(minus_score, theirs, rtol=1e-5, atol=1e-6)
        got, scores = backend.ctc_decode(y, lengths, greedy=False, beam_width=400, top_paths=3)
        want, theirs = keras_backend.ctc_decode(y, lengths, greedy=False, beam_width=400, top_paths=3)
        assert len(got) == len(want) == 3
        for ours, each in zip(got, want, strict=True):
            assert np.array_equal(ours, each)
        assert scores.shape == (6, 3)
        np.testing.assert_allclose(scores, theirs, rtol=2e-5, atol=2e-5)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 3), steps=st.integers(0, 9),
    classes=st.integers(1, 4), width=st.integers(1, 8), scale=st.sampled_from([0.5, 3.0, 30.0]),
    dtype=st.sampled_from([np.float32, np.float64]), data=st.data(),
)  # fmt: skip
def test_backend_of_any_batch_matches_the_twin(seed, batch, steps, classes, width, scale, dtype, data):
    """The twin's paths of y + 1e-7, the beam search's normalised again and without equal neighbours."""
    y = np.exp(log_softmax(frames(seed, batch, steps, classes, scale=scale))).astype(dtype)
    lengths = np.random.default_rng(seed).integers(0, steps + 1, batch)
    count = data.draw(st.integers(1, width))
    logs = np.log(y + dtype(1e-7)).astype(np.float64)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    (best,), minus = backend.ctc_decode(guarded(y, np.nan), lengths)
    found, scores = backend.ctc_decode(y, lengths[:, None], greedy=False, beam_width=width, top_paths=count)
    assert [each.shape for each in (best, *found)] == [(batch, steps)] * (1 + count)
    assert (minus.shape, scores.shape) == ((batch, 1), (batch, count))
    assert minus.dtype == scores.dtype == dtype
    for n, length in enumerate(lengths):
        labels, score, _ = reference_labels.ctc_greedy_decode(logs[n, :length], classes - 1)
        assert best[n].tolist() == labels + [-1] * (steps - len(labels))
        assert minus[n, 0] == pytest.approx(-score, rel=tolerance, abs=tolerance)
        log_probs = reference.log_softmax(logs[n, :length])
        want = reference_labels.ctc_beam_search(log_probs, width, classes - 1)[:count]
        for k in range(count):
            labels, score, _ = want[k] if k < len(want) else ([], -INF, -INF)
            merged = [c for c, _ in itertools.groupby(labels)]
            assert found[k][n].tolist() == merged + [-1] * (steps - len(merged))
            assert scores[n, k] == pytest.approx(score, rel=tolerance, abs=tolerance)
