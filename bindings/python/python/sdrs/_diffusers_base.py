"""What diffusers' pipelines have in common: loading, the loop over the steps, and what they give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Mapping, NamedTuple, Sequence, TypeVar, Union, cast

import numpy as np
import numpy.typing as npt

from . import _arguments, _sdrs, sched
from ._arguments import DeviceLike, DtypeLike, StrPath, function, listed, number, text, whole
from ._arrays import FloatArray, numbers
from ._diffusers_noise import Draw
from ._pipeline import Pipeline
from ._progress import Bar, Event, watched
from ._schedulers import Scheduler, of_folder
from .errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

Texts = Union[str, Sequence[str], None]
OnStepEnd = Callable[[Any, int, float, "dict[str, Any]"], "Mapping[str, Any] | None"]
P = TypeVar("P", bound="DiffusionPipeline")


class Conditions(NamedTuple):
    """What pictures are conditioned on: a row for each in `cond`, and in `uncond` if there is guidance."""

    cond: FloatArray
    uncond: FloatArray | None
    added: FloatArray | None = None
    """The vectors beside the timestep."""
    added_uncond: FloatArray | None = None


class Evaluation(NamedTuple):
    """What the U-Net is given besides latents and timestep, a row for each picture."""

    context: FloatArray
    added: FloatArray | None
    """The vector beside the timestep."""
    behind: FloatArray | None
    """Channels behind those of the latents."""


class Region(NamedTuple):
    """What is drawn anew of `image`."""

    mask: FloatArray
    """`[pictures, 1, height, width]`: 1 where something new is drawn, 0 elsewhere."""
    masked_latents: FloatArray | None
    """Latents of what the mask leaves, in place of those of the picture."""


class Loop(NamedTuple):
    """A call's arguments but for what it draws, as they are given."""

    steps: Any
    guidance_scale: float
    guidance_rescale: Any
    eta: Any
    generator: Any
    latents: Any
    height: Any
    width: Any
    output_type: Any
    callback: OnStepEnd | None
    end: float | None = None
    """The share of the timesteps after which the latents are left as they are."""
    image: FloatArray | None = None
    """Pictures to begin at, `[pictures, 3, height, width]`, -1 to 1."""
    strength: float | None = None
    """The share of the steps that is made over them; None begins at noise alone."""
    region: Region | None = None
    """The part of the pictures that is drawn."""
    shown: FloatArray | None = None
    """Latents that the U-Net sees behind its own all the while, a row for each picture."""
    image_guidance_scale: float = 1.0
    """How much they count."""


class Kept(NamedTuple):
    """The part of the latents that is drawn, and the noise levels at which the rest is put back."""

    mask: FloatArray
    sigmas: npt.NDArray[np.float64]


class Ended(Exception):
    """The run has come to where it is to end."""


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

    def _draw(self, loop: Loop, conditions: Conditions) -> list[Image] | FloatArray:
        """The pictures, or latents, of a call."""
        if text("output_type", loop.output_type) not in ("pil", "np", "latent"):
            raise InvalidParameterError(f"output_type: must be pil, np or latent, not {loop.output_type!r:.80}")
        steps = whole("num_inference_steps", loop.steps, 1, 10_000)
        rescale = number("guidance_rescale", loop.guidance_rescale, 0, 1)
        function("callback_on_step_end", loop.callback, "this pipeline, step, timestep and a dictionary")
        count = len(conditions.cond)
        shape = self._shape(count, loop.height, loop.width)
        draw = Draw(loop.generator, shape, self.pipeline.dtype)
        plan = own(self.scheduler).plan(self.pipeline._native, steps, number("eta", loop.eta, 0), loop.strength)
        # In diffusers' order of random numbers.
        image = self._start(loop, count, draw)
        first = draw() if loop.latents is None else numbers("latents", loop.latents, np.float32)
        if first.shape != shape:
            raise InvalidParameterError(f"latents: must have the shape {list(shape)}, not {list(first.shape)}")
        behind, kept = self._region(loop, image, count, draw, plan)
        evaluations = self._evaluations(conditions, loop.shown if behind is None else behind)
        contexts = np.concatenate([evaluation.context for evaluation in evaluations])
        added = _joined([evaluation.added for evaluation in evaluations])
        rest = _joined([evaluation.behind for evaluation in evaluations])
        cutoff = self._cutoff(loop.end)
        # Those of a step's calls. Two steps may end with one call, as UniPC's last ones do: both have its timestep then.
        timesteps: list[float] = []
        ended = False
        last: FloatArray | None = None

        def denoise(x: FloatArray, sigma: float, timestep: float) -> FloatArray:
            nonlocal ended
            if timestep < cutoff:
                raise Ended
            if ended:
                timesteps.clear()
            ended = False
            timesteps.append(timestep)
            _, c_in, c_skip, c_out = _sdrs.scalings(self.pipeline._native, sigma)
            scaled = np.tile(x * np.float32(c_in), (len(evaluations), 1, 1, 1))
            if rest is not None:
                scaled = np.concatenate([scaled, rest], axis=1)
            output = self.pipeline.unet(scaled, timestep, contexts, added)
            guided = self._guided(np.split(output, len(evaluations)), loop, rescale)
            return x * np.float32(c_skip) + guided * np.float32(c_out)

        bar = Bar() if (watched() if self._progress is None else self._progress) else None

        def on_step(step: int, steps: int, sigma: float, x: FloatArray, denoised: FloatArray) -> FloatArray | None:
            nonlocal ended, last
            ended = True
            if bar is not None:
                bar(Event(step + 1, steps, sigma, 0, 1))
            replaced = None
            scale = np.float32(self.scheduler.scale_after(self.pipeline._native, plan, step, timesteps[0]))
            if kept is not None and image is not None:
                level = kept.sigmas[step + 1]
                # The last one has no noise, and nothing but the scale of what comes out.
                old = image * scale if step + 1 == steps else image + first * np.float32(level)
                x = replaced = np.asarray((1 - kept.mask) * old + kept.mask * x, np.float32)
            if loop.callback is not None or loop.end is not None:
                last = np.asarray(x / scale, np.float32)
            if loop.callback is not None and last is not None:
                changed = self._tell(loop.callback, step, timesteps[0], last)
                if changed is not None:
                    last = changed
                    replaced = changed * scale
            return replaced

        if image is None or loop.strength is None:
            start = first * np.float32(self.scheduler.noise_scale(plan))
        else:
            start = image * np.float32(plan.image_scale) + first * np.float32(plan.noise_scale)
        try:
            x = sched.run(plan, denoise, start, noise=lambda _, __: draw(), callback=on_step)
        except Ended:
            if last is None:
                raise InvalidParameterError(f"denoising_end: no step of {steps} is left before {loop.end}") from None
            x = last
        finally:
            if bar is not None:
                bar.close()
        return x if loop.output_type == "latent" else self._decode(x, loop.output_type)

    def _evaluations(self, conditions: Conditions, behind: FloatArray | None) -> list[Evaluation]:
        """The evaluations of a call, whose outputs `_guided` takes in this order."""
        evaluations = [Evaluation(conditions.cond, conditions.added, behind)]
        if conditions.uncond is not None:
            evaluations.insert(0, Evaluation(conditions.uncond, conditions.added_uncond, behind))
        return evaluations

    def _guided(self, outputs: Sequence[FloatArray], loop: Loop, rescale: float) -> FloatArray:
        """One prediction of all evaluations'."""
        return outputs[0] if len(outputs) == 1 else _guide(outputs[0], outputs[1], loop.guidance_scale, rescale)

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
        self._stops("callback_on_step_end: latents can't be changed")
        return changed

    def _stops(self, what: str) -> None:
        """Refuses what needs the latents between steps of a scheduler that isn't done with them there."""
        if not self.scheduler.stops:
            raise InvalidParameterError(f"{what}: {type(self.scheduler).__name__} corrects a step in the next one; take another scheduler")

    def _start(self, loop: Loop, count: int, draw: Draw) -> FloatArray | None:
        """Latents of the pictures that a run begins at, or keeps."""
        if loop.image is None:
            return None
        if loop.region is None:
            rows = count if draw.each else len(loop.image)
            return self._encode(loop.image, count, rows, draw)
        if loop.strength is None and self._sees_more:
            return None
        return self._encode(loop.image, count, len(loop.image), draw)

    @property
    def _sees_more(self) -> bool:
        """Whether the U-Net takes channels behind those of the latents."""
        return self.pipeline.sizes.unet_channels > self.pipeline.sizes.latent_channels

    def _region(
        self, loop: Loop, image: FloatArray | None, count: int, draw: Draw, plan: _sdrs.Plan
    ) -> tuple[FloatArray | None, Kept | None]:
        """What a mask means: to an inpainting model channels that it sees, to another one a part that is put back after each step."""
        if loop.region is None or loop.image is None:
            return None, None
        region, factor = loop.region, self.pipeline.sizes.downscale
        mask = each("mask_image", region.mask[:, :, ::factor, ::factor], count)
        latents = region.masked_latents
        if latents is None:
            # diffusers encodes it for every model, and draws for it.
            latents = self._encode(loop.image * (region.mask < 0.5), count, len(loop.image), draw)
        if self._sees_more:
            return np.concatenate([mask, each("masked_image_latents", latents, count)], axis=1), None
        self._stops("mask_image")
        if plan.calls != plan.steps:
            raise InvalidParameterError(
                f"mask_image: {type(self.scheduler).__name__} makes more than one call in a step; take another scheduler, or an inpainting model"
            )
        return None, Kept(mask, np.frombuffer(plan.sigmas(), np.float64))

    def _encode(self, pictures: FloatArray, count: int, rows: int, draw: Draw) -> FloatArray:
        """Latents of pictures, drawn from what the autoencoder gives for so many of them: one for all that are drawn, or one for each."""
        encoded = self.pipeline.vae_encode(each("image", pictures, rows))
        return each("image", np.asarray(encoded.mean + encoded.std * draw(rows), np.float32), count)

    def _cutoff(self, end: float | None) -> float:
        """The timestep below which a run ends."""
        if end is None:
            return 0
        self._stops("denoising_end")
        trained = len(self.pipeline.train_sigmas())
        return round(trained - end * trained)

    def _embeds(self, name: str, embeds: Any, width: int) -> FloatArray:
        """Contexts in place of prompts."""
        array: FloatArray = numbers(f"{name}_embeds", embeds, np.float32)
        if array.ndim != 3 or array.shape[2] != width:
            raise InvalidParameterError(f"{name}_embeds: must have the shape [prompts, tokens, {width}], not {list(array.shape)}")
        return array

    def _shape(self, count: int, height: int | None, width: int | None) -> tuple[int, int, int, int]:
        sizes = self.pipeline.sizes
        sides = [side // sizes.downscale for side in self._sides(height, width)]
        return count, sizes.latent_channels, sides[0], sides[1]

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


def _joined(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    """All parts, if they are there."""
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None


def each(name: str, rows: FloatArray, count: int) -> FloatArray:
    """A row for each picture, of one for all or of as many."""
    if len(rows) not in (1, count):
        raise InvalidParameterError(f"{name}: {len(rows)} of them are not for {count} pictures")
    return np.broadcast_to(rows, (count, *rows.shape[1:]))


def _dtype(dtype: DtypeLike | None, torch_dtype: DtypeLike | None) -> str:
    """The argument that was given, under its new or its old name; diffusers computes in f32 if none is."""
    if dtype is None:
        return "f32" if torch_dtype is None else _arguments.dtype("torch_dtype", torch_dtype)
    return _arguments.dtype("dtype", dtype)


def _guide(uncond: FloatArray, cond: FloatArray, scale: float, rescale: float) -> FloatArray:
    """Classifier-free guidance, with the rescaling of Lin et al. 2023, arXiv:2305.08891, section 3.4."""
    guided = uncond + (cond - uncond) * np.float32(scale)
    if rescale > 0:
        axes = (1, 2, 3)
        spread: FloatArray = cond.std(axes, ddof=1, keepdims=True) / guided.std(axes, ddof=1, keepdims=True)
        guided = guided * spread * np.float32(rescale) + guided * np.float32(1 - rescale)
    return np.asarray(guided, np.float32)
