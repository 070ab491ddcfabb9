"""Arrays on their way to the native module and back: bytes and a shape."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ._arguments import kind
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


def plain(name: str, value: Any) -> npt.NDArray[Any]:
    """`value` as an array of NumPy's own numbers: an array of any library, wherever its memory is, or a list of such, or of numbers."""
    if value is None or isinstance(value, (str, bytes, Mapping, set)):
        raise InvalidParameterError(f"{name}: must be an array of real numbers, not {kind(cast(object, value))}")
    try:
        array = _read(value)
        # The types of ml_dtypes: bfloat16 and those of 8 bits.
        if array.dtype.kind == "V" and array.dtype.type is not np.void:
            array = array.astype(np.float32)
    except MemoryError:
        raise
    except Exception as error:  # another library's
        raise InvalidParameterError(
            f"{name}: can't be read as an array of numbers: {error}; give one of NumPy, or of float32 in main memory"
        ) from error
    if array.dtype.kind not in "fiu":
        given = kind(value) if array.ndim == 0 else f"of {array.dtype}"
        raise InvalidParameterError(f"{name}: must be an array of real numbers, not {given}")
    return array


def _read(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, (list, tuple)):
        members = cast("Sequence[Any]", value)
        if any(_is_foreign(member) for member in members):
            return np.stack([_read(member) for member in members])
        return np.asarray(members)
    return _foreign(value) if _is_foreign(value) else np.asarray(value)


def _foreign(array: Any) -> npt.NDArray[Any]:
    if callable(getattr(array, "detach", None)):
        # torch's: a gradient has no way through here, and NumPy none to a GPU's memory.
        array = array.detach().cpu()
        if str(array.dtype).rpartition(".")[2].startswith(("bfloat16", "float8")):
            array = array.float()
    if callable(getattr(array, "numpy", None)):
        return np.asarray(array.numpy())
    return np.asarray(array) if hasattr(array, "__array__") else np.from_dlpack(array)


def _is_foreign(value: object) -> bool:
    """Whether it is an array of another library."""
    if isinstance(value, (np.ndarray, np.generic, int, float, str, bytes, list, tuple)):
        return False
    return any(hasattr(value, name) for name in ("__array__", "__dlpack__", "detach", "numpy"))


def numbers(name: str, value: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`value` as a row-major array of `dtype`."""
    array = plain(name, value)
    with np.errstate(over="ignore"):
        # It makes a row of what has no axes.
        taken = array.astype(dtype) if array.ndim == 0 else np.ascontiguousarray(array, dtype=dtype)
    if array.dtype.kind == "f" and array.dtype.itemsize > taken.dtype.itemsize:
        beyond = np.isinf(taken) & np.isfinite(array)
        if beyond.any():
            raise InvalidParameterError(f"{name}: {array[beyond][0]:g} is beyond the range of {taken.dtype}")
    return taken


def give(name: str, value: Any) -> tuple[bytes, list[int]]:
    """`value` as bytes of float32 and a shape."""
    array = numbers(name, value, np.float32)
    return array.tobytes(), list(array.shape)
