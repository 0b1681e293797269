"""What all tests share: `isa` runs one on each instruction set of this CPU, `threads` sets how many work."""

import signal

import pytest

from fastseq import _core, set_num_threads


@pytest.fixture(params=_core.available_isas())
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture
def threads():
    yield set_num_threads
    set_num_threads(0)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal, also in new processes: a background job inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
