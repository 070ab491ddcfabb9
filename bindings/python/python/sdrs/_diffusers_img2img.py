"""diffusers' pipeline that begins at a picture."""

from __future__ import annotations

from typing import Any

from ._diffusers_base import Texts
from ._diffusers_loop import OnStepEnd
from ._diffusers_pictures import begun_at
from ._diffusers_sd import StableDiffusionPipeline


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
        many as pictures are drawn. Its latents are a sample of what the VAE gives, drawn from `generator` before the noise; or they are given
        in its place, `[pictures, latent_channels, h, w]`.

        All else is as for `StableDiffusionPipeline`.
        """
        given = locals()
        return self._call(given, begun_at(self.pipeline, image))
