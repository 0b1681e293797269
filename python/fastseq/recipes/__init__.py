"""Whole programs, each one function: data, model, training, answers."""

from fastseq.recipes.addition import AdditionResult, train_addition

__all__ = ["AdditionResult", "train_addition"]
