"""What the tests of CTC decoding share: frames, paths as the twin gives them, a small language model."""

import numpy as np
import pytest
import reference

from fastseq import ops

LETTERS = ["", "a", "b", "c", " "]
ARPA = """\\data\\
ngram 1=8
ngram 2=6
ngram 3=2

\\1-grams:
-99 <s> -0.3
-1.1 </s>
-1.6 <unk> -0.2
-0.9 a -0.4
-1.0 ab -0.3
-1.2 b -0.25
-1.3 ca -0.1
-1.4 c

\\2-grams:
-0.5 <s> ab -0.2
-0.9 ab a
-0.4 ab ca -0.3
-0.7 a b -0.1
-0.8 ca </s>
-0.6 b c

\\3-grams:
-0.2 <s> ab ca
-0.3 ab ca </s>

\\end\\
"""


def frames(seed, *shape, scale=1.0, dtype=np.float64):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def log_softmax(x):
    return reference.log_softmax(x.astype(np.float64))


def paths(decoded, n=0):
    """[(labels, score, total)] of sequence n, as the twin gives them."""
    count = int((decoded.lengths[n] >= 0).sum())
    lengths = decoded.lengths[n]
    return [
        (decoded.labels[n, k, : lengths[k]].tolist(), decoded.scores[n, k], decoded.totals[n, k])
        for k in range(count)
    ]


def assert_same_paths(got, want, tolerance=1e-9):
    assert [labels for labels, _, _ in got] == [labels for labels, _, _ in want]
    for (_, score, total), (_, wanted_score, wanted_total) in zip(got, want, strict=True):
        assert score == pytest.approx(wanted_score, rel=tolerance, abs=tolerance)
        assert total == pytest.approx(wanted_total, rel=tolerance, abs=tolerance)


def same(a, b):
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(a, b, strict=True))


def heard(folder):
    """The model of ARPA, as words."""
    path = folder / "tiny.arpa"
    path.write_text(ARPA)
    return ops.NgramModel(path)
