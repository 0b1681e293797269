"""Starting values of weights: Keras's names and distributions, drawn from numpy Generators.

An initializer without a seed draws from the generator that ``fastseq.set_seed`` restarts; with a
seed it gives the same values at every call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq._arrays import Array, describe, message, number
from fastseq._names import ByArguments, made_from, snake
from fastseq._random import generator

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
]

# Standard deviation of a standard normal cut off at two standard deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


class Initializer(ByArguments):
    """Makes an array of a given shape; subclasses define ``__call__`` and keep their arguments' names."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        """Returns an array of ``shape`` and ``dtype``."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_config().items())})"


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return np.zeros(shape, dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return np.ones(shape, dtype)


class Constant(Initializer):
    """All ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return np.full(shape, self.value, dtype)


class Identity(Initializer):
    """A (rows, columns) matrix with ``gain`` on the diagonal.

    Raises:
        ValueError: The shape has other than 2 dimensions.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        if len(shape) != 2:
            raise ValueError(message("Identity", "shape", "have 2 dimensions", str(tuple(shape))))
        return self.gain * np.eye(shape[0], shape[1], dtype=dtype)


class _Random(Initializer):
    """An initializer with a seed: an int, a numpy Generator, or None for ``set_seed``'s generator."""

    seed: int | np.random.Generator | None

    def _generator(self) -> np.random.Generator:
        if self.seed is None:
            return generator()
        return np.random.default_rng(self.seed)


def _truncated(random: np.random.Generator, shape: Sequence[int]) -> Array:
    """Standard normal values, redrawn until they lie within two standard deviations."""
    values = random.standard_normal(tuple(shape))
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = random.standard_normal(int(outside.sum()))
    return values


class RandomNormal(_Random):
    """Normal with ``mean`` and standard deviation ``stddev``."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return self._generator().normal(self.mean, self.stddev, tuple(shape)).astype(dtype)


class TruncatedNormal(_Random):
    """Normal, values beyond two standard deviations redrawn."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return (self.mean + self.stddev * _truncated(self._generator(), shape)).astype(dtype)


class RandomUniform(_Random):
    """Uniform in [``minval``, ``maxval``)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        return self._generator().uniform(self.minval, self.maxval, tuple(shape)).astype(dtype)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: of its last two axes, times the size of a convolution's window."""
    if len(shape) < 2:
        size = int(shape[0]) if len(shape) else 1
        return size, size
    window = math.prod(shape[:-2])
    return int(shape[-2]) * window, int(shape[-1]) * window


class VarianceScaling(_Random):
    """Random values whose variance is ``scale`` divided by a fan.

    Args:
        scale: More than 0.
        mode: "fan_in", "fan_out" or "fan_avg": what the variance is divided by.
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: An int, a numpy Generator, or None.
    Raises:
        ValueError: A name or scale is not one of these.
    Source:
        Glorot & Bengio (2010), He et al. (2015), LeCun et al. (1998).
    """

    MODES = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
    ) -> None:
        name = "VarianceScaling"
        self.scale = number(scale, name, "scale", low=0.0, open_low=True)
        if mode not in self.MODES:
            raise ValueError(message(name, "mode", f"be one of {', '.join(self.MODES)}", describe(mode)))
        if distribution == "normal":
            distribution = "truncated_normal"
        if distribution not in self.DISTRIBUTIONS:
            rule = f"be one of {', '.join(self.DISTRIBUTIONS)}"
            raise ValueError(message(name, "distribution", rule, describe(distribution)))
        self.mode, self.distribution, self.seed = mode, distribution, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        random = self._generator()
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(-limit, limit, tuple(shape)).astype(dtype)
        if self.distribution == "untruncated_normal":
            return random.normal(0.0, math.sqrt(variance), tuple(shape)).astype(dtype)
        return (math.sqrt(variance) / TRUNCATED_DEVIATION * _truncated(random, shape)).astype(dtype)


class _Scaled(VarianceScaling):
    """A named choice of scale, mode and distribution."""

    CHOICE: tuple[float, str, str]

    def __init__(self, seed: Any = None) -> None:
        super().__init__(*self.CHOICE, seed=seed)


class GlorotUniform(_Scaled):
    """Uniform within sqrt(6 / (fan_in + fan_out))."""

    CHOICE = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal of variance 2 / (fan_in + fan_out)."""

    CHOICE = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform within sqrt(6 / fan_in)."""

    CHOICE = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal of variance 2 / fan_in."""

    CHOICE = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform within sqrt(3 / fan_in)."""

    CHOICE = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal of variance 1 / fan_in."""

    CHOICE = (1.0, "fan_in", "truncated_normal")


def _orthonormal(a: Array) -> Array:
    """The Q of ``a = Q R`` with a positive diagonal in R, which makes Q unique and so uniformly drawn."""
    rows, columns = a.shape
    if rows >= 2 * columns:
        # R is the Cholesky factor of a'a. That squares the condition number, which for a normal draw this
        # tall is below 6 or so; three products take a fraction of the time of QR's many small steps, at each
        # of which BLAS's threads wait for each other.
        return np.asarray(a @ np.linalg.inv(np.linalg.cholesky(a.T @ a)).T)
    q, r = np.linalg.qr(a)
    return np.asarray(q * np.sign(np.diag(r)))


class Orthogonal(_Random):
    """A matrix with orthonormal rows or columns, whichever are fewer, times ``gain``.

    Axes before the last are taken together.

    Raises:
        ValueError: The shape has fewer than 2 dimensions.
    Source:
        Saxe, McClelland & Ganguli (2014), https://arxiv.org/abs/1312.6120
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> Array:
        if len(shape) < 2:
            raise ValueError(message("Orthogonal", "shape", "have at least 2 dimensions", str(tuple(shape))))
        rows, columns = math.prod(shape[:-1]), int(shape[-1])
        q = _orthonormal(self._generator().standard_normal((max(rows, columns), min(rows, columns))))
        if rows < columns:
            q = q.T
        return np.ascontiguousarray(self.gain * q.reshape(tuple(shape)), dtype=dtype)


_CLASSES = (
    Zeros, Ones, Constant, Identity, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling,
    GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal,
)  # fmt: skip
KNOWN: dict[str, type[Initializer]] = {snake(c.__name__): c for c in _CLASSES}
_ALIASES = {"zero": "zeros", "one": "ones", "uniform": "random_uniform", "normal": "random_normal"}


def get(identifier: Any, function: str = "initializers.get", argument: str = "identifier") -> Any:
    """The initializer meant by a name, a class, an object, a config or a function of (shape, dtype).

    Args:
        identifier: ``"glorot_uniform"``, ``"GlorotUniform"``, ``GlorotUniform``, ``GlorotUniform()``,
            ``{"class_name": ..., "config": {...}}``, any callable, or None (which stays None).
        function: Who asks, for the error's text.
        argument: The argument's name, for the error's text.
    Raises:
        ValueError: An unknown name; the text lists the known ones.
        TypeError: None of the above.
    """
    made = made_from(identifier, Initializer, KNOWN, function, argument, _ALIASES)
    if made is not None or identifier is None:
        return made
    if isinstance(identifier, Callable):  # type: ignore[arg-type]
        return identifier
    raise TypeError(message(function, argument, "be the name of an initializer or one", describe(identifier)))
