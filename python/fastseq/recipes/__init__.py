"""Whole programs, each one function: data, model, training, answers."""

from fastseq.recipes.addition import AdditionResult, train_addition
from fastseq.recipes.ocr import OcrResult, train_ocr
from fastseq.recipes.translation import TranslationResult, train_translation

__all__ = [
    "AdditionResult",
    "OcrResult",
    "TranslationResult",
    "train_addition",
    "train_ocr",
    "train_translation",
]
