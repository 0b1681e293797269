"""The speed from registers alone, which benchmarks take shares of."""

import pytest

from fastseq import _core


def test_peak(isa):
    one = _core.fma_peak(1)
    assert 1e8 < one < 1e12  # of any one core there is
    assert _core.fma_peak(2) > 0.3 * one  # as fast as a busy machine lets two be


def test_peak_refuses_no_threads():
    with pytest.raises(ValueError) as error:
        _core.fma_peak(0)
    assert str(error.value) == "fma_peak: threads must be at least 1, got 0"
