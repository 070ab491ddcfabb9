"""Pictures on their way to the autoencoder."""

from __future__ import annotations

import os
from typing import Any, Sequence, cast

import numpy as np
import numpy.typing as npt

from ._arrays import FloatArray, numbers, plain
from .errors import InvalidParameterError


def planes(name: str, value: Any) -> FloatArray:
    """Pictures as `[batch, 3, height, width]`, -1 to 1: of such values, of bytes, or PIL's."""
    if isinstance(value, (str, os.PathLike)):
        raise InvalidParameterError(f"{name}: must be pictures, not a path: give PIL.Image.open(path)")
    if _is_pil(value):
        value = _pixels(name, value)
    elif isinstance(value, (list, tuple)):
        members = cast("Sequence[Any]", value)
        value = [_pixels(f"{name}[{i}]", one) if _is_pil(one) else one for i, one in enumerate(members)]
    array = plain(name, value)
    if array.dtype == np.uint8:
        return _of_bytes(name, array)
    if array.dtype.kind in "iu":
        raise InvalidParameterError(
            f"{name}: must be numbers from -1 to 1 of a floating-point type, or bytes (uint8), not of {array.dtype}"
        )
    return numbers(name, array, np.float32)


def _of_bytes(name: str, array: Any) -> FloatArray:
    shape = list(array.shape)
    if array.ndim == 3:
        array = array[None]
    if array.ndim == 4 and array.shape[3] == 3:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or array.shape[1] != 3:
        raise InvalidParameterError(
            f"{name}: bytes must have the shape [height, width, 3] or [batch, height, width, 3], red, green and blue, not {shape}"
        )
    values: FloatArray = array.astype(np.float32)
    values /= np.float32(127.5)
    values -= np.float32(1)
    return values


def _is_pil(value: object) -> bool:
    return all(hasattr(value, name) for name in ("mode", "convert", "getbands"))


def _pixels(name: str, picture: Any) -> npt.NDArray[np.uint8]:
    if picture.mode not in ("RGB", "L"):
        raise InvalidParameterError(f'{name}: must be RGB, not {picture.mode}: give picture.convert("RGB")')
    return np.array(picture.convert("RGB"), dtype=np.uint8)
