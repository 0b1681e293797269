"""CTC in models: every form of lengths and padding, where logits come from, masks, metrics, beside Keras."""

import numpy as np
import pytest

import fastseq
from fastseq import layers, losses, metrics, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 9, 3)).astype(np.float32)
LABELS = [[1, 2], [3], [], [2, 2, 4], [4, 1, 4], [3, 3]]
PADDED = np.full((6, 3), -1)
for _row, _label in zip(PADDED, LABELS, strict=True):
    _row[: len(_label)] = _label
COUNTS = [len(label) for label in LABELS]
LENGTHS = np.array([9, 4, 0, 7, 9, 5])
MASK = np.arange(9) < LENGTHS[:, None]


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def model_of(loss, activation="softmax", mask=False, cut=None, **options):
    x = layers.Input((9, 3))
    h = layers.Masking(99.0)(x) if mask else x
    y = layers.Dense(5, name="d", activation=activation, kernel_initializer=fixed)(h)
    model = fastseq.Model(x, y if cut is None else cut(y))
    model.compile(fastseq.optimizers.SGD(1.0), loss, **options)
    return model


def fixed(shape, dtype=None):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


KERNEL = fixed((3, 5))
LOGITS = X @ KERNEL


def want(lengths=None, factors=1 / 6, skip=0, logits=LOGITS, blank=0, labels=LABELS):
    """The value of a step and what it subtracts from the kernel at learning rate 1."""
    value, gradient = ops.ctc_loss_and_gradient(
        logits.astype(np.float64), labels, lengths, skip_steps=skip, blank=blank
    )
    weights = np.broadcast_to(factors, len(logits))
    return (value * weights).sum(), np.tensordot(X, gradient * weights[:, None, None], ((0, 1), (0, 1)))


def check_step(model, y, expected, x=X, **options):
    value, dkernel = expected
    assert model.evaluate(x, y, verbose=0, **options) == pytest.approx(value, rel=1e-5)
    assert model.test_on_batch(x, y, **options) == pytest.approx(value, rel=1e-5)
    assert model.train_on_batch(x, y, **options) == pytest.approx(value, rel=1e-5)
    got = KERNEL - model.get_layer("d").get_weights()[0]
    np.testing.assert_allclose(got, dkernel, atol=2e-5 * max(1, abs(dkernel).max()))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
@pytest.mark.parametrize("form", ["list", "minus one", "blank", "lengths", "own padding"])
def test_forms_of_labels(form, dtype):
    padded = np.where(PADDED < 0, {"blank": 0, "own padding": 77}.get(form, 0), PADDED).astype(dtype)
    y, options = padded, {}
    if form == "list":
        y = [np.array(label, dtype) for label in LABELS]
    elif form == "minus one":
        y = PADDED.astype(dtype if np.dtype(dtype).kind != "u" else np.int8)
    elif form == "lengths":
        y = {
            "labels": np.where(PADDED < 0, 3, PADDED).astype(dtype),
            "label_lengths": np.array(COUNTS, dtype),
        }
    elif form == "own padding":
        options = {"padding": 77}
    check_step(model_of(losses.CTC(infeasible="raise", **options)), y, want())


def test_the_one_output_may_stand_in_a_list():
    model = fastseq.Sequential([layers.Input((9, 3)), layers.Dense(5)])
    model.compile("sgd", losses.CTC(from_logits=True))
    arrays = [np.array(label) for label in LABELS]
    wanted = model.evaluate(X, LABELS, verbose=0)
    for y in ([LABELS], [arrays], (tuple(LABELS),), [PADDED], [{"labels": LABELS}]):
        assert model.evaluate(X, y, verbose=0) == wanted
    wanted = model.evaluate(X[:1], PADDED[:1], verbose=0)
    for y in (LABELS[:1], arrays[:1], [LABELS[:1]], [PADDED[:1]]):
        assert model.evaluate(X[:1], y, verbose=0) == wanted


@pytest.mark.parametrize("form", ["array", "column", "mask"])
@pytest.mark.parametrize("skip", [0, 2])
def test_forms_of_frame_lengths(form, skip):
    lengths = np.maximum(LENGTHS - skip, 0)
    model = model_of(losses.CTC(skip_steps=skip, infeasible="zero"), mask=form == "mask")
    value, gradient = ops.ctc_loss_and_gradient(
        LOGITS.astype(np.float64), LABELS, lengths, skip_steps=skip, infeasible="zero"
    )
    expected = value.sum() / 6, np.tensordot(X, gradient, ((0, 1), (0, 1))) / 6
    if form == "mask":
        x = np.where(MASK[:, :, None], X, np.float32(99))
        check_step(model, LABELS, expected, x)
    else:
        y = {"labels": PADDED, "logit_lengths": lengths if form == "array" else lengths[:, None]}
        check_step(model, y, expected)


def test_a_mask_with_holes_leaves_those_steps_out():
    mask = np.ones((6, 9), bool)
    mask[0, [0, 4]], mask[3, 2:4], mask[4, [1, 3, 8]] = False, False, False
    x = np.where(mask[:, :, None], X, np.float32(99))
    for skip in (0, 1):
        loss, gradient = np.zeros(6), np.zeros((6, 9, 5))
        for n in range(6):
            kept = np.flatnonzero(mask[n] & (np.arange(9) >= skip))
            one, of_one = ops.ctc_loss_and_gradient(LOGITS[n : n + 1, kept].astype(np.float64), [LABELS[n]])
            loss[n], gradient[n, kept] = one[0], of_one[0]
        expected = loss.sum() / 6, np.tensordot(X, gradient, ((0, 1), (0, 1))) / 6
        check_step(model_of(losses.CTC(skip_steps=skip), mask=True), LABELS, expected, x)


@pytest.mark.parametrize(
    ("normalize", "factors"),
    [("batch", 1 / 6), ("none", 1.0), ("label_length", 1 / 6 / np.maximum(COUNTS, 1))],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_normalize(normalize, factors, weighted):
    weights = np.array([1, 0.5, 0, 2, 1, 3]) if weighted else None
    expected = want(factors=factors * (1 if weights is None else weights))
    check_step(model_of(losses.CTC(normalize=normalize)), LABELS, expected, sample_weight=weights)


def test_an_infeasible_sequence_trains_nothing():
    labels = [[1, 1, 1, 1, 1, 1], *LABELS[1:]]
    value, gradient = ops.ctc_loss_and_gradient(LOGITS.astype(np.float64), labels, infeasible="zero")
    dkernel = np.tensordot(X, gradient, ((0, 1), (0, 1))) / 6
    check_step(model_of(losses.CTC(infeasible="zero")), labels, (value.sum() / 6, dkernel))
    model = model_of(losses.CTC())
    assert model.train_on_batch(X, labels) == float("inf")
    np.testing.assert_allclose(KERNEL - model.get_layer("d").get_weights()[0], dkernel, atol=2e-5)
    assert np.isfinite(model.evaluate(X, labels, sample_weight=np.array([0, 1, 1, 1, 1, 1]), verbose=0))
    with pytest.raises(ValueError, match="got 9 at index 0, where 6 labels need 11"):
        model_of(losses.CTC(infeasible="raise")).train_on_batch(X, labels)


# --- where logits come from -----------------------------------------------------------------------

CUTS = {
    "softmax": ("softmax", lambda y: y, 0),
    "cut softmax": ("softmax", lambda y: y[:, 2:, :], 2),
    "reshaped and cut": ("softmax", lambda y: ops.reshape(y, (3, 3, 5))[:, 1], None),
    "linear": (None, lambda y: y, 0),
    "cut linear": (None, lambda y: y[:, 2:], 2),
}


@pytest.mark.parametrize("name", CUTS)
def test_logits_are_found(name):
    activation, cut, skip = CUTS[name]
    model = model_of(losses.CTC(infeasible="zero"), activation, cut=cut)
    if skip is None:
        value, gradient = ops.ctc_loss_and_gradient(
            LOGITS[:, 3:6].astype(np.float64), LABELS, infeasible="zero"
        )
        gradient = np.pad(gradient, ((0, 0), (3, 3), (0, 0)))
    else:
        value, gradient = ops.ctc_loss_and_gradient(
            LOGITS.astype(np.float64), LABELS, skip_steps=skip, infeasible="zero"
        )
    check_step(model, LABELS, (value.sum() / 6, np.tensordot(X, gradient, ((0, 1), (0, 1))) / 6))
    assert "softmax" not in [name for name, _ in model.objective.ready.operations]


def test_from_logits_as_told():
    check_step(model_of(losses.CTC(from_logits=True), None), LABELS, want())
    plain = model_of(losses.CTC(from_logits=False))
    check_step(plain, LABELS, want())  # a softmax that is seen is taken in as well
    hidden = model_of(losses.CTC(from_logits=False), cut=lambda y: y * 1.0)
    check_step(hidden, LABELS, want())
    assert "softmax" in [name for name, _ in hidden.objective.ready.operations]
    hidden = model_of(losses.CTC(from_logits=True), None, cut=lambda y: y * 1.0)
    check_step(hidden, LABELS, want())


@pytest.mark.parametrize(
    ("activation", "cut", "from_logits", "text"),
    [
        ("relu", None, None, "be given where predictions come from neither a softmax nor a Dense without "
         "activation, got None after relu"),
        ("softmax", lambda y: y * 1.0, None, "be given where predictions come from neither a softmax nor a "
         "Dense without activation, got None after multiply"),
        ("softmax", lambda y: y[:, :, 1:], None, "be given where predictions come from neither a softmax nor "
         "a Dense without activation, got None after getitem"),
        ("softmax", None, True, "be None or False after a softmax, got True"),
    ],
)  # fmt: skip
def test_never_a_second_softmax_in_silence(activation, cut, from_logits, text):
    model = model_of(losses.CTC(from_logits=from_logits), activation, cut=cut)
    for step in (model.fit, model.train_on_batch, model.evaluate):
        with pytest.raises(ValueError) as error:
            step(X, [[1]] * 6)
        assert str(error.value) == f"CTC: from_logits must {text}"


# --- on arrays, beside Keras ----------------------------------------------------------------------


def test_matches_keras():
    keras = pytest.importorskip("keras")
    labels = np.where(PADDED < 0, 0, PADDED)
    reference = keras.losses.CTC()(labels.astype(np.int32), LOGITS).numpy()
    assert losses.CTC(from_logits=True)(labels, LOGITS) == pytest.approx(reference, rel=1e-5)
    each = keras.losses.ctc(labels.astype(np.int32), LOGITS).numpy()
    np.testing.assert_allclose(losses.ctc(labels, LOGITS, from_logits=True), each, rtol=1e-5)
    np.testing.assert_allclose(losses.ctc(labels, softmax(LOGITS), from_logits=False), each, rtol=1e-5)
    last = np.roll(LOGITS, -1, axis=-1)
    moved = np.where(PADDED < 0, -1, PADDED - 1)
    np.testing.assert_allclose(losses.ctc(moved, last, from_logits=True, blank=-1), each, rtol=1e-5)


def test_on_arrays():
    each = ops.ctc_loss(LOGITS, LABELS, LENGTHS, infeasible="zero")
    y = {"labels": LABELS, "logit_lengths": LENGTHS}
    loss = losses.CTC(from_logits=True, infeasible="zero", reduction="none")
    np.testing.assert_allclose(loss(y, LOGITS), each, rtol=1e-6)
    np.testing.assert_allclose(loss(y, LOGITS, np.arange(6)), each * np.arange(6), rtol=1e-6)
    total = losses.CTC(from_logits=True, infeasible="zero", normalize="none")(y, LOGITS)
    assert total == pytest.approx(each.sum(), rel=1e-6)
    with pytest.raises(ValueError) as error:
        losses.CTC()(LABELS, LOGITS)
    assert str(error.value) == "ctc: from_logits must be given to compare arrays, got None"


def test_by_name_and_config():
    assert type(losses.get("ctc")) is type(losses.get("CTC")) is type(losses.get(losses.ctc)) is losses.CTC
    loss = losses.CTC(-1, 2, "label_length", True, 9, "zero", "sum", "mine")
    again = losses.CTC(**loss.get_config())
    assert again.get_config() == loss.get_config()
    assert losses.CTC(**losses.CTC().get_config()).reduction == "sum_over_batch_size"


# --- fit ------------------------------------------------------------------------------------------


def task(rows, seed=0):
    """Each label is shown for two or three steps, blanks between: what a small net can learn to read."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (rows, 3))
    x = np.zeros((rows, 14, 5), np.float32)
    for n, label in enumerate(labels):
        at = 0
        for c in label:
            at += rng.integers(1, 3)
            end = at + rng.integers(2, 3)
            x[n, at:end, c] = 1
            at = end
    return x + 0.1 * rng.normal(size=x.shape).astype(np.float32), labels


def test_learns_to_read():
    fastseq.set_seed(0)
    x, labels = task(800)
    model = fastseq.Sequential(
        [
            layers.Input((14, 5)),
            layers.Bidirectional(layers.GRU(16, return_sequences=True)),
            layers.Dense(5, activation="softmax"),
        ]
    )
    model.compile(fastseq.optimizers.Adam(0.01), losses.CTC(blank=-1))
    history = model.fit(x, labels, batch_size=32, epochs=15, validation_split=0.2, verbose=0).history
    assert history["val_loss"][-1] < 0.1 < 4 < history["val_loss"][0]
    path = model.predict(x[-80:], verbose=0).argmax(-1)
    read = [[c for i, c in enumerate(row) if c != 4 and (i == 0 or row[i - 1] != c)] for row in path]
    right = np.mean([a == list(b) for a, b in zip(read, labels[-80:], strict=True)])
    assert right > 0.95


def test_dicts_are_shuffled_and_split_with_their_rows():
    """Trained on parts that do not fit their rows, it could not come out as it does batch by batch."""
    x = np.repeat(X, 5, axis=0)
    y = {
        "labels": LABELS * 5,
        "logit_lengths": np.tile(LENGTHS, 5),
    }
    y["labels"] = [LABELS[k // 5] for k in range(30)]
    y["logit_lengths"] = np.repeat(LENGTHS, 5)
    model = model_of(losses.CTC(infeasible="zero"))
    model.optimizer.learning_rate = 0.0
    history = model.fit(x, y, batch_size=7, validation_split=0.2, verbose=0).history
    each = np.repeat(ops.ctc_loss(LOGITS, LABELS, LENGTHS, infeasible="zero"), 5)
    assert history["loss"][0] == pytest.approx(each[:24].mean(), rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(each[24:].mean(), rel=1e-5)


def test_several_outputs():
    x = layers.Input((9, 3))
    d = layers.Dense(5, name="d", activation="softmax", kernel_initializer=fixed)
    read, other = d(x), layers.Dense(2, name="other")(x)
    model = fastseq.Model(x, {"read": layers.Activation("linear", name="read")(read), "other": other})
    model.compile("sgd", {"read": "ctc", "other": "mse"}, loss_weights={"read": 0.5, "other": 0.0})
    y = {"read": {"labels": PADDED, "logit_lengths": LENGTHS.clip(3)}, "other": np.zeros((6, 9, 2))}
    value = ops.ctc_loss(LOGITS, LABELS, LENGTHS.clip(3)).mean()
    assert model.evaluate(X, y, verbose=0, return_dict=True)["read_loss"] == pytest.approx(value, rel=1e-5)
    assert model.train_on_batch(X, y, return_dict=True)["loss"] == pytest.approx(value / 2, rel=1e-5)


def test_metrics_see_labels_and_steps_that_count():
    seen = []

    def look(y_true, y_pred):
        seen.append((y_true.copy(), y_pred.copy()))
        return np.zeros(len(y_true))

    model = model_of(losses.CTC(skip_steps=1, infeasible="zero"), metrics=[look])
    model.evaluate(X, {"labels": LABELS, "logit_lengths": LENGTHS.clip(0, 8)}, verbose=0)
    (labels, prediction), = seen  # fmt: skip
    assert np.array_equal(labels, PADDED)
    valid = (np.arange(9) >= 1) & (np.arange(9) < 1 + LENGTHS.clip(0, 8)[:, None])
    np.testing.assert_allclose(prediction[valid], softmax(LOGITS)[valid], rtol=1e-5)
    for n, row in enumerate(valid):
        last = row.nonzero()[0].max(initial=0)
        assert (prediction[n, :1] == np.eye(5)[0]).all()
        assert (prediction[n, last + 1 :] == (prediction[n, last] if row.any() else np.eye(5)[0])).all()


@pytest.mark.parametrize("skip", [0, 2])
def test_error_rates_read_what_ctc_spells(skip):
    """A mask with holes, lengths and skipped steps: the rates of the steps that count, by themselves."""
    mask = RNG.random((6, 9)) < 0.7
    x = np.where(mask[:, :, None], X, np.float32(99))
    model = model_of(
        losses.CTC(skip_steps=skip, infeasible="zero"), mask=True, metrics=["cer", "exact_match"]
    )
    lengths = LENGTHS.clip(0, 9 - skip)
    logs = model.evaluate(x, {"labels": LABELS, "logit_lengths": lengths}, verbose=0, return_dict=True)
    read = []
    for n in range(6):
        path = [LOGITS[n, t].argmax() for t in range(skip, skip + lengths[n]) if mask[n, t]]
        read.append([c for i, c in enumerate(path) if c and (i == 0 or c != path[i - 1])])
    assert logs["cer"] == pytest.approx(metrics.character_error_rate(LABELS, read))
    assert logs["exact_match"] == metrics.exact_match(LABELS, read)
    assert 0 < logs["exact_match"] < 1


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([[1, 5]] * 6, "y must lie in [0, 5) and differ from the blank, 0, got 5 at index (0, 1)"),
        *(([[1, end, 2]] * 6, "y must have no label after the blank or a negative number, "
           "got 2 at index (0, 2)") for end in (0, -1)),
        ([[1.5]] * 6, "y must be whole numbers, got 1.5"),
        (np.ones((6, 2, 2)), "y must have 2 dimensions, got shape (6, 2, 2)"),
        ({"label": LABELS}, "y must have the key labels, and no others than label_lengths, logit_lengths, "
         "got label"),
        ({"labels": PADDED, "label_lengths": [1]}, "label_lengths must have shape (6,), got (1,)"),
        ({"labels": PADDED, "label_lengths": [4] * 6}, "label_lengths must lie in [0, 3], got 4 at index 0"),
        ({"labels": PADDED, "logit_lengths": [9, 10] * 3},
         "logit_lengths must lie in [0, 9], got 10 at index 1"),
        ({"labels": PADDED, "logit_lengths": [9]}, "logit_lengths must have shape (6,), got (1,)"),
    ],
)  # fmt: skip
def test_errors_of_targets(y, text):
    model = model_of("ctc")
    for name in ("fit", "evaluate", "train_on_batch"):
        with pytest.raises(ValueError) as error:
            getattr(model, name)(X, y)
        assert str(error.value) == f"{name}: {text}"


def test_other_errors():
    with pytest.raises(ValueError) as error:
        model_of("ctc", metrics=["accuracy"]).fit(X, LABELS, verbose=0)
    assert str(error.value) == (
        "compile: metrics must name what compares whole sequences (character_error_rate, exact_match), "
        "got 'accuracy'"
    )
    with pytest.raises(ValueError) as error:
        model_of("mse", metrics=[losses.CTC()])
    assert (
        str(error.value) == "compile: metrics must name what compares one row with another, got the loss ctc"
    )
    with pytest.raises(ValueError) as error:
        model_of("ctc").fit(X, LABELS, class_weight={1: 2.0}, verbose=0)
    assert str(error.value) == "fit: class_weight must be None with the loss ctc, got a dict"
    with pytest.raises(ValueError, match="data must have the same number of rows, got x with 6, y with 5"):
        model_of("ctc").fit(X, LABELS[:5], verbose=0)
    x = layers.Input((3,))
    flat = fastseq.Model(x, layers.Dense(4, activation="softmax")(x))
    flat.compile("sgd", "ctc")
    with pytest.raises(ValueError) as error:
        flat.fit(np.zeros((2, 3)), [[1], [2]], verbose=0)
    assert str(error.value) == "fit: predictions must have shape (batch, steps, classes), got (None, 4)"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"normalize": "mean"}, ValueError, "normalize must be one of none, label_length, batch, got 'mean'"),
        ({"infeasible": "nan"}, ValueError, "infeasible must be one of inf, zero, raise, got 'nan'"),
        ({"from_logits": "yes"}, TypeError, "from_logits must be True, False or None, got 'yes'"),
        ({"skip_steps": -1}, ValueError, "skip_steps must be at least 0, got -1"),
        ({"blank": 0.5}, TypeError, "blank must be an integer, got 0.5"),
        ({"padding": "x"}, TypeError, "padding must be an integer, got 'x'"),
    ],
)
def test_errors_of_options(options, kind, text):
    with pytest.raises(kind) as error:
        losses.CTC(**options)
    assert str(error.value) == f"CTC: {text}"
