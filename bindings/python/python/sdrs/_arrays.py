"""Arrays on their way to the native module and back: bytes and a shape."""

from __future__ import annotations

from typing import Any, Sequence, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import InvalidParameterError

FloatArray = npt.NDArray[np.float32]


Scalar = TypeVar("Scalar", bound=np.generic)


def shaped(data: bytearray, dtype: type[Scalar], shape: Sequence[int]) -> npt.NDArray[Scalar]:
    """An array that owns what the native module gave; nothing is copied."""
    array = np.frombuffer(data, dtype=dtype)
    return array.reshape(shape)  # pyright: ignore[reportUnknownMemberType]  # one of NumPy's overloads


def take(given: tuple[bytearray, list[int]]) -> FloatArray:
    """The same of float32."""
    return shaped(given[0], np.float32, given[1])


def numbers(name: str, value: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`value` as a row-major array of `dtype`."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"{name}: is no array of numbers: {error}") from error
    if array.dtype.kind not in "fiu":
        raise InvalidParameterError(f"{name}: must be an array of real numbers, not of {array.dtype}")
    # It makes a row of what has no axes.
    return array.astype(dtype) if array.ndim == 0 else np.ascontiguousarray(array, dtype=dtype)


def give(name: str, value: Any) -> tuple[bytes, list[int]]:
    """`value` as bytes of float32 and a shape."""
    array = numbers(name, value, np.float32)
    return array.tobytes(), list(array.shape)
