"""Pictures on their way to the autoencoder, and into runs."""

from __future__ import annotations

import os
from typing import Any, Sequence, Union, cast

import numpy as np
import numpy.typing as npt

from ._arguments import StrPath, path
from ._arrays import FloatArray, give, numbers, plain
from .errors import InvalidParameterError

PictureLike = Union[StrPath, "npt.NDArray[np.uint8]", Any]
"""A picture: a file's path, an array of bytes, `[height, width]` or with 3 or 4 channels behind, or PIL's."""

GivenPicture = Union[str, "tuple[bytes, int, int, int]"]


def picture(name: str, value: PictureLike) -> GivenPicture:
    """A picture as the native module takes it: a path, or bytes, width, height and channels."""
    if isinstance(value, (str, os.PathLike)):
        return path(name, value)
    given: Any = value
    if _is_pil(given):
        transparent = "A" in given.getbands() or "a" in given.getbands() or "transparency" in given.info
        grey = given.mode in ("1", "L")
        given = np.array(given.convert("RGBA" if transparent else "L" if grey else "RGB"), dtype=np.uint8)
    array = plain(name, given)
    shape = list(array.shape)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))):
        raise InvalidParameterError(
            f"{name}: must be a path, a PIL picture, or bytes (uint8) of the shape [height, width], [height, width, 3] or "
            f"[height, width, 4], not {array.dtype} of the shape {shape}"
        )
    return np.ascontiguousarray(array).tobytes(), shape[1], shape[0], shape[2] if array.ndim == 3 else 1


def inputs(image: Any, mask: Any, depth: Any, image_latents: Any) -> dict[str, Any]:
    """The pictures and latents of a run, as the native module takes them."""
    pictures = {"image": image, "mask": mask, "depth": depth}
    given: dict[str, Any] = {name: picture(name, value) for name, value in pictures.items() if value is not None}
    if image_latents is not None:
        given["image_latents"] = give("image_latents", image_latents)
    return given


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
