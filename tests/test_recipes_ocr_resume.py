"""The OCR recipe goes on, bit for bit, after whatever ended it: in both phases, at any moment."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("PIL")
from small_ocr import SMALL

import fastseq
from fastseq import cli
from fastseq.callbacks import BackupAndRestore
from fastseq.recipes import ocr, painter
from fastseq.recipes.ocr import OcrResult, train_ocr
from fastseq.recipes.painter import Painter, find_fonts
from fastseq.weights import read_weights

pytestmark = pytest.mark.slow  # a run each, and most of them processes of their own

RUN = {**SMALL, "epochs": 4, "wide_from": 2}  # two epochs in each phase, of three batches each
BACKUP = "training.safetensors"


@pytest.fixture(scope="module", autouse=True)
def speckle():
    """Noise of both widths is kept: half of the time of such small runs goes into making it."""
    made = painter._field
    painter._field = functools.lru_cache(maxsize=8)(made.__wrapped__)
    yield
    painter._field = made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(result, folder) of the run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train_ocr(**RUN, folder=folder), folder


def interrupted(monkeypatch, epoch, batch=1, interrupt=KeyboardInterrupt, **options):
    """A run that is ended in an epoch, from 0, after a batch."""

    def end(self, at, logs=None):
        if len(self.result.history.epoch) == epoch and at == batch:
            if interrupt is not KeyboardInterrupt:
                return interrupt()
            raise interrupt
        return None

    with monkeypatch.context() as patch:
        patch.setattr(ocr._AfterEpoch, "on_train_batch_end", end)
        result = train_ocr(**{**RUN, **options})
    assert result.interrupted
    assert result.epochs == epoch
    fastseq.set_seed(99)  # another process would have another generator, too
    return result


def without_seconds(config):
    """Plain values of a file, but for those that a clock gave and the Ctrl-C."""
    if isinstance(config, dict):
        return {key: without_seconds(value) for key, value in config.items() if key != "seconds"}
    return config


def files(folder):
    """(arrays, plain values) of all that a run has written, by name."""
    read = {path.name: read_weights(path) for path in folder.glob("*.safetensors")}
    return {name: (arrays, without_seconds(config)) for name, (arrays, config) in read.items()}


def same_files(folder, other):
    one, two = files(folder), files(other)
    assert one.keys() == two.keys()
    for name, (arrays, config) in one.items():
        assert config == two[name][1], name
        assert arrays.keys() == two[name][0].keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, two[name][0][key], err_msg=f"{name}: {key}")


def same(result, other):
    """All that a run gives, its seconds aside."""
    for a, b in zip(result.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert result.history.history == other.history.history
    assert result.history.epoch == other.history.epoch
    assert result.configuration == other.configuration
    for name in ("edit_distance", "normalized_edit_distance", "epochs", "interrupted"):
        assert getattr(result, name) == getattr(other, name), name
    assert result.model.history is result.history
    assert result.model.input_shape == other.model.input_shape


# --- as if it had never been interrupted ----------------------------------------------------------


def test_a_run_of_four_epochs(undisturbed):
    """What the others are held against learns, in both phases, and writes what it should."""
    result, folder = undisturbed
    assert result.history.epoch == [0, 1, 2, 3]
    assert len(set(result.history.history["val_loss"])) == 4
    written = {path.name for path in folder.glob("*.safetensors")}
    assert written == {BACKUP, *(f"epoch_{k:02d}.safetensors" for k in (1, 2, 3, 4))}
    momenta = [np.abs(a).max() for key, a in read_weights(folder / BACKUP)[0].items() if "weights" not in key]
    assert momenta
    assert max(momenta) > 0
    same(result, train_ocr(**RUN))  # the folder changes nothing


def test_the_backup_holds_weights_and_means(undisturbed):
    """What is saved of an epoch are the means alone, as what is returned."""
    result, folder = undisturbed
    arrays, config = read_weights(folder / BACKUP)
    saved = OcrResult.load(folder / "epoch_04.safetensors").model.get_weights()
    for k, (a, b) in enumerate(zip(saved, result.model.get_weights(), strict=True)):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, arrays[f"optimizer/average/{k}"])
    names = config["training"]["weights"]
    assert any(np.any(arrays[f"weights/{name}"] != a) for name, a in zip(names, saved, strict=True))


@pytest.mark.parametrize(
    ("epoch", "batch"),
    [(0, 1), (1, 2), (2, 0), (2, 2), (3, 1)],
)
def test_interrupted_in_any_epoch(epoch, batch, undisturbed, tmp_path, monkeypatch):
    interrupted(monkeypatch, epoch, batch, folder=tmp_path)
    assert (tmp_path / BACKUP).exists() == (epoch > 0)
    result = train_ocr(**RUN, folder=tmp_path, resume=True)
    same(result, undisturbed[0])
    same_files(tmp_path, undisturbed[1])


@pytest.mark.parametrize("options", [{"cache": True}, {"wide": 64}])
def test_interrupted_in_every_epoch(options, tmp_path, monkeypatch):
    """Cached, and with two phases that differ in nothing but where they begin."""
    whole = train_ocr(**{**RUN, **options}, folder=tmp_path / "whole")
    for epoch in range(4):
        interrupted(monkeypatch, epoch, folder=tmp_path / "parts", resume=True, **options)
    result = train_ocr(**{**RUN, **options}, folder=tmp_path / "parts", resume=True)
    same(result, whole)
    same_files(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("epoch", [1, 3])
def test_painted_ahead(epoch, undisturbed, tmp_path, monkeypatch):
    """What the workers have painted of the epochs that were not finished is painted again."""
    interrupted(monkeypatch, epoch, 0, folder=tmp_path, workers=1)
    same(train_ocr(**{**RUN, "workers": 1}, folder=tmp_path, resume=True), undisturbed[0])
    same_files(tmp_path, undisturbed[1])


def test_ended_while_an_epoch_is_written_down(undisturbed, tmp_path, monkeypatch):
    """The weights of epoch 3 are in the folder, but not yet where training stands: it is done again."""
    save = OcrResult.save

    def failing(self, path):
        save(self, path)
        if self.epochs == 3:
            raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(OcrResult, "save", failing)
        with pytest.raises(OSError, match="no space left"):
            train_ocr(**RUN, folder=tmp_path)
    assert (tmp_path / "epoch_03.safetensors").exists()
    same(train_ocr(**RUN, folder=tmp_path, resume=True), undisturbed[0])
    same_files(tmp_path, undisturbed[1])


PROGRAM = """
import sys, time
from fastseq.recipes import ocr
ocr._AfterEpoch.on_train_batch_end = lambda self, batch, logs=None: time.sleep(0.1)
ocr.train_ocr(**{run!r}, folder=sys.argv[1], resume=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_killed_processes(undisturbed, tmp_path):
    """Two are killed, in the first phase and in the second; neither gets to say anything."""
    for number in (1, 3):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM.format(run=RUN), str(tmp_path)])
        until = time.monotonic() + 60
        while not (tmp_path / f"epoch_{number:02d}.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.15)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / f"epoch_{number + 1:02d}.safetensors").exists()
    same(train_ocr(**RUN, folder=tmp_path, resume=True), undisturbed[0])
    same_files(tmp_path, undisturbed[1])


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("batch", [1, 2])
def test_ctrl_c(batch, undisturbed, tmp_path, monkeypatch, ctrl_c, capsys):
    """The interrupted result is usable, and says how to go on."""
    result = interrupted(
        monkeypatch, 3, batch, lambda: os.kill(os.getpid(), signal.SIGINT), folder=tmp_path, verbose=2
    )
    out = capsys.readouterr().out
    assert "Interrupted: keeping what was learnt." in out
    assert "To go on after epoch 3: resume=True, or --resume on the command line." in out
    assert result.history.epoch == [0, 1, 2]
    assert len(result.read([np.full((64, 96), 255, np.uint8)])) == 1
    before = OcrResult.load(tmp_path / "epoch_03.safetensors").model.get_weights()
    assert np.any(result.model.get_weights()[0] != before[0])  # the steps since then, too
    for a, b in zip(
        result.model.get_weights(), result.model.objective.optimizer_state()["average"], strict=True
    ):
        np.testing.assert_array_equal(a, b)
    resumed = train_ocr(**{**RUN, "verbose": 2}, folder=tmp_path, resume=True)
    assert capsys.readouterr().out.startswith("Going on after epoch 3 of 4.\n")
    same(resumed, undisturbed[0])


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("moment", ["predict", "save"])
def test_ctrl_c_while_the_means_are_read_with(moment, undisturbed, tmp_path, monkeypatch, ctrl_c):
    """Once or, in a hurry, twice, after the last epoch of the first phase: what is kept are the weights."""
    where = fastseq.Model if moment == "predict" else OcrResult
    plain = getattr(where, moment)

    def pressing(self, *given, **options):
        if self.epochs == 2 if moment == "save" else len(self.history.epoch) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            if moment == "predict":
                os.kill(os.getpid(), signal.SIGINT)
        return plain(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, moment, pressing)
        result = train_ocr(**RUN, folder=tmp_path)
    assert result.interrupted
    assert result.epochs == (2 if moment == "save" else 1)
    for a, b in zip(
        result.model.get_weights(), result.model.objective.optimizer_state()["average"], strict=True
    ):
        np.testing.assert_array_equal(a, b)
    same(train_ocr(**RUN, folder=tmp_path, resume=True), undisturbed[0])
    same_files(tmp_path, undisturbed[1])


def test_seconds_are_summed(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(ocr.time, "perf_counter", lambda: 1000.0 + next(clock))
    first = interrupted(monkeypatch, 3, folder=tmp_path)
    assert first.seconds > 0
    monkeypatch.setattr(ocr.time, "perf_counter", iter(np.arange(5.0, 1e4, 2.0)).__next__)
    result = train_ocr(**RUN, folder=tmp_path, resume=True)
    assert first.seconds < result.seconds < first.seconds + 10


def test_more_epochs(undisturbed, tmp_path):
    """A run that has come to its end in the first phase goes on, into the second."""
    for epochs in (1, 2, 3, 4):
        result = train_ocr(**{**RUN, "epochs": epochs}, folder=tmp_path, resume=True)
        assert result.epochs == epochs
    same(result, undisturbed[0])


def test_a_seed_of_chance_is_kept(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    train_ocr(**{**RUN, "seed": None, "epochs": 1}, folder=one)
    shutil.copytree(one, two)
    fastseq.set_seed(1)
    first = train_ocr(**{**RUN, "seed": None}, folder=one, resume=True)
    fastseq.set_seed(2)
    same(train_ocr(**{**RUN, "seed": None}, folder=two, resume=True), first)
    same_files(one, two)


# --- what has ended, what begins anew -------------------------------------------------------------


@pytest.mark.parametrize("cache", [False, True])
def test_a_run_that_has_ended_comes_back_at_once(cache, tmp_path, monkeypatch):
    run = {**RUN, "cache": cache}
    whole = train_ocr(**run, folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    painted = []
    paint = Painter.paint
    monkeypatch.setattr(Painter, "paint", lambda *given: painted.append(given) or paint(*given))
    monkeypatch.setattr("fastseq.data.workers.Workers.__init__", None)  # nothing to paint ahead
    result = train_ocr(**{**run, "workers": 1}, folder=tmp_path, resume=True)
    same(result, whole)
    assert result.seconds == whole.seconds
    assert str(result) == str(whole)
    assert len(painted) <= 1  # the batch that fit looks at
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_target_that_was_reached(tmp_path):
    run = {**RUN, "target_edit_distance": 100.0}
    whole = train_ocr(**run, folder=tmp_path)
    assert whole.epochs == 1
    same(train_ocr(**run, folder=tmp_path, resume=True), whole)


def test_an_empty_folder(undisturbed, tmp_path, capsys):
    folder = tmp_path / "none" / "yet"
    same(train_ocr(**{**RUN, "verbose": 2}, folder=folder, resume=True, samples=0), undisturbed[0])
    assert capsys.readouterr().out.startswith(f"No run to resume in '{folder}': beginning one.\nTexts: 48 ")
    same_files(folder, undisturbed[1])


def test_without_resume_it_begins_anew(undisturbed, tmp_path, monkeypatch):
    other = {"units": 3, "seed": 5}
    train_ocr(**{**RUN, **other}, folder=tmp_path)
    before = (tmp_path / BACKUP).read_bytes()
    interrupted(monkeypatch, 0, folder=tmp_path)
    assert (tmp_path / BACKUP).read_bytes() == before  # no epoch of the new one has been finished yet
    interrupted(monkeypatch, 1, folder=tmp_path)
    same(train_ocr(**RUN, folder=tmp_path, resume=True), undisturbed[0])
    with pytest.raises(ValueError, match="units must be 6 as in the run in"):
        train_ocr(**{**RUN, **other}, folder=tmp_path, resume=True)
    same_files(tmp_path, undisturbed[1])


# --- errors ---------------------------------------------------------------------------------------


def test_it_needs_a_folder(capsys):
    with pytest.raises(ValueError) as error:
        train_ocr(**RUN, resume=True)
    assert str(error.value) == "train_ocr: folder must be given with resume, got None"
    with pytest.raises(SystemExit) as left:
        cli.main(["ocr", "--resume"])
    assert left.value.code == 2
    assert f"fastseq ocr: error: {error.value}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "argument", "earlier", "got"),
    [
        ({"variant": "bidirectional"}, "variant", "'original'", "'bidirectional'"),
        ({"units": 7, "batch_size": 8}, "units", "6", "7"),
        ({"training_size": 61}, "training_size", "60", "61"),
        ({"batch_size": 8}, "batch_size", "16", "8"),
        ({"width": 68}, "width", "64", "68"),
        ({"wide": 100}, "wide", "96", "100"),
        ({"wide_from": 3}, "wide_from", "2", "3"),
        ({"target_edit_distance": 0.5}, "target_edit_distance", "None", "0.5"),
        ({"seed": 1}, "seed", "0", "1"),
        ({"seed": None}, "seed", "0", "None"),
        ({"learning_rate": 0.01}, "learning_rate", "0.02", "0.01"),
        ({"cache": True}, "cache", "False", "True"),
        ({"fonts": None}, "fonts", "['built-in']", repr(find_fonts())),
    ],
)
def test_another_configuration(options, argument, earlier, got, undisturbed):
    folder = undisturbed[1]
    if got == earlier:  # a machine without fonts
        pytest.skip("the fonts are the same")
    before = (folder / BACKUP).read_bytes()
    with pytest.raises(ValueError) as error:
        train_ocr(**{**RUN, **options}, folder=folder, resume=True)
    rule = f"{argument} must be {earlier} as in the run in {str(folder)!r}, got {got}"
    assert str(error.value) == f"train_ocr: {rule}"
    assert (folder / BACKUP).read_bytes() == before


def test_fewer_epochs(undisturbed, tmp_path, monkeypatch):
    with pytest.raises(ValueError) as error:
        train_ocr(**{**RUN, "epochs": 3}, folder=undisturbed[1], resume=True)
    run = f"the run in {str(undisturbed[1])!r}"
    assert str(error.value) == f"train_ocr: epochs must be at least the 4 of {run}, got 3"
    interrupted(monkeypatch, 1, folder=tmp_path)
    shorter = train_ocr(**{**RUN, "epochs": 3}, folder=tmp_path, resume=True)
    same(shorter, train_ocr(**{**RUN, "epochs": 3}))


def test_the_words_themselves_count(tmp_path):
    """Their file may have moved, but not changed."""
    words, folder = tmp_path / "words.txt", tmp_path / "folder"
    words.write_text(" ".join("abcdefghijklmnop"))
    train_ocr(**{**RUN, "epochs": 1}, words=words, folder=folder)
    moved = words.rename(tmp_path / "others.txt")
    same(train_ocr(**RUN, words=moved, folder=folder, resume=True), train_ocr(**RUN, words=moved))
    moved.write_text(" ".join("bcdefghijklmnopq"))
    with pytest.raises(ValueError) as error:
        train_ocr(**RUN, words=moved, folder=folder, resume=True)
    assert re.fullmatch(
        r"train_ocr: words must be '16 words, CRC (\w{8})' as in the run in .*, "
        r"got '16 words, CRC (?!\1)\w{8}'",
        str(error.value),
    )


def test_a_backup_of_something_else(undisturbed, tmp_path):
    path = tmp_path / BACKUP
    rule = f"train_ocr: folder must hold an earlier run of train_ocr, got {str(path)!r}"
    made = fastseq.Sequential([fastseq.layers.Dense(1, input_shape=(1,))])
    made.compile("sgd", "mse")
    keep = BackupAndRestore(tmp_path, delete_checkpoint=False)
    made.fit(np.ones((4, 1)), np.ones((4, 1)), callbacks=[keep], verbose=0)
    with pytest.raises(ValueError) as error:
        train_ocr(**RUN, folder=tmp_path, resume=True)
    assert str(error.value) == rule
    shutil.copy(undisturbed[1] / "epoch_04.safetensors", path)
    with pytest.raises(ValueError) as error:
        train_ocr(**RUN, folder=tmp_path, resume=True)
    assert str(error.value) == f"BackupAndRestore: backup_dir must hold a training, got {str(path)!r}"
    path.write_bytes((undisturbed[1] / BACKUP).read_bytes()[:-5])
    with pytest.raises(ValueError, match="read_weights"):
        train_ocr(**RUN, folder=tmp_path, resume=True)


# --- the command line -----------------------------------------------------------------------------


def test_command_line(tmp_path, capsys):
    run = ["ocr", "--units", "4", "--training-size", "40", "--width", "64", "--workers", "0", "--quiet"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.main([*run, "--epochs", "2", "--folder", str(whole)]) == 0
    assert cli.main([*run, "--epochs", "1", "--folder", str(parts)]) == 0
    first = (parts / "epoch_01.safetensors").stat().st_mtime_ns
    assert cli.main([*run, "--epochs", "2", "--folder", str(parts), "--resume"]) == 0
    assert (parts / "epoch_01.safetensors").stat().st_mtime_ns == first
    lines = [line.rpartition(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == lines[2] != lines[1]
    one, two = (OcrResult.load(folder / "epoch_02.safetensors") for folder in (whole, parts))
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.history.history == two.history.history
