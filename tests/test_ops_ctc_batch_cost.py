"""CTC as Keras's backend defines it, beside Keras."""

import numpy as np
import pytest
import reference
import reference_labels
from ctc_batches import guarded, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq
from fastseq import ops


def probabilities(seed, batch, steps, classes, dtype=np.float32):
    x = np.random.default_rng(seed).normal(size=(batch, steps, classes)) * 2
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(dtype)


def keras_cost(labels, p, lengths, label_lengths):
    tf = pytest.importorskip("tensorflow")
    from keras.src.legacy import backend as keras_backend

    p = tf.constant(p)
    with tf.GradientTape() as tape:
        tape.watch(p)
        cost = keras_backend.ctc_batch_cost(
            tf.constant(labels), p, tf.constant(lengths[:, None]), tf.constant(label_lengths[:, None])
        )
    return cost.numpy(), tape.gradient(cost, p).numpy()


def problem(seed, batch=4, steps=20, classes=7, longest=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, (batch, longest)).astype(np.float32)  # as in OCR
    label_lengths = rng.integers(1, longest + 1, batch)
    lengths = rng.integers(2 * longest, steps + 1, batch)
    for row, count in zip(labels, label_lengths, strict=True):
        row[count:] = -1
    return labels, probabilities(seed, batch, steps, classes), lengths, label_lengths


def test_matches_keras():
    for seed in range(5):
        labels, p, lengths, label_lengths = problem(seed)
        if seed == 4:  # where 1e-7 shows: probabilities of 0
            p[:, ::2, 1:] = 0
            p[:, ::2, 0] = 1
        want, gradient = keras_cost(labels, p, lengths, label_lengths)
        cost = ops.ctc_batch_cost(labels, p, lengths[:, None], label_lengths[:, None])
        assert cost.shape == (4, 1)
        np.testing.assert_allclose(cost, want, rtol=2e-5)
        cost, saved = ops.ctc.CTC_BATCH_COST.forward(labels, p, lengths, label_lengths, training=True)
        got = ops.ctc.CTC_BATCH_COST.backward(saved, np.ones_like(cost)).y_pred
        np.testing.assert_allclose(got, gradient, rtol=2e-4, atol=1e-4 * abs(gradient).max() / 10)


def test_is_not_the_loss_of_the_probabilities():
    """1e-7 added and normalised again: another number than that of the probabilities themselves."""
    p = np.array([[[1.0, 0.0]] * 3])
    cost = ops.ctc_batch_cost([[0]], p, [3], [1])[0, 0]
    q = np.array([1 + 1e-7, 1e-7]) / (1 + 2e-7)
    ways = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    want = -np.log(sum(np.prod([q[0] if letter else q[1] for letter in way]) for way in ways))
    assert cost == pytest.approx(want, rel=1e-12)
    assert cost != ops.ctc_loss(p, [[0]], blank=-1, input="probs")[0]


def test_gradient_in_float64():
    labels, p, lengths, label_lengths = problem(7)
    p = p.astype(np.float64)
    op = ops.ctc.CTC_BATCH_COST
    cost, saved = op.forward(labels, p, lengths, label_lengths, training=True)
    gradient = op.backward(saved, np.ones_like(cost)).y_pred
    direction = np.random.default_rng(0).normal(size=p.shape) * p
    h = 1e-6
    above, below = (ops.ctc_batch_cost(labels, p + d * direction, lengths, label_lengths) for d in (h, -h))
    slope = ((above - below) / (2 * h)).sum()
    assert abs((gradient * direction).sum() - slope) < 1e-7 * abs(slope)


def test_labels_end_at_the_first_blank():
    p = probabilities(0, 3, 6, 4, np.float64)
    labels = [[3, -1, -1], [1, 3, 3], [1, 2, 0]]  # the first is the OCR program's empty image
    cost = ops.ctc_batch_cost(labels, p, [6, 6, 6], [1, 3, 2])
    q = np.log(p + 1e-7)
    want = ops.ctc_loss(q, [[], [1], [1, 2]], blank=-1)
    np.testing.assert_allclose(cost[:, 0], want, rtol=1e-12)
    assert cost[0, 0] == pytest.approx(-np.log((p[0, :, 3] + 1e-7) / (1 + 4e-7)).sum(), rel=1e-12)
    with pytest.raises(ValueError) as error:
        ops.ctc_batch_cost([[3, -1, -1], [1, 3, 2], [1, 2, 0]], p, [6, 6, 6], [1, 3, 2])
    text = "y_true must have no label after a blank, got 2 at index (1, 2)"
    assert str(error.value) == f"ctc_batch_cost: {text}"


def test_no_alignment():
    p = probabilities(1, 2, 3, 4)
    op = ops.ctc.CTC_BATCH_COST
    cost, saved = op.forward([[1, 1, 1], [1, 2, 0]], p, [3, 3], [3, 3], training=True)
    assert np.isinf(cost[:, 0]).tolist() == [True, False]
    gradient = op.backward(saved, np.ones((2, 1))).y_pred
    assert not gradient[0].any()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([[1, 4]], [[2]], [[2]]), "labels must lie in [0, 4) and differ from the blank, 3, "
         "got 4 at index (0, 1)"),
        (([[1, 2]], [[6]], [[2]]), "logit_lengths must lie in [0, 5], got 6 at index 0"),
        (([[1, 2]], [[5]], [[3]]), "label_lengths must lie in [0, 2], got 3 at index 0"),
        (([[1, 2]], [[5]], [[2], [2]]), "label_lengths must have shape (1,), got (2,)"),
        (([1, 2], [[5]], [[2]]), "y_true must have 2 dimensions, got shape (2,)"),
    ],
)  # fmt: skip
def test_errors(arguments, text):
    labels, lengths, label_lengths = arguments
    with pytest.raises(ValueError) as error:
        ops.ctc_batch_cost(labels, probabilities(0, 1, 5, 4), lengths, label_lengths)
    assert str(error.value) == f"ctc_batch_cost: {text}"


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(0, 4), steps=st.integers(0, 9),
    classes=st.integers(1, 5), longest=st.integers(0, 5), scale=st.sampled_from([1.0, 20.0]),
    dtype=st.sampled_from([np.float32, np.float64]), data=st.data(),
)  # fmt: skip
def test_any_batch_matches_the_twin(seed, batch, steps, classes, longest, scale, dtype, data):
    """Rows of labels end where they are said to, or at a blank before that; lengths come in either shape.

    Whatever is out of range, and nothing else, is refused; NaN stays in its row.
    """
    draw = lambda most, low=0: data.draw(st.integers(low, most))  # noqa: E731
    rng = np.random.default_rng(seed)
    p = reference.softmax(scale * rng.normal(size=(batch, steps, classes))).astype(dtype)
    spoilt(draw, rng, p, [np.nan, 0.0, -1.0])
    labels = rng.integers(0, max(classes - 1, 1), (batch, longest))
    lengths, given_ = rng.integers(0, steps + 1, batch), rng.integers(0, longest + 1, batch)
    counts = np.array([rng.integers(0, n + 1) for n in given_], int)
    if classes == 1:
        counts[:] = 0
    for row, count, most in zip(labels, counts, given_, strict=True):
        row[count:most] = classes - 1
        row[most:] = 1 << 40
    sound = True
    if draw(1):
        faults = [-1, classes, classes - 1, 1 << 40], [-1, steps + 1], [-1, longest + 1]
        which = draw(2)
        spoilt(draw, rng, (labels, lengths, given_)[which], faults[which])
        sound = ((lengths >= 0) & (lengths <= steps) & (given_ >= 0) & (given_ <= longest)).all()
        for n, row in enumerate(labels):
            row = row[: max(given_[n], 0)].tolist()
            counts[n] = row.index(classes - 1) if classes - 1 in row else len(row)
            sound = sound and all(0 <= c < classes - 1 for c in row[: counts[n]])
            sound = sound and all(c == classes - 1 for c in row[counts[n] :])
    column = data.draw(st.booleans())
    lengths_, given_ = (each[:, None] if column else each for each in (lengths, given_))
    arguments = guarded(labels, 1 << 40), guarded(p, np.nan), guarded(lengths_, -1), guarded(given_, -1)
    if not sound:
        with pytest.raises(ValueError, match=r"^ctc_batch_cost: "):
            ops.ctc_batch_cost(*arguments)
        return
    op = ops.ctc.CTC_BATCH_COST
    cost, saved = op.forward(*arguments, training=True)
    assert np.array_equal(cost, ops.ctc_batch_cost(*arguments), equal_nan=True)
    assert cost.shape == (batch, 1)
    assert cost.dtype == dtype
    dcost = rng.normal(size=(batch, 1)).astype(dtype)
    gradient = op.backward(saved, dcost).y_pred
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    for n, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        shifted = p[n, :length].astype(np.float64) + dtype(1e-7)
        with np.errstate(invalid="ignore"):
            log_probs = reference.log_softmax(np.log(shifted))
        label, fits = labels[n, :count], count + (np.diff(labels[n, :count]) == 0).sum() <= length
        assert not gradient[n, length:].any()
        if not fits:
            assert cost[n, 0] == np.inf
            assert not gradient[n].any()
        elif np.isnan(log_probs).any():
            assert np.isnan(cost[n, 0])
        else:
            want, posterior = reference_labels.ctc_loss(log_probs, label, classes - 1)
            assert cost[n, 0] == pytest.approx(want, rel=tolerance, abs=tolerance)
            slope = dcost[n] * (np.exp(log_probs) - posterior)
            np.testing.assert_allclose(gradient[n, :length] * shifted, slope, atol=5 * tolerance)


def test_as_the_ocr_program_joins_it():
    """Probabilities cut by two steps, labels and lengths as inputs: trained through the graph."""
    frames = fastseq.Input((9, 3))
    labels = fastseq.Input((4,), dtype="float32")
    input_length, label_length = fastseq.Input((1,), dtype="int64"), fastseq.Input((1,), dtype="int64")
    y_pred = fastseq.layers.Dense(5, activation="softmax", name="d")(frames)
    cost = ops.ctc_batch_cost(labels, y_pred[:, 2:, :], input_length, label_length)
    assert cost.shape == (None, 1)
    model = fastseq.Model([frames, labels, input_length, label_length], cost)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 9, 3)).astype(np.float32)
    y = rng.integers(0, 4, (6, 4)).astype(np.float32)
    y[-1] = [4, -1, -1, -1]  # an empty image
    given = [x, y, np.full((6, 1), 7), np.array([[2]] * 5 + [[1]])]
    model.compile(optimizer=fastseq.optimizers.Adam(0.05), loss="mean_absolute_error")
    first = model.evaluate(given, np.zeros((6, 1)), verbose=0)
    model.fit(given, np.zeros((6, 1)), epochs=60, verbose=0)
    assert model.evaluate(given, np.zeros((6, 1)), verbose=0) < first / 2
