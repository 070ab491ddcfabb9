"""diffusers' pipeline for Stable Diffusion XL that draws a part of a picture anew."""

from __future__ import annotations

from typing import Any

from ._arrays import FloatArray
from ._diffusers_base import Given, Texts
from ._diffusers_loop import OnStepEnd
from ._diffusers_masked import masked
from ._diffusers_sdxl import StableDiffusionXLPipeline
from ._diffusers_sizes import Size, from_pictures


class StableDiffusionXLInpaintPipeline(StableDiffusionXLPipeline):
    """A loaded checkpoint of SDXL, an inpainting model or any other, behind diffusers' interface for masked pictures."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        image: Any = None,
        mask_image: Any = None,
        masked_image_latents: Any = None,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 0.9999,
        num_inference_steps: int = 50,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        pooled_prompt_embeds: Any = None,
        negative_pooled_prompt_embeds: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        guidance_rescale: float = 0.0,
        original_size: Size | None = None,
        crops_coords_top_left: Size = (0, 0),
        target_size: Size | None = None,
        negative_original_size: Size | None = None,
        negative_crops_coords_top_left: Size = (0, 0),
        negative_target_size: Size | None = None,
        aesthetic_score: float = 6.0,
        negative_aesthetic_score: float = 2.5,
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws anew what `mask_image` has white of `image`; both are brought to `height` and `width`, those of the model by default.

        `image`, `mask_image`, `masked_image_latents` and `padding_mask_crop` are as for `StableDiffusionInpaintPipeline`, and so is what
        a scheduler must be like. `strength`: 1 begins at noise alone, less at the picture with noise.
        `denoising_start`, `denoising_end`, sizes and scores are as for `StableDiffusionXLImg2ImgPipeline`, all else as for
        `StableDiffusionXLPipeline`. What the mask leaves has no noise after the last step, which is diffusers' way at an early end, too.
        """
        given = locals()
        return self._call(given, masked(self.pipeline, given, self._sides(height, width)))

    def _told(self, given: Given, sides: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        return from_pictures(self.pipeline, given, sides)
