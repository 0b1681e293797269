"""Files of models that are damaged or lie: read or refused, soon, in little memory, running nothing."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastseq
from fastseq import layers, models
from fastseq.weights import read_weights, write_weights


def rewritten(path, change, arrays=None):
    values, config = read_weights(path)
    change(config)
    write_weights(path, values if arrays is None else arrays, config)


def test_a_file_can_name_no_other_classes(tmp_path):
    """Neither what Python has nor what the program has defined: only what it has registered or given."""

    class Secret(layers.Layer):
        made = 0

        def __init__(self, **options):
            Secret.made += 1
            super().__init__(**options)

    fastseq.Sequential([layers.Dense(2, input_shape=(3,))]).save(tmp_path / "m")
    for name in ("Secret", "os.system", "builtins>eval", "__import__", "_Merge"):
        path = tmp_path / "n"
        path.write_bytes((tmp_path / "m").read_bytes())
        rewritten(path, lambda c, name=name: c["model"]["config"]["layers"][0].update(class_name=name))
        if name == "_Merge":  # one of fastseq's own, which is no layer of its own
            continue
        with pytest.raises(ValueError) as error:
            models.load_model(path)
        assert f"got '{name}'" in str(error.value)
    assert Secret.made == 0


def test_a_file_cannot_ask_for_more_room_than_it_has(tmp_path):
    fastseq.Sequential([layers.Dense(2, input_shape=(3,))]).save(tmp_path / "m")
    rewritten(tmp_path / "m", lambda c: c["model"]["config"]["layers"][0]["config"].update(units=10**15))
    with pytest.raises(ValueError) as error:
        models.load_model(tmp_path / "m")
    assert str(error.value) == (
        f"load_model: filepath must hold a whole model of fastseq, got '{tmp_path / 'm'}' "
        "(Dense.add_weight: shape must fit into the 8 numbers left in the file, got (3, 1000000000000000))"
    )


def test_nesting_without_end(tmp_path):
    fastseq.Sequential([layers.Dense(2, input_shape=(3,))]).save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["configuration"] = "[" * 100000 + "]" * 100000
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "m").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(ValueError, match="must"):
        models.load_model(tmp_path / "m")


def mutations(data, count, seed):
    """Copies of ``data`` with bytes changed, cut out, doubled, swapped or missing at the end."""
    rng = np.random.default_rng(seed)
    header = 8 + int.from_bytes(data[:8], "little")
    digits = [k for k in range(8, header) if chr(data[k]).isdigit()]
    for _ in range(count):
        made = bytearray(data)
        kind = rng.integers(8)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, header if rng.random() < 0.8 else len(made)))
            at = min(at, len(made) - 1)
            if kind == 0:
                made[at] = int(rng.integers(256))
            elif kind == 1:
                made[at] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                del made[at : at + int(rng.integers(1, 20))]
            elif kind == 3:
                made[at:at] = made[at : at + int(rng.integers(1, 20))]
            elif kind == 4:
                del made[int(rng.integers(0, len(made))) :]
                made += b"\0" * (len(made) == 0)
            elif kind == 5:  # another number: a size, an index, an offset
                made[digits[int(rng.integers(len(digits)))] % len(made)] = ord(str(rng.integers(10)))
            elif kind == 6:  # text in place of text, of the same length, so that the header stays whole
                other = int(rng.integers(8, header - 20))
                size = int(rng.integers(1, 12))
                made[at : at + size] = data[other : other + size][: max(0, len(made) - at)]
            else:  # the size of the header
                made[int(rng.integers(0, 8)) % len(made)] = int(rng.integers(256))
        yield bytes(made)


STRANGE = (
    None, True, -1, 0, 3, 10**18, -(10**40), 1e300, float("nan"), "", "tanh", "\0", [], [[1]], {}, [None, 4],
    {"class_name": "Dense"}, {"class_name": "Dense", "config": {"units": 2}}, {"symbol": [0, 0]},
    {"from": [0, 0]}, {"array": [1.0], "dtype": "float32"}, {"array": [1], "dtype": "S1000000000"}, "float64",
    "object",
)  # fmt: skip


def places(value, path=()):
    """The paths to all that a configuration holds."""
    yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, one in entries:
        yield from places(one, (*path, key))


def odd_configurations(data, directory, count, seed):
    """Whole files whose configuration has something else at one or two places, or lacks it."""
    rng = np.random.default_rng(seed)
    path = directory / "odd"
    path.write_bytes(data)
    arrays, config = read_weights(path)
    every = [place for place in places(config) if place]
    for _ in range(count):
        made = json.loads(json.dumps(config))
        for _ in range(int(rng.integers(1, 3))):
            *way, last = every[int(rng.integers(len(every)))]
            at = made
            try:
                for key in way:
                    at = at[key]
                other = every[int(rng.integers(len(every)))]
                choice = rng.integers(4)
                if choice == 0:
                    del at[last]
                elif choice == 1:
                    value = made
                    for key in other:
                        value = value[key]
                    at[last] = json.loads(json.dumps(value))
                else:
                    at[last] = STRANGE[int(rng.integers(len(STRANGE)))]
            except (LookupError, TypeError):
                pass  # the first change has taken the second one's place away
        write_weights(path, arrays, made)
        yield path.read_bytes()


def small_file(directory):
    made = fastseq.Sequential(
        [
            layers.Embedding(7, 3, input_length=4),
            layers.GRU(2, dropout=0.1, return_sequences=True),
            layers.Lambda(lambda x: x[:, 1:] * 2.0),
            layers.Reshape((-1,)),
            layers.Dense(2, activation="softmax"),
        ]
    )
    x = layers.Input((4,), dtype="int32")
    h = made(x)
    whole = fastseq.Model(x, [h * 2.0, layers.Bidirectional(layers.LSTM(1))(layers.RepeatVector(3)(h))])
    whole.compile("adam", ["categorical_crossentropy", "mse"], metrics=[["accuracy"], ["mae"]])
    whole.fit(np.zeros((4, 4), int), [np.ones((4, 2)), np.ones((4, 2))], verbose=0)
    whole.save(directory / "m")
    return (directory / "m").read_bytes(), sum(w.size for w in whole.get_weights())


def try_to_read(path, data, size):
    """Whether a damaged file is read; otherwise it is refused as it should be, and soon."""
    path.write_bytes(data)
    begin = time.monotonic()
    try:
        other = models.load_model(path)
    except (ValueError, OSError) as error:
        assert time.monotonic() - begin < 5
        if str(error).startswith(("load_model: ", "read_weights: ")):
            return False
        raise
    assert time.monotonic() - begin < 5
    assert sum(w.size for w in other.get_weights()) <= size
    return True


@pytest.fixture
def little_memory():
    """No more than a gigabyte besides what the process has."""
    resource = pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.filterwarnings("ignore::UserWarning")  # a layer of another kind may drop a mask
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # strange numbers
@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_files_are_read_or_refused(count, tmp_path, little_memory):
    data, size = small_file(tmp_path)
    assert try_to_read(tmp_path / "m", data, size)
    bytes_changed = [try_to_read(tmp_path / "m", m, size) for m in mutations(data, count // 2, count)]
    assert 0 < sum(bytes_changed) < count // 4
    odd = odd_configurations(data, tmp_path, count // 2, count)
    config_changed = [try_to_read(tmp_path / "m", m, size) for m in odd]
    assert count // 50 < sum(config_changed) < count // 4
