"""Searches that are given their frames in pieces: what the whole gives, whenever they are asked."""

import threading

import numpy as np
import pytest
from ctc_decodes import LETTERS, frames, heard, same
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq import ops

X = np.zeros((2, 5, 4), np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return heard(tmp_path_factory.mktemp("lm"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_pieces_give_what_the_whole_gives(seed, data, model):
    rng = np.random.default_rng(seed)
    batch, steps = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 40))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x = frames(seed, batch, steps, 5, scale=2, dtype=dtype)
    options = data.draw(
        st.sampled_from([{}, {"tokens": LETTERS, "language_model": model, "hotwords": ["ab"]}])
    )
    search = ops.CtcBeamSearch(5, batch=batch, beam_width=15, **options)
    parts = [[] for _ in range(batch)]
    at = 0
    while at < steps:
        size = int(rng.integers(0, 8))
        piece = x[:, at : at + size]
        lengths = rng.integers(0, piece.shape[1] + 1, batch)
        search.push(piece, lengths)
        for n, length in enumerate(lengths):
            parts[n].append(piece[n, :length])
        at += size
        if rng.random() < 0.3:
            search.result(top_paths=15)  # changes nothing
    lengths = [sum(map(len, part)) for part in parts]
    whole = np.zeros((batch, max(lengths, default=0), 5), dtype)
    for n, part in enumerate(parts):
        whole[n, : lengths[n]] = np.concatenate([*part, np.zeros((0, 5), dtype)])
    want = ops.ctc_beam_search(whole, lengths, beam_width=15, top_paths=15, **options)
    assert same(search.finish(top_paths=15), want)
    assert same(search.result(top_paths=15), want)


def test_results_so_far(model):
    x = frames(9, 1, 30, 5, scale=2)
    search = ops.CtcBeamSearch(5, beam_width=20)
    for t in range(30):
        search.push(x[:, t : t + 1])
        assert same(search.result(), ops.ctc_beam_search(x[:, : t + 1], beam_width=20))
    # a word that has begun may be no word yet
    search = ops.CtcBeamSearch(5, tokens=LETTERS, words=["abab"])
    sure = np.full((1, 2, 5), -9.0)
    sure[0, [0, 1], [1, 2]] = 9
    search.push(sure)
    assert search.result().labels.tolist() == [[[1, 2]]]
    assert search.finish().scores[0, 0] < -15  # the empty line is all that remains
    with pytest.raises(RuntimeError) as error:
        search.push(sure)
    assert str(error.value) == "CtcBeamSearch.push: the search must be open, got one that finish() has ended"
    search.reset()
    assert search.result().scores.tolist() == [[0.0]]
    search.push(sure)
    search.push(np.concatenate([sure, np.full((1, 1, 5), np.nan)], axis=1), [2])
    assert search.finish().labels.tolist() == [[[1, 2, 1, 2]]]


def test_a_stream_stays_broken_until_reset():
    search = ops.CtcBeamSearch(3, batch=2)
    x = frames(10, 2, 4, 3)
    broken = x.copy()
    broken[1, 2, 1] = np.nan
    search.push(broken)
    search.push(x)
    assert np.isnan(search.result().scores[:, 0]).tolist() == [False, True]
    search.reset()
    search.push(x)
    assert same(search.finish(), ops.ctc_beam_search(x))


def test_one_thread_at_a_time():
    search = ops.CtcBeamSearch(40, beam_width=200)
    x = frames(11, 1, 4000, 40)
    texts, go = [], threading.Barrier(2)

    def push():
        go.wait()
        try:
            search.push(x)
        except RuntimeError as error:
            texts.append(str(error))

    both = [threading.Thread(target=push) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert texts == ["CtcBeamSearch.push: the search must be used by one thread at a time, got a second"]
    assert same(search.finish(), ops.ctc_beam_search(x, beam_width=200))


def test_errors_of_streams():
    search = ops.CtcBeamSearch(4, batch=2)
    for x, text in (
        (X[:1], "logits must have shape (2, steps, 4), got (1, 5, 4)"),
        (X[:, :, :3], "logits must have shape (2, steps, 4), got (2, 5, 3)"),
        (X[0], "logits must have 3 dimensions, got shape (5, 4)"),
    ):
        with pytest.raises(ValueError) as error:
            search.push(x)
        assert str(error.value) == f"CtcBeamSearch.push: {text}"
    with pytest.raises(ValueError) as error:
        search.push(X, [5, 9])
    assert str(error.value) == "CtcBeamSearch.push: logit_lengths must lie in [0, 5], got 9 at index 1"
    for ask in (search.result, search.finish):
        with pytest.raises(ValueError, match=r"top_paths must be in \[1, 100\], got 101"):
            ask(top_paths=101)
    search.push(X)  # none of these has ended or broken it
    assert same(search.finish(), ops.ctc_beam_search(X))
    for change, text in (
        ({"classes": 0}, "classes must be in [1, 2147483647], got 0"),
        ({"batch": -1}, "batch must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError) as error:
            ops.CtcBeamSearch(**{"classes": 4, **change})
        assert str(error.value) == f"CtcBeamSearch: {text}"
