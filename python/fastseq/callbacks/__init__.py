"""Callbacks: what can be done at each point of training, under Keras's names and arguments."""

from fastseq.callbacks.backup import BackupAndRestore
from fastseq.callbacks.base import Callback, CallbackList, History
from fastseq.callbacks.monitor import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from fastseq.callbacks.simple import CSVLogger, LambdaCallback, LearningRateScheduler, TerminateOnNaN
from fastseq.callbacks.swap import SwapEMAWeights
from fastseq.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
