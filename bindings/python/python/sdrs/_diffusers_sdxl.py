"""diffusers' pipeline for Stable Diffusion XL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np

from ._arguments import StrPath, flag, whole
from ._arguments import path as _path
from ._arrays import FloatArray, numbers
from ._diffusers_base import DiffusionPipeline, Given, Texts, fitted, texts
from ._diffusers_loop import Conditions, OnStepEnd, Pictures
from ._diffusers_sizes import Size, from_noise
from ._pipeline import Pipeline
from ._schedulers import EulerDiscreteScheduler, Scheduler
from .errors import InvalidFileError, InvalidParameterError


class StableDiffusionXLPipelineOutput(NamedTuple):
    """The result of a call."""

    images: Any
    """A list of `PIL.Image.Image`; or an array, by `output_type`."""


class StableDiffusionXLPipeline(DiffusionPipeline):
    """A loaded checkpoint of SDXL behind diffusers' interface; `pipeline` is the one it computes with.

    `force_zeros_for_empty_prompt`: whether no negative prompt means zeros; an empty one is encoded in any case.
    """

    _kind: ClassVar[str] = "SDXL"
    _has_vector: ClassVar[bool] = True

    def __init__(self, pipeline: Pipeline, scheduler: Scheduler, *, force_zeros_for_empty_prompt: bool = True) -> None:
        super().__init__(pipeline, scheduler)
        self.force_zeros_for_empty_prompt = flag("force_zeros_for_empty_prompt", force_zeros_for_empty_prompt)

    @classmethod
    def _settings(cls, given: dict[str, Any], folder: StrPath | None) -> dict[str, Any]:
        unknown = set(given) - {"force_zeros_for_empty_prompt", "add_watermarker"}
        if unknown:
            raise TypeError(f"got an unexpected keyword argument '{min(unknown)}'")
        if given.pop("add_watermarker", False):
            raise InvalidParameterError("add_watermarker: pictures get no watermark here; leave it out")
        if folder is not None and not given:
            return {"force_zeros_for_empty_prompt": _zeros_of_folder(Path(_path("path", folder)))}
        return given

    @classmethod
    def _scheduler(cls) -> Scheduler:
        return EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1)

    def encode_prompt(self, prompt: Texts, prompt_2: Texts = None, clip_skip: int | None = None) -> tuple[FloatArray, FloatArray]:
        """The contexts of texts, `[texts, context_length, context_width]`, and their pooled texts, `[texts, pooled_width]`.

        `prompt_2`: other texts for the second text encoder, as many. `clip_skip`: None or 0 for the layer that SDXL was trained with.
        """
        skipped = 0 if clip_skip is None else whole("clip_skip", clip_skip, 0, self.pipeline.sizes.text_layers - 1)
        first = texts("prompt", prompt)
        # As there: an empty one is none.
        second = texts("prompt_2", prompt_2) if prompt_2 else first
        if len(first) != len(second):
            raise InvalidParameterError(f"prompt_2: {len(second)} of them don't fit {len(first)} prompts")
        # A refiner has one text encoder, which reads the first.
        stack = [first, second] if self.pipeline.sizes.text_width_2 else [first]
        sides = [
            np.stack([self.pipeline.encode_text(text, clip_skip=1 + skipped, encoder=encoder) for text in side])
            for encoder, side in enumerate(stack)
        ]
        pooled = np.stack([self.pipeline.pooled_text(text) for text in stack[-1]])
        return np.concatenate(sides, axis=2), pooled

    def __call__(
        self,
        prompt: Texts = None,
        prompt_2: Texts = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
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
        clip_skip: int | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Draws one picture for each prompt, or `num_images_per_prompt`; arguments are those of diffusers.

        `prompt_2`, `negative_prompt_2`: other texts for the second text encoder. `denoising_end`: the share of the timesteps, 0 to 1, after
        which the run stops, with `output_type="latent"` for a refiner to go on with.
        `original_size`, `target_size`, `crops_coords_top_left`: height and width, and the crop's top and left edge, that the model is told;
        those of the negative prompt count where both its sizes are given.
        `prompt_embeds` and `pooled_prompt_embeds`: contexts and pooled texts in place of prompts. All else is as for
        `StableDiffusionPipeline`.

        Returns a `StableDiffusionXLPipelineOutput`, without `return_dict` its fields. Raises `InvalidParameterError`.
        """
        given = locals()
        return self._call(given, Pictures(self._sides(height, width)))

    def _output(self, images: Any) -> StableDiffusionXLPipelineOutput:
        return StableDiffusionXLPipelineOutput(images)

    def _conditions(self, given: Given, sides: tuple[int, int], guided: bool) -> Conditions:
        count, (told, told_uncond) = self._count(given), self._told(given, sides)
        prompts, embeds = (given["prompt"], given["prompt_2"]), (given["prompt_embeds"], given["pooled_prompt_embeds"])
        cond, pooled = self._texts("prompt", prompts, embeds, given["clip_skip"])
        conditions = Conditions(np.repeat(cond, count, axis=0), None, np.repeat(_beside(pooled, told), count, axis=0))
        if not guided:
            return conditions
        negative = (given["negative_prompt"], given["negative_prompt_2"])
        negative_embeds = (given["negative_prompt_embeds"], given["negative_pooled_prompt_embeds"])
        uncond, pooled_uncond = self._negative(cond, pooled, negative, negative_embeds)
        return conditions._replace(
            uncond=np.repeat(uncond, count, axis=0),
            added_uncond=np.repeat(_beside(pooled_uncond, told_uncond), count, axis=0),
        )

    def _negative(
        self, cond: FloatArray, pooled: FloatArray, prompts: tuple[Texts, Texts], embeds: tuple[Any, Any]
    ) -> tuple[FloatArray, FloatArray]:
        """Context and pooled text of the negative prompt, for each prompt."""
        negative, negative_2 = prompts
        if negative is None and embeds[0] is None and self.force_zeros_for_empty_prompt:
            return np.zeros_like(cond), np.zeros_like(pooled)
        if negative is None and embeds[0] is None:
            negative = ""
        # diffusers skips layers for the prompt alone.
        uncond, pooled_uncond = self._texts("negative_prompt", (negative, negative_2), embeds, None)
        return fitted("negative_prompt", uncond, cond), fitted("negative_prompt", pooled_uncond, pooled)

    def _texts(
        self, name: str, prompts: tuple[Texts, Texts], embeds: tuple[Any, Any], clip_skip: int | None
    ) -> tuple[FloatArray, FloatArray]:
        """Contexts and pooled texts, of prompts or in place of them."""
        if (prompts[0] is None) == (embeds[0] is None):
            raise InvalidParameterError(f"{name}: give either it or {name}_embeds")
        pooled_name = name.replace("prompt", "pooled_prompt_embeds")
        if (embeds[0] is None) != (embeds[1] is None):
            raise InvalidParameterError(f"{pooled_name}: goes with {name}_embeds; give both or none")
        if embeds[0] is None:
            return self.encode_prompt(texts(name, prompts[0]), prompts[1], clip_skip)
        sizes = self.pipeline.sizes
        contexts = self._embeds(name, embeds[0], sizes.context_width)
        pooled: FloatArray = numbers(pooled_name, embeds[1], np.float32)
        if pooled.shape != (len(contexts), sizes.pooled_width):
            wanted = [len(contexts), sizes.pooled_width]
            raise InvalidParameterError(f"{pooled_name}: must have the shape {wanted}, not {list(pooled.shape)}")
        return contexts, pooled

    def _told(self, given: Given, sides: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """What the model is told of sizes for the prompt, and for the negative prompt, as its vector has them."""
        return from_noise(self.pipeline, given, sides)


def _beside(pooled: FloatArray, told: FloatArray) -> FloatArray:
    """The vector beside the timestep: each pooled text with the sizes behind it."""
    return np.concatenate([pooled, np.broadcast_to(told, (len(pooled), len(told)))], axis=1)


def _zeros_of_folder(folder: Path) -> bool:
    """Whether no negative prompt means zeros to a folder's pipeline: yes, unless it says no."""
    file = folder / "model_index.json"
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return True
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(f"{file}: is not JSON: {error}") from error
    fields = cast("dict[str, Any]", index) if isinstance(index, dict) else {}
    value = fields.get("force_zeros_for_empty_prompt", True)
    if not isinstance(value, bool):
        raise InvalidFileError(f"{file}: force_zeros_for_empty_prompt: must be true or false")
    return value
