"""Utterances found in a long recording by CTC: where they lie, beside a float64 twin."""

import numpy as np
import pytest
from ctc_batches import guarded, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import log_softmax
from reference_labels import ctc_best_path

import fastseq
from fastseq import ops

INF = float("inf")


X = np.zeros((2, 5, 4), np.float32)


def recording(seed, pieces, classes=12, noise=0.5):
    """Log-probabilities of a recording made of pieces: labels to be said, or a number of frames of babble.

    Returns them with, for each utterance, the frames of its first and after its last token.
    """
    rng = np.random.default_rng(seed)
    said, times = [], []
    for piece in pieces:
        if isinstance(piece, int):
            said += rng.integers(1, classes, piece).tolist()  # other speech, every frame another class
            continue
        start = len(said)
        for c in piece:
            said += [c] * int(rng.integers(1, 4)) + [0] * int(rng.integers(1, 4))
        end = len(said)
        while said[end - 1] == 0:
            end -= 1
        times.append((start, end))
    x = noise * rng.normal(size=(len(said), classes))
    x[np.arange(len(said)), said] += 6
    return x, times


UTTERANCES = [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3, 2], [3, 8, 4, 6, 2, 6, 4, 3, 3, 8]]


@pytest.mark.parametrize("gap", [0.0, -1.0])
def test_segments_lie_where_they_were_said(gap, isa):
    first, second, third = UTTERANCES
    for seed in range(5):
        x, times = recording(seed, [60, first, 35, second, third, 80])
        got = ops.ctc_segment(x.astype(np.float32), UTTERANCES, gap=gap)
        for k, (start, end) in enumerate(times):
            assert abs(got.starts[k] - start) <= 2  # the first token's own frames, at most three
            assert abs(got.ends[k] - end) <= 2
            count = len(UTTERANCES[k])
            assert (got.token_starts[k, :count] < got.token_ends[k, :count]).all()
            assert (got.token_starts[k, 1:count] >= got.token_ends[k, : count - 1]).all()
            assert (got.token_starts[k, count:] == -1).all()
            assert (got.token_confidences[k, :count] > 0.5).all()
            assert (got.starts[k], got.ends[k]) == (got.token_starts[k, 0], got.token_ends[k, count - 1])
        assert (got.confidences > -0.5).all()


def check(got, y, utterances, blank, gap, window):
    """Against the twin's path of all utterances in a row; its score, -inf where there is none."""
    joined = [c for u in utterances for c in u]
    ends = np.cumsum([0, *map(len, utterances)]).tolist()
    score, states = ctc_best_path(y, joined, blank, ends, gap)
    if score == -INF:
        return score
    assert got.score == pytest.approx(score, rel=1e-12, abs=1e-12)
    k, along = 0, y[np.arange(len(y)), [joined[s // 2] if s % 2 else blank for s in states]]
    for n, utterance in enumerate(utterances):
        for i in range(len(utterance)):
            there = np.flatnonzero(np.array(states) == 2 * k + 1)
            assert (got.token_starts[n, i], got.token_ends[n, i]) == (there[0], there[-1] + 1)
            assert got.token_confidences[n, i] == pytest.approx(np.exp(along[there].mean()), rel=1e-12)
            k += 1
        assert (got.token_starts[n, len(utterance) :] == -1).all()
        assert (got.token_ends[n, len(utterance) :] == -1).all()
        assert (got.token_confidences[n, len(utterance) :] == 0).all()
        if not len(utterance):
            assert (got.starts[n], got.ends[n]) == (-1, -1)
            assert np.isnan(got.confidences[n])
            continue
        last = len(utterance) - 1
        assert (got.starts[n], got.ends[n]) == (got.token_starts[n, 0], got.token_ends[n, last])
        own = along[got.starts[n] : got.ends[n]]
        width = min(window, len(own))
        means = [own[i : i + width].mean() for i in range(len(own) - width + 1)]
        assert got.confidences[n] == pytest.approx(min(means), rel=1e-11)
    return score


def test_segments_match_the_twin(isa):
    rng = np.random.default_rng(3)
    for gap in (0.0, -0.7, -INF):
        x = rng.normal(size=(90, 7))
        utterances = [[1, 2, 3], [3], [], [3, 5, 5, 1], [6, 2]]
        got = ops.ctc_segment(x, utterances, gap=gap, window=4)
        assert np.isfinite(check(got, log_softmax(x), utterances, 0, gap, 4))
    plain = ops.ctc_align(x[None], [[c for u in utterances for c in u]])
    assert got.score == plain.scores[0]
    assert got.token_starts[got.token_starts >= 0].tolist() == plain.starts[0].tolist()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 40), classes=st.integers(2, 6),
    counts=st.lists(st.integers(0, 4), max_size=5), gap=st.sampled_from([0.0, -1.0, -3.0, -INF]),
    window=st.integers(1, 9), whole=st.booleans(), blank=st.integers(-2, 1),
)  # fmt: skip
def test_any_recording_matches_the_twin(seed, steps, classes, counts, gap, window, whole, blank):
    """Whole log-probabilities add up exactly, and have ties; what has no path is refused."""
    rng = np.random.default_rng(seed)
    x = 2 * rng.normal(size=(steps, classes))
    y = -np.rint(abs(x)) if whole else log_softmax(x)
    utterances = [rng.choice(np.delete(np.arange(classes), blank), count) for count in counts]
    given_ = {"logits": guarded(y if whole else x, np.nan), "input": "log_probs" if whole else "logits"}
    options = {"blank": blank, "gap": gap, "window": window}
    try:
        got, seconds = (
            ops.ctc_segment(**given_, utterances=utterances, **options, frame_duration=duration)
            for duration in (None, 0.25)
        )
    except ValueError as error:
        refused = str(error)
        got = None
    else:
        refused = None
    score = check(got, y, utterances, blank % classes, gap, window)
    rule = "logits must have a path of positive probability that spells the utterances"
    assert refused == (f"ctc_segment: {rule}, got none in {steps} frames" if score == -INF else None)
    if refused is None:
        for name in ("starts", "ends", "token_starts", "token_ends"):
            times = getattr(got, name)
            want = np.where(times < 0, np.nan, times / 4)
            np.testing.assert_array_equal(getattr(seconds, name), want)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_arguments_give_a_result_or_a_clear_error(data):
    """Labels and blanks that are out of range are refused; NaN and inf give NaN where they are read."""
    draw = lambda most, low=0: data.draw(st.integers(low, most))  # noqa: E731
    wrong = draw(1)
    steps, classes = draw(8), draw(4, 1 - wrong)
    blank = draw(classes - 1 + wrong, -classes - wrong)
    kind = data.draw(st.sampled_from(["logits", "log_probs", "probs"]))
    rng = np.random.default_rng(draw(2**32 - 1))
    x = rng.normal(size=(steps, classes))
    if classes and kind != "logits":
        x = log_softmax(x) if kind == "log_probs" else np.exp(log_softmax(x))
    spoilt(draw, rng, x, [np.nan, INF, -INF])
    utterances = [rng.integers(0, max(classes - 1, 1), draw(3) * (classes > 1)) for _ in range(draw(3))]
    for labels in utterances:
        labels += labels >= blank % max(classes, 1)
        if wrong:
            spoilt(draw, rng, labels, [-1, classes, blank, 1 << 40])
    joined = np.concatenate([np.zeros(0, np.int64), *utterances])
    sound = classes > 0 and -classes <= blank < classes
    sound = sound and not ((joined < 0) | (joined >= classes) | (joined == blank % classes)).any()
    gap = data.draw(st.sampled_from([0.0, -1.0, -INF]))
    try:
        got = ops.ctc_segment(guarded(x, np.nan), utterances, blank=blank, input=kind, gap=gap)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    no_path = refused.startswith("ctc_segment: logits must have a path of positive probability")
    assert sound == (not refused or no_path)
    if refused:
        assert refused.startswith("ctc_segment: ")
    elif np.isnan(got.score):
        assert not np.isfinite(x).all()
        assert (got.token_starts == -1).all()
        assert (got.starts == -1).all()
        assert np.isnan(got.confidences).all()
    else:
        assert not np.isnan(x).any() or kind != "logits"
        assert (got.token_ends <= steps).all()
        starts, ends = (each[each >= 0] for each in (got.token_starts, got.token_ends))
        assert len(starts) == len(ends) == len(joined)
        assert (starts < ends).all()
        assert (starts[1:] >= ends[:-1]).all()


def test_an_utterance_that_was_not_said_has_less_confidence():
    first, second, third = UTTERANCES
    x, _ = recording(1, [60, first, 35, third, 80])
    got = ops.ctc_segment(x, [first, second, third])
    assert got.confidences[1] < -2 < got.confidences[[0, 2]].min()


def test_segment_in_seconds():
    x, _ = recording(2, [20, UTTERANCES[0], 20])
    frames, seconds = (ops.ctc_segment(x, [UTTERANCES[0], []], frame_duration=d) for d in (None, 0.02))
    assert frames.starts.dtype == np.int64
    for a, b in zip(frames, seconds, strict=True):
        if np.asarray(a).dtype == np.int64:
            np.testing.assert_array_equal(b, np.where(a < 0, np.nan, a * 0.02))
        else:
            np.testing.assert_array_equal(a, b)


def test_segment_of_a_long_recording_on_any_number_of_threads():
    rng = np.random.default_rng(5)
    utterances = [rng.integers(1, 12, 40).tolist() for _ in range(20)]
    pieces = [piece for utterance in utterances for piece in (int(rng.integers(1, 90)), utterance)]
    x, times = recording(6, pieces)
    before = fastseq.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            fastseq.set_num_threads(threads)
            results.append(ops.ctc_segment(x, utterances))
    finally:
        fastseq.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert np.array_equal(a, b)
    assert abs(results[0].starts - [start for start, _ in times]).max() <= 2
    assert abs(results[0].ends - [end for _, end in times]).max() <= 2


def test_segment_edges():
    x = np.zeros((5, 4))
    nothing = ops.ctc_segment(x, [])
    assert nothing.starts.shape == (0,)
    assert nothing.token_starts.shape == (0, 0)
    assert nothing.score == 0
    x[2, 1] = np.nan
    got = ops.ctc_segment(x, [[1]])
    assert np.isnan(got.score)
    assert got.starts.tolist() == [-1]
    assert np.isnan(got.confidences[0])


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"logits": X}, ValueError, "logits must have 2 dimensions, got shape (2, 5, 4)"),
        (
            {"utterances": [[1], [2, 4]]},
            ValueError,
            "utterances must lie in [0, 4) and differ from the blank, 0, got 4 at index (1, 1)",
        ),
        (
            {"utterances": [[1], [3]], "blank": -1},
            ValueError,
            "utterances must lie in [0, 4) and differ from the blank, 3, got 3 at index (1, 0)",
        ),
        ({"utterances": [[1.5]]}, ValueError, "utterances must be whole numbers, got 1.5"),
        ({"utterances": "ab"}, TypeError, "utterances must be an array of real numbers, got 'ab'"),
        ({"blank": 7}, ValueError, "blank must be a class in [0, 4) or count from the end, got 7"),
        ({"gap": 0.5}, ValueError, "gap must be at most 0, got 0.5"),
        ({"gap": np.nan}, ValueError, "gap must be at most 0, got nan"),
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"frame_duration": 0}, ValueError, "frame_duration must be more than 0, got 0.0"),
        ({"input": None}, ValueError, "input must be one of logits, log_probs, probs, got None"),
        (
            {"utterances": [[1, 1, 1], [1]]},
            ValueError,
            "logits must have a path of positive probability that spells the utterances, "
            "got none in 5 frames",
        ),
    ],
)
def test_segment_errors(change, kind, text):
    good = {"logits": X[0], "utterances": [[1, 2], [3]]}
    with pytest.raises(kind) as error:
        ops.ctc_segment(**{**good, **change})
    assert str(error.value) == f"ctc_segment: {text}"
    ops.ctc_segment(**good)
