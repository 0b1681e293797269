"""What all tests share: `isa` runs a test once per instruction set that this CPU has."""

import pytest

from fastseq import _core


@pytest.fixture(params=_core.available_isas())
def isa(request):
    before = _core.isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)
