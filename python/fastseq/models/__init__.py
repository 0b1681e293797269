"""Models: graphs of layers that can be trained, evaluated and asked."""

from fastseq.models.model import Model
from fastseq.models.sequential import Sequential

__all__ = ["Model", "Sequential"]
