"""A training of the OCR recipe that takes a blink, and its dataset, for the tests of both."""

import pytest

pytest.importorskip("PIL")

from fastseq.recipes.painter import BUILT_IN, Painter
from fastseq.recipes.text_images import Curriculum, TextImages

SMALL = {"variant": "original", "units": 6, "training_size": 60, "epochs": 2, "batch_size": 16, "width": 64,
         "wide": 96, "verbose": 0, "workers": 0, "fonts": [BUILT_IN]}  # fmt: skip


def dataset(count=60, batch_size=16, words=None, width=64, **options):
    options = {"seed": 3, "workers": 0, **options}
    return TextImages(Painter(width, fonts=[BUILT_IN]), Curriculum(count, words, 3), batch_size, **options)
