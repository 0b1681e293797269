"""Callbacks: what can be done at each point of training, under Keras's names and arguments."""

from fastseq.callbacks.base import Callback, CallbackList, History

__all__ = ["Callback", "CallbackList", "History"]
