"""Masked pictures as diffusers' inpainting pipelines take them."""

from __future__ import annotations

from functools import partial
from typing import Any, Mapping

import numpy as np

from ._arguments import kind, whole
from ._arrays import FloatArray, numbers
from ._diffusers_crop import Crop
from ._diffusers_loop import Pictures, Region
from ._diffusers_pictures import is_pil, latents_of, masks, values
from ._pipeline import Pipeline
from .errors import InvalidParameterError


def masked(pipeline: Pipeline, given: Mapping[str, Any], sides: tuple[int, int]) -> Pictures:
    """The pictures of a call's arguments, of which a part is drawn anew with this height and width."""
    sizes = pipeline.sizes
    if sizes.unet_channels not in (sizes.latent_channels, 2 * sizes.latent_channels + 1):
        raise InvalidParameterError(f"pipeline: {pipeline.name} takes {sizes.unet_channels} channels, and is no inpainting model")
    image, mask = given["image"], given["mask_image"]
    crop = _crop(given, sides)
    latents = latents_of(image, sizes.latent_channels)
    return Pictures(
        sides,
        pixels=values(image, sides, crop) if latents is None else None,
        latents=latents,
        noised=given.get("denoising_start") is not None,
        region=Region(masks(mask, sides, crop), _masked_latents(pipeline, given["masked_image_latents"], sides)),
        finish=None if crop is None else partial(crop.put_back, image, mask),
    )


def _crop(given: Mapping[str, Any], sides: tuple[int, int]) -> Crop | None:
    """The part of the picture that `padding_mask_crop` asks for."""
    if given["padding_mask_crop"] is None:
        return None
    padding = whole("padding_mask_crop", given["padding_mask_crop"], 0, 16384)
    for name in ("image", "mask_image"):
        if not is_pil(given[name]):
            raise InvalidParameterError(f"{name}: must be PIL's with padding_mask_crop, not {kind(given[name])}")
    image, mask = given["image"], given["mask_image"]
    if image.size != mask.size:
        raise InvalidParameterError(f"mask_image: must be as large as the image, {image.size}, with padding_mask_crop, not {mask.size}")
    if given["output_type"] != "pil":
        raise InvalidParameterError(f"output_type: must be pil with padding_mask_crop, not {given['output_type']!r:.80}")
    return Crop.around(mask, sides, padding)


def _masked_latents(pipeline: Pipeline, given: Any, sides: tuple[int, int]) -> FloatArray | None:
    if given is None:
        return None
    latents = numbers("masked_image_latents", given, np.float32)
    sizes = pipeline.sizes
    shape = (len(latents) if latents.ndim == 4 else 1, sizes.latent_channels, *(side // sizes.downscale for side in sides))
    if latents.shape != shape:
        raise InvalidParameterError(f"masked_image_latents: must have the shape {list(shape)}, not {list(latents.shape)}")
    return latents
