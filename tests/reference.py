"""float64 numpy twins of the kernels, written to be read.

Every function here is the plainest statement of what an operation computes. They work in float64
whatever comes in, allocate freely and know nothing of speed. Keras on TensorFlow is the
specification; ``test_reference.py`` holds these twins against it. One file on purpose: whoever doubts an
operation finds its definition here, beside those it is made of.
"""

import math

import numpy as np

EPSILON = 1e-7  # keras.config.epsilon()


def _f64(value):
    return np.asarray(value, dtype=np.float64)


# ---------------------------------------------------------------------------------- activations


def linear(x):
    return _f64(x)


def tanh(x):
    return np.tanh(_f64(x))


def sigmoid(x):
    x = _f64(x)
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    x = _f64(x)
    y = np.where(x > threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else np.minimum(y, max_value)


def relu6(x):
    return np.clip(_f64(x), 0, 6)


def leaky_relu(x, negative_slope=0.2):
    x = _f64(x)
    return np.where(x > 0, x, negative_slope * x)


def hard_sigmoid(x):
    return np.clip(_f64(x) / 6 + 0.5, 0, 1)


def hard_tanh(x):
    return np.clip(_f64(x), -1, 1)


def softplus(x):
    return np.logaddexp(_f64(x), 0)


def softsign(x):
    x = _f64(x)
    return x / (1 + np.abs(x))


def elu(x, alpha=1.0):
    x = _f64(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def exponential(x):
    return np.exp(_f64(x))


def gelu(x, approximate=False):
    x = _f64(x)
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def silu(x):
    return _f64(x) * sigmoid(x)


swish = silu


def hard_silu(x):
    return _f64(x) * hard_sigmoid(x)


hard_swish = hard_silu


def log_sigmoid(x):
    return -softplus(-_f64(x))


def mish(x):
    return _f64(x) * np.tanh(softplus(x))


def softmax(x):
    x = _f64(x)
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    x = _f64(x)
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
        x = x * _f64(dropout_mask)[:, None, :]  # one mask per row, the same for all steps
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
    x, kernel, recurrent_kernel = _f64(x), _f64(kernel), _f64(recurrent_kernel)
    if repeat is not None:
        x = np.repeat(x[:, None, :], repeat, axis=1)
    shape = (x.shape[0], recurrent_kernel.shape[0])
    if initial_state is None:
        initial_state = (None,) * states
    state = tuple(np.zeros(shape) if s is None else _f64(s) for s in initial_state)
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
    b = np.zeros(w.shape[1]) if bias is None else _f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else _f64(recurrent_dropout_mask)
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
    b = np.zeros(shape) if bias is None else _f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else _f64(recurrent_dropout_mask)
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
    b = np.zeros(w.shape[1]) if bias is None else _f64(bias)
    drop = 1.0 if recurrent_dropout_mask is None else _f64(recurrent_dropout_mask)
    act = globals()[activation]

    def step(x_t, state):
        return (simple_rnn_step(x_t, state[0] * drop, w, u, b, act),)

    return _time_loop(step, x, state, mask, lengths, zero_output_for_mask, go_backwards, dropout_mask)


# ------------------------------------------------------------------------ dense, embedding, other


def dense(x, kernel, bias=None, *, activation="linear"):
    y = _f64(x) @ _f64(kernel)
    if bias is not None:
        y = y + _f64(bias)
    return globals()[activation](y)


def embedding(ids, table):
    return _f64(table)[np.asarray(ids)]


def embedding_gradient(ids, dy, rows):
    """Sum of the output's gradient over every place an id occurs."""
    dtable = np.zeros((rows, np.shape(dy)[-1]))
    np.add.at(dtable, np.asarray(ids).ravel(), _f64(dy).reshape(-1, dtable.shape[1]))
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
    windows = np.nan_to_num(_windows(_f64(x), kernel.shape[:2], strides, dilation_rate, padding))
    y = np.einsum("nijabc,abcu->niju", windows, _f64(kernel))
    if bias is not None:
        y = y + _f64(bias)
    return globals()[activation](y)


def max_pool2d(x, *, pool_size=2, strides=None, padding="valid"):
    windows = _windows(_f64(x), pool_size, strides or pool_size, 1, padding)
    return np.nanmax(windows, axis=(3, 4))


def average_pool2d(x, *, pool_size=2, strides=None, padding="valid"):
    windows = _windows(_f64(x), pool_size, strides or pool_size, 1, padding)
    return np.nanmean(windows, axis=(3, 4))


def batch_norm(x, gamma=None, beta=None, mean=None, variance=None, mask=None, *, epsilon=1e-3):
    """y, and the mean and variance that were used."""
    x = _f64(x)
    rows = x.reshape(-1, x.shape[-1])
    if mean is None:
        counted = rows if mask is None else rows[np.asarray(mask, bool).reshape(-1)]
        count = len(counted) + (0 if mask is None else 1e-7)
        mean = counted.sum(axis=0) / count
        variance = np.square(counted - mean).sum(axis=0) / count
    y = (x - mean) / np.sqrt(_f64(variance) + epsilon)
    y = y if gamma is None else y * gamma
    return (y if beta is None else y + beta), mean, variance


# ----------------------------------------------------------------------- losses, one value per row


def categorical_crossentropy(output, target, *, from_logits=False):
    """Probabilities are renormalised, then clipped to [EPSILON, 1 - EPSILON], as Keras does."""
    output, target = _f64(output), _f64(target)
    if from_logits:
        return -(target * log_softmax(output)).sum(-1)
    p = output / output.sum(-1, keepdims=True)
    return -(target * np.log(np.clip(p, EPSILON, 1 - EPSILON))).sum(-1)


def sparse_categorical_crossentropy(output, labels, *, from_logits=False):
    one_hot = np.eye(np.shape(output)[-1])[np.asarray(labels)]
    return categorical_crossentropy(output, one_hot, from_logits=from_logits)


def binary_crossentropy(output, target, *, from_logits=False):
    output, target = _f64(output), _f64(target)
    if from_logits:
        each = np.maximum(output, 0) - output * target + np.log1p(np.exp(-np.abs(output)))
    else:
        p = np.clip(output, EPSILON, 1 - EPSILON)
        each = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    return each.mean(-1)


def mean_squared_error(output, target):
    return ((_f64(output) - _f64(target)) ** 2).mean(-1)


def mean_absolute_error(output, target):
    return np.abs(_f64(output) - _f64(target)).mean(-1)


# ------------------------------------------------- matches: what accuracy counts, one value per row


def categorical_matches(output, target):
    return np.argmax(output, -1) == np.argmax(target, -1)


def sparse_categorical_matches(output, labels):
    return np.argmax(output, -1) == np.asarray(labels)


def binary_matches(output, target, threshold=0.5):
    """Mean over the last axis of (output > threshold) == target."""
    return ((np.asarray(output) > threshold) == np.asarray(target)).mean(-1)


# ---------------------------------------------------------------------------------- edits


def edit_distance(reference, hypothesis):
    """The fewest insertions, deletions and substitutions that make one sequence the other."""
    row = list(range(len(hypothesis) + 1))  # from nothing of the reference to each beginning of the other
    for i, wanted in enumerate(reference, 1):
        above, row = row, [i]
        for j, found in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (wanted != found)))
    return row[-1]


# -------------------------------------------------------------------------------------- optimizers


def clip_gradients(gradients, *, clipnorm=None, clipvalue=None, global_clipnorm=None):
    """At most one setting, as in Keras; ``clipnorm`` is per variable."""
    gradients = [_f64(g) for g in gradients]
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
    w, g, m = _f64(value), _f64(gradient), _f64(velocity)
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
    w, g, square, last, mean = (_f64(x) for x in (value, gradient, square, last, mean))
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
    w, g, m, v = _f64(value), _f64(gradient), _f64(m), _f64(v)
    w = w - learning_rate * weight_decay * w
    m = m + (g - m) * (1 - beta_1)
    v = v + (g * g - v) * (1 - beta_2)
    alpha = learning_rate * math.sqrt(1 - beta_2**step) / (1 - beta_1**step)
    return w - m * alpha / (np.sqrt(v) + epsilon), m, v


# --- CTC ---------------------------------------------------------------------------------------------


def ctc_loss(log_probs, label, blank=0):
    """(loss, posterior of each class in each frame) of one sequence, straight from the paper.

    Without an alignment the loss is inf and the posterior 0.
    """
    frames, classes = log_probs.shape
    states = [blank]
    for c in label:
        states += [c, blank]
    count = len(states)
    posterior = np.zeros((frames, classes))
    if frames == 0:
        return (0.0 if count == 1 else np.inf), posterior

    def skips(s):
        return s >= 2 and states[s] != blank and states[s] != states[s - 2]

    emitted = _f64(log_probs)[:, states]
    alpha = np.full((frames, count), -np.inf)
    alpha[0, :2] = emitted[0, :2]
    with np.errstate(all="ignore"):
        for t in range(1, frames):
            for s in range(count):
                ways = [alpha[t - 1, s]] + ([alpha[t - 1, s - 1]] if s else [])
                ways += [alpha[t - 1, s - 2]] if skips(s) else []
                alpha[t, s] = np.logaddexp.reduce(ways) + emitted[t, s]
        beta = np.full((frames, count), -np.inf)
        beta[-1, -2:] = 0
        for t in range(frames - 2, -1, -1):
            after = beta[t + 1] + emitted[t + 1]
            for s in range(count):
                ways = [after[s]] + ([after[s + 1]] if s + 1 < count else [])
                ways += [after[s + 2]] if s + 2 < count and skips(s + 2) else []
                beta[t, s] = np.logaddexp.reduce(ways)
        total = np.logaddexp.reduce(alpha[-1, -2:])
        if total == -np.inf:
            return np.inf, posterior
        for s, c in enumerate(states):
            posterior[:, c] += np.exp(alpha[:, s] + beta[:, s] - total)
    return -total, posterior


# -------------------------------------------------------------------------------- n-gram models


def ngram_log10(table, order, history, word):
    """log10 P(word | history) as ARPA defines it; table: {n-gram: (log10 p, log10 back-off)}."""
    known = [w if (w,) in table else "<unk>" for w in [*history, word]]
    context = tuple(known[:-1])[max(len(history) - (order - 1), 0) :]
    return _backed_off(table, context, known[-1])


def _backed_off(table, context, word):
    if (*context, word) in table:
        return table[(*context, word)][0]
    if not context:
        return -100.0  # no <unk>
    return table.get(context, (None, 0.0))[1] + _backed_off(table, context[1:], word)


def ctc_best_path(log_probs, label, blank=0, gaps=(), gap=-np.inf):
    """(score, the state of each frame) of the best path: state 2k is blank_k, state 2k + 1 is label_k.

    Of equals the path whose states are furthest along, compared from the last frame back. `gaps` are the k
    of blanks that take any frame at no less than `gap`. The score is -inf, with no states, without a path.
    """
    states = [blank]
    for c in label:
        states += [c, blank]
    states = np.array(states)
    emitted = _f64(log_probs)[:, states]
    emitted[:, [2 * k for k in gaps]] = np.maximum(emitted[:, [2 * k for k in gaps]], gap)
    frames, count = emitted.shape
    if frames == 0:
        return (0.0 if count == 1 else -np.inf), []
    skips = np.zeros(count, bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    before = np.full(count, -np.inf)
    before[0] = 0  # as if in the first blank before the first frame
    origins = np.empty((frames, count), int)
    for t in range(frames):
        from_one, from_two = np.full((2, count), -np.inf)
        from_one[1:] = before[:-1]
        from_two[2:] = np.where(skips[2:], before[:-2], -np.inf)
        ways = np.stack([before, from_one, from_two])
        origins[t] = ways.argmax(axis=0)  # the first of equals: the state furthest along
        before = ways.max(axis=0) + emitted[t]
    s = count - 1 if count == 1 or before[-1] >= before[-2] else count - 2
    score = before[s]
    if score == -np.inf:
        return score, []
    path = []
    for t in reversed(range(frames)):
        path.append(s)
        s -= origins[t, s]
    return score, path[::-1]


# -------------------------------------------------------------------------------- CTC decoding


def ctc_greedy_decode(log_probs, blank=0):
    """(labels, score, starts) of one sequence (steps, classes)."""
    log_probs = _f64(log_probs)
    best = log_probs.argmax(-1)
    starts = [t for t, c in enumerate(best) if c != blank and (t == 0 or c != best[t - 1])]
    return [int(best[t]) for t in starts], log_probs.max(-1).sum(), starts


def ctc_beam_search(
    log_probs,
    beam_width,
    blank=0,
    added=lambda labels, finished: 0.0,
    token_threshold=-math.inf,
    beam_threshold=math.inf,
    max_tokens=None,
):
    """[(labels, score, total)] of one sequence (steps, classes), best first.

    ``added(labels, finished)`` is what a prefix's rank gets beyond its log-probability; -inf forbids it.
    """
    beam = {(): (0.0, -math.inf)}  # prefix: log-probability of ending in a blank, of ending in its last label
    for frame in _f64(log_probs):
        likeliest = sorted((c for c in range(len(frame)) if c != blank), key=lambda c: (-frame[c], c))
        tokens = sorted(c for c in likeliest[:max_tokens] if frame[c] >= token_threshold)
        ways = {}  # prefix: (blank, label), in the order in which ties are broken
        for prefix, (ends_blank, ends_label) in beam.items():
            both = np.logaddexp(ends_blank, ends_label)
            steps = [(prefix, both + frame[blank], -math.inf)]
            if prefix:
                steps.append((prefix, -math.inf, ends_label + frame[prefix[-1]]))
            for c in tokens:
                before = ends_blank if prefix and prefix[-1] == c else both
                steps.append(((*prefix, c), -math.inf, before + frame[c]))
            for longer, to_blank, to_label in steps:
                if added(longer, False) > -math.inf:
                    old = ways.get(longer, (-math.inf, -math.inf))
                    ways[longer] = (np.logaddexp(old[0], to_blank), np.logaddexp(old[1], to_label))
        rank = {prefix: np.logaddexp(*ends) + added(prefix, False) for prefix, ends in ways.items()}
        place = {prefix: k for k, prefix in enumerate(beam)}

        def order(prefix, rank=rank, place=place):
            if prefix in place:
                return -rank[prefix], place[prefix], -1
            return -rank[prefix], place[prefix[:-1]], prefix[-1]

        kept = sorted((p for p in ways if rank[p] > -math.inf), key=order)[:beam_width]
        beam = {p: ways[p] for p in kept if rank[p] >= rank[kept[0]] - beam_threshold}
    found = [(list(p), np.logaddexp(*ends)) for p, ends in beam.items()]
    found = [(labels, score, score + added(tuple(labels), True)) for labels, score in found]
    return sorted((each for each in found if each[2] > -math.inf), key=lambda each: -each[2])


def ctc_added(
    labels,
    finished,
    tokens,
    delimiter=" ",
    lm_score=None,
    by_token=False,
    lm_weight=0.0,
    unknown_score=0.0,
    known=(),
    token_bonus=0.0,
    word_bonus=0.0,
    hotwords=None,
    words=None,
):
    """What a language model, bonuses, hotwords and a list of words add to the rank of ``labels``.

    ``lm_score(words, finished)`` is the natural log-probability of a sentence, or of its beginning.
    """
    pieces = [tokens[c] for c in labels]
    *complete, begun = "".join(pieces).split(delimiter) if delimiter else ["".join(pieces)]
    if finished:
        complete, begun = [*complete, begun], ""
    complete = [word for word in complete if word]
    hotwords = hotwords or {}
    if words is not None and not (
        set(complete) <= set(words) and any(word.startswith(begun) for word in [*words, ""])
    ):
        return -math.inf
    total = token_bonus * len(pieces) + word_bonus * len(complete)
    total += sum(hotwords.get(word, 0.0) for word in complete)
    if begun:
        total += max(
            (boost * len(begun) / len(word) for word, boost in hotwords.items() if word.startswith(begun)),
            default=0.0,
        )
    if lm_score is not None:
        units = pieces if by_token else complete
        strange = sum(unit not in known for unit in units)
        total += lm_weight * (lm_score(units, finished) + unknown_score * strange)
    return total
