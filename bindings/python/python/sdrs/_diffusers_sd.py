"""diffusers' pipeline for SD1 and SD2."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from ._arguments import StrPath, whole
from ._arrays import FloatArray
from ._diffusers_base import DiffusionPipeline, Given, Texts, fitted, texts
from ._diffusers_loop import Conditions, OnStepEnd, Pictures
from ._schedulers import PNDMScheduler, Scheduler
from .errors import InvalidParameterError


class StableDiffusionPipelineOutput(NamedTuple):
    """The result of a call."""

    images: Any
    """A list of `PIL.Image.Image`; or an array, by `output_type`."""
    nsfw_content_detected: None = None
    """Nothing looks at the pictures."""


class StableDiffusionPipeline(DiffusionPipeline):
    """A loaded checkpoint of SD1 or SD2 behind diffusers' interface; `pipeline` is the one it computes with."""

    _kind: ClassVar[str] = "SD1 and SD2"

    @classmethod
    def _settings(cls, given: dict[str, Any], folder: StrPath | None) -> dict[str, Any]:
        for name, value in given.items():
            if name not in ("safety_checker", "requires_safety_checker"):
                raise TypeError(f"got an unexpected keyword argument '{name}'")
            if value:
                raise InvalidParameterError(f"{name}: nothing looks at the pictures here; leave it out")
        return {}

    @classmethod
    def _scheduler(cls) -> Scheduler:
        return PNDMScheduler(skip_prk_steps=True, steps_offset=1)

    def encode_prompt(self, prompt: Texts, clip_skip: int | None = None) -> FloatArray:
        """The contexts of texts, `[texts, context_length, context_width]`. `clip_skip`: None or 0 for the last layer."""
        skipped = 0 if clip_skip is None else whole("clip_skip", clip_skip, 0, self.pipeline.sizes.text_layers - 1)
        return np.stack([self.pipeline.encode_text(text, clip_skip=1 + skipped) for text in texts("prompt", prompt)])

    def __call__(
        self,
        prompt: Texts = None,
        height: int | None = None,
        width: int | None = None,
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
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws one picture for each prompt, or `num_images_per_prompt`; arguments are those of diffusers.

        `generator`: a seed, a NumPy or torch generator, or a list of them, one for each picture. A single one makes the noise of all
        pictures together. `latents`: the first noise, `[pictures, latent_channels, h, w]`, of unit variance.
        `prompt_embeds`, `negative_prompt_embeds`: contexts in place of prompts.
        `output_type`: "pil", "np" (`[pictures, height, width, 3]`, 0 to 1) or "latent" (`[pictures, latent_channels, h, w]`).
        `callback_on_step_end(pipe, step, timestep, {"latents": ..})` is called after each step: where diffusers makes two of a solver's
        step (PNDM's first, Heun's), there is one here, and UniPC's latents are corrected already. Latents that it changes or returns go on in
        their place (not with Heun, UniPC and SASolver); what it raises ends the run.

        Returns a `StableDiffusionPipelineOutput`, without `return_dict` its fields. Raises `InvalidParameterError`.
        """
        given = locals()
        return self._call(given, Pictures(self._sides(height, width)))

    def _output(self, images: Any) -> StableDiffusionPipelineOutput:
        return StableDiffusionPipelineOutput(images)

    def _conditions(self, given: Given, sides: tuple[int, int], guided: bool) -> Conditions:
        cond = self._contexts("prompt", given["prompt"], given["prompt_embeds"], given.get("clip_skip"))
        uncond, count = None, self._count(given)
        if guided:
            negative, embeds = given["negative_prompt"], given["negative_prompt_embeds"]
            if negative is None and embeds is None:
                negative = ""
            # diffusers skips layers for the prompt alone.
            uncond = fitted("negative_prompt", self._contexts("negative_prompt", negative, embeds, None), cond)
            uncond = np.repeat(uncond, count, axis=0)
        return Conditions(np.repeat(cond, count, axis=0), uncond)

    def _contexts(self, name: str, prompt: Texts, embeds: Any, clip_skip: int | None) -> FloatArray:
        if (prompt is None) == (embeds is None):
            raise InvalidParameterError(f"{name}: give either it or {name}_embeds")
        if embeds is None:
            return self.encode_prompt(texts(name, prompt), clip_skip)
        return self._embeds(name, embeds, self.pipeline.sizes.context_width)
