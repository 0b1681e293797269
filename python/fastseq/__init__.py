"""Fast training of recurrent sequence models on the machine you have, in Keras's vocabulary."""

from fastseq import _core

_core.read_environment()

from fastseq.threads import get_num_threads, set_num_threads  # noqa: E402  (after the environment is read)

__version__ = _core.__version__

__all__ = ["__version__", "get_num_threads", "set_num_threads"]
