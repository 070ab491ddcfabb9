"""diffusers' pipeline for Stable Diffusion XL that begins at a picture."""

from __future__ import annotations

from typing import Any

from ._arguments import number, whole
from ._diffusers_base import Loop, OnStepEnd, Texts
from ._diffusers_pictures import values
from ._diffusers_sdxl import Size, StableDiffusionXLPipeline, StableDiffusionXLPipelineOutput


class StableDiffusionXLImg2ImgPipeline(StableDiffusionXLPipeline):
    """A loaded checkpoint of SDXL behind diffusers' interface for pictures from pictures."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        image: Any = None,
        strength: float = 0.3,
        num_inference_steps: int = 50,
        guidance_scale: float = 5.0,
        negative_prompt: Texts = None,
        negative_prompt_2: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Any = None,
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
        negative_target_size: Size | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws pictures from `image`, whose part of `strength` is drawn anew: `int(strength * num_inference_steps)` steps are made.

        `image`: as for `StableDiffusionImg2ImgPipeline`. Of the negative prompt's sizes, those that are missing are the prompt's; the crop
        is, too. All else is as for `StableDiffusionXLPipeline`.
        """
        guidance_scale = number("guidance_scale", guidance_scale, -1000, 1000)
        pictures = values(image)
        height, width = pictures.shape[2:]
        told = [
            self._told(original or original_size, crops_coords_top_left, target or target_size, (height, width), prefix)
            for original, target, prefix in [(None, None, ""), (negative_original_size, negative_target_size, "negative_")]
        ]
        conditions = self._conditions(
            (prompt, prompt_2),
            (prompt_embeds, pooled_prompt_embeds),
            (negative_prompt, negative_prompt_2),
            (negative_prompt_embeds, negative_pooled_prompt_embeds),
            (told[0], told[1]),
            clip_skip,
            guidance_scale,
            whole("num_images_per_prompt", num_images_per_prompt, 1),
        )
        loop = Loop(
            steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            eta=eta,
            generator=generator,
            latents=None,
            height=height,
            width=width,
            output_type=output_type,
            callback=callback_on_step_end,
            image=pictures,
            strength=number("strength", strength, 0, 1),
        )
        images = self._draw(loop, conditions)
        return StableDiffusionXLPipelineOutput(images) if return_dict else (images,)
