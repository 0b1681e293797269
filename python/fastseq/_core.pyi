"""The compiled kernels; every function of cpp/python/bind_*.cpp has its line here."""

from typing import Any

import numpy as np

from fastseq._arrays import Array

__version__: str

# bind_info.cpp
def read_environment() -> None: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def available_isas() -> list[str]: ...
def vector_bytes() -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def cpu_quota(root: str = "") -> float: ...
def has_openmp() -> bool: ...
def has_cuda() -> bool: ...

# bind_rnn.cpp
class RnnSaved:
    @property
    def dtype(self) -> np.dtype[Any]: ...

def rnn_forward(
    cell: int,
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    h0: Array | None,
    c0: Array | None,
    mask: Array | None,
    lengths: Array | None,
    activation: int,
    recurrent_activation: int,
    go_backwards: bool,
    zero_output_for_mask: bool,
    training: bool,
    want_sequence: bool,
    repeat: int,
    dropout: float,
    recurrent_dropout: float,
    seed: int,
    /,
) -> tuple[Array | None, Array, Array | None, RnnSaved | None]: ...
def rnn_backward(
    saved: RnnSaved,
    dsequence: Array | None,
    dh: Array | None,
    dc: Array | None,
    want_x: bool,
    want_kernel: bool,
    want_recurrent_kernel: bool,
    want_bias: bool,
    want_state: bool,
    into_kernel: Array | None,
    into_recurrent_kernel: Array | None,
    into_bias: Array | None,
    keep: bool,
    /,
) -> tuple[Array | None, Array | None, Array | None, Array | None, Array | None, Array | None]: ...

# bind_probe.cpp
def probe_team(wanted: int) -> list[tuple[int, int, int, int]]: ...
def float_mode() -> int: ...
def set_float_mode(mode: int) -> None: ...
def work_float_mode() -> int: ...
def time_team(wanted: int, calls: int, meetings: int = 0, work: float = 0.0) -> float: ...
def fma_peak(threads: int) -> float: ...
def probe_arenas(sizes: list[int]) -> bool: ...
