"""diffusers' pipeline for Stable Diffusion XL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Sequence, cast

import numpy as np

from ._arguments import StrPath, flag, listed, number, whole
from ._arguments import path as _path
from ._arrays import FloatArray, numbers
from ._diffusers_base import Conditions, DiffusionPipeline, Loop, OnStepEnd, Texts, fitted, texts
from ._pipeline import Pipeline
from ._schedulers import EulerDiscreteScheduler, Scheduler
from .errors import InvalidFileError, InvalidParameterError

Size = Sequence[int]


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
        sides = [
            np.stack([self.pipeline.encode_text(text, clip_skip=1 + skipped, encoder=encoder) for text in side])
            for encoder, side in enumerate([first, second])
        ]
        pooled = np.stack([self.pipeline.pooled_text(text) for text in second])
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
        guidance_scale = number("guidance_scale", guidance_scale, -1000, 1000)
        end = None if denoising_end is None else number("denoising_end", denoising_end, 0, 1)
        size = self._sides(height, width)
        told = told_uncond = self._told(original_size, crops_coords_top_left, target_size, size, "")
        if negative_original_size is not None and negative_target_size is not None:
            told_uncond = self._told(
                negative_original_size, negative_crops_coords_top_left, negative_target_size, size, "negative_"
            )
        conditions = self._conditions(
            (prompt, prompt_2),
            (prompt_embeds, pooled_prompt_embeds),
            (negative_prompt, negative_prompt_2),
            (negative_prompt_embeds, negative_pooled_prompt_embeds),
            (told, told_uncond),
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
            latents=latents,
            height=height,
            width=width,
            output_type=output_type,
            callback=callback_on_step_end,
            # As there: a whole run is none that ends early.
            end=end if end is not None and 0 < end < 1 else None,
        )
        images = self._draw(loop, conditions)
        return StableDiffusionXLPipelineOutput(images) if return_dict else (images,)

    def _conditions(
        self,
        prompts: tuple[Texts, Texts],
        embeds: tuple[Any, Any],
        negative: tuple[Texts, Texts],
        negative_embeds: tuple[Any, Any],
        told: tuple[FloatArray, FloatArray],
        clip_skip: int | None,
        guidance_scale: float,
        count: int,
    ) -> Conditions:
        """What a call's pictures are conditioned on, `count` for each prompt; `told` are the sizes for prompt and negative prompt."""
        cond, pooled = self._texts("prompt", prompts, embeds, clip_skip)
        conditions = Conditions(np.repeat(cond, count, axis=0), None, np.repeat(_beside(pooled, told[0]), count, axis=0))
        if guidance_scale <= 1:
            return conditions
        uncond, pooled_uncond = self._negative(cond, pooled, negative, negative_embeds)
        return conditions._replace(
            uncond=np.repeat(uncond, count, axis=0),
            added_uncond=np.repeat(_beside(pooled_uncond, told[1]), count, axis=0),
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

    def _told(
        self, original: Size | None, crop: Size, target: Size | None, size: tuple[int, int], prefix: str
    ) -> FloatArray:
        """The sizes that the model is told, as its vector has them."""
        all_sizes = [
            *_pair(f"{prefix}original_size", size if original is None else original, 1),
            *_pair(f"{prefix}crops_coords_top_left", crop, 0),
            *_pair(f"{prefix}target_size", size if target is None else target, 1),
        ]
        return self.pipeline.size_vector(all_sizes)


def _pair(name: str, value: Size, low: int) -> list[int]:
    pair = listed(name, value, "two whole numbers")
    if len(pair) != 2:
        raise InvalidParameterError(f"{name}: must be two whole numbers, not {len(pair)}")
    return [whole(name, one, low, 1 << 24) for one in pair]


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
