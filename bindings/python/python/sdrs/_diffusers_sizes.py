"""What SDXL and its refiner are told beside a text: sizes, crops and scores, as diffusers' pipelines choose them."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ._arguments import listed, number, whole
from ._arrays import FloatArray
from ._pipeline import Pipeline
from .errors import InvalidParameterError

Size = Sequence[int]


def from_noise(pipeline: Pipeline, given: Mapping[str, Any], sides: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """What a call that begins at noise tells for the prompt, and for the negative prompt: its own sizes if it has both of them."""
    if _is_refiner(pipeline):
        raise InvalidParameterError(
            f"pipeline: {pipeline.name} is a refiner, which goes on from a picture or latents; take StableDiffusionXLImg2ImgPipeline"
        )
    own = negative = [
        *_size("original_size", given["original_size"], sides),
        *_pair("crops_coords_top_left", given["crops_coords_top_left"], 0),
        *_size("target_size", given["target_size"], sides),
    ]
    if given["negative_original_size"] is not None and given["negative_target_size"] is not None:
        negative = [
            *_size("negative_original_size", given["negative_original_size"], sides),
            *_pair("negative_crops_coords_top_left", given["negative_crops_coords_top_left"], 0),
            *_size("negative_target_size", given["negative_target_size"], sides),
        ]
    return pipeline.size_vector(own), pipeline.size_vector(negative)


def from_pictures(pipeline: Pipeline, given: Mapping[str, Any], sides: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """What a call that begins at pictures tells. Sizes that the negative prompt lacks are the prompt's; its crop counts for a refiner
    alone, which is told a score in place of a target size."""
    original = _size("original_size", given["original_size"], sides)
    target = _size("target_size", given["target_size"], sides)
    crop = _pair("crops_coords_top_left", given["crops_coords_top_left"], 0)
    negative_original = _size("negative_original_size", given["negative_original_size"], original)
    negative_target = _size("negative_target_size", given["negative_target_size"], target)
    negative_crop = _pair("negative_crops_coords_top_left", given["negative_crops_coords_top_left"], 0)
    scores = [number(name, given[name]) for name in ("aesthetic_score", "negative_aesthetic_score")]
    if _is_refiner(pipeline):
        own, negative = [*original, *crop, scores[0]], [*negative_original, *negative_crop, scores[1]]
    else:
        own, negative = [*original, *crop, *target], [*negative_original, *crop, *negative_target]
    return pipeline.size_vector(own), pipeline.size_vector(negative)


def _is_refiner(pipeline: Pipeline) -> bool:
    """Whether the model is told a score: five numbers of 256 sinusoids."""
    sizes = pipeline.sizes
    return sizes.added_width - sizes.pooled_width == 5 * 256


def _size(name: str, value: Size | None, default: Sequence[int]) -> list[int]:
    return list(default) if value is None else _pair(name, value, 1)


def _pair(name: str, value: Size, low: int) -> list[int]:
    pair = listed(name, value, "two whole numbers")
    if len(pair) != 2:
        raise InvalidParameterError(f"{name}: must be two whole numbers, not {len(pair)}")
    return [whole(name, one, low, 1 << 24) for one in pair]
