"""What all tests share: `isa` runs a test once per instruction set that this CPU has."""

import signal

import pytest

from fastseq import _core


@pytest.fixture(params=_core.available_isas())
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal, also in new processes: a background job inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
