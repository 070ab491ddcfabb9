"""diffusers' pipeline that draws a part of a picture anew."""

from __future__ import annotations

from typing import Any

from ._diffusers_base import Texts
from ._diffusers_loop import OnStepEnd
from ._diffusers_masked import masked
from ._diffusers_sd import StableDiffusionPipeline


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
        padding_mask_crop: int | None = None,
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

        `image`: PIL's, a list of them, or an array `[height, width, 3]` or `[pictures, height, width, 3]` with values 0 to 1; or latents
        `[pictures, latent_channels, h, w]`.
        `mask_image`: PIL's, a list of them, or an array `[height, width]` or `[pictures, height, width]`; from a half on it is white.
        `masked_image_latents`: in place of those of what the mask leaves, `[pictures, latent_channels, h, w]`.
        `padding_mask_crop`: only what is masked and so many pixels around it is drawn, at the whole `height` and `width`, and put back into
        the picture. Picture and mask are PIL's then, of one size, and so is the result. None draws the whole.
        `strength`: 1 begins at noise alone, less at the picture with noise; with `latents` it begins at these alone, as there.

        An inpainting model sees mask and picture; with another one what the mask leaves is put back after each step, for which the scheduler
        must make one call in a step and be done with it (not PNDM, Heun, UniPC or SASolver). The picture's latents, the noise, and the latents of what
        the mask leaves are drawn from `generator` in this order.

        All else is as for `StableDiffusionPipeline`. Without `padding_mask_crop` nothing is pasted back: pixels outside the mask went through the
        autoencoder.
        """
        given = locals()
        return self._call(given, masked(self.pipeline, given, self._sides(height, width)))
