"""The command `fastseq`: `fastseq addition`, `fastseq translation`, `fastseq ocr`, `fastseq info`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import fastseq
from fastseq import _core

if TYPE_CHECKING:
    from fastseq.recipes import AdditionResult, OcrResult, TranslationResult

__all__ = ["main"]


def _info(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("version", fastseq.__version__)
    table.add_row("instruction set", _core.isa())
    table.add_row("available", ", ".join(_core.available_isas()))
    table.add_row("threads", str(fastseq.get_num_threads()))
    table.add_row("OpenMP", "yes" if _core.has_openmp() else "no")
    table.add_row("CUDA", "yes" if _core.has_cuda() else "no")
    Console().print(table)
    return 0


def _add_addition(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "addition",
        help="train a model to add numbers, character by character",
        description="Trains a model to answer questions such as 535+61, character by character. "
        "Ctrl-C ends the training and keeps what was learnt.",
    )
    add = parser.add_argument
    add("--digits", type=int, default=3, help="the most digits a number has (%(default)s)")
    add("--cell", choices=("lstm", "gru", "simple_rnn"), default="lstm", help="the layer (%(default)s)")
    add("--units", type=int, default=128, help="units of each recurrent layer (%(default)s)")
    add("--layers", type=int, default=1, help="decoder layers (%(default)s)")
    add("--training-size", type=int, help="questions, a tenth of them for validation (by the digits)")
    add("--no-invert", action="store_false", dest="invert", help="do not reverse the questions")
    add("--batch-size", type=int, help="questions per step (by the digits)")
    add("--learning-rate", type=float, help="of Adam (by the digits)")
    own = "let the weights themselves answer, as in the Keras example, not a running mean of them"
    add("--no-ema", action="store_false", dest="use_ema", help=own)
    add("--epochs", type=int, default=200, help="the most epochs to train (%(default)s)")
    add("--target-accuracy", type=float, default=0.99, help="accuracy at which to stop (%(default)s)")
    add("--seed", type=int, default=0, help="of questions, weights and shuffling (%(default)s)")
    _add_results(parser)
    _add_questions(parser)
    parser.set_defaults(run=_addition, parser=parser)


def _add_results(parser: argparse.ArgumentParser, curves: str = "accuracy and loss") -> None:
    """Options of every program: what to print, and what to write or read."""
    add = parser.add_argument
    add("--quiet", action="store_true", help="print the last line only")
    add("--save", metavar="PATH", help="write the trained model to a safetensors file")
    add("--load", "--weights", metavar="PATH", help="read a saved model instead of training one")
    add("--plot", metavar="FILE", help=f"draw {curves} into an image file (needs matplotlib)")


def _add_questions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ask", action="store_true", help="answer questions from the terminal afterwards")


def _addition(arguments: argparse.Namespace) -> int:
    from fastseq.recipes import AdditionResult, train_addition

    result: AdditionResult = _result(arguments, AdditionResult.load, train_addition)
    if arguments.ask:
        digits = result.configuration["digits"]
        about = f"Ask for sums of numbers of at most {digits} digit{'s' * (digits > 1)}"
        _ask(about, result.predict)
    return 0


def _add_translation(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "translation",
        help="train a model to translate, character by character",
        description="Trains an encoder and a decoder of characters on pairs of texts: those of a file, or, "
        "without one, dates as people write them and as ISO 8601 does. Ctrl-C ends the training and keeps "
        "what was learnt.",
    )
    add = parser.add_argument
    add("--path", metavar="FILE", help="pairs of texts, one a line, split by a tab (dates)")
    add("--cell", choices=("lstm", "gru", "simple_rnn"), default="lstm", help="the layer (%(default)s)")
    add("--units", type=int, default=256, help="units of encoder and decoder (%(default)s)")
    add("--attention", action="store_true", help="let the decoder attend to all of the source")
    add("--embedding", type=int, default=0, help="features of a character; 0 for one-hot (%(default)s)")
    padded = "read and count padding too, as the Keras example does"
    add("--padded", action="store_false", dest="ragged", help=padded)
    add("--training-size", type=int, help="pairs, a fifth of them for validation (10,000 or all)")
    add("--batch-size", type=int, default=64, help="pairs per step (%(default)s)")
    add("--learning-rate", type=float, default=0.001, help="of RMSprop (%(default)s)")
    add("--epochs", type=int, default=100, help="the most epochs to train (%(default)s)")
    add("--target-exact-match", type=float, help="share of right translations at which to stop (dates: 0.99)")
    add("--seed", type=int, default=0, help="of dates, weights and shuffling (%(default)s)")
    add("--beam-width", type=int, default=1, help="beginnings to follow when answering (%(default)s)")
    _add_results(parser)
    _add_questions(parser)
    parser.set_defaults(run=_translation, parser=parser)


def _translation(arguments: argparse.Namespace) -> int:
    from fastseq.recipes import TranslationResult, train_translation

    _check_beam_width(arguments)
    result: TranslationResult = _result(arguments, TranslationResult.load, train_translation)
    if arguments.ask:
        about = f"Write what to translate, such as {result.example!r}"
        _ask(about, lambda text: result.translate(text, arguments.beam_width))
    return 0


def _add_ocr(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "ocr",
        help="train a model to read images of words",
        description="Paints words, ever harder ones, and trains a model to read them: convolutions, GRUs in "
        "both directions, CTC; a running mean of the weights is what reads. The run that the Keras example "
        "publishes is --variant original --epochs 25. Ctrl-C ends the training and keeps what was learnt; "
        "with --folder, --resume goes on with it later. With --weights and --read it reads images.",
    )
    add = parser.add_argument
    lessons = "from 7 several fonts, from 10 askew"
    add("--epochs", type=int, default=6, help=f"epochs to train (%(default)s); {lessons}")
    joined = "how the directions are joined: as in the Keras example, or place by place (%(default)s)"
    add("--variant", choices=("original", "bidirectional"), default="bidirectional", help=joined)
    add("--units", type=int, default=512, help="units of each GRU (%(default)s)")
    add("--training-size", type=int, default=16_000, help="words, a fifth for validation (%(default)s)")
    add("--words", metavar="FILE", help="a file with words to paint (made-up ones)")
    add("--batch-size", type=int, default=32, help="images per step (%(default)s)")
    add("--width", type=int, default=128, help="pixels across an image (%(default)s)")
    add("--wide", type=int, default=512, help="pixels across in the second phase (%(default)s)")
    add("--wide-from", type=int, default=20, help="the epoch that begins it, from 0 (%(default)s)")
    add("--learning-rate", type=float, default=0.02, help="of SGD (%(default)s)")
    add("--target-edit-distance", type=float, help="normalised edit distance below which to stop (none)")
    add("--seed", type=int, default=0, help="of words, images and weights (%(default)s)")
    add("--folder", metavar="PATH", help="write weights and a picture there after each epoch")
    add("--resume", action="store_true", help="go on where the training of that folder was interrupted")
    add("--cache", action="store_true", help="paint images once for epochs alike, and keep them in memory")
    add("--workers", type=int, default=1, help="processes that paint ahead (%(default)s)")
    add("--beam-width", type=int, default=1, help="beginnings to follow when reading (%(default)s)")
    add("--read", nargs="+", metavar="IMAGE", help="read these images afterwards")
    _add_results(parser, "loss and edit distance")
    parser.set_defaults(run=_ocr, parser=parser)


def _ocr(arguments: argparse.Namespace) -> int:
    from fastseq.recipes import OcrResult, train_ocr

    _check_beam_width(arguments)
    for path in arguments.read or []:
        if not os.path.isfile(path):
            arguments.parser.error(f"cannot read {path}")
    result: OcrResult = _result(arguments, OcrResult.load, train_ocr)
    for path in arguments.read or []:
        try:
            print(f"{path}: {result.read(path, arguments.beam_width)[0]}")
        except OSError as error:
            arguments.parser.error(str(error))
    return 0


def _check_beam_width(arguments: argparse.Namespace) -> None:
    if arguments.beam_width < 1:
        arguments.parser.error(f"--beam-width must be at least 1, got {arguments.beam_width}")


# What the program itself does with its options; the others are arguments of the recipe, by the same names.
_OWN = {"command", "run", "parser", "quiet", "save", "load", "plot", "ask", "beam_width", "read"}


def _result(arguments: argparse.Namespace, load: Callable[[str], Any], train: Callable[..., Any]) -> Any:
    """What was loaded or trained, printed, saved and drawn as asked for."""
    asked = {name: value for name, value in vars(arguments).items() if name not in _OWN}
    asked["verbose"] = 0 if arguments.quiet else 1
    fail = arguments.parser.error
    # whatever would be wrong after the training is wrong before it
    for path in filter(None, (arguments.save, arguments.plot)):
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(path) or not os.access(folder, os.W_OK):
            fail(f"cannot write {path}")
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        fail("--plot needs matplotlib: pip install 'fastseq[plot]'")
    try:
        result = load(arguments.load) if arguments.load else train(**asked)
        if arguments.load or arguments.quiet:
            print(result)
        if arguments.save:
            result.save(arguments.save)
        if arguments.plot:
            result.plot(arguments.plot)
    except (ValueError, OSError, RuntimeError) as error:
        fail(str(error))
    return result


def _ask(about: str, answer: Callable[[str], str]) -> None:
    """Answers one question per line until there are no more."""
    terminal = sys.stdin.isatty()
    if terminal:
        print(f"{about}; an empty line ends.")
    while True:
        try:
            question = input("? " if terminal else "").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not question:
            break
        try:
            print(answer(question))
        except ValueError as error:
            print(str(error).split(": ", 1)[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastseq", description=fastseq.__doc__)
    parser.add_argument("--version", action="version", version=f"fastseq {fastseq.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    _add_addition(commands)
    _add_translation(commands)
    _add_ocr(commands)
    info = commands.add_parser("info", help="print version, instruction set, threads, OpenMP, CUDA")
    info.set_defaults(run=_info)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130  # what a shell reports for Ctrl-C


if __name__ == "__main__":
    sys.exit(main())
