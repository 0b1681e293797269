"""Whole programs, each one function: data, model, training, answers."""

from fastseq.recipes.addition import AdditionResult, train_addition
from fastseq.recipes.translation import TranslationResult, train_translation

__all__ = ["AdditionResult", "TranslationResult", "train_addition", "train_translation"]
