"""CTC beside brute force, a float64 twin in logarithms, and TensorFlow."""

import itertools

import numpy as np
import pytest
from ctc_batches import expected, problem
from gradcheck import check_gradients
from reference import log_softmax
from reference_labels import ctc_loss as twin

import fastseq
from fastseq import ops

INF = float("inf")


def collapse(path, blank):
    return [c for i, c in enumerate(path) if c != blank and (i == 0 or c != path[i - 1])]


def brute_force(log_probs, label, blank=0):
    """Minus the logarithm of the sum over all paths of one sequence (frames, classes)."""
    frames, classes = log_probs.shape
    total = -INF
    for path in itertools.product(range(classes), repeat=frames):
        if collapse(path, blank) == list(label):
            total = np.logaddexp(total, sum(log_probs[t, c] for t, c in enumerate(path)))
    return -total


def test_all_tiny_cases_by_brute_force(isa):
    rng = np.random.default_rng(0)
    for classes, frames in [(2, 4), (3, 4), (4, 3), (3, 6), (4, 5)]:
        blank = int(rng.integers(classes))
        letters = [c for c in range(classes) if c != blank]
        labels = [label for count in range(frames + 1) for label in itertools.product(letters, repeat=count)]
        if len(labels) * classes**frames > 60_000:
            labels = [labels[i] for i in rng.choice(len(labels), 60_000 // classes**frames, replace=False)]
        x = rng.normal(size=(len(labels), frames, classes))
        got = ops.ctc_loss(x, labels, blank=blank)
        want = [brute_force(log_softmax(x[n]), label, blank) for n, label in enumerate(labels)]
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matches_the_twin(dtype, isa):
    shapes = [(5, 6, 4, 3), (3, 40, 5, 17), (4, 33, 28, 16), (2, 70, 9, 31), (6, 20, 3, 9), (1, 9, 2, 4)]
    for seed, (batch, frames, classes, longest) in enumerate(shapes):
        for blank in (0, -1, classes // 2):
            given_ = problem(seed, batch, frames, classes, longest, dtype, 2.0, blank)
            want, want_gradient = expected(*given_, blank)
            got, gradient = ops.ctc_loss_and_gradient(*given_, blank=blank)
            assert got.dtype == gradient.dtype == dtype
            tolerance = 2e-5 if dtype == np.float32 else 1e-11
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(gradient, want_gradient, rtol=0, atol=tolerance)
            assert np.array_equal(ops.ctc_loss(*given_, blank=blank), got)


@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
def test_gradient_is_the_slope_of_the_loss(kind, isa):
    """Central differences of every input by itself, whether or not it sums to one."""
    x, labels, lengths, label_lengths = problem(3, 4, 7, 4, 3)
    lengths, label_lengths = np.array([7, 6, 7, 3]), np.array([3, 2, 0, 1])
    x = {"logits": x, "log_probs": log_softmax(x) + 0.1, "probs": np.exp(log_softmax(x))}[kind]
    _, gradient = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths, input=kind)
    h = 1e-6
    for index in np.ndindex(x.shape):
        changed = x.copy()
        changed[index] += h
        above = ops.ctc_loss(changed, labels, lengths, label_lengths, input=kind)
        changed[index] -= 2 * h
        below = ops.ctc_loss(changed, labels, lengths, label_lengths, input=kind)
        slope = (above - below).sum() / (2 * h)
        assert abs(slope - gradient[index]) < 1e-7 * max(1, abs(slope))


def test_probability_zero_has_its_gradient():
    """Raising a probability of 0 opens new ways: the slope there is finite, and no division finds it."""
    p = np.array([[[0.5, 0.5, 0.0], [0.4, 0.0, 0.6], [0.3, 0.7, 0.0]]])
    losses, gradient = ops.ctc_loss_and_gradient(p, [[1]], input="probs")
    h = 1e-7
    for index in np.ndindex(p.shape):
        changed = p.copy()
        changed[index] += h
        slope = (ops.ctc_loss(changed, [[1]], input="probs") - losses)[0] / h
        assert abs(slope - gradient[index]) < 1e-5
    assert gradient[0, 1, 1] < 0


def test_closed_forms(isa):
    uniform = np.zeros((1, 3, 3))
    assert ops.ctc_loss(uniform[:, :2], [[1]])[0] == pytest.approx(np.log(3), rel=1e-14)
    assert ops.ctc_loss(uniform[:, :2], [[1, 1]])[0] == INF
    assert ops.ctc_loss(uniform, [[1, 1]])[0] == pytest.approx(3 * np.log(3), rel=1e-14)
    x = np.random.default_rng(0).normal(size=(1, 4, 6))
    one_to_one = [[2, 5, 1, 3]]  # as many labels as frames: one alignment
    losses, gradient = ops.ctc_loss_and_gradient(x, one_to_one)
    log_probs = log_softmax(x[0])
    assert losses[0] == pytest.approx(-sum(log_probs[t, c] for t, c in enumerate(one_to_one[0])), rel=1e-13)
    want = np.exp(log_probs)
    want[range(4), one_to_one[0]] -= 1
    np.testing.assert_allclose(gradient[0], want, atol=1e-14)


def test_recorded_numbers():
    """What torch gives for these inputs (log_softmax before it)."""
    x = np.random.RandomState(0).randn(5, 6, 4).astype(np.float32)
    labels = [[1, 2], [1, 1, 1, 1], [], [1, 2, 3], [2, 3]]
    losses, gradient = ops.ctc_loss_and_gradient(x, labels, [6, 6, 6, 0, 4])
    np.testing.assert_allclose(losses, [4.2973, INF, 10.4823, INF, 5.3836], atol=5e-5)
    np.testing.assert_allclose(abs(gradient).max(axis=(1, 2)), [0.593, 0, 0.931, 0, 0.829], atol=5e-4)


def test_matches_tensorflow():
    tf = pytest.importorskip("tensorflow")
    for seed, (batch, frames, classes, longest) in enumerate([(8, 30, 28, 12), (4, 60, 12, 20)]):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(batch, frames, classes)).astype(np.float32)
        labels = rng.integers(1, classes, (batch, longest))
        lengths = rng.integers(2 * longest + 1, frames + 1, batch)
        label_lengths = rng.integers(0, longest + 1, batch)
        logits = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            want = tf.nn.ctc_loss(
                labels.astype(np.int32),
                logits,
                label_lengths,
                lengths,
                logits_time_major=False,
                blank_index=0,
            )
        losses, gradient = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths)
        np.testing.assert_allclose(losses, want, rtol=1e-5)
        np.testing.assert_allclose(gradient, tape.gradient(want, logits), atol=1e-5)


def test_infeasible():
    x = np.zeros((3, 4, 3))
    labels, lengths = [[1, 1, 1], [1, 2], [2]], [4, 4, 0]
    losses, gradient = ops.ctc_loss_and_gradient(x, labels, lengths)
    assert losses[0] == losses[2] == INF
    assert np.isfinite(losses[1])
    assert not gradient[0].any()
    assert gradient[1].any()
    assert not gradient[2].any()
    zero, same = ops.ctc_loss_and_gradient(x, labels, lengths, infeasible="zero")
    assert zero.tolist() == [0, losses[1], 0]
    assert np.array_equal(gradient, same)
    with pytest.raises(ValueError, match="index 0") as error:
        ops.ctc_loss(x, labels, lengths, infeasible="raise")
    assert str(error.value) == (
        "ctc_loss: logit_lengths must leave a frame for each label and one between equal ones, "
        "got 4 at index 0, where 3 labels need 5"
    )
    # long enough, and yet of probability 0
    for kind, value in (("logits", -INF), ("log_probs", -INF), ("probs", 0.0)):
        x = np.zeros((1, 3, 3))
        x[:, :, 1] = value
        losses, gradient = ops.ctc_loss_and_gradient(x, [[1]], input=kind)
        assert losses.tolist() == [INF]
        assert not gradient.any()
        with pytest.raises(ValueError, match="logits must give some alignment a probability above 0"):
            ops.ctc_loss(x, [[1]], input=kind, infeasible="raise")


def test_edges():
    x = np.random.default_rng(1).normal(size=(2, 5, 4))
    losses, gradient = ops.ctc_loss_and_gradient(x, [[], []], [0, 5])
    assert losses[0] == 0
    assert losses[1] == pytest.approx(-log_softmax(x[1])[:, 0].sum(), rel=1e-13)
    assert not gradient[0].any()
    for shape in [(0, 5, 4), (2, 0, 4), (0, 0, 4)]:
        losses, gradient = ops.ctc_loss_and_gradient(
            np.zeros(shape), np.zeros((shape[0], 3), int), None, [0] * shape[0]
        )
        assert losses.tolist() == [0] * shape[0]
        assert gradient.shape == shape
    only_blank = ops.ctc_loss_and_gradient(np.ones((1, 3, 1)), [[]])
    assert only_blank[0][0] == 0
    assert not only_blank[1].any()


def test_frames_beyond_the_length_are_not_read():
    x, labels, _, label_lengths = problem(5, 3, 9, 5, 3)
    lengths = [9, 6, 7]
    want = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths)
    x[1, 6:], x[2, 7:] = np.nan, INF
    labels[label_lengths == 1, 1:] = 99
    for a, b in zip(want, ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths), strict=True):
        assert np.array_equal(a, b)


def test_nan_and_inf_frames_do_not_spread():
    x, labels, lengths, label_lengths = problem(6, 4, 8, 5, 3)
    lengths[:], label_lengths[:] = 8, 2
    clean = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths)
    x[1, 3, 2], x[2, 0, 0] = np.nan, INF
    losses, gradient = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths)
    assert np.isnan(losses).tolist() == [False, True, True, False]
    assert np.array_equal(losses[[0, 3]], clean[0][[0, 3]])
    assert np.array_equal(gradient[[0, 3]], clean[1][[0, 3]])


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_long_inputs_stay_accurate(scale):
    """float32 beside float64, whose loss is beside the twin's at a length it can bear."""
    x, labels, _, _ = problem(7, 2, 10_000, 20, 400, np.float32, scale)
    losses, gradient = ops.ctc_loss_and_gradient(x, labels)
    want, want_gradient = ops.ctc_loss_and_gradient(x.astype(np.float64), labels)
    np.testing.assert_allclose(losses, want, rtol=1e-5)
    limit = 1e-5 if scale == 1 else 1e-5 * scale  # rounding of x - max(x) alone changes probabilities so much
    assert abs(gradient - want_gradient).max() < limit
    assert abs(want_gradient.sum(axis=-1)).max() < 1e-9
    short = x[:1, :600].astype(np.float64), labels[:1, :40]
    assert ops.ctc_loss(*short)[0] == pytest.approx(twin(log_softmax(short[0][0]), short[1][0])[0], rel=1e-11)


def test_a_shift_of_all_logits_changes_nothing(isa):
    """Also where exp(-shift) of all frames together is far beyond any number."""
    x, labels, _, _ = problem(13, 1, 2000, 5, 30)
    x = np.rint(4 * x) / 4  # exact when shifted
    want = ops.ctc_loss_and_gradient(x, labels)
    for shift in (2e5, 1e9, -1e9):
        for a, b in zip(want, ops.ctc_loss_and_gradient(x - shift, labels), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
def test_same_bits_on_any_number_of_threads(kind, isa):
    """Members share sequences, or, where those are fewer, the frames and the two ways of each."""
    before = fastseq.get_num_threads()
    try:
        for batch, frames, classes, longest in [(37, 50, 20, 12), (1, 700, 30, 60), (2, 500, 300, 40)]:
            x, labels, _, label_lengths = problem(8, batch, frames, classes, longest, np.float32, 1, -1)
            x = {"logits": x, "log_probs": log_softmax(x), "probs": np.exp(log_softmax(x))}[kind]
            if batch == 2:
                x[1, 3] = {"logits": -INF, "log_probs": -INF, "probs": 0}[kind]  # no alignment at all
                x[1, 3, 0] = np.nan if kind == "logits" else x[1, 3, 0]
            results = []
            for threads in (1, 2, 3):
                fastseq.set_num_threads(threads)
                results.append(
                    ops.ctc_loss_and_gradient(x, labels, None, label_lengths, input=kind, blank=-1)
                )
            for other in results[1:]:
                assert np.array_equal(results[0][0], other[0], equal_nan=True)
                assert np.array_equal(results[0][1], other[1], equal_nan=True)
            assert np.isfinite(results[0][0][0])
    finally:
        fastseq.set_num_threads(before)


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
            {"labels": np.zeros((2, 2, 2), int)},
            ValueError,
            "labels must have 2 dimensions, got shape (2, 2, 2)",
        ),
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
        ({"labels": [[1, 2], [-1]]}, ValueError, "got -1 at index (1, 0)"),
        ({"labels": [[1, 2.5], [1]]}, ValueError, "labels must be whole numbers, got 2.5"),
        ({"logit_lengths": [5, 6]}, ValueError, "logit_lengths must lie in [0, 5], got 6 at index 1"),
        ({"logit_lengths": [5, -1]}, ValueError, "logit_lengths must lie in [0, 5], got -1 at index 1"),
        ({"logit_lengths": [5]}, ValueError, "logit_lengths must have shape (2,), got (1,)"),
        (
            {"labels": [[1, 2], [3, 1]], "label_lengths": [2, 3]},
            ValueError,
            "label_lengths must lie in [0, 2], got 3 at index 1",
        ),
        ({"blank": 4}, ValueError, "blank must be a class in [0, 4) or count from the end, got 4"),
        ({"blank": 1.5}, TypeError, "blank must be an integer, got 1.5"),
        ({"input": "odds"}, ValueError, "input must be one of logits, log_probs, probs, got 'odds'"),
        ({"infeasible": None}, ValueError, "infeasible must be one of inf, zero, raise, got None"),
    ],
)
def test_errors(change, kind, text):
    with pytest.raises(kind) as error:
        ops.ctc_loss(**{**GOOD, **change})
    assert text in str(error.value)
    assert str(error.value).startswith("ctc_loss: ")
    ops.ctc_loss(**GOOD)


def test_other_forms_of_arguments():
    want = ops.ctc_loss(**GOOD)
    padded = np.array([[1, 2], [3, 77]], np.int32)
    for labels in (padded, padded.astype(np.float32), np.asfortranarray(padded)):
        got = ops.ctc_loss(X, labels, np.array([[5], [4]], np.int32), [2, 1])
        assert np.array_equal(got, want)
    strided = np.zeros((2, 5, 8), np.float32)[:, :, ::2]
    strided.flags.writeable = False
    assert np.array_equal(ops.ctc_loss(strided, [[1, 2], [3]], [5, 4]), want)
    assert ops.ctc_loss(X.astype(int), [[1, 2], [3]]).dtype == np.float32


# --- weights, skipped steps, Symbols --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logits", "log_probs", "probs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_multiply_losses_and_gradients(kind, dtype, isa):
    for batch, frames in ((5, 12), (1, 400)):  # sequences shared out, and one shared within
        x, labels, _, label_lengths = problem(9, batch, frames, 5, 4, dtype)
        x = {"logits": x, "log_probs": log_softmax(x), "probs": np.exp(log_softmax(x))}[kind]
        weights = np.linspace(0.25, 3, batch)
        losses, gradient = ops.ctc_loss_and_gradient(x, labels, None, label_lengths, input=kind)
        got, dx = ops.ctc_loss_and_gradient(x, labels, None, label_lengths, weights=weights, input=kind)
        tolerance = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(got, losses * weights, rtol=tolerance)
        np.testing.assert_allclose(dx, gradient * weights[:, None, None], rtol=tolerance, atol=tolerance)


def test_weight_0_hides_a_sequence():
    x = np.zeros((3, 4, 3))
    x[2] = np.nan
    losses, gradient = ops.ctc_loss_and_gradient(x, [[1], [1, 1, 1], [1]], weights=[1, 0, 0])
    assert losses[0] > 0
    assert losses[1:].tolist() == [0, 0]
    assert not gradient[1:].any()


@pytest.mark.parametrize("skip", [0, 2, 7, 9])
def test_skipped_steps_are_as_if_cut_off(skip, isa):
    x, labels, _, label_lengths = problem(10, 3, 9, 5, 2)
    for lengths in (None, np.array([9, 4, 0]).clip(0, 9 - skip)):
        want = ops.ctc_loss_and_gradient(x[:, skip:], labels, lengths, label_lengths)
        x[:, :skip] = np.nan
        losses, gradient = ops.ctc_loss_and_gradient(x, labels, lengths, label_lengths, skip_steps=skip)
        assert np.array_equal(losses, want[0])
        assert np.array_equal(gradient[:, skip:], want[1])
        assert not gradient[:, :skip].any()


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"skip_steps": 6}, ValueError, "skip_steps must lie in [0, 5], got 6"),
        ({"skip_steps": -1}, ValueError, "skip_steps must be at least 0, got -1"),
        ({"skip_steps": 2}, ValueError, "logit_lengths must lie in [0, 3], got 5 at index 0"),
        ({"weights": [1.0]}, ValueError, "weights must have shape (2,), got (1,)"),
        ({"weights": ["a", "b"]}, TypeError, "weights must be an array of real numbers"),
    ],
)
def test_errors_of_options(change, kind, text):
    with pytest.raises(kind) as error:
        ops.ctc_loss(**{**GOOD, **change})
    assert str(error.value).startswith(f"ctc_loss: {text}")


def test_forward_and_backward():
    x, labels, lengths, label_lengths = problem(11, 4, 9, 5, 3)
    lengths[:], label_lengths[:] = [9, 8, 7, 9], [3, 0, 2, 1]
    check_gradients(
        ops.ctc_loss_forward, ops.ctc_loss_backward, {"logits": x},
        labels=labels, logit_lengths=lengths, label_lengths=label_lengths, weights=np.ones(4) * 0.5,
    )  # fmt: skip
    losses, saved = ops.ctc_loss_forward(x, labels, lengths, label_lengths)
    assert np.array_equal(losses, ops.ctc_loss(x, labels, lengths, label_lengths))
    assert ops.ctc_loss_forward(x, labels, lengths, label_lengths, training=False)[1] is None
    with pytest.raises(ValueError) as error:
        ops.ctc_loss_backward(saved, np.ones(3), keep=True)
    assert str(error.value) == "ctc_loss_backward: dlosses must have shape (4,), got (3,)"
    ops.ctc_loss_backward(saved, losses)
    with pytest.raises(RuntimeError, match="ctc_loss_backward: saved must be used once"):
        ops.ctc_loss_backward(saved, losses)


def test_in_a_graph():
    """A model whose output is the loss: value and weights' gradients beside the same by hand."""
    frames = fastseq.Input((7, 3))
    labels = fastseq.Input((2,), dtype="int64")
    logits = fastseq.layers.Dense(4, name="d")(frames)
    losses = ops.ctc_loss(logits, labels, skip_steps=1)
    assert losses.shape == (None,)
    model = fastseq.Model([frames, labels], ops.reshape(losses, (1,)))
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(5, 7, 3)).astype(np.float32), rng.integers(1, 4, (5, 2))
    kernel, bias = model.get_layer("d").get_weights()
    want, gradient = ops.ctc_loss_and_gradient(x @ kernel + bias, y, skip_steps=1)
    np.testing.assert_allclose(model.predict([x, y], verbose=0)[:, 0], want, rtol=1e-5)
    model.compile(optimizer=fastseq.optimizers.SGD(1.0), loss="mean_absolute_error")
    model.train_on_batch([x, y], np.zeros((5, 1)))  # the mean of the losses, which are above 0
    changed = model.get_layer("d").get_weights()
    dkernel = np.tensordot(x, gradient, ((0, 1), (0, 1)))
    np.testing.assert_allclose(kernel - changed[0], dkernel / 5, atol=1e-5)
    np.testing.assert_allclose(bias - changed[1], gradient.sum((0, 1)) / 5, atol=1e-5)
