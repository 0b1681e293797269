"""Operations on arrays, and the same on Symbols.

Each differentiable operation ``x`` has

- ``x_forward(inputs..., *, options..., training=True) -> (outputs..., saved)``; ``saved`` is None when
  ``training`` is False;
- ``x_backward(saved, doutputs..., wanted=(names...), into=None, keep=False)``: the gradients by name.
  Gradients of inputs are new arrays. A gradient named in ``into`` is added to the array given there.
  ``saved`` is used up: a second call is a RuntimeError unless the first was asked to ``keep`` it;
- ``x(...)``: runs on arrays (as in inference), or adds a node to the graph where an input is a Symbol.

Losses give value and gradient in one call: ``loss(prediction, target, weights)``.
"""

from fastseq.ops.activation import *  # noqa: F403
from fastseq.ops.arrays import *  # noqa: F403
from fastseq.ops.batch_norm import *  # noqa: F403
from fastseq.ops.conv import *  # noqa: F403
from fastseq.ops.ctc import *  # noqa: F403
from fastseq.ops.ctc_align import *  # noqa: F403
from fastseq.ops.ctc_decode import *  # noqa: F403
from fastseq.ops.dense import *  # noqa: F403
from fastseq.ops.elementwise import *  # noqa: F403
from fastseq.ops.gather import *  # noqa: F403
from fastseq.ops.loss import *  # noqa: F403
from fastseq.ops.ngram import *  # noqa: F403
from fastseq.ops.optimizer import *  # noqa: F403
from fastseq.ops.pool import *  # noqa: F403
from fastseq.ops.products import *  # noqa: F403
from fastseq.ops.reduce import *  # noqa: F403
from fastseq.ops.rnn import *  # noqa: F403
from fastseq.ops.stepper import *  # noqa: F403
from fastseq.ops.symbolic import *  # noqa: F403
