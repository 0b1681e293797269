"""The command: what each option does, what it prints, and how it refuses."""

import io
import os
import re
import signal
import subprocess
import sys

import pytest

from fastseq import cli
from fastseq.recipes import AdditionResult, OcrResult, TranslationResult

SMALL = ["addition", "--digits", "1", "--units", "8", "--epochs", "2"]


def test_addition(capsys):
    assert cli.main(SMALL) == 0
    out = capsys.readouterr().out
    assert "Total addition questions: 55" in out
    assert len(re.findall("^Q ", out, re.MULTILINE)) == 20
    assert "\033[9" not in out
    assert out.splitlines()[-1].startswith("1 digit, lstm 8: ")


def test_addition_quiet(capsys):
    assert cli.main([*SMALL, "--quiet"]) == 0
    assert re.fullmatch(
        r"1 digit, lstm 8: \S+ % of characters and \S+ % of answers right after 2 epochs, \S+ s\n",
        capsys.readouterr().out,
    )


def test_addition_options_reach_the_recipe(tmp_path, capsys):
    path = str(tmp_path / "adder")
    options = "--digits 2 --cell gru --units 4 --layers 2 --training-size 50 --no-invert --batch-size 16"
    options += " --learning-rate 0.01 --no-ema --epochs 1 --target-accuracy 0.5 --seed 7 --quiet --save"
    assert cli.main(["addition", *options.split(), path]) == 0
    assert AdditionResult.load(path).configuration == {
        "digits": 2,
        "cell": "gru",
        "units": 4,
        "layers": 2,
        "training_size": 50,
        "invert": False,
        "batch_size": 16,
        "learning_rate": 0.01,
        "use_ema": False,
        "epochs": 1,
        "target_accuracy": 0.5,
        "seed": 7,
    }
    said = capsys.readouterr().out
    assert cli.main(["addition", "--load", path]) == 0
    assert capsys.readouterr().out == said


def test_addition_plot(tmp_path):
    pytest.importorskip("matplotlib")
    assert cli.main([*SMALL, "--quiet", "--plot", str(tmp_path / "curves.svg")]) == 0
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_addition_ask(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1+2\n100+1\n\n3+3\n"))
    assert cli.main([*SMALL, "--quiet", "--ask"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # the empty line ended it
    assert lines[2] == (
        "questions must be two numbers of at most 1 digit and a plus, such as '9+1', got '100+1'"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--cell", "rnn"], "argument --cell: invalid choice: 'rnn'"),
        (["--digits", "three"], "argument --digits: invalid int value: 'three'"),
        (["--digits", "0"], "train_addition: digits must be from 1 to 18, got 0"),
        (
            ["--digits", "1", "--training-size", "100"],
            "train_addition: training_size must be at most 55, all the questions that 1 digit can ask, "
            "got 100",
        ),
        (["--save", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
        (["--plot", "/"], "cannot write /"),
        (["--load", "/nowhere"], "[Errno 2] No such file or directory: '/nowhere'"),
    ],
)
def test_addition_refuses(options, text, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["addition", *options])
    assert error.value.code == 2
    assert f"fastseq addition: error: {text}" in capsys.readouterr().err


def test_unknown_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["addition", "--digit-count", "3"])
    assert "unrecognized arguments: --digit-count 3" in capsys.readouterr().err


def test_addition_plot_without_matplotlib(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        cli.main(["addition", "--plot", "curves.png"])
    assert "error: --plot needs matplotlib: pip install 'fastseq[plot]'" in capsys.readouterr().err


DATES = ["translation", "--units", "8", "--epochs", "1", "--training-size", "50"]


def test_translation(capsys):
    assert cli.main(DATES) == 0
    out = capsys.readouterr().out
    assert "Pairs: 50, such as " in out
    assert "\033[9" not in out
    assert out.splitlines()[-1].startswith("dates, lstm 8: loss ")


def test_translation_options_reach_the_recipe(tmp_path, capsys):
    pairs, path = tmp_path / "pairs.txt", str(tmp_path / "translator")
    pairs.write_text("".join(f"{n} cats\t{n} chats\n" for n in range(30)))
    options = "--cell gru --units 4 --padded --training-size 20 --batch-size 16 --learning-rate 0.01"
    options += " --epochs 1 --target-exact-match 0.5 --seed 7 --beam-width 2 --quiet"
    options += " --attention --embedding 3"
    assert cli.main(["translation", "--path", str(pairs), *options.split(), "--save", path]) == 0
    assert TranslationResult.load(path).configuration == {
        "path": str(pairs),
        "cell": "gru",
        "units": 4,
        "attention": True,
        "embedding": 3,
        "ragged": False,
        "training_size": 20,
        "batch_size": 16,
        "learning_rate": 0.01,
        "epochs": 1,
        "target_exact_match": 0.5,
        "seed": 7,
        "longest_source": 7,
        "longest_target": 10,
        "example": "19 cats",
    }
    said = capsys.readouterr().out
    assert cli.main(["translation", "--load", path]) == 0
    assert capsys.readouterr().out == said


def test_translation_ask(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1 May 1999\n§\n\n1 May\n"))
    assert cli.main([*DATES, "--quiet", "--ask", "--beam-width", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # the empty line ended it
    assert re.fullmatch(r"texts must hold only .+, got '§'", lines[2])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--units", "0"], "train_translation: units must be at least 1, got 0"),
        (["--path", "/nowhere"], "[Errno 2] No such file or directory: '/nowhere'"),
        (["--beam-width", "0"], "--beam-width must be at least 1, got 0"),
        (["--save", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
    ],
)
def test_translation_refuses(options, text, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["translation", *options])
    assert error.value.code == 2
    assert f"fastseq translation: error: {text}" in capsys.readouterr().err


READER = ["ocr", "--units", "4", "--epochs", "1", "--training-size", "40", "--width", "64", "--workers", "0"]


def test_ocr(capsys):
    pytest.importorskip("PIL")
    assert cli.main(READER) == 0
    out = capsys.readouterr().out
    assert "Texts: 32 to train on, such as " in out
    assert len(re.findall("^T ", out, re.MULTILINE)) == 5
    assert "\033[9" not in out
    assert out.splitlines()[-1].startswith(
        "bidirectional, 4 units, images of 64x64: normalised edit distance "
    )


def test_ocr_options_reach_the_recipe(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    words, path, folder = tmp_path / "words.txt", str(tmp_path / "reader"), tmp_path / "folder"
    words.write_text(" ".join("abcdefghijklmnop"))
    options = "--variant original --units 3 --training-size 15 --batch-size 6 --learning-rate 0.01 --epochs 2"
    options += " --width 64 --wide 68 --wide-from 1 --target-edit-distance 0.001 --seed 7 --cache --workers 0"
    options += f" --quiet --words {words} --folder {folder} --save {path}"
    assert cli.main(["ocr", *options.split()]) == 0
    assert OcrResult.load(path).configuration == {
        "epochs": 2,
        "variant": "original",
        "units": 3,
        "training_size": 15,
        "batch_size": 6,
        "width": 68,
        "wide": 68,
        "wide_from": 1,
        "words": str(words),
        "target_edit_distance": 0.001,
        "seed": 7,
        "learning_rate": 0.01,
        "cache": True,
    }
    assert {"epoch_01.safetensors", "epoch_02.safetensors"} <= {file.name for file in folder.iterdir()}
    said = capsys.readouterr().out
    assert said.startswith("original, 3 units, images of 68x64: ")
    image.new("L", (200, 30), 255).save(tmp_path / "empty.png")
    given = [str(tmp_path / "empty.png")]
    assert cli.main(["ocr", "--weights", path, "--beam-width", "2", "--read", *given]) == 0
    *loaded, read = capsys.readouterr().out.splitlines()
    assert loaded == said.splitlines()
    assert re.fullmatch(re.escape(given[0]) + ": [a-z ]*", read)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--units", "0"], "train_ocr: units must be at least 1, got 0"),
        (["--variant", "both"], "argument --variant: invalid choice: 'both'"),
        (["--words", "/nowhere"], "[Errno 2] No such file or directory: '/nowhere'"),
        (["--read", "/nowhere.png"], "cannot read /nowhere.png"),
        (["--beam-width", "0"], "--beam-width must be at least 1, got 0"),
        (["--weights", "/nowhere"], "[Errno 2] No such file or directory: '/nowhere'"),
    ],
)
def test_ocr_refuses(options, text, capsys):
    with pytest.raises(SystemExit) as error:
        cli.main(["ocr", *options])
    assert error.value.code == 2
    assert f"fastseq ocr: error: {text}" in capsys.readouterr().err


def test_ocr_refuses_what_is_no_image(tmp_path, capsys):
    pytest.importorskip("PIL")
    path = str(tmp_path / "reader")
    assert cli.main([*READER, "--quiet", "--save", path]) == 0
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(SystemExit) as error:
        cli.main(["ocr", "--weights", path, "--read", str(tmp_path / "text.png")])
    assert error.value.code == 2
    assert "fastseq ocr: error: cannot identify image file" in capsys.readouterr().err


def test_ocr_without_pillow(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SystemExit):
        cli.main(READER)
    text = "error: Painter: Pillow must be installed (pip install 'fastseq[ocr]'), got no such module"
    assert text in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_addition_interrupted(tmp_path, ctrl_c):
    path = tmp_path / "adder"
    command = [sys.executable, "-u", "-m", "fastseq.cli", "addition", "--digits", "2", "--units", "8"]
    process = subprocess.Popen(
        [
            *command,
            "--epochs",
            "100000",
            "--target-accuracy",
            "1",
            "--training-size",
            "500",
            "--save",
            str(path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Q "):  # at least one epoch is over
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Interrupted: keeping what was learnt." in out
    assert AdditionResult.load(path).interrupted
