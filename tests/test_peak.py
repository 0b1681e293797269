"""The speed from registers alone, which benchmarks take shares of."""

import time

import pytest

from fastseq import _core


def test_peak(isa):
    one = _core.fma_peak(1)
    assert 1e8 < one < 1e12  # of any one core there is
    assert _core.fma_peak(2) > 0.3 * one  # as fast as a busy machine lets two be


def test_rate(isa):
    start = time.perf_counter()
    rate = _core.fma_rate(2, 0.05)
    assert time.perf_counter() - start >= 0.05
    assert 1e8 < rate < 1.1 * _core.fma_peak(2)


def test_read_peak(isa):
    near, far = _core.read_peak(1, 16 << 10), _core.read_peak(1, 64 << 20)
    assert 1e8 < near < 1e12
    assert far < near
    assert _core.read_peak(2, 16 << 10) > 0.3 * near


def test_read_peak_refuses_too_little():
    for arguments, text in (
        ((0, 4096), "read_peak: threads must be at least 1, got 0"),
        ((1, 100), "read_peak: bytes must be at least 4096, got 100"),
    ):
        with pytest.raises(ValueError) as error:
            _core.read_peak(*arguments)
        assert str(error.value) == text


def test_peak_refuses_no_threads_and_no_time():
    for probe, arguments, text in (
        (_core.fma_peak, (0,), "fma_peak: threads must be at least 1, got 0"),
        (_core.fma_rate, (0, 1.0), "fma_rate: threads must be at least 1, got 0"),
        (_core.fma_rate, (1, 0.0), "fma_rate: seconds must be in (0, 3600], got 0"),
        (_core.fma_rate, (1, float("nan")), "fma_rate: seconds must be in (0, 3600], got nan"),
    ):
        with pytest.raises(ValueError) as error:
            probe(*arguments)
        assert str(error.value) == text
