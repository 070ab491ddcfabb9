"""diffusers' pipeline that changes a picture as it is told to."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ._arrays import FloatArray
from ._diffusers_base import Texts
from ._diffusers_loop import Conditions, Evaluation, OnStepEnd, Pictures, Settings, each
from ._diffusers_pictures import values
from ._diffusers_sd import StableDiffusionPipeline
from .errors import InvalidParameterError


class StableDiffusionInstructPix2PixPipeline(StableDiffusionPipeline):
    """A loaded InstructPix2Pix model behind diffusers' interface."""

    def __call__(  # type: ignore[override]  # diffusers' order of arguments
        self,
        prompt: Texts = None,
        image: Any = None,
        num_inference_steps: int = 100,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        negative_prompt: Texts = None,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws `image` changed as `prompt` says. `guidance_scale` says how much the text counts, `image_guidance_scale` the picture; there is
        guidance if the first is more than 1 and the second 1 or more (Brooks et al. 2022, arXiv:2211.09800, equation 3).

        `image`: as for `StableDiffusionImg2ImgPipeline`, of whose size the results are. All else is as for `StableDiffusionPipeline`.
        """
        given = locals()
        sizes = self.pipeline.sizes
        if sizes.unet_channels != 2 * sizes.latent_channels:
            raise InvalidParameterError(f"pipeline: {self.pipeline.name} takes {sizes.unet_channels} channels, and is no InstructPix2Pix model")
        pictures = values(image)
        # As there: the mean, without the factor of latents.
        shown: FloatArray = np.asarray(self.pipeline.vae_encode(pictures).mean / self.pipeline.scaling_factor, np.float32)
        return self._call(given, Pictures((pictures.shape[2], pictures.shape[3]), shown=shown))

    def _guides(self, settings: Settings) -> bool:
        return super()._guides(settings) and settings.image_guidance_scale >= 1

    def _evaluations(self, conditions: Conditions, behind: FloatArray | None) -> list[Evaluation]:
        assert behind is not None
        behind = each("image", behind, len(conditions.cond))
        if conditions.uncond is None:
            return super()._evaluations(conditions, behind)
        return [
            Evaluation(conditions.cond, None, behind),
            Evaluation(conditions.uncond, None, behind),
            Evaluation(conditions.uncond, None, np.zeros_like(behind)),
        ]

    def _guided(self, outputs: Sequence[FloatArray], settings: Settings) -> FloatArray:
        if len(outputs) == 1:
            return outputs[0]
        text, image, neither = outputs
        by_text = (text - image) * np.float32(settings.guidance_scale)
        by_image = (image - neither) * np.float32(settings.image_guidance_scale)
        return np.asarray(neither + by_text + by_image, np.float32)
