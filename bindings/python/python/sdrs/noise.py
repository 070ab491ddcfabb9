"""Seeded noise as the field's programs draw it, the same on every machine."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

from . import _arguments, _sdrs
from ._arguments import DtypeLike, number
from ._arrays import shaped
from .errors import InvalidParameterError

__all__ = ["Generator", "brownian", "randn"]


class Generator:
    """Seeded noise, drawn one array after the other, as PyTorch's generators give it: `rng` "cpu" or "nv" (CUDA)."""

    def __init__(self, seed: int, *, rng: str = "cpu") -> None:
        self._native = _sdrs.Generator(seed, rng)

    def randn(self, shape: Sequence[int], *, dtype: DtypeLike = "f32") -> npt.NDArray[np.float32]:
        """Standard normal noise, as `torch.randn(shape, generator=..)`. `dtype`: the type that it is drawn in, "f32", "f16" or "bf16";
        the array is of float32 all the same."""
        axes = _arguments.shape("shape", shape)
        kind = _arguments.dtype("dtype", dtype)
        return shaped(self._native.normal(math.prod(axes), kind), np.float32, axes)


def randn(shape: Sequence[int], seed: int, *, rng: str = "cpu") -> npt.NDArray[np.float32]:
    """Standard normal noise as `torch.randn(shape)` gives it after seeding: `rng` "cpu" or "nv" (CUDA)."""
    return Generator(seed, rng=rng).randn(shape)


def brownian(
    shape: Sequence[int],
    seed: int,
    sigma_min: float,
    sigma_max: float,
    ways: Sequence[tuple[float, float]],
    *,
    rng: str = "cpu",
) -> npt.NDArray[np.float32]:
    """Noise of unit variance from a Brownian tree over a range of sigmas, as SDE samplers want it: `[len(ways), *shape]`, one for each
    `(sigma, sigma_next)`."""
    axes = _arguments.shape("shape", shape)
    pairs = [_pair(f"ways[{i}]", way) for i, way in enumerate(_arguments.listed("ways", ways, "pairs of sigmas"))]
    levels = number("sigma_min", sigma_min), number("sigma_max", sigma_max)
    data = _sdrs.brownian(math.prod(axes), seed, levels, pairs, rng)
    return shaped(data, np.float32, (len(pairs), *axes))


def _pair(name: str, way: Any) -> tuple[float, float]:
    ends = _arguments.listed(name, way, "two sigmas")
    if len(ends) != 2:
        raise InvalidParameterError(f"{name}: must be a pair (sigma, sigma_next), not {len(ends)} values")
    return number(name, ends[0]), number(name, ends[1])
