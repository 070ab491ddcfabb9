"""Noise as diffusers draws it."""

from __future__ import annotations

import random
import sys
from typing import Any, Callable, Sequence, cast

import numpy as np

from . import noise
from ._arguments import whole
from ._arrays import FloatArray
from .errors import InvalidParameterError


class Draw:
    """Draws noise of a shape, time after time, as diffusers does with its generators."""

    def __init__(self, generator: Any, shape: tuple[int, ...], dtype: str) -> None:
        given = list(cast("Sequence[Any]", generator)) if isinstance(generator, (list, tuple)) else [generator]
        if len(given) not in (1, shape[0]):
            raise InvalidParameterError(f"generator: a list must have one for each picture: {shape[0]}, not {len(given)}")
        self.each = len(given) > 1
        """Whether there is a generator for each picture."""
        self._shape = shape
        self._sources = [_source(one, dtype) for one in given]

    def __call__(self, rows: int | None = None) -> FloatArray:
        """For all pictures, or for the first so many rows."""
        count = self._shape[0] if rows is None else rows
        part = (1 if self.each else count, *self._shape[1:])
        return np.concatenate([source(part) for source in self._sources[:count]])


def _source(generator: Any, dtype: str) -> Callable[[tuple[int, ...]], FloatArray]:
    if hasattr(generator, "initial_seed"):
        # torch's own: it is where its program left it, and moves on.
        torch: Any = sys.modules["torch"]
        kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]

        def draw(shape: tuple[int, ...]) -> FloatArray:
            drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=kind)
            array: FloatArray = drawn.float().cpu().numpy()
            return array

        return draw
    if generator is None:
        seed = random.SystemRandom().getrandbits(63)
    elif isinstance(generator, np.random.Generator):
        seed = int(generator.integers(2**63))
    elif isinstance(generator, (int, np.integer)):
        seed = whole("generator: a seed", cast(int, generator), 0, 2**64 - 1)
    else:
        raise InvalidParameterError(f"generator: must be a seed, or NumPy's or torch's, not {type(generator).__name__}")
    own = noise.Generator(seed)
    return lambda shape: own.randn(shape, dtype=dtype)
