"""Worker processes: the same batches in order by any number of them, errors that are seen, nothing left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from small_models import linear
from some_datasets import (
    Dying,
    Failing,
    FailingOddly,
    Leaving,
    Numbered,
    Odd,
    Random,
    Reporting,
    Sleeping,
    Turning,
    Unsendable,
)  # fmt: skip

import fastseq
from fastseq.data.workers import Workers, WorkerTraceback

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers need POSIX")


class Local(Turning):
    """Its class cannot be imported by a fresh process: it is loaded in forks."""

    def __init__(self, **options):
        super().__init__(**options)
        self.cannot_be_pickled = lambda: 1


KINDS = pytest.mark.parametrize("kind", [Turning, Local], ids=["fresh", "forked"])


def children():
    """Processes that this one has started and that are alive or not waited for."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in listing.stdout.splitlines() if " ps " not in line and line.strip()]


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(children())
    shared = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    yield
    assert set(children()) <= before
    if shared:
        assert set(os.listdir("/dev/shm")) <= shared
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


def batches(dataset, epochs=1, workers=2, ahead=3, seed=0):
    """What the workers make of ``epochs`` passes, copied."""
    crew = Workers(dataset, workers, ahead, "fit")
    made = []
    try:
        for epoch in range(epochs):
            dataset.on_epoch_begin()
            crew.begin_epoch()
            for x, y in crew.load(range(len(dataset)), seed + epoch, lambda: False):
                made.append((np.array(x), np.array(y)))
            dataset.on_epoch_end()
    finally:
        crew.close()
    return made


@KINDS
@pytest.mark.parametrize("size", [1, 3000, 40000])
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_batches_come_in_order_whatever_their_size(kind, size, workers):
    """Small ones through the socket, larger ones through shared memory; changes reach the workers."""
    dataset, expected = kind(count=7, size=size) if kind is Turning else kind(), []
    plain = kind(count=7, size=size) if kind is Turning else kind()
    for _ in range(3):
        expected += [plain[k] for k in range(len(plain))]
        plain.on_epoch_end()
    for (x, y), (p, q) in zip(batches(dataset, 3, workers), expected, strict=True):
        np.testing.assert_array_equal(x, p)
        np.testing.assert_array_equal(y, q)


def test_memory_grows_and_any_layout_and_type_arrives():
    class Shapes(Numbered):
        def __init__(self):
            super().__init__(count=6)
            self.keep = lambda: 1

        def __getitem__(self, k):
            x = np.arange(5000.0 * (1 + k % 3)).reshape(50, -1)
            return [x.T, x[:, ::2], np.array(["a", None], object)], {
                "y": x.astype(np.int16),
                "n": k,
                "e": x[:0],
            }

    for k, (x, y) in enumerate(_raw(Shapes())):
        base = np.arange(5000.0 * (1 + k % 3)).reshape(50, -1)
        np.testing.assert_array_equal(x[0], base.T)
        np.testing.assert_array_equal(x[1], base[:, ::2])
        assert x[2].tolist() == ["a", None]
        assert (y["y"].dtype, y["n"], y["e"].shape) == (np.int16, k, (0, base.shape[1]))
        np.testing.assert_array_equal(y["y"], base)


def _raw(dataset):
    crew = Workers(dataset, 2, 4, "fit")
    try:
        crew.begin_epoch()
        yield from crew.load(range(len(dataset)), 0, lambda: False)
    finally:
        crew.close()


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_random_batches_repeat_with_any_number_of_workers(workers):
    expected = batches(Random(), 2, 1)
    assert len({float(x[0, 0]) for x, _ in expected}) == 10  # another for every batch and epoch
    for (x, _), (p, _) in zip(batches(Random(), 2, workers), expected, strict=True):
        np.testing.assert_array_equal(x, p)
    assert batches(Random(), 1, workers, seed=5)[0][0][0, 0] != expected[0][0][0, 0]


def test_batches_are_made_by_other_processes():
    made = {int(x[0, 0]) for x, _ in batches(Reporting(count=6), 2, 2)}
    assert len(made) == 2
    assert os.getpid() not in made


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_training_does_not_depend_on_workers(workers):
    results = []
    for options in ({}, {"workers": workers, "use_multiprocessing": True}):
        fastseq.set_seed(1)
        made = linear()
        made.fit(Turning(**options), epochs=3, validation_data=Numbered(**options), verbose=0)
        results.append((made.history.history, made.get_weights()))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1][0], results[1][1][0])


# --- errors ---------------------------------------------------------------------------------------


def forked(cls):
    made = cls(workers=2)
    made.keep = lambda: 1
    return made


WAYS = pytest.mark.parametrize("made", [lambda cls: cls(workers=2), forked], ids=["fresh", "forked"])


@WAYS
def test_a_worker_s_error_reaches_the_user_with_its_traceback(made):
    with pytest.raises(KeyError) as error:
        linear().fit(made(Failing), shuffle=False, verbose=0)
    assert error.value.args == ("no picture 3",)
    assert isinstance(error.value.__cause__, WorkerTraceback)
    assert "in fail\n" in str(error.value.__cause__)
    assert 'raise KeyError("no picture 3")' in str(error.value.__cause__)


@WAYS
def test_an_error_that_cannot_be_sent(made):
    with pytest.raises(RuntimeError) as error:
        linear().fit(made(FailingOddly), shuffle=False, verbose=0)
    assert str(error.value) == "Odd: one"
    assert "in fail\n" in str(error.value.__cause__)
    assert issubclass(Odd, Exception)


@WAYS
def test_a_batch_that_cannot_be_sent(made):
    with pytest.raises(Exception, match="pickle") as error:
        linear().fit(made(Unsendable), shuffle=False, verbose=0)
    assert isinstance(error.value.__cause__, WorkerTraceback)


@WAYS
@pytest.mark.parametrize(
    ("cls", "how"),
    [(Dying, "one ended by signal 9 (SIGKILL)"), (Leaving, "one that ended with status 7")],
)
def test_a_worker_that_dies(made, cls, how):
    with pytest.raises(RuntimeError) as error:
        linear().fit(made(cls), shuffle=False, verbose=0)
    assert str(error.value) == f"fit: worker must live (while it made batch 3), got {how}"


def test_a_dataset_that_does_not_arrive(monkeypatch):
    """The fresh process cannot import its module; what went wrong there is said."""
    made = Numbered(workers=2)
    crew = Workers(made, 1, 1, "fit")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p) != Path(__file__).parent])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    try:
        monkeypatch.setattr(sys, "path", [*sys.path, str(Path(fastseq.__file__).parent.parent)])
        crew.begin_epoch()
        with pytest.raises(ModuleNotFoundError) as error:
            list(crew.load([0], 0, lambda: False))
        assert "some_datasets" in str(error.value)
    finally:
        crew.close()


def test_what_cannot_be_forked_on_a_mac(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RuntimeError) as error:
        linear().fit(Local(workers=2), verbose=0)
    assert str(error.value) == (
        "fit: x must be picklable and of a class that a module defines, for workers above 1, got Local"
    )


# --- the end --------------------------------------------------------------------------------------


@WAYS
def test_an_epoch_that_ends_early_leaves_nothing_behind(made):
    class Stop(fastseq.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    model = linear()
    model.fit(made(Numbered), epochs=2, callbacks=[Stop()], verbose=0)
    crew = Workers(made(Turning), 2, 4, "fit")
    try:
        for _ in range(2):  # the second epoch must not see what the first has left under way
            crew.begin_epoch()
            taken = crew.load(range(5), 0, lambda: False)
            assert [float(x[0, 0]) for x, _ in (next(taken), next(taken))] == [0, 4]
            taken.close()
    finally:
        crew.close()


@WAYS
def test_closing_does_not_wait_for_a_busy_worker(made):
    crew = Workers(made(Sleeping), 2, 5, "fit")
    crew.begin_epoch()
    assert len(list(crew.load(range(3), 0, lambda: False))) == 3
    taken = crew.load([3, 4], 0, cancelled=lambda: True)
    begin = time.monotonic()
    assert list(taken) == []
    crew.close()
    assert time.monotonic() - begin < 4


PROGRAM = """
import os, signal, sys, numpy as np, fastseq
sys.path.insert(0, {tests!r})
from some_datasets import Sleeping
signal.signal(signal.SIGINT, signal.default_int_handler)
class Mine(Sleeping):
    pass
dataset = {cls}(workers=2)
class Tell(fastseq.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("batch", batch, flush=True)
model = fastseq.Sequential([fastseq.layers.Dense(1, input_shape=(1,))])
model.compile("sgd", "mse")
try:
    model.fit(dataset, shuffle=False, callbacks=[Tell()], verbose=0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start(cls):
    code = textwrap.dedent(PROGRAM).format(tests=str(Path(__file__).parent), cls=cls)
    path = str(Path(fastseq.__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    for k in range(3):
        assert process.stdout.readline() == f"batch {k}\n"
    return process, workers_of(process.pid)


def workers_of(pid):
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in listing.stdout.split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at processes in /proc")
@pytest.mark.parametrize("cls", ["Sleeping", "Mine"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_training_process(cls, number):
    """Ctrl-C while a batch takes a minute to make; and a training process that is killed."""
    process, workers = start(cls)
    assert len(workers) == 2
    assert all(alive(pid) for pid in workers)
    begin = time.monotonic()
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == ("interrupted\n" if number == signal.SIGINT else "")
    while any(alive(pid) for pid in workers) and time.monotonic() - begin < 15:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in workers)
    assert time.monotonic() - begin < 10
