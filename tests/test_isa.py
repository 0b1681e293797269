"""The choice of instruction set: the best at import, FASTSEQ_ISA, set_isa."""

import pytest
from python_process import output_of, run_python

from fastseq import _core


def names():
    return ", ".join(_core.available_isas())


def test_baseline_is_always_there():
    assert "baseline" in _core.available_isas()


def test_fixture_switches(isa):
    assert _core.isa() == isa
    assert _core.vector_bytes() in (16, 32, 64)


@pytest.mark.parametrize("name", _core.available_isas())
def test_forced_by_environment(name):
    assert output_of("import fastseq; print(fastseq._core.isa())", FASTSEQ_ISA=name) == name


def test_best_is_the_default():
    best = [name for name in _core.available_isas() if name != "wide"][-1]
    assert output_of("import fastseq; print(fastseq._core.isa())") == best


def test_unknown_name_in_environment():
    done = run_python("import fastseq", FASTSEQ_ISA="mmx")
    assert done.returncode == 1
    message = f"RuntimeError: fastseq: FASTSEQ_ISA must be one of {names()} on this CPU, got mmx"
    assert done.stderr.strip().splitlines()[-1] == message


def test_unknown_name_in_set_isa():
    with pytest.raises(ValueError) as error:
        _core.set_isa("mmx")
    assert str(error.value) == f"set_isa: name must be one of {names()} on this CPU, got mmx"
