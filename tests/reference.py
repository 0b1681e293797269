"""float64 numpy twins of the kernels, written to be read.

Every function here is the plainest statement of what an operation computes. They work in float64
whatever comes in, allocate freely and know nothing of speed. Keras on TensorFlow is the
specification; ``test_reference.py`` holds these twins against it. Whoever doubts an operation finds its
definition here, beside those it is made of; what has labels in sequences is in ``reference_labels.py``.
"""

import math

import numpy as np

EPSILON = 1e-7  # keras.config.epsilon()


def f64(value):
    return np.asarray(value, dtype=np.float64)


# ---------------------------------------------------------------------------------- activations


def linear(x):
    return f64(x)


def tanh(x):
    return np.tanh(f64(x))


def sigmoid(x):
    x = f64(x)
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    x = f64(x)
    y = np.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else np.minimum(y, max_value)


def relu6(x):
    return np.clip(f64(x), 0, 6)


def leaky_relu(x, negative_slope=0.2):
    x = f64(x)
    return np.where(x > 0, x, negative_slope * x)


def hard_sigmoid(x):
    return np.clip(f64(x) / 6 + 0.5, 0, 1)


def hard_tanh(x):
    return np.clip(f64(x), -1, 1)


def softplus(x):
    return np.logaddexp(f64(x), 0)


def softsign(x):
    x = f64(x)
    return x / (1 + np.abs(x))


def elu(x, alpha=1.0):
    x = f64(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def exponential(x):
    return np.exp(f64(x))


def gelu(x, approximate=False):
    x = f64(x)
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def silu(x):
    return f64(x) * sigmoid(x)


swish = silu


def hard_silu(x):
    return f64(x) * hard_sigmoid(x)


hard_swish = hard_silu


def log_sigmoid(x):
    return -softplus(-f64(x))


def mish(x):
    return f64(x) * np.tanh(softplus(x))


def softmax(x):
    x = f64(x)
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = f64(x)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def activation(name):
    """The function called ``name``; the recurrent twins take activations by name."""
    return globals()[name]


# ------------------------------------------------------------------------------ recurrent layers


def lstm_step(x, h, c, h_in, kernel, recurrent_kernel, bias, act, recurrent_act):
    """One step. ``h_in`` is h as it enters the product (after recurrent dropout)."""
    i, f, g, o = np.split(x @ kernel + h_in @ recurrent_kernel + bias, 4, axis=-1)
    i, f, g, o = recurrent_act(i), recurrent_act(f), act(g), recurrent_act(o)
    c = f * c + i * g
    return o * act(c), c


def gru_step(x, h, h_in, kernel, recurrent_kernel, bias, act, recurrent_act, reset_after):
    xz, xr, xh = np.split(x @ kernel + (bias[0] if reset_after else bias), 3, axis=-1)
    uz, ur, uh = np.split(recurrent_kernel, 3, axis=-1)
    if reset_after:
        bz, br, bh = np.split(bias[1], 3)
        z = recurrent_act(xz + h_in @ uz + bz)
        r = recurrent_act(xr + h_in @ ur + br)
        candidate = act(xh + r * (h_in @ uh + bh))
    else:
        z = recurrent_act(xz + h_in @ uz)
        r = recurrent_act(xr + h_in @ ur)
        candidate = act(xh + (r * h_in) @ uh)
    return z * h + (1 - z) * candidate


def simple_rnn_step(x, h_in, kernel, recurrent_kernel, bias, act):
    return act(x @ kernel + h_in @ recurrent_kernel + bias)


def _time_loop(step, x, state, mask, lengths, zero_output_for_mask, go_backwards, dropout_mask):
    """Run ``step(x_t, state) -> state`` over time as Keras does.

    A masked step keeps the state and repeats the previous output (zeros before the first one), or
    gives zeros with ``zero_output_for_mask``. ``go_backwards`` reads steps and mask from the end
    and leaves the outputs in the order they were made. ``lengths`` is the mask ``t < length`` with
    ``zero_output_for_mask``.
    """
    batch, steps = x.shape[:2]
    units = state[0].shape[1]
    if lengths is not None:
        mask = np.arange(steps)[None, :] < np.asarray(lengths)[:, None]
        zero_output_for_mask = True
    if mask is None:
        mask = np.ones((batch, steps), bool)
    if dropout_mask is not None:
        x = x * f64(dropout_mask)[:, None, :]  # one mask per row, the same for all steps
    order = range(steps)[::-1] if go_backwards else range(steps)
    sequence = np.zeros((batch, steps, units))
    previous = np.zeros((batch, units))
    for position, t in enumerate(order):
        new = step(x[:, t], state)
        keep = np.asarray(mask, bool)[:, t, None]
        otherwise = np.zeros_like(previous) if zero_output_for_mask else previous
        previous = np.where(keep, new[0], otherwise)
        state = tuple(np.where(keep, n, s) for n, s in zip(new, state, strict=True))
        sequence[:, position] = previous
    return sequence, state


def _recurrent_inputs(x, kernel, recurrent_kernel, initial_state, states, repeat):
    x, kernel, recurrent_kernel = f64(x), f64(kernel), f64(recurrent_kernel)
    if repeat is not None:
        x = np.repeat(x[:, None, :], repeat, axis=1)
    shape = (x.shape[0], recurrent_kernel.shape[0])
    if initial_state is None:
        initial_state = (None,) * states
    state = tuple(np.zeros(shape) if s is None else f64(s) for s in initial_state)
    return x, kernel, recurrent_kernel, state


def lstm(
    x,
    kernel,
    recurrent_kernel,
    bias=None,
    *,
    initial_state=None,
    mask=None,
    lengths=None,
    zero_output_for_mask=False,
    go_backwards=False,
    activation="tanh",
    recurrent_activation="sigmoid",
    dropout_mask=None,
    recurrent_dropout_mask=None,
    repeat=None,
):
    """(sequence, (h, c)). Dropout masks are the factors themselves: 0 or 1 / (1 - rate)."""
    x, w, u, state = _recurrent_inputs(x, kernel, recurrent_kernel, initial_state, 2, repeat)
    b = np.zeros(w.shape[1]) if bias is None else f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else f64(recurrent_dropout_mask)
    act, recurrent_act = globals()[activation], globals()[recurrent_activation]

    def step(x_t, state):
        h, c = state
        return lstm_step(x_t, h, c, h * drop, w, u, b, act, recurrent_act)

    return _time_loop(step, x, state, mask, lengths, zero_output_for_mask, go_backwards, dropout_mask)


def gru(
    x,
    kernel,
    recurrent_kernel,
    bias=None,
    *,
    initial_state=None,
    mask=None,
    lengths=None,
    zero_output_for_mask=False,
    go_backwards=False,
    activation="tanh",
    recurrent_activation="sigmoid",
    dropout_mask=None,
    recurrent_dropout_mask=None,
    reset_after=True,
    repeat=None,
):
    """(sequence, (h,)). The dropout mask touches h where it enters a product, not in z * h."""
    x, w, u, state = _recurrent_inputs(x, kernel, recurrent_kernel, initial_state, 1, repeat)
    shape = (2, w.shape[1]) if reset_after else (w.shape[1],)
    b = np.zeros(shape) if bias is None else f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else f64(recurrent_dropout_mask)
    act, recurrent_act = globals()[activation], globals()[recurrent_activation]

    def step(x_t, state):
        (h,) = state
        return (gru_step(x_t, h, h * drop, w, u, b, act, recurrent_act, reset_after),)

    return _time_loop(step, x, state, mask, lengths, zero_output_for_mask, go_backwards, dropout_mask)


def simple_rnn(
    x,
    kernel,
    recurrent_kernel,
    bias=None,
    *,
    initial_state=None,
    mask=None,
    lengths=None,
    zero_output_for_mask=False,
    go_backwards=False,
    activation="tanh",
    dropout_mask=None,
    recurrent_dropout_mask=None,
    repeat=None,
):
    """(sequence, (h,))."""
    x, w, u, state = _recurrent_inputs(x, kernel, recurrent_kernel, initial_state, 1, repeat)
    b = np.zeros(w.shape[1]) if bias is None else f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else f64(recurrent_dropout_mask)
    act = globals()[activation]

    def step(x_t, state):
        return (simple_rnn_step(x_t, state[0] * drop, w, u, b, act),)

    return _time_loop(step, x, state, mask, lengths, zero_output_for_mask, go_backwards, dropout_mask)


# ------------------------------------------------------------------------ dense, embedding, other


def dense(x, kernel, bias=None, *, activation="linear"):
    y = f64(x) @ f64(kernel)
    if bias is not None:
        y = y + f64(bias)
    return globals()[activation](y)


def embedding(ids, table):
    return f64(table)[np.asarray(ids)]


def embedding_gradient(ids, dy, rows):
    """Sum of the output's gradient over every place an id occurs."""
    dtable = np.zeros((rows, np.shape(dy)[-1]))
    np.add.at(dtable, np.asarray(ids).ravel(), f64(dy).reshape(-1, dtable.shape[1]))
    return dtable


# -------------------------------------------------------------------------------- images


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def _window_starts(size, taps, stride, dilation, padding):
    """Where windows begin along one axis, negative within the padding in front."""
    reach = (taps - 1) * dilation + 1
    if padding == "valid":
        return list(range(0, size - reach + 1, stride))
    count = -(-size // stride)
    missing = max((count - 1) * stride + reach - size, 0)
    return [i * stride - missing // 2 for i in range(count)]


def _windows(x, taps, strides, dilation, padding):
    """x as (batch, new height, new width, taps, taps, channels), NaN outside of the image."""
    taps, strides, dilation = _pair(taps), _pair(strides), _pair(dilation)
    rows, columns = (
        _window_starts(x.shape[1 + a], taps[a], strides[a], dilation[a], padding) for a in range(2)
    )
    out = np.full((x.shape[0], len(rows), len(columns), *taps, x.shape[3]), np.nan)
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            for a in range(taps[0]):
                for b in range(taps[1]):
                    r, c = top + a * dilation[0], left + b * dilation[1]
                    if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                        out[:, i, j, a, b] = x[:, r, c]
    return out


def conv2d(x, kernel, bias=None, *, strides=1, padding="valid", dilation_rate=1, activation="linear"):
    windows = np.nan_to_num(_windows(f64(x), kernel.shape[:2], strides, dilation_rate, padding))
    y = np.einsum("nijabc,abcu->niju", windows, f64(kernel))
    if bias is not None:
        y = y + f64(bias)
    return globals()[activation](y)


def max_pool2d(x, *, pool_size=2, strides=None, padding="valid"):
    windows = _windows(f64(x), pool_size, strides or pool_size, 1, padding)
    return np.nanmax(windows, axis=(3, 4))


def average_pool2d(x, *, pool_size=2, strides=None, padding="valid"):
    windows = _windows(f64(x), pool_size, strides or pool_size, 1, padding)
    return np.nanmean(windows, axis=(3, 4))


def batch_norm(x, gamma=None, beta=None, mean=None, variance=None, mask=None, *, epsilon=1e-3):
    """y, and the mean and variance that were used."""
    x = f64(x)
    rows = x.reshape(-1, x.shape[-1])
    if mean is None:
        counted = rows if mask is None else rows[np.asarray(mask, bool).reshape(-1)]
        count = len(counted) + (0 if mask is None else 1e-7)
        mean = counted.sum(axis=0) / count
        variance = np.square(counted - mean).sum(axis=0) / count
    y = (x - mean) / np.sqrt(f64(variance) + epsilon)
    y = y if gamma is None else y * gamma
    return (y if beta is None else y + beta), mean, variance


# ----------------------------------------------------------------------- losses, one value per row


def categorical_crossentropy(output, target, *, from_logits=False):
    """Probabilities are renormalised, then clipped to [EPSILON, 1 - EPSILON], as Keras does."""
    output, target = f64(output), f64(target)
    if from_logits:
        return -(target * log_softmax(output)).sum(-1)
    p = output / output.sum(-1, keepdims=True)
    return -(target * np.log(np.clip(p, EPSILON, 1 - EPSILON))).sum(-1)


def sparse_categorical_crossentropy(output, labels, *, from_logits=False):
    one_hot = np.eye(np.shape(output)[-1])[np.asarray(labels)]
    return categorical_crossentropy(output, one_hot, from_logits=from_logits)


def binary_crossentropy(output, target, *, from_logits=False):
    output, target = f64(output), f64(target)
    if from_logits:
        each = np.maximum(output, 0) - output * target + np.log1p(np.exp(-np.abs(output)))
    else:
        p = np.clip(output, EPSILON, 1 - EPSILON)
        each = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    return each.mean(-1)


def mean_squared_error(output, target):
    return ((f64(output) - f64(target)) ** 2).mean(-1)


def mean_absolute_error(output, target):
    return np.abs(f64(output) - f64(target)).mean(-1)


# ------------------------------------------------- matches: what accuracy counts, one value per row


def categorical_matches(output, target):
    return np.argmax(output, -1) == np.argmax(target, -1)


def sparse_categorical_matches(output, labels):
    return np.argmax(output, -1) == np.asarray(labels)


def binary_matches(output, target, threshold=0.5):
    """Mean over the last axis of (output > threshold) == target."""
    return ((np.asarray(output) > threshold) == np.asarray(target)).mean(-1)


# -------------------------------------------------------------------------------------- optimizers


def clip_gradients(gradients, *, clipnorm=None, clipvalue=None, global_clipnorm=None):
    """At most one setting, as in Keras; ``clipnorm`` is per variable."""
    gradients = [f64(g) for g in gradients]
    if clipnorm is not None:
        return [g * clipnorm / max(np.sqrt((g * g).sum()), clipnorm) for g in gradients]
    if global_clipnorm is not None:
        norm = np.sqrt(sum((g * g).sum() for g in gradients))
        return [g * global_clipnorm / max(norm, global_clipnorm) for g in gradients]
    if clipvalue is not None:
        return [np.clip(g, -clipvalue, clipvalue) for g in gradients]
    return gradients


def sgd(value, gradient, velocity, *, learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
    """(value, velocity) after one step."""
    w, g, m = f64(value), f64(gradient), f64(velocity)
    w = w - learning_rate * weight_decay * w
    m = momentum * m - learning_rate * g
    return w + (momentum * m - learning_rate * g if nesterov else m), m


def rmsprop(
    value,
    gradient,
    square,
    last,
    mean,
    *,
    learning_rate=1e-3,
    rho=0.9,
    momentum=0.0,
    epsilon=1e-7,
    centered=False,
    weight_decay=0.0,
):
    """(value, mean of squares, last step, mean of gradients) after a step."""
    w, g, square, last, mean = (f64(x) for x in (value, gradient, square, last, mean))
    w = w - learning_rate * weight_decay * w
    square = rho * square + (1 - rho) * g * g
    mean = rho * mean + (1 - rho) * g
    spread = square - mean**2 if centered else square
    last = momentum * last + learning_rate * g / np.sqrt(spread + epsilon)
    return w - last, square, last, mean


def adam(
    value,
    gradient,
    m,
    v,
    *,
    step,
    learning_rate=1e-3,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-7,
    weight_decay=0.0,
):
    """(value, m, v) after step number ``step`` (1, 2, ...)."""
    w, g, m, v = f64(value), f64(gradient), f64(m), f64(v)
    w = w - learning_rate * weight_decay * w
    m = m + (g - m) * (1 - beta_1)
    v = v + (g * g - v) * (1 - beta_2)
    alpha = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    return w - m * alpha / (np.sqrt(v) + epsilon), m, v
