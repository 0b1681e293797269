"""Learns to read: paints words, trains the network of the Keras example image_ocr on them, and reads images.

Graves et al. (2006), "Connectionist temporal classification", https://doi.org/10.1145/1143844.1143891.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import fastseq
from fastseq import losses, metrics
from fastseq.callbacks import Callback, History, SwapEMAWeights
from fastseq.models import Model
from fastseq.recipes.common import (
    fitted,
    integer,
    load_result,
    plot_history,
    positive,
    restore,
    save_result,
    silent,
    tick,
    verbosity,
)
from fastseq.recipes.ocr_images import draw_readings, read_image
from fastseq.recipes.ocr_model import DOWNSAMPLING, SKIPPED_STEPS, VARIANTS, ocr_model
from fastseq.recipes.painter import Painter, find_fonts
from fastseq.recipes.resuming import Backup, check_same, kept_state
from fastseq.recipes.text_images import ALPHABET, Curriculum, TextImages, labels_of, texts_from
from fastseq.recipes.words import read_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OcrResult", "train_ocr"]

HEIGHT = 64  # of the images, in pixels
NARROWEST = 64  # in pixels: four letters and the margins
EXAMPLES = 256  # validation images to read after each epoch
SHOWN = 16  # of them in a picture


@dataclass
class OcrResult:
    """What ``train_ocr`` learnt.

    Attributes:
        model: The trained model, its weights running means: images (batch, width, 64, 1), white being 1,
            to probabilities.
        history: Its History: loss, val_loss, edit_distance and normalized_edit_distance of each epoch.
        edit_distance: Wrong, missing and surplus characters, the mean over the last validation images.
        normalized_edit_distance: The same, each divided by the length of its text.
        epochs: Epochs finished.
        seconds: What they took, validation included.
        interrupted: Whether Ctrl-C ended the training.
        configuration: The arguments of ``train_ocr``, and the ``width`` of the images that are read.
    """

    model: Model
    history: History
    edit_distance: float = float("nan")
    normalized_edit_distance: float = float("nan")
    epochs: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    configuration: dict[str, Any] = field(default_factory=dict)

    def read(self, images: Any, beam_width: int = 1) -> list[str]:
        """What images say.

        Args:
            images: An image, or a list of them: each a path, an image of Pillow's, or an array (height,
                width) or (height, width, colours) of integers up to 255 or of floats up to 1. One of
                another size than the model's is made smaller where it must be, and put amid paper;
                light letters on dark become dark ones on light.
            beam_width: Beginnings that a beam search follows; 1 takes the likeliest class of each step.
        Raises:
            TypeError: An image is none of these.
            ValueError: An array has another shape.
            OSError: A file cannot be read, or is no image.
            RuntimeError: Pillow is not installed.
        """
        name = "OcrResult.read"
        width = integer(name, "beam_width", beam_width, 1)
        listed = list(images) if isinstance(images, (list, tuple)) else [images]
        if not listed:
            return []
        x = np.stack([read_image(name, image, self.configuration["width"], HEIGHT) for image in listed])
        return decoded(self.model.predict(x, batch_size=32, verbose=0), width)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights, the history and the configuration into one safetensors file."""
        kept = {name: getattr(self, name) for name in _KEPT}
        # of both phases; the model's own is that of one, and still being written while it trains
        history = {key: [float(value) for value in values] for key, values in self.history.history.items()}
        save_result(path, "ocr", self.model, {**kept, "history": history})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> OcrResult:
        """The result that ``save`` wrote, ready to read.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds no OCR model.
        """
        weights, kept = load_result("OcrResult.load", path, "ocr")
        model = _model(kept["configuration"])
        return cls(model, restore(model, weights, kept), **kept)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws the loss and the edit distance over the epochs into an image file.

        Raises:
            RuntimeError: matplotlib is not installed.
        """
        title = f"Reading painted words, {self.configuration['variant']}"
        plot_history("OcrResult.plot", self.history, ("loss", "normalized_edit_distance"), title, path)

    def __str__(self) -> str:
        c = self.configuration
        return (
            f"{c['variant']}, {c['units']} units, images of {c['width']}x{HEIGHT}: "
            f"normalised edit distance {self.normalized_edit_distance:.4f}, "
            f"{self.edit_distance:.3f} characters a text, after {self.epochs} "
            f"epoch{'s' * (self.epochs != 1)}, {self.seconds:.1f} s"
        )


_NAME = "train_ocr"
_MEASURED = ("edit_distance", "epochs", "normalized_edit_distance", "seconds")  # epoch by epoch
_KEPT = ("configuration", "interrupted", *_MEASURED)


def train_ocr(
    epochs: int = 6,
    variant: str = "bidirectional",
    units: int = 512,
    training_size: int = 16_000,
    batch_size: int = 32,
    width: int = 128,
    wide: int = 512,
    wide_from: int = 20,
    words: str | os.PathLike[str] | None = None,
    target_edit_distance: float | None = None,
    seed: int | None = 0,
    verbose: int = 1,
    *,
    learning_rate: float = 0.02,
    fonts: Sequence[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    cache: bool = False,
    workers: int = 1,
    samples: int = 5,
) -> OcrResult:
    """Trains a model to read painted words, which get harder epoch by epoch.

    Epochs 0 to 2 are plain; from 3 words stand at random heights; from 6 in several fonts; from 9 askew. From
    20, the second phase, images are 512 wide, and from 21 texts are one or two words of up to
    12 characters. After each epoch 256 validation images are read. Ctrl-C ends the training early and
    returns what was learnt so far.

    What reads, and what is kept, is the running mean of the weights over about a hundred steps (Polyak and
    Juditsky 1992, https://doi.org/10.1137/0330046): at a constant rate the weights themselves swing about it.

    Args:
        epochs: How many to train. 6 read one font at any height, 10 and more all of it; the run that the
            example publishes has 25.
        variant: "bidirectional", or "original", the example's network, which learns more slowly; see
            ``ocr_model``.
        units: Of each of the four GRUs.
        training_size: Words of up to four letters to paint, the last fifth of them for validation; of
            long texts there are twice as many.
        batch_size: Images per step; 3 in 32 are empty.
        width: Of the images, in pixels, a multiple of 4.
        wide: Of the images in the second phase, which begins with the weights of the first.
        wide_from: The epoch in which it begins.
        words: A file with words to paint; None for made-up ones.
        target_edit_distance: Normalised edit distance below which to stop; None to use every epoch.
        seed: Of words, images, initial weights and shuffling; None for a new one each time.
        verbose: 0 prints nothing, 1 a progress bar for each epoch, 2 one line for each epoch.
        learning_rate: Of SGD with Nesterov's momentum of 0.9.
        fonts: "built-in" (Pillow's) and paths of font files; None for Pillow's and up to four that the
            machine has.
        folder: Where to write, after each epoch, what has been learnt (epoch_07.safetensors) and a picture
            of images with what was read (epoch_07.png, where matplotlib is installed), and where training
            stands (training.safetensors); None for nowhere.
        resume: Go on after the last finished epoch of the run in ``folder``, bit for bit as if it had not
            been interrupted, by Ctrl-C or otherwise; begin where there is none. It must have had the same
            arguments; ``epochs``, and those that only say what is shown and who paints, may be others.
            Without it a run begins anew, and its first finished epoch replaces what was there.
        cache: Paint images once for all epochs with the same rules and keep them, where memory allows it,
            and not anew in each epoch. A run resumed with less memory paints anew: other images.
        workers: Processes that paint ahead; 0 paints between the steps.
        samples: How many readings to show after each epoch.

    Returns:
        An OcrResult: ``.model``, ``.history``, ``.normalized_edit_distance``, and ``.read(images)``.

    Raises:
        OSError: A file cannot be read, or the folder cannot be made.
        RuntimeError: Pillow is not installed.
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, the file has too few words, or the run to resume had other
            arguments.
    """
    name = _NAME
    epochs = integer(name, "epochs", epochs, 0)
    units = integer(name, "units", units, 1)
    training_size = integer(name, "training_size", training_size, 10)
    batch_size = integer(name, "batch_size", batch_size, 1)
    wide_from = integer(name, "wide_from", wide_from, 0)
    workers = integer(name, "workers", workers, 0)
    samples = integer(name, "samples", samples, 0)
    verbose = verbosity(name, verbose)
    for argument, value in (("width", width), ("wide", wide)):
        if integer(name, argument, value, NARROWEST) % DOWNSAMPLING:
            raise ValueError(f"{name}: {argument} must be a multiple of {DOWNSAMPLING}, got {value}")
    if variant not in VARIANTS:
        raise ValueError(f"{name}: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    positive(name, "learning_rate", learning_rate)
    if target_edit_distance is not None:
        positive(name, "target_edit_distance", target_edit_distance)
    chance = int(np.random.default_rng().integers(2**31)) if seed is None else integer(name, "seed", seed, 0)
    if resume and folder is None:
        raise ValueError(f"{name}: folder must be given with resume, got None")
    listed = None if words is None else read_words(words)
    fonts = find_fonts() if fonts is None else [os.fspath(font) for font in fonts]
    if folder is not None:
        os.makedirs(folder, exist_ok=True)

    configuration = {
        "epochs": epochs,
        "variant": variant,
        "units": units,
        "training_size": training_size,
        "batch_size": batch_size,
        "width": int(width),
        "wide": int(wide),
        "wide_from": wide_from,
        "words": None if words is None else os.fspath(words),
        "target_edit_distance": target_edit_distance,
        "seed": seed,
        "learning_rate": learning_rate,
        "cache": bool(cache),
    }
    say = print if verbose else silent
    if seed is not None:
        fastseq.set_seed(seed)
    result = OcrResult(_model(configuration), History(), configuration=configuration)
    # the words themselves, wherever their file lies, and the fonts that "all of the machine" means today
    asked = {**configuration, "words": _described(listed), "fonts": fonts}
    kept = _kept(folder, asked, say) if resume and folder is not None else {}
    chance = kept.get("chance", chance)
    curriculum = Curriculum(training_size, listed, chance)
    phases = [(0, min(epochs, wide_from), int(width)), (min(epochs, wide_from), epochs, int(wide))]
    for phase, (first, end, across) in enumerate(phases):
        if first == end or phase < kept.get("phase", 0):
            continue
        going_on = phase == kept.get("phase")
        at = kept["epochs"] if going_on else first
        left = at < end  # else nothing is painted, but what was learnt is restored
        painter = Painter(across, HEIGHT, fonts=fonts, seed=chance)
        dataset = TextImages(
            painter, curriculum, batch_size, seed=chance, epoch=at,
            cache=cache and left, workers=workers * left,
        )  # fmt: skip
        _widen(result, across)
        if left:
            training, _ = curriculum.texts(at)
            say(f"Texts: {len(training)} to train on, such as {training[0]!r}; images: {across}x{HEIGHT}")
        if verbose and left:
            result.model.summary()
        result.model.compile(_optimizer(learning_rate), losses.CTC(blank=-1, skip_steps=SKIPPED_STEPS))
        about = {"recipe": _NAME, "asked": asked, "chance": chance, "phase": phase}
        after_epoch = _AfterEpoch(
            result, dataset, samples if verbose else 0, target_edit_distance, folder, about
        )
        reading = [SwapEMAWeights(swap_on_epoch=True), after_epoch]  # the means are what reads
        backup = [] if folder is None else [Backup(folder, going_on)]
        _, _, result.interrupted = fitted(
            result.model, say, dataset, None,
            initial_epoch=at, epochs=end, shuffle=False, callbacks=[*reading, *backup], verbose=verbose,
        )  # fmt: skip
        if result.interrupted or result.model.stop_training:
            break
    result.model.history = result.history
    if result.interrupted and result.epochs and folder is not None:
        say(f"To go on after epoch {result.epochs}: resume=True, or --resume on the command line.")
    say(result)
    return result


def _model(configuration: dict[str, Any]) -> Model:
    c = configuration
    return ocr_model(c["width"], HEIGHT, len(ALPHABET) + 1, c["units"], c["variant"])


def _kept(folder: str | os.PathLike[str], asked: dict[str, Any], say: Callable[..., None]) -> dict[str, Any]:
    """What ``_AfterEpoch`` told in the backup that a folder holds; nothing where it holds none."""
    kept = kept_state(_NAME, folder, _AfterEpoch)
    if kept is None:
        say(f"No run to resume in {os.fspath(folder)!r}: beginning one.")
        return {}
    check_same(_NAME, folder, asked, kept["asked"], kept["epochs"])
    say(f"Going on after epoch {kept['epochs']} of {asked['epochs']}.")
    return kept


def _described(words: Sequence[str] | None) -> str | None:
    """Words as a text that only the same words have."""
    if words is None:
        return None
    return f"{len(words)} words, CRC {zlib.crc32(' '.join(words).encode()):08x}"


def _widen(result: OcrResult, width: int) -> None:
    """Gives the result a model for images of another width, with the weights it has."""
    if width != result.configuration["width"]:
        weights = result.model.get_weights()
        result.configuration["width"] = width
        result.model = _model(result.configuration)
        result.model.set_weights(weights)


def _optimizer(learning_rate: float) -> Any:
    # The example's clipnorm=5 meant the norm of all gradients to the Keras of its time; today's clips each
    # variable's, with which the first thousand steps learn next to nothing.
    return fastseq.optimizers.SGD(
        learning_rate, momentum=0.9, nesterov=True, decay=1e-6, global_clipnorm=5, use_ema=True
    )


def decoded(probabilities: NDArray[np.float32], beam_width: int = 1) -> list[str]:
    """The texts that probabilities (batch, steps, classes) spell, the first steps of each left out."""
    steps = np.ascontiguousarray(probabilities[:, SKIPPED_STEPS:])
    if beam_width == 1:
        return texts_from(fastseq.ops.ctc_greedy_decode(steps, blank=-1, input="probs").labels)
    found = fastseq.ops.ctc_beam_search(steps, blank=-1, input="probs", beam_width=beam_width)
    return texts_from(found.labels[:, 0])


class _AfterEpoch(Callback):
    """Reads validation images, writes down and shows how well; ends the training at the target.

    ``about`` is what a run that is resumed must know beside the result.
    """

    def __init__(
        self, result: OcrResult, dataset: TextImages, samples: int, target: float | None,
        folder: str | os.PathLike[str] | None, about: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__()
        self.result, self.dataset, self.samples = result, dataset, samples
        self.target, self.folder, self.about = target, folder, about
        self.loss = losses.CTC(blank=-1, skip_steps=SKIPPED_STEPS, from_logits=False)
        self.before = result.seconds
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        result = self.result
        x, texts = self.dataset.validation(EXAMPLES, epoch)
        probabilities = result.model.predict(x, batch_size=32, verbose=0)
        found = decoded(probabilities)
        result.edit_distance = metrics.mean_edit_distance(texts, found)
        result.normalized_edit_distance = metrics.mean_edit_distance(texts, found, normalize=True)
        values = {
            **(logs or {}),
            "val_loss": float(self.loss(labels_of(texts), probabilities)),
            "edit_distance": result.edit_distance,
            "normalized_edit_distance": result.normalized_edit_distance,
        }
        result.epochs += 1
        result.seconds = self.before + time.perf_counter() - self.started
        result.history.epoch.append(epoch)
        for key, value in values.items():
            result.history.history.setdefault(key, []).append(value)
        if self.samples:
            print(
                f"{len(texts)} images read: edit distance {result.edit_distance:.3f}, "
                f"normalised {result.normalized_edit_distance:.4f}, {result.seconds:.0f} s so far"
            )
            for text, read in list(zip(texts, found, strict=True))[: self.samples]:
                print("T", text, tick(text == read, sys.stdout), read)
        if self.folder is not None:
            path = os.path.join(self.folder, f"epoch_{epoch + 1:02d}")
            result.save(f"{path}.safetensors")
            draw_readings(f"{path}.png", x[:SHOWN, :, :, 0].transpose(0, 2, 1), texts, found)
        if self.target is not None and result.normalized_edit_distance < self.target:
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        result = self.result
        kept = {name: getattr(result, name) for name in _MEASURED}
        return {**self.about, **kept, "history": result.history.history, "epoch": result.history.epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        result = self.result
        for name in _MEASURED:
            setattr(result, name, state[name])
        result.history.history, result.history.epoch = state["history"], state["epoch"]
        self.before, self.started = result.seconds, time.perf_counter()
