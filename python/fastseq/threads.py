"""How many threads a call may use."""

from fastseq import _core

__all__ = ["get_num_threads", "set_num_threads"]


def get_num_threads() -> int:
    """The number of threads that one call may use, the calling thread among them."""
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Sets the number of threads that one call may use.

    Args:
        n: At least 1, or 0 for the default: the CPUs this process may use, or what
            ``FASTSEQ_NUM_THREADS`` or ``OMP_NUM_THREADS`` say.
    Raises:
        ValueError: ``n`` is negative.
    """
    _core.set_num_threads(n)
