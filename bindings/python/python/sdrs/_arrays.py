"""Arrays on their way to the native module and back: bytes and a shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidParameterError

FloatArray = npt.NDArray[np.float32]


def take(given: tuple[bytearray, list[int]]) -> FloatArray:
    """An array that owns what the native module gave; nothing is copied."""
    data, shape = given
    return np.frombuffer(data, dtype=np.float32).reshape(shape)


def numbers(name: str, value: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`value` as a row-major array of `dtype`."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"{name}: is no array of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise InvalidParameterError(f"{name}: must be an array of real numbers, not of {array.dtype}")
    return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)


def give(name: str, value: Any) -> tuple[bytes, list[int]]:
    """`value` as bytes of float32 and a shape."""
    array = numbers(name, value, np.float32)
    return array.tobytes(), list(array.shape)
