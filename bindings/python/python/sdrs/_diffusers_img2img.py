"""diffusers' pipeline that begins at a picture."""

from __future__ import annotations

from typing import Any, Sequence, cast

import numpy as np

from ._arguments import kind, number, whole
from ._arrays import FloatArray, plain
from ._diffusers_base import Loop, OnStepEnd, Texts
from ._diffusers_sd import StableDiffusionPipeline, StableDiffusionPipelineOutput
from .errors import InvalidParameterError


class StableDiffusionImg2ImgPipeline(StableDiffusionPipeline):
    """A loaded checkpoint of SD1 or SD2 behind diffusers' interface for pictures from pictures."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        image: Any = None,
        strength: float = 0.8,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws pictures from `image`, whose part of `strength` is drawn anew: `int(strength * num_inference_steps)` steps are made.

        `image`: PIL's, or a list of them; or an array `[height, width, 3]` or `[pictures, height, width, 3]` with values 0 to 1, as diffusers
        takes them. Sides that are no multiples of 8 are brought to the next smaller one. One picture is for all prompts, or there are as
        many as pictures are drawn. Its latents are a sample of what the VAE gives, drawn from `generator` before the noise.

        All else is as for `StableDiffusionPipeline`.
        """
        count = whole("num_images_per_prompt", num_images_per_prompt, 1)
        guidance_scale = number("guidance_scale", guidance_scale, -1000, 1000)
        conditions = self._conditions(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, clip_skip, guidance_scale, count
        )
        values = _values(image)
        height, width = values.shape[2:]
        loop = Loop(
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_rescale=0.0,
            eta=eta,
            generator=generator,
            latents=None,
            height=height,
            width=width,
            output_type=output_type,
            callback=callback_on_step_end,
            image=values,
            strength=number("strength", strength, 0, 1),
        )
        images = self._draw(loop, conditions)
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)


def _values(image: Any) -> FloatArray:
    """Pictures as `[pictures, 3, height, width]`, -1 to 1."""
    given: list[Any] = list(cast("Sequence[Any]", image)) if isinstance(image, (list, tuple)) else [image]
    if not given:
        raise InvalidParameterError("image: the list is empty")
    arrays = [_pixels(one) for one in given]
    if any(array.shape != arrays[0].shape for array in arrays):
        raise InvalidParameterError("image: the pictures are of different sizes")
    stacked = np.concatenate(arrays)
    values: FloatArray = np.ascontiguousarray(np.transpose(stacked, (0, 3, 1, 2)) * np.float32(2) - np.float32(1))
    return values


def _pixels(image: Any) -> FloatArray:
    """One of them, or an array of several, as `[pictures, height, width, 3]`, 0 to 1."""
    if all(hasattr(image, name) for name in ("mode", "convert", "getbands")):
        from PIL import Image as pil

        width, height = (max(side - side % 8, 8) for side in image.size)
        image = image.convert("RGB").resize((width, height), pil.Resampling.LANCZOS)
        return np.asarray(np.asarray(image, np.float32)[None] / np.float32(255), np.float32)
    if image is None:
        raise InvalidParameterError(f"image: must be a picture, not {kind(image)}")
    array = plain("image", image)
    if array.dtype.kind != "f" or array.ndim not in (3, 4) or array.shape[-1] != 3 or (array.size and (array.min() < 0 or array.max() > 1)):
        raise InvalidParameterError(
            f"image: must be PIL's, or an array [height, width, 3] of values from 0 to 1, not {array.dtype} of {list(array.shape)}"
        )
    if any(side % 8 for side in array.shape[-3:-1]):
        raise InvalidParameterError(f"image: sides must be multiples of 8, not {list(array.shape[-3:-1])}")
    return np.asarray(array if array.ndim == 4 else array[None], np.float32)
