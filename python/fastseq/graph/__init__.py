"""From graphs of Symbols to what runs: programs, plans, and the flat buffers of weights and gradients."""

from fastseq.graph.buffers import pack, segments
from fastseq.graph.plan import Head, Plan
from fastseq.graph.program import activation_before, attached_losses

__all__ = ["Head", "Plan", "activation_before", "attached_losses", "pack", "segments"]
