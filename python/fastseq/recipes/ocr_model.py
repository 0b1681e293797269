"""The network of the Keras example image_ocr: convolutions, GRUs in both directions twice, softmax."""

from __future__ import annotations

from typing import Any

from fastseq import layers
from fastseq.models import Model

__all__ = ["DOWNSAMPLING", "SKIPPED_STEPS", "VARIANTS", "ocr_model"]

VARIANTS = ("original", "bidirectional")
FILTERS, KERNEL, POOL, FEATURES = 16, (3, 3), 2, 32  # of the example
DOWNSAMPLING = POOL**2  # pixels across that become one step
SKIPPED_STEPS = 2  # at the beginning, "since the first couple outputs of the RNN tend to be garbage"


def ocr_model(
    width: int = 128, height: int = 64, classes: int = 28, units: int = 512, variant: str = "original",
    reset_after: bool = False,
) -> Model:  # fmt: skip
    """From images to what each step of 4 pixels across shows.

    Args:
        width: Of the images, in pixels, a multiple of 4.
        height: Likewise.
        classes: Characters, and the blank as the last.
        units: Of each of the four GRUs.
        variant: "original": what runs from right to left is joined as it comes out, its first step beside
            the first from the left, as in the example. "bidirectional": both directions meet at the same
            place of the image, as they should.
        reset_after: Of the GRUs: False is the only form that the Keras of the example knew.
    Returns:
        A model of (batch, width, height, 1), white being 1, to probabilities (batch, width / 4, classes).
    """

    def gru(name: str, **options: Any) -> Any:
        return layers.GRU(
            units, return_sequences=True, kernel_initializer="he_normal", reset_after=reset_after, name=name,
            **options,
        )  # fmt: skip

    inputs = layers.Input(name="the_input", shape=(width, height, 1), dtype="float32")
    inner = inputs
    for k in (1, 2):
        inner = layers.Conv2D(
            FILTERS,
            KERNEL,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"conv{k}",
        )(inner)
        inner = layers.MaxPooling2D(pool_size=(POOL, POOL), name=f"max{k}")(inner)
    shape = (width // DOWNSAMPLING, height // DOWNSAMPLING * FILTERS)
    inner = layers.Reshape(target_shape=shape, name="reshape")(inner)
    inner = layers.Dense(FEATURES, activation="relu", name="dense1")(inner)
    if variant == "original":
        inner = layers.add([gru("gru1")(inner), gru("gru1_b", go_backwards=True)(inner)])
        both = [gru("gru2")(inner), gru("gru2_b", go_backwards=True)(inner)]
        inner = layers.concatenate(both)
    else:
        inner = layers.Bidirectional(gru("gru1"), merge_mode="sum", name="bidirectional1")(inner)
        inner = layers.Bidirectional(gru("gru2"), merge_mode="concat", name="bidirectional2")(inner)
    inner = layers.Dense(classes, kernel_initializer="he_normal", name="dense2")(inner)
    return Model(inputs=inputs, outputs=layers.Activation("softmax", name="softmax")(inner))
