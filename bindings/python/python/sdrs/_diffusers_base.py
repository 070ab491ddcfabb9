"""What diffusers' pipelines have in common: loading, a call from its arguments to what it gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Mapping, Sequence, TypeVar, Union, cast

import numpy as np

from . import _arguments
from ._arguments import DeviceLike, DtypeLike, StrPath, flag, listed, text, whole
from ._arrays import FloatArray, numbers
from ._diffusers_loop import Conditions, Evaluation, Loop, OnStepEnd, Pictures, Settings, guide
from ._pipeline import Pipeline
from ._progress import Bar, watched
from ._schedulers import Scheduler, of_folder
from .errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

Texts = Union[str, Sequence[str], None]
Given = Mapping[str, Any]
"""A call's arguments, by diffusers' names."""
P = TypeVar("P", bound="DiffusionPipeline")


class DiffusionPipeline:
    """A loaded checkpoint behind diffusers' interface; `pipeline` is the one it computes with."""

    _kind: ClassVar[str] = ""
    """The models that it is for."""
    _has_vector: ClassVar[bool] = False
    """Whether their U-Net takes a vector beside the timestep."""

    def __init__(self, pipeline: Pipeline, scheduler: Scheduler) -> None:
        if (pipeline.sizes.added_width > 0) != self._has_vector:
            raise InvalidParameterError(f"pipeline: {type(self).__name__} is for {self._kind}, and {pipeline.name} is another model")
        self.pipeline = pipeline
        self.scheduler = own(scheduler)
        self._progress: bool | None = None

    @classmethod
    def from_pretrained(
        cls: type[P],
        path: StrPath,
        *,
        torch_dtype: DtypeLike | None = None,
        dtype: DtypeLike | None = None,
        scheduler: Scheduler | None = None,
        device: DeviceLike = "auto",
        **settings: Any,
    ) -> P:
        """A diffusers folder of this machine; nothing is downloaded. `dtype` (or `torch_dtype`): torch's, or a name such as "f16".

        `device` is where it computes; it can't be moved afterwards. `settings`: those of the class's constructor besides.
        """
        if scheduler is not None:
            own(scheduler)
        settings = cls._settings(settings, path)
        pipeline = Pipeline.from_pretrained(path, device=device, dtype=_dtype(dtype, torch_dtype))
        return cls(pipeline, scheduler or of_folder(Path(path)), **settings)

    @classmethod
    def from_single_file(
        cls: type[P],
        path: StrPath,
        *,
        torch_dtype: DtypeLike | None = None,
        dtype: DtypeLike | None = None,
        scheduler: Scheduler | None = None,
        config: StrPath | None = None,
        device: DeviceLike = "auto",
        **settings: Any,
    ) -> P:
        """A checkpoint that is one file, with the scheduler of its kind of models if none is given."""
        if scheduler is not None:
            own(scheduler)
        settings = cls._settings(settings, None)
        pipeline = Pipeline.from_single_file(path, config=config, device=device, dtype=_dtype(dtype, torch_dtype))
        return cls(pipeline, scheduler or cls._scheduler(), **settings)

    @classmethod
    def _settings(cls, given: dict[str, Any], folder: StrPath | None) -> dict[str, Any]:
        """The constructor's further settings, from those that are given and from a folder."""
        raise NotImplementedError

    @classmethod
    def _scheduler(cls) -> Scheduler:
        """The scheduler where none is said."""
        raise NotImplementedError

    def to(self: P, device: DeviceLike) -> P:
        """Itself, if it computes there already: the device is chosen when it is loaded."""
        wanted = _arguments.device("device", device)
        if wanted.split(":")[0] != self.pipeline.device.split(":")[0]:
            raise InvalidParameterError(
                f"device: it computes on {self.pipeline.device}; load it with from_pretrained(.., device={wanted!r})"
            )
        return self

    def set_progress_bar_config(self, *, disable: bool | None = None) -> None:
        """Whether a bar is shown; None shows it where a person looks."""
        self._progress = None if disable is None else not disable

    def _call(self, given: Given, pictures: Pictures) -> Any:
        """What a call gives."""
        settings = Settings.of(given)
        conditions = self._conditions(given, pictures.sides, self._guides(settings))
        loop = Loop(self.pipeline, own(self.scheduler), settings, pictures, conditions)
        callback = settings.callback_on_step_end
        tell = None if callback is None else partial(self._tell, callback)
        bar = Bar() if (watched() if self._progress is None else self._progress) else None
        try:
            latents = loop.run(
                self._evaluations(conditions, loop.behind), lambda outputs: self._guided(outputs, settings), tell, bar
            )
        finally:
            if bar is not None:
                bar.close()
        images = latents if settings.output_type == "latent" else self._decode(latents, settings.output_type)
        if pictures.finish is not None:
            images = [pictures.finish(image) for image in cast("list[Image]", images)]
        output = self._output(images)
        return output if flag("return_dict", given["return_dict"]) else tuple(output)

    def _conditions(self, given: Given, sides: tuple[int, int], guided: bool) -> Conditions:
        """What a call's pictures are conditioned on."""
        raise NotImplementedError

    def _output(self, images: Any) -> Any:
        """The result of a call, a named tuple."""
        raise NotImplementedError

    @staticmethod
    def _count(given: Given) -> int:
        """The number of pictures for each prompt."""
        return whole("num_images_per_prompt", given["num_images_per_prompt"], 1)

    def _guides(self, settings: Settings) -> bool:
        """Whether there is guidance."""
        return settings.guidance_scale > 1

    def _evaluations(self, conditions: Conditions, behind: FloatArray | None) -> list[Evaluation]:
        """The evaluations of a call of the U-Net, whose outputs `_guided` takes in this order."""
        evaluations = [Evaluation(conditions.cond, conditions.added, behind)]
        if conditions.uncond is not None:
            evaluations.insert(0, Evaluation(conditions.uncond, conditions.added_uncond, behind))
        return evaluations

    def _guided(self, outputs: Sequence[FloatArray], settings: Settings) -> FloatArray:
        """One prediction of all evaluations'."""
        if len(outputs) == 1:
            return outputs[0]
        return guide(outputs[0], outputs[1], settings.guidance_scale, settings.guidance_rescale)

    def _tell(self, callback: OnStepEnd, step: int, timestep: float, latents: FloatArray) -> FloatArray | None:
        """Tells of a step, and gives the latents that the function wants in its place, if it changed them."""
        given: FloatArray = np.array(latents, np.float32)
        answer = callback(self, step, timestep, {"latents": given})
        wanted: Any = given if answer is None else answer.get("latents", given)
        changed: FloatArray = numbers("callback_on_step_end: latents", wanted, np.float32)
        if changed.shape != latents.shape:
            raise InvalidParameterError(
                f"callback_on_step_end: latents must have the shape {list(latents.shape)}, not {list(changed.shape)}"
            )
        if np.array_equal(changed, latents):
            return None
        self.scheduler.check_stops("callback_on_step_end: latents can't be changed")
        return changed

    def _embeds(self, name: str, embeds: Any, width: int) -> FloatArray:
        """Contexts in place of prompts."""
        array: FloatArray = numbers(f"{name}_embeds", embeds, np.float32)
        if array.ndim != 3 or array.shape[2] != width:
            raise InvalidParameterError(f"{name}_embeds: must have the shape [prompts, tokens, {width}], not {list(array.shape)}")
        return array

    def _sides(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Height and width in pixels."""
        sides: list[int] = []
        for name, side in (("height", height), ("width", width)):
            pixels = self.pipeline.sizes.default_side if side is None else whole(name, side, 8, 16384)
            if pixels % 8 != 0:
                raise InvalidParameterError(f"{name}: must be a multiple of 8 up to 16384, not {pixels}")
            sides.append(pixels)
        return sides[0], sides[1]

    def _decode(self, latents: FloatArray, output_type: str) -> list[Image] | FloatArray:
        decoded = np.concatenate([self.pipeline.vae_decode(latent[None]) for latent in latents])
        values = np.transpose(decoded, (0, 2, 3, 1)) / 2 + 0.5
        clamped: FloatArray = np.minimum(np.maximum(values, 0), 1).astype(np.float32)
        if output_type == "np":
            return clamped
        from PIL import Image as pil

        pixels = np.round(clamped * np.float32(255)).astype(np.uint8)
        return [pil.fromarray(picture) for picture in pixels]


def texts(name: str, prompt: Texts) -> list[str]:
    """The prompts of a call."""
    given = [prompt] if isinstance(prompt, str) else listed(name, prompt, "texts")
    if not given:
        raise InvalidParameterError(f"{name}: the list is empty")
    return [text(name, one) for one in given]


def own(scheduler: Scheduler) -> Scheduler:
    """A scheduler, if it is one of this package."""
    if not isinstance(cast(object, scheduler), Scheduler):
        raise TypeError(
            f"scheduler: must be one of sdrs.diffusers, not {type(scheduler).__name__}; from_config of one of these takes another's config"
        )
    return scheduler


def fitted(name: str, rows: FloatArray, like: FloatArray) -> FloatArray:
    """The rows of a negative prompt for those of the prompt: as many, or one for all."""
    if len(rows) not in (1, len(like)) or rows.shape[1:] != like.shape[1:]:
        raise InvalidParameterError(f"{name}: {len(rows)} of them don't fit {len(like)} prompts, {list(rows.shape)} and {list(like.shape)}")
    return np.broadcast_to(rows, (len(like), *rows.shape[1:]))


def _dtype(dtype: DtypeLike | None, torch_dtype: DtypeLike | None) -> str:
    """The argument that was given, under its new or its old name; diffusers computes in f32 if none is."""
    if dtype is None:
        return "f32" if torch_dtype is None else _arguments.dtype("torch_dtype", torch_dtype)
    return _arguments.dtype("dtype", dtype)
