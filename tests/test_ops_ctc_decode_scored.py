"""Searches with language models, hotwords and lists of words, beside their twin in Python."""

import numpy as np
import pytest
import reference_labels
from ctc_decodes import LETTERS, assert_same_paths, frames, heard, log_softmax, paths
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq import ops


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return heard(tmp_path_factory.mktemp("lm"))


def spoken(model, **options):
    """The twin's ``added`` and the arguments of ctc_beam_search that mean the same."""
    arguments = {"tokens": LETTERS, **options}
    twin = dict(arguments)
    if twin.pop("language_model", None) is not None:
        known = {"a", "b", "c", "ab", "ca"}
        twin |= {"lm_score": lambda words, end: model.score(words, eos=end), "known": known}
        twin.setdefault("unknown_score", -10.0)
        twin.setdefault("lm_weight", 0.5)
    twin["by_token"] = twin.pop("lm_unit", "word") == "token"
    if isinstance(twin.get("hotwords"), list):
        twin["hotwords"] = dict.fromkeys(twin["hotwords"], twin.pop("hotword_weight", 10.0))
    twin["delimiter"] = twin.pop("word_delimiter", " ")
    return (lambda labels, finished: reference_labels.ctc_added(labels, finished, **twin)), arguments


WAYS_TO_SCORE = [
    {"token_bonus": 0.7},
    {"word_bonus": 1.5},
    {"word_bonus": -2.0},
    {"language_model": True},
    {"language_model": True, "lm_weight": 2.0, "word_bonus": 1.0},
    {"language_model": True, "unknown_score": 0.0, "lm_weight": 1.0},
    {"language_model": True, "lm_unit": "token", "lm_weight": 0.8, "token_bonus": 1.0},
    {"hotwords": {"ab": 3.0, "abca": 2.0, "cc": 0.5}},
    {"hotwords": ["bac", "ba"], "hotword_weight": 4.0},
    {"words": ["ab", "abc", "ca"]},
    {"words": []},
    {"words": ["ab", "b", "ca"], "language_model": True, "hotwords": ["b"], "word_bonus": 0.5},
    {"words": ["ab c", "b"], "word_delimiter": "", "hotwords": {"b": 1.0}},
    {"tokens": ["", "a", " b", "ca", " "], "language_model": True, "words": ["a", "ba", "bca", "ca"]},
    {"tokens": ["", "é", " b", "ca", "▁"], "hotwords": {"éca": 5.0}, "word_delimiter": " "},
]


@pytest.mark.parametrize("options", WAYS_TO_SCORE, ids=str)
def test_scored_searches_match_the_twin(options, model):
    options = {**options, **({"language_model": model} if "language_model" in options else {})}
    added, arguments = spoken(model, **options)
    for seed, (steps, width, scale) in enumerate(
        [(1, 3, 1), (6, 2000, 1), (12, 7, 2), (20, 25, 1.5), (15, 3, 4)]
    ):
        x = frames(seed, 1, steps, 5, scale=scale)
        want = reference_labels.ctc_beam_search(log_softmax(x[0]), width, added=added)
        got = ops.ctc_beam_search(x, beam_width=width, top_paths=min(width, 20), **arguments)
        assert_same_paths(paths(got), want[:20])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.integers(1, 12), data=st.data())
def test_any_scored_search_matches_the_twin(seed, width, data, model):
    word = st.text("abc", min_size=1, max_size=4)
    number = st.floats(-3, 3)
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "word_bonus": number,
                "token_bonus": number,
                "language_model": st.just(model),
                "lm_weight": st.floats(0, 3),
                "hotwords": st.dictionaries(word, st.floats(0, 8), max_size=4),
                "words": st.lists(word, max_size=8),
            },
        )
    )
    added, arguments = spoken(model, **options)
    x = frames(seed, 1, 10, 5, scale=2)
    want = reference_labels.ctc_beam_search(log_softmax(x[0]), width, added=added, beam_threshold=6.0)
    got = ops.ctc_beam_search(x, beam_width=width, top_paths=width, beam_threshold=6.0, **arguments)
    assert_same_paths(paths(got), want)


def test_a_language_model_changes_what_is_found(model):
    """The frames say "ab cb" as loudly as "ab ca": the model has heard the second."""
    x = np.full((1, 5, 5), -8.0)
    for t, letters in enumerate(["a", "b", " ", "c", "ab"]):
        for letter in letters:
            x[0, t, LETTERS.index(letter)] = 0.0 if letter != "a" or t == 0 else -0.01
    say = lambda **options: "".join(  # noqa: E731
        LETTERS[c] for c in ops.ctc_beam_search(x, tokens=LETTERS, **options).labels[0, 0]
    )
    assert say() == "ab cb"
    assert say(language_model=model) == "ab ca"
    assert say(hotwords=["ca"]) == "ab ca"
    assert say(words=["ab", "ca"]) == "ab ca"
    assert say(language_model=model, lm_weight=0) == "ab cb"


def test_a_language_model_needs_the_letters(model):
    with pytest.raises(ValueError) as error:
        ops.ctc_beam_search(np.zeros((2, 5, 4)), language_model=model)
    assert str(error.value) == "ctc_beam_search: tokens must be given with language_model, got None"
