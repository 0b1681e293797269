"""Alignment by CTC beside brute force over all paths, a float64 twin, and torchaudio where there is one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import log_softmax
from reference_labels import ctc_best_path

import fastseq
from fastseq import ops

INF = float("inf")


def collapse(path, blank):
    return tuple(c for i, c in enumerate(path) if c != blank and (i == 0 or c != path[i - 1]))


def states_of(path, blank):
    """The states of a path of classes: 2k for the blank before label k, 2k + 1 for that label."""
    states, s, before = [], 0, blank
    for c in path:
        if c == blank:
            s += s % 2
        elif s % 2 == 0 or c != before:
            s += 1 if s % 2 == 0 else 2
        states.append(s)
        before = c
    return states


def problem(seed, batch, frames, classes, longest, dtype=np.float64, scale=1.0, blank=0, whole=False):
    """Whole logits add up exactly, and have ties."""
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(batch, frames, classes))).astype(dtype)
    if whole:
        x = np.rint(x)
    labels = rng.integers(0, classes - 1, (batch, longest))
    labels += labels >= blank % classes
    return x, labels, rng.integers(0, frames + 1, batch), rng.integers(0, longest + 1, batch)


def check(alignment, log_probs, labels, lengths, label_lengths, blank=0, tolerance=1e-11, paths=True):
    """Against the twin, and that all parts of the answer say the same."""
    starts, ends, confidences, scores, path = alignment
    assert starts.dtype == ends.dtype == path.dtype == np.int64
    assert starts.shape == ends.shape == confidences.shape == np.shape(labels)
    blank %= log_probs.shape[-1]
    for n, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
        label, y = labels[n, :count], log_probs[n, :frames]
        score, states = ctc_best_path(y, label, blank)
        used = frames if score > -INF else 0
        tokens = count if score > -INF else 0
        assert (path[n, used:] == -1).all()
        assert (starts[n, tokens:] == -1).all()
        assert (ends[n, tokens:] == -1).all()
        assert (confidences[n, tokens:] == 0).all()
        np.testing.assert_allclose(scores[n], score, rtol=tolerance, atol=tolerance)
        if score == -INF:
            continue
        mine = path[n, :frames]
        assert collapse(mine, blank) == tuple(label)
        if paths:
            assert states_of(mine, blank) == states
        along = y[np.arange(frames), mine]
        np.testing.assert_allclose(along.sum(), score, rtol=tolerance, atol=tolerance)
        state = np.array(states_of(mine, blank))
        for k in range(count):
            there = np.flatnonzero(state == 2 * k + 1)
            assert (starts[n, k], ends[n, k]) == (there[0], there[-1] + 1)
            want = np.exp(along[there].mean())
            np.testing.assert_allclose(confidences[n, k], want, rtol=max(tolerance, 1e-12))


@pytest.mark.parametrize("whole", [False, True])
def test_all_tiny_cases_by_brute_force(whole, isa):
    """Every label of up to 4 classes in up to 6 frames; with whole numbers, the rule among equals too."""
    rng = np.random.default_rng(0)
    for classes, frames in itertools.product((1, 2, 3, 4), (1, 2, 3, 4, 5, 6)):
        blank = int(rng.integers(classes))
        spelled = {}
        for path in itertools.product(range(classes), repeat=frames):
            spelled.setdefault(collapse(path, blank), []).append(path)
        letters = [c for c in range(classes) if c != blank]
        labels = [x for n in range(min(frames, 5) + 1) for x in itertools.product(letters, repeat=n)]
        y = -rng.integers(0, 3, (len(labels), frames, classes)) if whole else None
        y = y.astype(float) if whole else log_softmax(rng.normal(size=(len(labels), frames, classes)))
        got = ops.ctc_align(y, labels, blank=blank, input="log_probs")
        for n, label in enumerate(labels):
            ways = [
                (sum(y[n, t, c] for t, c in enumerate(path)), states_of(path, blank)[::-1], path)
                for path in spelled.get(label, [])
            ]
            if not ways:
                assert got.scores[n] == -INF
                continue
            score, _, path = max(ways)
            assert tuple(got.path[n]) == path
            assert got.scores[n] == pytest.approx(score, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
def test_matches_the_twin(kind, dtype, isa):
    shapes = [(5, 6, 4, 3), (3, 40, 5, 17), (4, 33, 28, 16), (2, 70, 9, 31), (6, 20, 3, 9), (1, 9, 2, 4)]
    for seed, (batch, frames, classes, longest) in enumerate(shapes):
        for blank in (0, -1, classes // 2):
            x, *rest = problem(seed, batch, frames, classes, longest, dtype, 2.0, blank)
            y = log_softmax(x.astype(np.float64))
            x = {"logits": x, "log_probs": y.astype(dtype), "probs": np.exp(y).astype(dtype)}[kind]
            if kind != "logits":
                with np.errstate(divide="ignore"):
                    y = x.astype(np.float64) if kind == "log_probs" else np.log(x.astype(np.float64))
            got = ops.ctc_align(x, *rest, blank=blank, input=kind)
            assert got.scores.dtype == got.confidences.dtype == dtype
            check(got, y, *rest, blank, 1e-5 if dtype == np.float32 else 1e-11)


def ragged_and_long():
    """Shapes that are kept in blocks of frames, and whose states are shared between threads."""
    return [(37, 50, 20, 12), (1, 700, 30, 300), (2, 1100, 12, 400), (1, 9000, 5, 150), (1, 3000, 40, 700)]


@pytest.mark.parametrize("whole", [False, True])
def test_blocks_and_chunks_match_the_twin(whole):
    for batch, frames, classes, longest in ragged_and_long():
        x, labels, _, _ = problem(9, batch, frames, classes, longest, np.float32, 1.0, 0, whole)
        rest = labels, np.full(batch, frames), np.full(batch, longest)
        y = x.astype(np.float64) if whole else log_softmax(x.astype(np.float64))
        got = ops.ctc_align(x, *rest, input="log_probs" if whole else "logits")
        check(got, y, *rest, tolerance=1e-6, paths=True)


def test_same_bits_on_any_number_of_threads(isa):
    before = fastseq.get_num_threads()
    try:
        for batch, frames, classes, longest in ragged_and_long():
            x, labels, _, label_lengths = problem(8, batch, frames, classes, longest, np.float32, 1, -1)
            label_lengths[0] = longest
            results = []
            for threads in (1, 2, 3, 5):
                fastseq.set_num_threads(threads)
                results.append(ops.ctc_align(x, labels, None, label_lengths, blank=-1))
            assert np.isfinite(results[0].scores[0])
            for other in results[1:]:
                for a, b in zip(results[0], other, strict=True):
                    assert np.array_equal(a, b)
    finally:
        fastseq.set_num_threads(before)


def test_same_path_on_every_instruction_set():
    """Uniform logits, whole ones and any others: exponentials differ in the last bit, paths do not."""
    from fastseq import _core

    before = _core.isa()
    found = {}
    try:
        for name in _core.available_isas():
            _core.set_isa(name)
            for whole in (False, True):
                x, *rest = problem(4, 6, 90, 7, 25, np.float32, 0.5, 0, whole)
                found.setdefault(whole, []).append(ops.ctc_align(x, *rest))
    finally:
        _core.set_isa(before)
    for results in found.values():
        for other in results[1:]:
            assert np.array_equal(results[0].path, other.path)
            assert np.array_equal(results[0].starts, other.starts)
            assert np.array_equal(results[0].ends, other.ends)


def test_equals_come_as_early_as_they_can(isa):
    got = ops.ctc_align(np.zeros((2, 7, 3)), [[1, 2], [1, 1]])
    assert got.path.tolist() == [[1, 2, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0]]
    assert got.starts.tolist() == [[0, 1], [0, 2]]
    assert got.ends.tolist() == [[1, 2], [1, 3]]
    np.testing.assert_allclose(got.confidences, 1 / 3)
    np.testing.assert_allclose(got.scores, -7 * np.log(3))


def test_confidence_is_the_geometric_mean():
    p = np.array([[[0.1, 0.9], [0.5, 0.5], [0.6, 0.4], [0.99, 0.01]]])
    got = ops.ctc_align(p, [[1]], input="probs")
    assert got.path.tolist() == [[1, 0, 0, 0]]
    p[0, 1] = 0.2, 0.8
    got = ops.ctc_align(p, [[1]], input="probs")
    assert (got.starts[0, 0], got.ends[0, 0]) == (0, 2)
    assert got.confidences[0, 0] == pytest.approx(np.sqrt(0.9 * 0.8), rel=1e-13)


def test_edges(isa):
    x = np.random.default_rng(1).normal(size=(3, 5, 4))
    got = ops.ctc_align(x, [[], [], [2]], [0, 5, 1])
    assert got.path.tolist() == [[-1] * 5, [0] * 5, [2, -1, -1, -1, -1]]
    np.testing.assert_allclose(got.scores[:2], [0, log_softmax(x[1])[:, 0].sum()], rtol=1e-13)
    assert got.starts.tolist() == [[-1], [-1], [0]]
    assert got.ends.tolist() == [[-1], [-1], [1]]
    assert got.confidences[2, 0] == pytest.approx(np.exp(log_softmax(x[2])[0, 2]), rel=1e-13)
    for shape in [(0, 5, 4), (2, 0, 4), (0, 0, 4)]:
        got = ops.ctc_align(np.zeros(shape), np.zeros((shape[0], 3), int), None, [0] * shape[0])
        assert got.scores.tolist() == [0] * shape[0]
        assert got.path.shape == shape[:2]
        assert (got.starts == -1).all()
    only_blank = ops.ctc_align(np.ones((1, 3, 1)), [[]])
    assert only_blank.path.tolist() == [[0, 0, 0]]
    assert only_blank.scores[0] == 0


def test_infeasible(isa):
    x = np.zeros((3, 4, 3))
    labels, lengths = [[1, 1, 1], [1, 2], [2]], [4, 4, 0]
    got = ops.ctc_align(x, labels, lengths)
    assert (got.scores == -INF).tolist() == [True, False, True]
    for n in (0, 2):
        assert (got.path[n] == -1).all()
        assert (got.starts[n] == -1).all()
        assert (got.confidences[n] == 0).all()
    with pytest.raises(ValueError, match="index 0") as error:
        ops.ctc_align(x, labels, lengths, infeasible="raise")
    assert str(error.value) == (
        "ctc_align: logit_lengths must leave a frame for each label and one between equal ones, "
        "got 4 at index 0, where 3 labels need 5"
    )
    for kind, value in (("logits", -INF), ("log_probs", -INF), ("probs", 0.0)):  # long enough, and yet
        x = np.zeros((1, 3, 3))
        x[:, :, 1] = value
        got = ops.ctc_align(x, [[1]], input=kind)
        assert got.scores.tolist() == [-INF]
        assert (got.path == -1).all()
        with pytest.raises(ValueError, match="index 0") as error:
            ops.ctc_align(x, [[1]], input=kind, infeasible="raise")
        assert str(error.value) == (
            "ctc_align: logits must give some alignment a probability above 0, got none for index 0"
        )


def test_classes_that_cannot_be_are_passed_by(isa):
    x = np.zeros((1, 6, 3))
    x[0, :3, 1] = x[0, 2:5, 0] = -INF
    got = ops.ctc_align(x, [[2, 1]])
    assert got.path.tolist() == [[2, 2, 2, 1, 1, 0]]
    assert np.isfinite(got.scores[0])


def test_frames_beyond_the_length_are_not_read():
    x, labels, _, label_lengths = problem(5, 3, 9, 5, 3)
    lengths = [9, 6, 7]
    want = ops.ctc_align(x, labels, lengths, label_lengths)
    x[1, 6:], x[2, 7:] = np.nan, INF
    labels[label_lengths == 1, 1:] = 99
    for a, b in zip(want, ops.ctc_align(x, labels, lengths, label_lengths), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
@pytest.mark.parametrize("value", [np.nan, INF])
def test_nan_and_inf_do_not_spread(kind, value, isa):
    """Wherever they are: in a label's class, in the blank's, in the first frame, in the last, in between."""
    x, labels, _, _ = problem(6, 6, 12, 5, 3)
    x = {"logits": x, "log_probs": log_softmax(x), "probs": np.exp(log_softmax(x))}[kind]
    label_lengths = np.full(6, 3)
    clean = ops.ctc_align(x, labels, None, label_lengths, input=kind)
    x[1, 5, labels[1, 1]] = x[2, 0, 0] = x[3, 11, labels[3, 2]] = x[4, 0, labels[4, 0]] = value
    got = ops.ctc_align(x, labels, None, label_lengths, input=kind)
    assert np.isnan(got.scores).tolist() == [False, True, True, True, True, False]
    for n in range(6):
        if np.isnan(got.scores[n]):
            assert np.isnan(got.confidences[n]).all()
            assert (got.path[n] == -1).all()
            assert (got.starts[n] == -1).all()
        else:
            for a, b in zip(clean, got, strict=True):
                assert np.array_equal(a[n], b[n])


def test_nan_in_any_block_is_found():
    x, labels, _, _ = problem(6, 1, 9000, 5, 150)
    y = log_softmax(x)
    for t in (0, 3000, 4500, 8999):
        for kind, values in (("logits", x), ("log_probs", y)):
            for classes in ([0], [1, 2, 3, 4]):  # of the blank, of every label
                wrong = values.copy()
                wrong[0, t, classes] = np.nan
                got = ops.ctc_align(wrong, labels, input=kind)
                assert np.isnan(got.scores[0])
                assert (got.path == -1).all()  # found before any of it was written


def test_long_inputs_stay_accurate():
    """Hundred thousand frames of large numbers: float32 finds the float64 path."""
    x, labels, _, _ = problem(7, 1, 100_000, 20, 300, np.float32, 30.0)
    got, want = ops.ctc_align(x, labels), ops.ctc_align(x.astype(np.float64), labels)
    assert np.array_equal(got.path, want.path)
    np.testing.assert_allclose(got.scores, want.scores, rtol=1e-6)
    assert collapse(got.path[0].tolist(), 0) == tuple(labels[0])


def test_no_path_beats_the_best_one():
    """The best path is at most as probable as all together, and no smaller than a random one."""
    x, labels, _, _ = problem(11, 8, 60, 9, 20)
    got = ops.ctc_align(x, labels)
    assert (got.scores <= -ops.ctc_loss(x, labels)).all()
    for n in range(8):
        y = log_softmax(x[n])
        for shift in (1, 5):
            other = np.roll(got.path[n], shift)
            if collapse(other.tolist(), 0) == tuple(labels[n]):
                assert y[np.arange(60), other].sum() < got.scores[n]


def test_matches_torchaudio():
    torch = pytest.importorskip("torch")
    try:
        import torchaudio
    except (ImportError, OSError) as reason:  # also one built for another torch
        pytest.skip(f"needs torchaudio: {reason}")
    for seed, (frames, classes, longest) in enumerate([(60, 9, 20), (200, 30, 40), (40, 4, 12)]):
        x, labels, _, _ = problem(seed, 1, frames, classes, longest, np.float32)
        y = log_softmax(x.astype(np.float64)).astype(np.float32)
        path, scores = torchaudio.functional.forced_align(torch.tensor(y), torch.tensor(labels))
        got = ops.ctc_align(y, labels, input="log_probs")
        assert got.path.tolist() == path.tolist()
        assert got.scores[0] == pytest.approx(float(scores.sum()), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 4), frames=st.integers(1, 40),
    classes=st.integers(2, 6), longest=st.integers(0, 20), blank=st.integers(-2, 1), whole=st.booleans(),
)  # fmt: skip
def test_any_batch_matches_the_twin(seed, batch, frames, classes, longest, blank, whole):
    x, *rest = problem(seed, batch, frames, classes, longest, scale=3.0, blank=blank, whole=whole)
    kind = "log_probs" if whole else "logits"
    got = ops.ctc_align(x, *rest, blank=blank, input=kind)
    check(got, x if whole else log_softmax(x), *rest, blank, 1e-10)


X = np.zeros((2, 5, 4), np.float32)
GOOD = {"logits": X, "labels": [[1, 2], [3]], "logit_lengths": [5, 4]}


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"logits": X[0]}, ValueError, "logits must have 3 dimensions, got shape (5, 4)"),
        ({"logits": "x"}, TypeError, "logits must be an array of real numbers, got 'x'"),
        (
            {"logits": np.zeros((2, 5, 0))},
            ValueError,
            "logits must have shape (batch, steps, classes), got (2, 5, 0)",
        ),
        ({"labels": [[1, 2]]}, ValueError, "labels must have shape (2, longest), got (1, 2)"),
        (
            {"labels": [[1, 4], [3]]},
            ValueError,
            "labels must lie in [0, 4) and differ from the blank, 0, got 4 at index (0, 1)",
        ),
        (
            {"labels": [[1, 2], [0]]},
            ValueError,
            "labels must lie in [0, 4) and differ from the blank, 0, got 0 at index (1, 0)",
        ),
        ({"labels": [[1, 2.5], [1]]}, ValueError, "labels must be whole numbers, got 2.5"),
        ({"logit_lengths": [5, 6]}, ValueError, "logit_lengths must lie in [0, 5], got 6 at index 1"),
        ({"logit_lengths": [5, -1]}, ValueError, "logit_lengths must lie in [0, 5], got -1 at index 1"),
        ({"logit_lengths": [5]}, ValueError, "logit_lengths must have shape (2,), got (1,)"),
        (
            {"labels": [[1, 2], [3, 1]], "label_lengths": [2, 3]},
            ValueError,
            "label_lengths must lie in [0, 2], got 3 at index 1",
        ),
        ({"blank": -5}, ValueError, "blank must be a class in [0, 4) or count from the end, got -5"),
        ({"blank": 1.5}, TypeError, "blank must be an integer, got 1.5"),
        ({"input": "odds"}, ValueError, "input must be one of logits, log_probs, probs, got 'odds'"),
        ({"infeasible": "zero"}, ValueError, "infeasible must be one of inf, raise, got 'zero'"),
    ],
)
def test_errors(change, kind, text):
    with pytest.raises(kind) as error:
        ops.ctc_align(**{**GOOD, **change})
    assert str(error.value) == f"ctc_align: {text}"
    ops.ctc_align(**GOOD)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_arguments_give_a_result_or_a_clear_error(data):
    """Wrong labels, lengths, shapes, NaN and inf: an error of this function, or an answer in range."""
    draw = data.draw
    batch, frames, classes, longest = (draw(st.integers(0, 4)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(batch, frames, classes)).astype(draw(st.sampled_from([np.float32, np.float64])))
    for _ in range(draw(st.integers(0, 2))):
        if x.size:
            x.flat[rng.integers(x.size)] = draw(st.sampled_from([np.nan, INF, -INF, 1e30, -1e30]))
    labels = rng.integers(
        draw(st.integers(-1, 1)), max(classes, 2) + draw(st.integers(0, 1)), (batch, longest)
    )
    lengths = rng.integers(0, frames + 1 + draw(st.integers(0, 1)), batch + draw(st.integers(0, 3)) // 3)
    label_lengths = rng.integers(0, longest + 1 + draw(st.integers(0, 1)), batch)
    kind = draw(st.sampled_from(["logits", "log_probs", "probs"]))
    try:
        got = ops.ctc_align(x, labels, lengths, label_lengths, blank=draw(st.integers(-3, 3)), input=kind)
    except ValueError as error:
        refused = str(error)
    else:
        refused = None
    if refused is not None:
        assert refused.startswith("ctc_align: ")
        return
    assert got.path.min(initial=-1) >= -1
    assert got.path.max(initial=-1) < classes
    assert got.ends.max(initial=-1) <= frames
    assert ((got.starts < got.ends) | (got.ends == -1)).all()


def test_other_forms_of_arguments():
    want = ops.ctc_align(**GOOD)
    padded = np.array([[1, 2], [3, 77]], np.int32)
    strided = np.zeros((2, 5, 8), np.float32)[:, :, ::2]
    strided.flags.writeable = False
    for x in (X, strided, X.astype(int)):
        for labels in (padded, padded.astype(np.float32), np.asfortranarray(padded)):
            got = ops.ctc_align(x, labels, np.array([[5], [4]], np.int32), [2, 1])
            for a, b in zip(want, got, strict=True):
                assert np.array_equal(a, b)
