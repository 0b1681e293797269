"""N-gram models beside a dictionary that states what ARPA means, and files of every damage."""

import gzip
import math
import random
import threading

import pytest
import reference_labels
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq import _core
from fastseq.ops import NgramModel

LN_10 = math.log(10)

SMALL = """\
made by hand

\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-99\t<s>\t-0.5
-1.0\t</s>
-2.0\t<unk>
-0.5\ta\t-0.25
-0.75\tb\t-0.125

\\2-grams:
-0.25\t<s> a\t-0.5
-0.375\ta b\t-1.0
-0.5\tb a
-0.625\tb </s>

\\3-grams:
-0.0625\t<s> a b
-0.125\ta b a

\\end\\
"""


def model_of(tmp_path, text, name="model.arpa"):
    path = tmp_path / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return NgramModel(path)


def core_of(data, piece=1 << 20):
    reader = _core.ArpaReader(len(data))
    for at in range(0, len(data), piece):
        if reader.feed(data[at : at + piece]):
            break
    return reader.finish()


def refusal(text, piece=1 << 20):
    with pytest.raises(ValueError) as error:
        core_of(text if isinstance(text, bytes) else text.encode(), piece)
    return str(error.value)


def arpa(table, order):
    lines = ["\\data\\", *(f"ngram {n}={sum(len(g) == n for g in table)}" for n in range(1, order + 1))]
    for n in range(1, order + 1):
        lines += ["", f"\\{n}-grams:"]
        for words, (p, backoff) in table.items():
            if len(words) == n:
                lines.append(f"{p!r}\t{' '.join(words)}" + (f"\t{backoff!r}" if backoff else ""))
    return "\n".join([*lines, "", "\\end\\", ""])


def random_table(rng, order, size, *, special=True, kept=1.0):
    """n-grams over `size` words, with some prefixes and suffixes missing where `kept` is below 1."""
    words = (["<s>", "</s>", "<unk>"] if special else []) + [f"w{i}" for i in range(size)]
    eighths = lambda low, high: rng.randint(low * 8, high * 8) / 8  # noqa: E731  exact in single precision
    table = {}
    for n in range(1, order + 1):
        for _ in range(len(words) if n == 1 else 3 * size):
            gram = (words[len(table)],) if n == 1 else tuple(rng.choices(words, k=n))
            if n == 1 or (gram[:-1] in table and rng.random() < 0.9) or rng.random() > kept:
                table[gram] = (eighths(-5, 0), rng.choice([0.0, eighths(-3, 1)]) if n < order else 0.0)
    return table, words


def score_of(table, order, words, *, bos=True, eos=True):
    history, total = (["<s>"] if bos and ("<s>",) in table else []), 0.0
    for word in [*words, *(["</s>"] if eos and ("</s>",) in table else [])]:
        total += reference_labels.ngram_log10(table, order, history, word)
        history.append(word)
    return total * LN_10


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "log10"),
    [
        ("a", -0.25 + (-0.5 - 0.25 - 1.0)),  # <s> a; </s> backs off twice
        ("a b", -0.25 - 0.0625 + (-1.0 - 0.625)),  # a b </s> backs off to b </s>
        ("a b a", -0.25 - 0.0625 - 0.125 + (-0.25 - 1.0)),  # b a has no weight of its own
        ("b", (-0.5 - 0.75) - 0.625),
        ("c", (-0.5 - 2.0) - 1.0),  # <unk>, and no context after it
        ("", -0.5 - 1.0),
        ("b b", (-0.5 - 0.75) + (-0.125 - 0.75) - 0.625),
    ],
)
def test_by_hand(tmp_path, sentence, log10):
    model = model_of(tmp_path, SMALL)
    assert model.score(sentence) == pytest.approx(log10 * LN_10, rel=1e-14)
    assert model.score(iter(sentence.split())) == model.score(sentence)


def test_by_hand_without_ends(tmp_path):
    model = model_of(tmp_path, SMALL)
    assert model.score("a b", bos=False, eos=False) == pytest.approx((-0.5 - 0.375) * LN_10, rel=1e-14)
    assert model.score("a", bos=False) == pytest.approx((-0.5 - 0.25 - 1.0) * LN_10, rel=1e-14)
    assert model.score("", bos=False, eos=False) == 0


def test_attributes(tmp_path):
    model = model_of(tmp_path, SMALL)
    assert (model.order, model.counts) == (3, (5, 4, 2))
    assert model.words == ("<s>", "</s>", "<unk>", "a", "b")
    assert repr(model) == "NgramModel(order=3, counts=(5, 4, 2))"
    assert "a" in model
    assert "c" not in model
    assert "<unk>" in model
    assert 3 not in model


def test_perplexity(tmp_path):
    model = model_of(tmp_path, SMALL)
    total = model.score("a b") + model.score("a")
    assert model.perplexity(["a b", ["a"]]) == pytest.approx(math.exp(-total / 5), rel=1e-14)


@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 10**9), order=st.integers(1, 5), size=st.integers(1, 6), special=st.booleans(),
    kept=st.sampled_from([1.0, 0.6]), piece=st.sampled_from([1, 7, 1 << 20]),
)  # fmt: skip
def test_beside_the_twin(seed, order, size, special, kept, piece):
    rng = random.Random(seed)
    table, words = random_table(rng, order, size, special=special, kept=kept)
    model = core_of(arpa(table, order).encode(), piece)
    for _ in range(10):
        sentence = rng.choices([*words, "elsewhere"], k=rng.randint(0, 9))
        bos, eos = rng.random() < 0.5, rng.random() < 0.5
        wanted = score_of(table, order, sentence, bos=bos, eos=eos)
        assert model.score(sentence, bos, eos) == pytest.approx(wanted, rel=1e-13, abs=1e-13)


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**9), order=st.integers(2, 4), kept=st.sampled_from([1.0, 0.6]))
def test_states_are_as_few_as_futures(seed, order, kept):
    """Histories whose longest listed suffixes are equal have one state; one state has one future."""
    rng = random.Random(seed)
    table, words = random_table(rng, order, 3, kept=kept)
    model = core_of(arpa(table, order).encode())
    prefixes = {g[:k] for g in table for k in range(1, len(g)) if k < order}
    matter = prefixes | {g for g, (_, backoff) in table.items() if backoff}
    futures = {}
    for _ in range(60):
        history = rng.choices(words, k=rng.randint(0, 6))
        state = model.empty()
        for word in history:
            _, state = model.step(state, model.index(word))
        longest = next(
            tuple(history[k:])
            for k in range(len(history) + 1)
            if k == len(history) or tuple(history[k:]) in matter
        )
        assert futures.setdefault(longest, state) == state
    assert len(set(futures.values())) == len(futures)


def test_unknown_without_unk(tmp_path):
    text = "\\data\\\nngram 1=2\nngram 2=1\n\\1-grams:\n-1 a -0.5\n-2 b\n\\2-grams:\n-0.25 a b\n\\end\\\n"
    model = model_of(tmp_path, text)
    assert model.score("a x") == pytest.approx((-1 - 0.5 - 100) * LN_10, rel=1e-14)
    core = core_of(text.encode())
    assert core.index("x") == -1
    assert core.start() == core.empty()  # no <s>
    assert core.finish(core.start()) == 0  # no </s>
    after_a = core.step(core.empty(), core.index("a"))[1]
    assert core.step(after_a, -1) == (pytest.approx(-100.5 * LN_10), core.empty())
    assert core.step(after_a, 2) == core.step(after_a, -1)  # no word has this number
    assert core.step(after_a, 2**31 - 1) == core.step(after_a, -1)


def test_upper_case_unk(tmp_path):
    model = model_of(tmp_path, SMALL.replace("<unk>", "<UNK>"))
    assert model.score("c") == pytest.approx(-3.5 * LN_10, rel=1e-14)


def test_words_are_utf8_and_split_at_ascii_blanks(tmp_path):
    text = SMALL.replace("\ta", "\té\u00a0x").replace("a b", "é\u00a0x b").replace(" a", " é\u00a0x")
    model = model_of(tmp_path, text)
    assert model.score("é\u00a0x b") == pytest.approx((-0.25 - 0.0625 - 1.625) * LN_10, rel=1e-14)
    assert model.words[3] == "é\u00a0x"
    assert model.score(["\ud800"]) == model.score("c")  # a lone surrogate has no UTF-8


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\t", " "),
        lambda text: text.replace("\n", " \n\n\t"),
        lambda text: "\ufeff" + text[text.index("\\data") :],
        lambda text: text.removesuffix("\n"),
        lambda text: text + "anything\n\\1-grams:\n",
        lambda text: text.replace("-99", "-inf"),
        lambda text: text.replace("-0.0625", "-6.25e-2").replace("-2.0", "-.02E+2"),
        lambda text: text.replace("-1.0\t", "-1." + 30 * "0" + "\t").replace("-0.25", f"-25{'0' * 30}e-32"),
        lambda text: text.replace("a b a", "a b a\t0"),
        lambda text: text.replace("ngram 1=5", "ngram  1 = 5"),
    ],
)  # fmt: skip
def test_other_spellings(tmp_path, change):
    model, other = model_of(tmp_path, SMALL), model_of(tmp_path, change(SMALL), "other.arpa")
    for sentence in ("a b a", "b a c <s>", ""):
        assert other.score(sentence) == model.score(sentence)


def test_gzip(tmp_path):
    model = model_of(tmp_path, SMALL)
    packed = model_of(tmp_path, SMALL, "model.arpa.gz")
    assert packed.score("a b a") == model.score("a b a")
    path = tmp_path / "model.arpa.gz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError) as error:
        NgramModel(path)
    got = "Compressed file ended before the end-of-stream marker was reached"  # gzip's words
    assert str(error.value) == f"NgramModel: file must be whole as a .gz, got {got}"
    path.write_bytes(SMALL.encode())
    with pytest.raises(ValueError) as error:
        NgramModel(path)
    assert str(error.value) == "NgramModel: file must be whole as a .gz, got Not a gzipped file (b'ma')"


def test_many_threads_ask_one_model():
    table, words = random_table(random.Random(3), 4, 6)
    model = core_of(arpa(table, 4).encode())
    sentences = [random.Random(k).choices(words, k=30) for k in range(50)]
    alone = [model.score(sentence, True, True) for sentence in sentences]
    found = []

    def ask():
        found.append([model.score(sentence, True, True) for sentence in sentences])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 4


# --- training -------------------------------------------------------------------------------------------


def table_of(path):
    """(table, order) of an ARPA file that train wrote, in float64."""
    table, order = {}, 0
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            order = int(line[1])
        elif order and "\t" in line:
            p, words, *backoff = line.split("\t")
            table[tuple(words.split(" "))] = (float(p), float(backoff[0]) if backoff else 0.0)
    return table, order


def test_training_by_hand(tmp_path):
    model = NgramModel.train(["a b", ["a"]], 2, path=tmp_path / "m.arpa")
    assert repr(model) == "NgramModel(order=2, counts=(5, 4))"
    a, b, end = 2.75 / 8, 1.75 / 8, 2.75 / 8  # 5 words of 3 kinds; a quarter each for a, b, </s>, <unk>
    bigrams = (2 + a) / 3, (1 + 2 * b) / 4, (1 + end) / 2  # a after <s>, b after a, </s> after b
    assert model.score("a b") == pytest.approx(sum(map(math.log, bigrams)), rel=1e-7)
    assert model.score("b", eos=False) == pytest.approx(math.log(b / 3), rel=1e-7)
    assert model.score("c", eos=False) == pytest.approx(math.log(0.75 / 8 / 3), rel=1e-7)
    assert NgramModel(tmp_path / "m.arpa").score("a b c") == model.score("a b c")
    assert NgramModel.train([[]]).counts == (3, 1)  # no longer n-grams than <s> </s>


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**9), order=st.integers(1, 5), size=st.integers(1, 6))
def test_trained_probabilities_sum_to_one(tmp_path_factory, seed, order, size):
    rng = random.Random(seed)
    names = "abcdef"[:size]
    sentences = [rng.choices(names, k=rng.randint(0, 8)) for _ in range(rng.randint(1, 12))]
    path = tmp_path_factory.mktemp("trained") / "m.arpa"
    model = NgramModel.train(sentences, order, path=path)
    table, longest = table_of(path)
    assert model.counts == tuple(sum(len(g) == n for g in table) for n in range(1, longest + 1))
    assert longest == min(order, max(map(len, sentences)) + 2)
    words = [w for (w, *rest) in table if not rest and w != "<s>"]
    for history in [[], ["<s>"], *(g for g in table if len(g) < longest), rng.choices(names, k=6)]:
        total = sum(10 ** reference_labels.ngram_log10(table, longest, list(history), word) for word in words)
        assert total == pytest.approx(1, abs=1e-12)
    for sentence in sentences:
        assert model.score(sentence) == pytest.approx(score_of(table, longest, sentence), rel=1e-6)


def test_training_refuses():
    cases = [
        (
            lambda: NgramModel.train([]),
            ValueError,
            "NgramModel.train: sentences must hold a sentence, got none",
        ),
        (
            lambda: NgramModel.train("a b"),
            TypeError,
            "NgramModel.train: sentences must be a list of sentences, got 'a b'",
        ),
        (lambda: NgramModel.train([["a", 3]]), TypeError, "NgramModel.train: words must be strings, got int"),
        (lambda: NgramModel.train(["a"], 0), ValueError, "NgramModel.train: order must be in [1, 64], got 0"),
    ]
    for word in (" ", "", "</s>", "<s>", "a\tb", "\ud800"):
        got = f"NgramModel.train: words must be words that ARPA can hold, no ends, no blanks, got {word!r}"
        cases.append((lambda word=word: NgramModel.train([["a", word]]), ValueError, got))
    for call, kind, text in cases:
        with pytest.raises(kind) as error:
            call()
        assert str(error.value) == text


# --- errors ---------------------------------------------------------------------------------------------


def without(line):
    return "".join(each for each in SMALL.splitlines(True) if each != line + "\n")


ERRORS = [
    ("", "have a line \\data\\, got its end at line 1"),
    ("no model\n", "have a line \\data\\, got its end at line 1"),
    ("\\data\\\n\\end\\\n", "have 'ngram 1=' and a count after \\data\\, got '\\end\\' at line 2"),
    (without("\\end\\"), "end with \\end\\, got its end at line 24"),
    (SMALL[: SMALL.index("\\2-g")], "end with \\end\\, got its end at line 14"),
    (SMALL.replace("2=4", "2=x"), "have 'ngram 2=' and a count, or \\1-grams:, got 'ngram 2=x' at line 5"),
    (SMALL.replace("2=4", "4=4"), "have 'ngram 2=' and a count, or \\1-grams:, got 'ngram 4=4' at line 5"),
    (
        SMALL.replace("2=4", "2=4000000000"),
        "hold at most 2147483647 n-grams of one order, got 4000000000 at line 5",
    ),
    (
        SMALL.replace("2=4", "2=" + "9" * 30),
        "have 'ngram 2=' and a count, or \\1-grams:, got 'ngram 2=" + "9" * 30 + "' at line 5",
    ),
    (SMALL.replace("2=4", "2=5"), "hold as many 2-grams as it says, 5, got 4 at line 21"),
    (SMALL.replace("2=4", "2=2147483647"), "hold as many 2-grams as it says, 2147483647, got 4 at line 21"),
    (SMALL.replace("2=4", "2=3"), "hold as many 2-grams as it says, 3, got more at line 19"),
    (SMALL.replace("\\2-grams:", "\\3-grams:"), "have \\2-grams: next, got '\\3-grams:' at line 15"),
    (SMALL.replace("75\tb", "75\ta"), "hold each n-gram once, got '-0.75\\ta\\t-0.125' again at line 13"),
    (
        SMALL.replace("a b a", "a b a\t-1"),
        "have no back-off weights in its 3-grams, the last, got '-0.125\\ta b a\\t-1' at line 23",
    ),
    (SMALL.encode().replace(b"\tb\t", b"\t\xc3\x28\t"), "be text in UTF-8, got '\\xc3(' at line 13"),
    ("x" * 65537, "have lines of at most 65536 bytes, got a longer one at line 1"),
    (
        "\\data\\\n" + "".join(f"ngram {n}=1\n" for n in range(1, 66)),
        "be of an order of at most 64, got a higher one at line 66",
    ),
    (
        SMALL.replace("2=4", "x" * 100),
        "have 'ngram 2=' and a count, or \\1-grams:, got 'ngram " + "x" * 42 + "...' at line 5",
    ),
]  # fmt: skip


# What stands in place of line 18, the rule, and what of the line is shown where that is not all.
LINES = [
    ("b a", "have a number as log10 probability"),
    ("-0.5x b a", "have a number as log10 probability"),
    ("- b a", "have a number as log10 probability"),
    ("-.e1 b a", "have a number as log10 probability"),
    ("-1e b a", "have a number as log10 probability"),
    ("-1e1x b a", "have a number as log10 probability"),
    ("-1..5 b a", "have a number as log10 probability"),
    ("nan b a", "have a number as log10 probability"),
    ("inf b a", "have a finite log10 probability"),
    ("-1e99 b a", "have a finite log10 probability"),
    ("-1e9999 b a", "have a finite log10 probability"),
    ("0.5 b a", "have log10 probabilities of at most 0"),
    ("-0.5 b", "have as many words in a line as its section says, 2"),
    ("-0.5 b c", "have every word of its 2-grams among its 1-grams", "c"),
    ("-0.5 b a a", "have a number as back-off weight"),
    ("-0.5 b a inf", "have a finite back-off weight"),
    ("-0.5 b a 0 0", "have no more in a line than a log10 probability, its words and a back-off weight"),
]


@pytest.mark.parametrize("case", LINES, ids=lambda case: case[0])
def test_refused_lines(case):
    line, rule, *shown = case
    text = SMALL.replace("-0.5\tb a", line)
    assert refusal(text) == f"NgramModel: file must {rule}, got '{(shown or [line])[0]}' at line 18"


@pytest.mark.parametrize(("text", "text_of_error"), ERRORS)
@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_refusals(text, text_of_error, piece):
    assert refusal(text, piece) == "NgramModel: file must " + text_of_error


def test_arguments(tmp_path):
    with pytest.raises(TypeError) as error:
        NgramModel(3)
    assert str(error.value) == "NgramModel: path must be a path, got 3"
    with pytest.raises(FileNotFoundError):
        NgramModel(tmp_path / "none.arpa")
    model = model_of(tmp_path, SMALL)
    for ask in (model.score, lambda words: model.perplexity([words])):
        with pytest.raises(TypeError) as error:
            ask(["a", 3])
        assert str(error.value) == "NgramModel: words must be strings, got int"
        with pytest.raises(TypeError) as error:
            ask(3)
        assert str(error.value) == "NgramModel: words must be strings, got 3"
    with pytest.raises(TypeError) as error:
        model.perplexity("a b")
    assert str(error.value) == "NgramModel.perplexity: sentences must be a list of sentences, got 'a b'"
    with pytest.raises(ValueError) as error:
        model.perplexity([])
    assert str(error.value) == "NgramModel.perplexity: sentences must hold a word, got none"


def test_state_out_of_range():
    model = core_of(SMALL.encode())
    for state in (-1, model.states):
        for ask in (lambda s: model.step(s, 0), model.finish):
            with pytest.raises(ValueError) as error:
                ask(state)
            assert str(error.value) == f"NgramModel: state must be in [0, {model.states}), got {state}"


def test_reader_is_used_up():
    reader = _core.ArpaReader(len(SMALL))
    assert reader.feed(SMALL.encode())
    reader.finish()
    with pytest.raises(ValueError):
        reader.finish()


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_refused_or_read(seed):
    """Never a crash; what is refused names a line of the file."""
    rng = random.Random(seed)
    pieces = [
        *SMALL.split("\n"),
        "\n",
        "\t",
        " ",
        "-",
        "\\",
        "=",
        "9" * 12,
        "1e400",
        "\r",
        "\0",
        "é",
        "ngram 3=7",
    ]
    refused = []
    for _ in range(1500):
        data = bytearray(SMALL.encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del data[at : at + rng.randint(1, 20)]
                case 2:
                    data[at:at] = rng.choice(pieces).encode()
                case 3 if rng.random() < 0.2:
                    del data[at:]
        try:
            model = core_of(bytes(data), rng.choice([1, 5, 1000]))
        except ValueError as error:
            refused.append((str(error), data.count(b"\n") + 1))
        else:
            assert math.isfinite(model.score(["a", "b", "a", "zzz", "b"], True, True))
    assert 300 < len(refused) < 1500
    for text, lines in refused:
        assert text.startswith("NgramModel: file must ")
        assert 1 <= int(text.rsplit(" at line ", 1)[1]) <= lines
