"""diffusers' pipeline for Stable Diffusion XL that begins at a picture."""

from __future__ import annotations

from typing import Any

from ._arrays import FloatArray
from ._diffusers_base import Given, Texts
from ._diffusers_loop import OnStepEnd
from ._diffusers_pictures import begun_at
from ._diffusers_sdxl import StableDiffusionXLPipeline
from ._diffusers_sizes import Size, from_pictures


class StableDiffusionXLImg2ImgPipeline(StableDiffusionXLPipeline):
    """A loaded checkpoint of SDXL, or of its refiner, behind diffusers' interface for pictures from pictures."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        image: Any = None,
        strength: float = 0.3,
        num_inference_steps: int = 50,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 5.0,
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
        """Draws pictures from `image`, whose part of `strength` is drawn anew: `int(strength * num_inference_steps)` steps are made.

        `image`: as for `StableDiffusionImg2ImgPipeline`, latents too. `latents`: begun at as they are, in its place.
        `denoising_start`: the share of the timesteps, 0 to 1, that `image` has behind it, which is what another pipeline with this
        `denoising_end` gave as `output_type="latent"`: no noise is added, and `strength` does not count.
        `aesthetic_score`, `negative_aesthetic_score`: the scores that a refiner is told of the prompt's picture and the negative prompt's.
        Of the negative prompt's sizes, those that are missing are the prompt's, and so is the crop but for a refiner. All else is as for
        `StableDiffusionXLPipeline`.
        """
        given = locals()
        return self._call(given, begun_at(self.pipeline, image, latents, denoising_start is not None))

    def _told(self, given: Given, sides: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        return from_pictures(self.pipeline, given, sides)
