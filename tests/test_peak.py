"""The speed from registers alone, which benchmarks take shares of."""

import pytest

from fastseq import _core


def test_peak(isa):
    one = _core.fma_peak(1)
    assert 1e8 < one < 1e12  # of any one core there is
    assert _core.fma_peak(2) > 0.3 * one  # as fast as a busy machine lets two be


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


def test_peak_refuses_no_threads():
    with pytest.raises(ValueError) as error:
        _core.fma_peak(0)
    assert str(error.value) == "fma_peak: threads must be at least 1, got 0"
