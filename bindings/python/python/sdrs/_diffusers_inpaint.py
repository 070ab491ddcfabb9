"""diffusers' pipeline that draws a part of a picture anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arguments import number, whole
from ._arrays import FloatArray, numbers
from ._diffusers_base import Loop, OnStepEnd, Region, Texts
from ._diffusers_pictures import masks, values
from ._diffusers_sd import StableDiffusionPipeline, StableDiffusionPipelineOutput
from .errors import InvalidParameterError


class StableDiffusionInpaintPipeline(StableDiffusionPipeline):
    """A loaded checkpoint of SD1 or SD2, an inpainting model or any other, behind diffusers' interface for masked pictures."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        image: Any = None,
        mask_image: Any = None,
        masked_image_latents: Any = None,
        height: int | None = None,
        width: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws anew what `mask_image` has white of `image`; both are brought to `height` and `width`, those of the model by default.

        `image`: PIL's, a list of them, or an array `[height, width, 3]` or `[pictures, height, width, 3]` with values 0 to 1.
        `mask_image`: PIL's, a list of them, or an array `[height, width]` or `[pictures, height, width]`; from a half on it is white.
        `masked_image_latents`: in place of those of what the mask leaves, `[pictures, latent_channels, h, w]`.
        `strength`: 1 begins at noise alone, less at the picture with noise.

        An inpainting model sees mask and picture; with another one what the mask leaves is put back after each step, for which the scheduler
        must make one call in a step and be done with it (not PNDM, Heun or UniPC). The picture's latents, the noise, and the latents of what
        the mask leaves are drawn from `generator` in this order.

        All else is as for `StableDiffusionPipeline`. Nothing is pasted back: pixels outside the mask went through the autoencoder.
        """
        count = whole("num_images_per_prompt", num_images_per_prompt, 1)
        guidance_scale = number("guidance_scale", guidance_scale, -1000, 1000)
        conditions = self._conditions(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, clip_skip, guidance_scale, count
        )
        sides = self._sides(height, width)
        sizes = self.pipeline.sizes
        if sizes.unet_channels not in (sizes.latent_channels, 2 * sizes.latent_channels + 1):
            raise InvalidParameterError(f"pipeline: {self.pipeline.name} takes {sizes.unet_channels} channels, and is no inpainting model")
        strength = number("strength", strength, 0, 1)
        masked: FloatArray | None = None
        if masked_image_latents is not None:
            masked = numbers("masked_image_latents", masked_image_latents, np.float32)
            shape = self._shape(len(masked) if masked.ndim == 4 else 1, *sides)
            if masked.shape != shape:
                raise InvalidParameterError(f"masked_image_latents: must have the shape {list(shape)}, not {list(masked.shape)}")
        loop = Loop(
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_rescale=0.0,
            eta=eta,
            generator=generator,
            latents=latents,
            height=height,
            width=width,
            output_type=output_type,
            callback=callback_on_step_end,
            image=values(image, sides),
            strength=None if strength == 1 else strength,
            region=Region(masks(mask_image, sides), masked),
        )
        images = self._draw(loop, conditions)
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)
