"""CharacterTable against the seed program's, one string and many, with its exact errors."""

import numpy as np
import pytest

from fastseq.text import CharacterTable

CHARS = "0123456789+ "


class SeedTable:
    """The table of the Keras example addition_rnn, written to be read."""

    def __init__(self, chars):
        self.chars = sorted(set(chars))
        self.char_indices = {c: i for i, c in enumerate(self.chars)}
        self.indices_char = dict(enumerate(self.chars))

    def encode(self, text, num_rows):
        x = np.zeros((num_rows, len(self.chars)))
        for i, c in enumerate(text):
            x[i, self.char_indices[c]] = 1
        return x

    def decode(self, x, calc_argmax=True):
        if calc_argmax:
            x = x.argmax(axis=-1)
        return "".join(self.indices_char[i] for i in x)


def test_table_is_the_seeds():
    table, seed = CharacterTable(CHARS), SeedTable(CHARS)
    assert table.chars == seed.chars == list(" +0123456789")
    assert table.char_indices == seed.char_indices
    assert table.indices_char == seed.indices_char
    assert len(table) == 12
    assert repr(table) == "CharacterTable(' +0123456789')"
    assert CharacterTable(["b", "a", "b"]).chars == ["a", "b"]


@pytest.mark.parametrize("text", ["535+61 ", "16+535", "", "9999999"])
def test_one_string_as_in_the_seed(text):
    table, seed = CharacterTable(CHARS), SeedTable(CHARS)
    x = table.encode(text, 7)
    assert x.dtype == bool
    np.testing.assert_array_equal(x, seed.encode(text, 7))
    rows = len(text)
    assert table.decode(x[:rows]) == seed.decode(x[:rows]) == text
    assert table.decode(x[:rows].argmax(-1), calc_argmax=False) == text


def test_many_strings_equal_one_by_one():
    table, seed = CharacterTable(CHARS), SeedTable(CHARS)
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(CHARS), rng.integers(0, 10))) for _ in range(200)]
    x = table.encode(texts, 9)
    assert x.shape == (200, 9, 12)
    assert x.dtype == bool
    np.testing.assert_array_equal(x, [seed.encode(t, 9) for t in texts])
    # a row of zeros decodes to class 0, in the seed as here
    assert table.decode(x) == [seed.decode(row) for row in x]
    assert table.decode(x.argmax(-1), calc_argmax=False) == table.decode(x)
    assert [d[: len(t)] for d, t in zip(table.decode(x), texts, strict=True)] == texts


def test_indices():
    table = CharacterTable("abc")
    np.testing.assert_array_equal(table.indices("cab", 4), [2, 0, 1, -1])
    np.testing.assert_array_equal(table.indices(["b", "ca"], 2, fill=9), [[1, 9], [2, 0]])
    assert table.indices(["b"], 2).dtype == np.int32


def test_probabilities_dtypes_and_empties():
    table = CharacterTable("abc")
    assert table.decode([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]]) == "ba"
    x = table.encode(["ab"], 2, dtype=np.float32)
    assert x.dtype == np.float32
    assert table.encode([], 5).shape == (0, 5, 3)
    assert table.decode(np.zeros((0, 5, 3))) == []
    assert table.decode(np.zeros((2, 0, 3))) == ["", ""]
    assert table.decode([], calc_argmax=False) == ""
    assert table.encode("", 0).shape == (0, 3)


def test_beyond_the_basic_plane():
    # sorted by code point, including one above 0xffff, a NUL and a lone surrogate
    table = CharacterTable("é𝄞a\0\ud800")
    texts = ["a\0", "𝄞é𝄞", "\ud800"]
    assert [t.rstrip("\0") for t in table.decode(table.encode(texts, 3))] == ["a", "𝄞é𝄞", "\ud800"]
    assert table.encode("a\0", 3).sum() == 2


def test_half_a_million_in_seconds():
    import time

    table = CharacterTable(CHARS)
    texts = ["12345+67890"] * 550_000
    start = time.perf_counter()
    x = table.encode(texts, 11)
    seconds = time.perf_counter() - start
    assert x.shape == (550_000, 11, 12)
    assert seconds < 10  # about half a second; the seed's loop takes minutes


def raises(kind, text, call):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


def test_errors():
    table = CharacterTable("ab")
    raises(
        ValueError,
        "CharacterTable: chars must hold at least one character, got none",
        lambda: CharacterTable(""),
    )
    raises(
        TypeError,
        "CharacterTable: chars must be a string or an iterable of single characters, got int",
        lambda: CharacterTable(5),
    )
    raises(
        TypeError,
        "CharacterTable: chars must be a string or an iterable of single characters, got 'cd'",
        lambda: CharacterTable(["ab", "cd"][1:]),
    )
    raises(
        ValueError,
        "CharacterTable.encode: texts must be at most 2 characters long, got 'aba' with 3",
        lambda: table.encode(["a", "aba"], 2),
    )
    raises(
        ValueError,
        "CharacterTable.encode: texts must hold only 'ab', got 'c'",
        lambda: table.encode("abc", 3),
    )
    raises(
        TypeError,
        "CharacterTable.encode: texts must be a string or a list of strings, got int",
        lambda: table.encode(5, 3),
    )
    raises(
        TypeError,
        "CharacterTable.indices: texts must be a string or a list of strings, got int in it",
        lambda: table.indices(["a", 5], 3),
    )
    raises(
        TypeError,
        "CharacterTable.encode: num_rows must be an integer, got float",
        lambda: table.encode("a", 3.0),
    )
    raises(
        ValueError,
        "CharacterTable.encode: num_rows must be at least 0, got -1",
        lambda: table.encode("", -1),
    )
    raises(
        ValueError,
        "CharacterTable.decode: x must have the shape (rows, 2) or (texts, rows, 2), got (2, 3)",
        lambda: table.decode(np.zeros((2, 3))),
    )
    raises(
        ValueError,
        "CharacterTable.decode: x must have the shape (rows,) or (texts, rows) "
        "when calc_argmax is False, got (1, 1, 1)",
        lambda: table.decode(np.zeros((1, 1, 1), int), calc_argmax=False),
    )
    raises(
        ValueError,
        "CharacterTable.decode: x must hold classes in [0, 2), got 2",
        lambda: table.decode([0, 2], calc_argmax=False),
    )
    raises(
        TypeError,
        "CharacterTable.decode: x must hold integer classes, got float64",
        lambda: table.decode([0.5], calc_argmax=False),
    )
