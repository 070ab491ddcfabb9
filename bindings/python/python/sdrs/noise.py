"""Seeded noise as the field's programs draw it, the same on every machine."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np
import numpy.typing as npt

from . import _sdrs
from ._arrays import shaped
from .errors import InvalidParameterError

__all__ = ["Generator", "brownian", "randn"]


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    axes = tuple(int(axis) for axis in shape)
    if any(axis < 0 for axis in axes):
        raise InvalidParameterError(f"shape: must not be negative, as in {list(axes)}")
    return axes


class Generator:
    """Seeded noise, drawn one array after the other, as PyTorch's generators give it: `rng` "cpu" or "nv" (CUDA)."""

    def __init__(self, seed: int, *, rng: str = "cpu") -> None:
        self._native = _sdrs.Generator(seed, rng)

    def randn(self, shape: Sequence[int], *, dtype: str = "f32") -> npt.NDArray[np.float32]:
        """Standard normal noise, as `torch.randn(shape, generator=..)`. `dtype`: the type that it is drawn in, "f32", "f16" or "bf16";
        the array is of float32 all the same."""
        axes = _shape(shape)
        return shaped(self._native.normal(math.prod(axes), dtype), np.float32, axes)


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
    axes = _shape(shape)
    pairs = [(float(a), float(b)) for a, b in ways]
    data = _sdrs.brownian(math.prod(axes), seed, (sigma_min, sigma_max), pairs, rng)
    return shaped(data, np.float32, (len(pairs), *axes))
