"""The compiled kernels; every function of cpp/python/bind_*.cpp has its line here."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastseq._arrays import Array

__version__: str
_Axis = tuple[int, int, int, int, int]

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

# bind_activation.cpp
def activate(
    function: str, x: Array, name: str, parameters: tuple[float, float, float] | None = None
) -> Array: ...
def activate_backward(
    function: str, saved: Array, dy: Array, name: str, parameters: tuple[float, float, float] | None = None
) -> Array: ...
def is_output_activation(name: str) -> bool: ...
def softmax(function: str, x: Array, logarithm: bool) -> Array: ...
def softmax_backward(function: str, y: Array, dy: Array, logarithm: bool) -> Array: ...

# bind_arrays.cpp
def is_laid_out(value: object) -> bool: ...
def is_floating(value: object, dtype: object) -> bool: ...
def total(values: Array) -> float: ...

# bind_batch_norm.cpp
def batch_norm_forward(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    mean: Array | None,
    variance: Array | None,
    mask: Array | None,
    total: float,
    epsilon: float,
) -> tuple[Array, Array, Array]: ...
def batch_norm_backward(
    x: Array,
    dy: Array,
    gamma: Array | None,
    mean: Array,
    variance: Array,
    measured: bool,
    mask: Array | None,
    total: float,
    excess: float,
    epsilon: float,
    wants_x: bool,
    dgamma: Array | bool | None,
    dbeta: Array | bool | None,
) -> tuple[Array | None, Array | None, Array | None]: ...

# bind_conv.cpp
def conv2d_forward(
    x: Array,
    kernel: Array,
    bias: Array | None,
    h: _Axis | None,
    w: _Axis | None,
    pool: tuple[int, int],
    activation: str,
    places: bool,
) -> tuple[Array, Array | None]: ...
def conv2d_backward(
    x: Array,
    kernel: Array,
    y: Array,
    place: Array | None,
    dy: Array,
    h: _Axis | None,
    w: _Axis | None,
    pool: tuple[int, int],
    activation: str,
    wants_x: bool,
    dkernel: Array | bool | None,
    dbias: Array | bool | None,
) -> tuple[Array | None, Array | None, Array | None]: ...
def pool2d_forward(
    average: bool, x: Array, h: _Axis | None, w: _Axis | None, places: bool
) -> tuple[Array, Array | None]: ...
def pool2d_backward(
    average: bool, x_shape: tuple[int, ...], place: Array | None, dy: Array, h: _Axis | None, w: _Axis | None
) -> Array: ...

# bind_ctc.cpp
def ctc(
    function: str,
    logits: Array,
    labels: Array,
    logit_lengths: Array,
    label_lengths: Array,
    weights: Array | None,
    skip_steps: int,
    blank: int,
    input: int,
    infeasible: int,
    wants_gradient: bool,
) -> tuple[Array, Array | None]: ...

# bind_ctc_align.cpp
def ctc_align(
    function: str,
    logits: Array,
    labels: Array,
    logit_lengths: Array,
    label_lengths: Array,
    blank: int,
    input: int,
    raises: bool,
    gaps: Array | None,
    gap_score: float,
) -> tuple[Array, Array, Array, Array, Array, Array]: ...

# bind_ctc_decode.cpp
def ctc_greedy_decode(
    function: str, logits: Array, logit_lengths: Array, blank: int, input: int
) -> tuple[Array, Array, Array, Array]: ...

class CtcScorer:
    def __init__(
        self,
        function: str,
        tokens: list[str],
        delimiter: str,
        language_model: Ngram | None,
        by_token: bool,
        lm_weight: float,
        unknown_score: float,
        token_bonus: float,
        word_bonus: float,
        hotwords: list[tuple[str, float]],
        words: list[str] | None,
    ) -> None: ...

class CtcBeamSearch:
    def __init__(
        self,
        function: str,
        batch: int,
        classes: int,
        blank: int,
        input: int,
        beam_width: int,
        token_threshold: float,
        beam_threshold: float,
        max_tokens: int,
        scorer: CtcScorer | None,
    ) -> None: ...
    def push(self, function: str, logits: Array, logit_lengths: Array) -> None: ...
    def paths(
        self, function: str, count: int, finished: bool
    ) -> tuple[Array, Array, Array, Array, Array]: ...
    def reset(self, function: str) -> None: ...

# bind_dense.cpp
def dense_forward(x: Array, kernel: Array, bias: Array | None, activation: str) -> Array: ...
def dense_backward(
    x: Array,
    kernel: Array,
    y: Array,
    dy: Array,
    activation: str,
    wants_x: bool,
    dkernel: Array | bool | None,
    dbias: Array | bool | None,
) -> tuple[Array | None, Array | None, Array | None]: ...

# bind_loss.cpp
def loss(
    function: str,
    kind: int,
    prediction: Array,
    target: Array,
    labelled: bool,
    weights: Array | float | None,
    target_scale: float,
    target_shift: float,
    wants_gradient: bool,
) -> tuple[Array, Array | None]: ...
def categorical_matches(function: str, prediction: Array, target: Array, labelled: bool) -> Array: ...
def binary_matches(function: str, prediction: Array, target: Array, threshold: float) -> Array: ...

# bind_gather.cpp
def gather_rows(function: str, source: Array, indices: Array, out: Array) -> None: ...
def embedding(ids: Array, table: Array) -> Array: ...
def embedding_backward(ids: Array, dy: Array, dtable: Array) -> None: ...
def dropout(function: str, x: Array, rate: float, seed: int) -> Array: ...

# bind_ngram.cpp
class Ngram:
    @property
    def order(self) -> int: ...
    @property
    def counts(self) -> list[int]: ...
    @property
    def states(self) -> int: ...
    def start(self) -> int: ...
    def empty(self) -> int: ...
    def step(self, state: int, word: int) -> tuple[float, int]: ...
    def finish(self, state: int) -> float: ...
    def find(self, word: str) -> int: ...
    def index(self, word: str) -> int: ...
    def words(self) -> list[str]: ...
    def score(self, words: Iterable[str], from_start: bool, to_end: bool) -> float: ...

class ArpaReader:
    def __init__(self, bytes: int) -> None: ...
    def feed(self, piece: bytes) -> bool: ...
    def finish(self) -> Ngram: ...

# bind_optimizer.cpp
class ParameterTable:
    def __init__(self, values: list[Array], gradients: list[Array], decays: list[bool]) -> None: ...
    def __len__(self) -> int: ...
    @property
    def count(self) -> int: ...

def sgd_step(
    table: ParameterTable,
    velocities: Sequence[Array] | None,
    momentum: float,
    nesterov: bool,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def adam_step(
    table: ParameterTable,
    m: Sequence[Array],
    v: Sequence[Array],
    largest: Sequence[Array] | None,
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def nadam_step(
    table: ParameterTable,
    m: Sequence[Array],
    v: Sequence[Array],
    step: int,
    momentum_product: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def adamax_step(
    table: ParameterTable,
    m: Sequence[Array],
    u: Sequence[Array],
    step: int,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def adagrad_step(
    table: ParameterTable,
    squares: Sequence[Array],
    epsilon: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def lion_step(
    table: ParameterTable,
    m: Sequence[Array],
    beta_1: float,
    beta_2: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def rmsprop_step(
    table: ParameterTable,
    squares: Sequence[Array],
    momenta: Sequence[Array] | None,
    means: Sequence[Array] | None,
    rho: float,
    momentum: float,
    epsilon: float,
    learning_rate: float,
    weight_decay: float,
    clipnorm: float | None,
    clipvalue: float | None,
    global_clipnorm: float | None,
    clear_gradients: bool,
) -> None: ...
def average_step(
    table: ParameterTable, averages: Sequence[Array], momentum: float, overwrite: bool
) -> None: ...

# bind_rnn.cpp
class RnnSaved:
    @property
    def dtype(self) -> np.dtype[Any]: ...

# The tuples hold what ops/rnn.py's bind_arguments and bind_gradients make.
def rnn_forward(
    arguments: tuple[Any, ...], /
) -> tuple[Array | None, Array, Array | None, RnnSaved | None]: ...
def rnn_backward(
    saved: RnnSaved, gradients: tuple[Any, ...], keep: bool, /
) -> tuple[Array | None, Array | None, Array | None, Array | None, Array | None, Array | None]: ...
def rnn_forward_both(
    first: tuple[Any, ...], second: tuple[Any, ...], /
) -> tuple[tuple[Any, ...], tuple[Any, ...]]: ...
def rnn_backward_both(
    first_saved: RnnSaved, second_saved: RnnSaved, first: tuple[Any, ...], second: tuple[Any, ...], /
) -> tuple[tuple[Any, ...], tuple[Any, ...]]: ...
def make_stepper(
    function: str,
    cell: int,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array | None,
    activation: int,
    recurrent_activation: int,
    /,
) -> object: ...
def step_stepper(stepper: object, x: object, state: object, /) -> Any: ...

# bind_probe.cpp
def probe_team(wanted: int) -> list[tuple[int, int, int, int, int]]: ...
def probe_meetings(wanted: int, meetings: int) -> int: ...
def float_mode() -> int: ...
def set_float_mode(mode: int) -> None: ...
def work_float_mode() -> int: ...
def time_team(wanted: int, calls: int, meetings: int = 0, work: float = 0.0) -> float: ...
def fma_peak(threads: int) -> float: ...
def fma_rate(threads: int, seconds: float) -> float: ...
def read_peak(threads: int, bytes: int) -> float: ...
def probe_arenas(sizes: list[int]) -> bool: ...
