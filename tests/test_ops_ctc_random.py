"""CTC of any batch and of any arguments: what the twin says, or a clear error."""

import numpy as np
import pytest
from ctc_batches import expected, guarded, problem, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import log_softmax
from reference_labels import ctc_loss as twin

from fastseq import ops

INF = float("inf")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 4), frames=st.integers(1, 12),
    classes=st.integers(2, 6), longest=st.integers(0, 6), blank=st.integers(-2, 1),
)  # fmt: skip
def test_any_batch_matches_the_twin(seed, batch, frames, classes, longest, blank):
    arguments = problem(seed, batch, frames, classes, longest, scale=3.0, blank=blank)
    want, want_gradient = expected(*arguments, blank)
    losses, gradient = ops.ctc_loss_and_gradient(*arguments, blank=blank)
    np.testing.assert_allclose(losses, want, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-10)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_arguments_give_a_result_or_a_clear_error(data):
    """What is out of range is refused, and nothing else; NaN and inf stay in their sequence, and nothing
    beside the arrays, or beyond the lengths, is read."""
    draw = lambda most, low=0: data.draw(st.integers(low, most))  # noqa: E731
    wrong = draw(1)
    batch, frames, classes, longest = draw(4, 1), draw(5), draw(4, 1 - wrong), draw(4)
    blank, skip = draw(classes - 1 + wrong, -classes - wrong), draw(2 if wrong else min(2, frames))
    kind = data.draw(st.sampled_from(["logits", "log_probs", "probs"]))
    rng = np.random.default_rng(draw(2**32 - 1))
    x = rng.normal(size=(batch, frames, classes)).astype(data.draw(st.sampled_from([np.float32, np.float64])))
    if classes and kind != "logits":
        x = log_softmax(x).astype(x.dtype) if kind == "log_probs" else np.exp(log_softmax(x)).astype(x.dtype)
    spoilt(draw, rng, x, [np.nan, INF, -INF, -1e30, 0.0])
    labels = rng.integers(0, max(classes - 1, 1), (batch, longest))
    labels += labels >= blank % max(classes, 1)
    lengths = rng.integers(0, max(frames - skip, 0) + 1, batch)
    label_lengths = rng.integers(0, longest + 1, batch)
    if wrong:
        faults = [-1, classes, blank, 1 << 40], [-1, frames - skip + 1, 1 << 62], [-1, longest + 1, 1 << 62]
        which = draw(2)
        spoilt(draw, rng, (labels, lengths, label_lengths)[which], faults[which])
    counted = np.arange(longest) < label_lengths[:, None]
    sound = classes > 0 and -classes <= blank < classes and skip <= frames
    sound = sound and ((lengths >= 0) & (lengths <= frames - skip)).all()
    sound = sound and ((label_lengths >= 0) & (label_lengths <= longest)).all()
    sound = sound and not ((labels < 0) | (labels >= classes) | (labels == blank % classes))[counted].any()
    given_ = guarded(x, np.nan), guarded(labels, 1 << 40), guarded(lengths, -1), guarded(label_lengths, -1)
    options = {"blank": blank, "skip_steps": skip, "input": kind}
    if not sound:
        with pytest.raises(ValueError, match=r"^ctc_loss_and_gradient: "):
            ops.ctc_loss_and_gradient(*given_, **options)
        return
    losses, gradient = ops.ctc_loss_and_gradient(*given_, **options)
    for n, (steps, count) in enumerate(zip(lengths, label_lengths, strict=True)):
        used, label = x[n, skip : skip + steps].astype(np.float64), labels[n, :count]
        assert not gradient[n, :skip].any()
        assert not gradient[n, skip + steps :].any()
        if kind == "logits":
            with np.errstate(invalid="ignore"):
                log_probs = log_softmax(used)
            broken = np.isnan(log_probs).any()
        else:  # a class that is not in the label is not read
            read = np.isin(np.arange(classes), [blank % classes, *label])
            broken = (np.isnan(used) | (used == INF))[:, read].any()
            with np.errstate(divide="ignore"):
                log_probs = np.where(read, used if kind == "log_probs" else np.log(np.maximum(used, 0)), -INF)
        repeats = sum(a == b for a, b in zip(label[1:], label[:-1], strict=True))
        if steps < count + repeats:
            assert losses[n] == INF
            assert not gradient[n].any()
        elif broken:
            assert np.isnan(losses[n]) or kind != "logits"  # there, a class may be of no use in a frame
        else:
            want, posterior = twin(np.where(log_probs < -1e29, -INF, log_probs), label, blank % classes)
            np.testing.assert_allclose(losses[n], want, rtol=1e-5, atol=1e-5)
            assert np.isfinite(gradient[n]).all()
            if kind == "logits" and want < INF:
                got = gradient[n, skip : skip + steps]
                np.testing.assert_allclose(got, np.exp(log_probs) - posterior, atol=1e-5)
