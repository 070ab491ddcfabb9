"""Pictures and masks as diffusers' pipelines take them."""

from __future__ import annotations

from typing import Any, Sequence, cast

import numpy as np

from ._arguments import kind
from ._arrays import FloatArray, numbers, plain
from ._diffusers_crop import Crop
from ._diffusers_loop import Pictures
from ._pipeline import Pipeline
from .errors import InvalidParameterError


def begun_at(pipeline: Pipeline, image: Any, latents: Any = None, noised: bool = False) -> Pictures:
    """The pictures that a call begins at, or their latents; or `latents` that have their noise, in place of any picture."""
    if latents is not None:
        image, noised = numbers("latents", latents, np.float32), True
    sizes = pipeline.sizes
    own = latents_of(image, sizes.latent_channels)
    if own is not None:
        return Pictures((own.shape[2] * sizes.downscale, own.shape[3] * sizes.downscale), latents=own, noised=noised)
    if latents is not None:
        raise InvalidParameterError(f"latents: must have the shape [pictures, {sizes.latent_channels}, h, w], not {list(image.shape)}")
    pixels = values(image)
    return Pictures((pixels.shape[2], pixels.shape[3]), pixels=pixels, noised=noised)


def latents_of(image: Any, channels: int) -> FloatArray | None:
    """Latents that are given in a picture's place: an array `[pictures, channels, h, w]`. None if it is something else."""
    if image is None or isinstance(image, (list, tuple)) or is_pil(image):
        return None
    array = plain("image", image)
    if array.dtype.kind != "f" or array.ndim != 4 or array.shape[1] != channels or array.shape[3] == 3:
        return None
    return numbers("image", array, np.float32)


def values(image: Any, sides: tuple[int, int] | None = None, crop: Crop | None = None) -> FloatArray:
    """Pictures as `[pictures, 3, height, width]`, -1 to 1: of these sides, or of their own, made multiples of 8. `crop`: the part of them
    that counts."""
    if crop is not None and sides is not None:
        image = crop.of(image.convert("RGB"), sides)
    stacked = _stacked("image", [_pixels(one, sides) for one in _listed("image", image)])
    scaled: FloatArray = np.ascontiguousarray(np.transpose(stacked, (0, 3, 1, 2)) * np.float32(2) - np.float32(1))
    return scaled


def masks(mask: Any, sides: tuple[int, int], crop: Crop | None = None) -> FloatArray:
    """Masks as `[pictures, 1, height, width]`, 0 or 1. `crop`: the part of them that counts."""
    if crop is not None:
        mask = crop.of(mask, sides)
    stacked = _stacked("mask_image", [_grey(one, sides) for one in _listed("mask_image", mask)])
    return (stacked[:, None] >= 0.5).astype(np.float32)


def _listed(name: str, given: Any) -> list[Any]:
    pictures: list[Any] = list(cast("Sequence[Any]", given)) if isinstance(given, (list, tuple)) else [given]
    if not pictures:
        raise InvalidParameterError(f"{name}: the list is empty")
    return pictures


def _stacked(name: str, arrays: list[FloatArray]) -> FloatArray:
    if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise InvalidParameterError(f"{name}: the pictures are of different sizes")
    return np.concatenate(arrays)


def _pixels(image: Any, sides: tuple[int, int] | None) -> FloatArray:
    """One picture, or an array of several, as `[pictures, height, width, 3]`, 0 to 1."""
    if is_pil(image):
        return _resized(image.convert("RGB"), sides)[None]
    if image is None:
        raise InvalidParameterError(f"image: must be a picture, not {kind(image)}")
    array = plain("image", image)
    if array.dtype.kind != "f" or array.ndim not in (3, 4) or array.shape[-1] != 3 or not _is_share(array):
        raise InvalidParameterError(
            f"image: must be PIL's, or an array [height, width, 3] of values from 0 to 1, not {array.dtype} of {list(array.shape)}"
        )
    _check_sides("image", array.shape[-3:-1], sides)
    return np.asarray(array if array.ndim == 4 else array[None], np.float32)


def _grey(mask: Any, sides: tuple[int, int]) -> FloatArray:
    """One mask, or an array of several, as `[pictures, height, width]`, 0 to 1."""
    if is_pil(mask):
        # As there: the mode is changed after the size.
        return _resized(mask, sides, "L")[None]
    if mask is None:
        raise InvalidParameterError(f"mask_image: must be a picture, not {kind(mask)}")
    array = plain("mask_image", mask)
    if array.dtype.kind != "f" or array.ndim not in (2, 3) or not _is_share(array):
        raise InvalidParameterError(
            f"mask_image: must be PIL's, or an array [height, width] of values from 0 to 1, not {array.dtype} of {list(array.shape)}"
        )
    _check_sides("mask_image", array.shape[-2:], sides)
    return np.asarray(array if array.ndim == 3 else array[None], np.float32)


def is_pil(image: Any) -> bool:
    """Whether it is a picture of PIL's."""
    return all(hasattr(image, name) for name in ("mode", "convert", "getbands"))


def _is_share(array: Any) -> bool:
    """Whether all values are from 0 to 1."""
    return bool(array.size and array.min() >= 0 and array.max() <= 1)


def _resized(image: Any, sides: tuple[int, int] | None, mode: str | None = None) -> FloatArray:
    from PIL import Image as pil

    width, height = sides[::-1] if sides else (max(side - side % 8, 8) for side in image.size)
    image = image.resize((width, height), pil.Resampling.LANCZOS)
    return np.asarray(np.asarray(image if mode is None else image.convert(mode), np.float32) / np.float32(255), np.float32)


def _check_sides(name: str, own: Sequence[int], sides: tuple[int, int] | None) -> None:
    if sides is None and any(side % 8 for side in own):
        raise InvalidParameterError(f"{name}: sides must be multiples of 8, not {list(own)}")
    if sides is not None and tuple(own) != sides:
        raise InvalidParameterError(f"{name}: an array must have the size that is drawn, {list(sides)}, not {list(own)}")
