"""losses.CTC of any batch, in any form of labels, lengths, masks and weights: what the paper's sum gives."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import reference
import reference_labels
from ctc_batches import guarded
from hypothesis import given, settings
from hypothesis import strategies as st

import fastseq
from fastseq import layers, losses

INF = float("inf")
HIDDEN = 99.0  # what Masking leaves out
GARBAGE = 1 << 40  # a label that no class has


@dataclass
class Case:
    """A batch, how it is given to the loss, and what counts of it."""

    logits: np.ndarray  # (rows, steps, classes) float64
    labels: list  # one array for each row
    kept: np.ndarray  # (rows, steps) bool: the steps that count
    mask: np.ndarray | None  # (rows, steps) bool, that the predictions come with
    y: object  # the targets, as given
    weights: np.ndarray | None  # as given
    options: dict = field(default_factory=dict)

    @property
    def blank(self):
        return self.options["blank"] % self.logits.shape[-1]

    @property
    def factors(self):
        """What each row's loss is multiplied with."""
        rows = len(self.logits)
        each = np.ones(rows) if self.weights is None else self.weights.astype(np.float64)
        all_weights = each.sum()
        if self.options["normalize"] == "label_length":
            each = each / np.maximum([len(label) for label in self.labels], 1)
        reduction = self.options["reduction"]
        if reduction is None:
            reduction = "sum" if self.options["normalize"] == "none" else "mean"
        if reduction == "mean":
            return each / rows
        if reduction == "mean_with_sample_weight":
            return each / all_weights if all_weights else each * 0
        return each

    def wanted(self):
        """(weighted losses of the rows, the gradient of their sum by the logits)."""
        value, gradient = np.zeros(len(self.logits)), np.zeros(self.logits.shape)
        for n, factor in enumerate(self.factors):
            frames = np.flatnonzero(self.kept[n])
            log_probs = reference.log_softmax(self.logits[n, frames])
            loss, posterior = reference_labels.ctc_loss(log_probs, self.labels[n], self.blank)
            if loss == INF:
                value[n] = INF if factor and self.options["infeasible"] == "inf" else 0
                continue
            value[n] = factor * loss
            gradient[n, frames] = factor * (np.exp(log_probs) - posterior)
        return value, gradient


@st.composite
def cases(draw, masked=False):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, steps, classes = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(2, 5))
    blank, skip = draw(st.integers(-classes, classes - 1)), draw(st.integers(0, min(steps, 3)))
    others = np.delete(np.arange(classes), blank)
    labels = [rng.choice(others, rng.integers(0, 5)) for _ in range(rows)]
    options = {
        "blank": blank,
        "skip_steps": skip,
        "normalize": draw(st.sampled_from(("none", "label_length", "batch"))),
        "infeasible": draw(st.sampled_from(("inf", "zero"))),
        "reduction": draw(st.sampled_from((None, None, "sum", "mean", "mean_with_sample_weight"))),
    }
    mask = None
    kept = np.broadcast_to(np.arange(steps) >= skip, (rows, steps))
    if masked:
        holes = draw(st.booleans())
        mask = (
            rng.random((rows, steps)) < 0.7
            if holes
            else np.arange(steps) < rng.integers(0, steps + 1, (rows, 1))
        )
        kept = kept & mask
    parts = {}
    form = draw(st.sampled_from(("none", "array", "column")))
    if form != "none":
        lengths = rng.integers(0, steps - skip + 1, rows)
        kept = kept & (np.arange(steps) < skip + lengths[:, None])
        parts["logit_lengths"] = lengths if form == "array" else lengths[:, None]
    y = _labels_as(draw, rng, labels, blank % classes, classes, options, parts)
    weights = None
    if draw(st.booleans()):
        weights = np.round(rng.random(rows) * 3, 2) * (rng.random(rows) < 0.8)
    logits = 2 * rng.normal(size=(rows, steps, classes))
    return Case(logits, labels, kept, mask, {"labels": y, **parts} if parts else y, weights, options)


def _labels_as(draw, rng, labels, blank, classes, options, parts):
    """The labels in one of the forms that the loss takes."""
    form = draw(st.sampled_from(("list", "blank", "negative", "padding", "lengths")))
    dtype = draw(st.sampled_from((np.int64, np.int32, np.float32)))
    if form == "list":
        return [label.astype(dtype) for label in labels]
    longest = max(map(len, labels)) + draw(st.integers(0, 2))
    y = np.full((len(labels), longest), blank)
    if form == "negative":
        y[:] = rng.integers(-3, 0, y.shape)
    elif form == "padding":
        options["padding"] = draw(st.sampled_from((-7, 77, blank)))
        y[:] = options["padding"]
    elif form == "lengths":
        dtype = np.int64
        y[:] = rng.choice([*range(-2, classes + 2), GARBAGE], y.shape)
        parts["label_lengths"] = np.array([len(label) for label in labels])
    for row, label in zip(y, labels, strict=True):
        row[: len(label)] = label
    return y.astype(dtype)


# --- in models ------------------------------------------------------------------------------------

# Where the scores come from: the last Dense's activation, what is done with its output, from_logits.
SOURCES = {
    "softmax": ("softmax", None, None),
    "softmax, as told": ("softmax", None, False),
    "logits": (None, None, None),
    "logits, as told": (None, None, True),
    "softmax that is out of sight": ("softmax", lambda y: y * 1.0, False),
    "logits out of sight": (None, lambda y: y * 1.0, True),
    "softmax, cut": ("softmax", lambda y: y[:, 1:], None),
    "logits, cut": (None, lambda y: y[:, 1:], None),
}


def model_of(case, source, kernel):
    """A Dense layer whose outputs are, from the second step on where it is cut, the case's logits."""
    activation, after, from_logits = SOURCES[source]
    extra = source.endswith("cut")
    rows, steps, classes = case.logits.shape
    x = layers.Input((steps + extra, classes))
    h = layers.Masking(HIDDEN)(x) if case.mask is not None else x
    y = layers.Dense(
        classes,
        name="d",
        activation=activation,
        use_bias=False,
        kernel_initializer=lambda shape, dtype=None: kernel,
    )(h)
    model = fastseq.Model(x, y if after is None else after(y))
    loss = losses.CTC(from_logits=from_logits, **case.options)
    model.compile(fastseq.optimizers.SGD(1.0), loss, metrics=["character_error_rate"])
    frames = np.zeros((rows, steps + extra, classes), np.float32)
    frames[:, extra:] = case.logits @ np.linalg.inv(kernel)
    if case.mask is not None:
        frames[~case.mask] = HIDDEN
    return model, frames


def character_error_rate(case):
    edits = count = 0
    for logits, kept, label in zip(case.logits, case.kept, case.labels, strict=True):
        found, _, _ = reference_labels.ctc_greedy_decode(logits[kept], case.blank)
        edits += reference_labels.edit_distance(label.tolist(), found)
        count += len(label)
    return edits / (count or 1)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_batch_trains_as_the_twin_says(data):
    """Value, metric and the weights' gradient of a step; whatever says which steps and labels count."""
    case = data.draw(cases(masked=data.draw(st.booleans())))
    sources = [s for s in SOURCES if case.mask is None or SOURCES[s][1] is None]
    source = data.draw(st.sampled_from(sources))
    classes = case.logits.shape[-1]
    kernel = (np.eye(classes) + 0.2 * np.triu(np.ones((classes, classes)), 1)).astype(np.float32)
    model, x = model_of(case, source, kernel)
    case.logits = (x[:, -case.logits.shape[1] :].astype(np.float64)) @ kernel
    value, gradient = case.wanted()
    y = case.y
    rates = model.evaluate(x, y, sample_weight=case.weights, verbose=0)
    assert rates[0] == pytest.approx(value.sum(), rel=2e-5, abs=1e-5)
    assert rates[1] == pytest.approx(character_error_rate(case), rel=1e-6)
    assert model.train_on_batch(x, y, case.weights)[0] == pytest.approx(value.sum(), rel=2e-5, abs=1e-5)
    used = x[:, -case.logits.shape[1] :] * case.kept[:, :, None]
    dkernel = np.tensordot(used.astype(np.float64), gradient, ((0, 1), (0, 1)))
    got = kernel - model.get_layer("d").get_weights()[0]
    np.testing.assert_allclose(got, dkernel, atol=3e-5 * max(1, abs(dkernel).max()))


# --- on arrays ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_arrays_have_the_loss_the_twin_says(data):
    case = data.draw(cases())
    logits = data.draw(st.booleans())
    if data.draw(st.booleans()):
        case.options["reduction"] = "none"
    if data.draw(st.integers(0, 3)) == 0:
        case.options["infeasible"] = "raise"
    loss = losses.CTC(from_logits=logits, **case.options)
    x = guarded(case.logits if logits else reference.softmax(case.logits), np.nan)
    value, _ = case.wanted()
    feasible = [
        reference_labels.ctc_loss(np.zeros((kept.sum(), case.logits.shape[-1])), label, case.blank)[0] < INF
        for kept, label in zip(case.kept, case.labels, strict=True)
    ]
    if case.options["infeasible"] == "raise" and not all(feasible):
        with pytest.raises(ValueError) as error:
            loss(case.y, x, case.weights)
        rule = "ctc_loss: logit_lengths must leave a frame for each label and one between equal ones, got "
        assert str(error.value).startswith(rule)
        assert f"at index {feasible.index(False)}, where" in str(error.value)
        return
    got = loss(case.y, x, case.weights)
    if case.options["reduction"] == "none":
        np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-12)
    else:
        assert got == pytest.approx(value.sum(), rel=1e-9, abs=1e-12)


# --- arguments that are wrong ---------------------------------------------------------------------


def _label_out_of_range(rng, labels, counts, lengths, steps, classes, blank):
    row = rng.choice(np.flatnonzero(counts))
    at = rng.integers(counts[row])
    labels[row, at] = rng.choice([classes, classes + 3, GARBAGE])
    place = f"{labels[row, at]} at index ({row}, {at})"
    return f"y_true must lie in [0, {classes}) and differ from the blank, {blank}, got {place}"


def _label_after_an_end(rng, labels, counts, lengths, steps, classes, blank):
    row = rng.choice(np.flatnonzero(counts > 1))
    at = rng.integers(counts[row] - 1)
    labels[row, at] = rng.choice([blank, -1, -GARBAGE])
    place = f"{labels[row, at + 1]} at index ({row}, {at + 1})"
    return f"y_true must have no label after the blank or a negative number, got {place}"


def _label_lengths_beyond(rng, labels, counts, lengths, steps, classes, blank):
    row = rng.integers(len(counts))
    counts[row] = rng.choice([-1, labels.shape[1] + 1, GARBAGE])
    return f"label_lengths must lie in [0, {labels.shape[1]}], got {counts[row]} at index {row}"


def _logit_lengths_beyond(rng, labels, counts, lengths, steps, classes, blank):
    row = rng.integers(len(lengths))
    lengths[row] = rng.choice([-1, -GARBAGE, steps + 1, GARBAGE])
    return f"logit_lengths must lie in [0, {steps}], got {lengths[row]} at index {row}"


FAULTS = (_label_out_of_range, _label_after_an_end, _label_lengths_beyond, _logit_lengths_beyond)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fault=st.sampled_from(FAULTS), skip=st.integers(0, 2))
def test_any_fault_is_named(seed, fault, skip):
    """In an otherwise sound batch, one label or length is wrong."""
    rng = np.random.default_rng(seed)
    rows, steps, classes, longest = (
        rng.integers(1, 5),
        rng.integers(0, 7),
        rng.integers(2, 6),
        rng.integers(2, 6),
    )
    blank = int(rng.integers(classes))
    labels = rng.integers(0, classes - 1, (rows, longest))
    labels += labels >= blank
    counts, lengths = rng.integers(0, longest + 1, rows), rng.integers(0, steps + 1, rows)
    counts[rng.integers(rows)] = longest
    labels[np.arange(longest) >= counts[:, None]] = GARBAGE
    x = rng.normal(size=(rows, steps + skip, classes))
    loss = losses.CTC(blank=blank, skip_steps=skip, from_logits=True)
    y = {"labels": labels, "label_lengths": counts, "logit_lengths": lengths}
    assert loss(y, x) >= 0
    text = fault(rng, labels, counts, lengths, steps, classes, blank)
    for given_ in (y, {name: value.astype(np.float64) for name, value in y.items()}):
        with pytest.raises(ValueError) as error:
            loss(given_, x)
        assert str(error.value) == f"ctc: {text}"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), bad=st.sampled_from((np.nan, INF)))
def test_nan_and_inf_are_the_loss_of_their_row_alone(data, bad):
    """Where the step counts; its gradient is NaN there, and in a step that does not count it is 0."""
    case = data.draw(cases(masked=data.draw(st.booleans())))
    case.options["reduction"] = "sum"
    rows, steps, _ = case.logits.shape
    row, step = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, steps - 1))
    loss = losses.CTC(from_logits=True, **case.options)
    target = loss.target(case.y, case.logits, "test", "y")
    value, gradient = case.wanted()
    counts = case.factors[row] != 0 and value[row] not in (INF, 0) and case.kept[row, step]
    case.logits[row, step, 0] = bad
    got, dx = loss.measure(case.logits, target, case.weights, case.mask, True, True)
    others = np.arange(rows) != row
    np.testing.assert_allclose(dx[others], gradient[others], atol=1e-9)
    if counts:
        assert np.isnan(got)
        assert np.isnan(dx[row, step]).any()
        assert not dx[row][~case.kept[row]].any()
    else:
        assert got == pytest.approx(value.sum(), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(dx[row], gradient[row], atol=1e-9)
