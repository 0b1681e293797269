"""float64 numpy twins of what labels in sequences go through: CTC, its decoding, n-grams, edit distance.

As in reference.py: the plainest statement of each, allocating freely, with no thought of speed.
"""

import math

import numpy as np
from reference import f64

# ------------------------------------------------------------------------------------------- CTC


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

    emitted = f64(log_probs)[:, states]
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


def ctc_best_path(log_probs, label, blank=0, gaps=(), gap=-np.inf):
    """(score, the state of each frame) of the best path: state 2k is blank_k, state 2k + 1 is label_k.

    Of equals the path whose states are furthest along, compared from the last frame back. `gaps` are the k
    of blanks that take any frame at no less than `gap`. The score is -inf, with no states, without a path.
    """
    states = [blank]
    for c in label:
        states += [c, blank]
    states = np.array(states)
    emitted = f64(log_probs)[:, states]
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
    log_probs = f64(log_probs)
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
    for frame in f64(log_probs):
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


# ---------------------------------------------------------------------------------- edits


def edit_distance(reference, hypothesis):
    """The fewest insertions, deletions and substitutions that make one sequence the other."""
    row = list(range(len(hypothesis) + 1))  # from nothing of the reference to each beginning of the other
    for i, wanted in enumerate(reference, 1):
        above, row = row, [i]
        for j, found in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (wanted != found)))
    return row[-1]
