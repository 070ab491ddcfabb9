"""The loop over the steps of a call of diffusers' pipelines, from what the call is given to latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from . import _sdrs, sched
from ._arguments import function, number, text, whole
from ._arrays import FloatArray, numbers
from ._diffusers_noise import Draw
from ._pipeline import Pipeline
from ._progress import Bar, Event
from ._schedulers import Scheduler, cutoff
from .errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

OnStepEnd = Callable[[Any, int, float, "dict[str, Any]"], "Mapping[str, Any] | None"]


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
    """The part of a picture that is drawn anew."""

    mask: FloatArray
    """`[pictures, 1, height, width]`: 1 where something new is drawn, 0 elsewhere."""
    masked_latents: FloatArray | None
    """Latents of what the mask leaves, in place of those of the picture."""


class Pictures(NamedTuple):
    """The pictures that a call is given."""

    sides: tuple[int, int]
    """Height and width of what is drawn, in pixels."""
    pixels: FloatArray | None = None
    """Pictures to begin at, `[pictures, 3, height, width]`, -1 to 1."""
    latents: FloatArray | None = None
    """Their latents, in place of them."""
    noised: bool = False
    """Whether those have their noise already."""
    region: Region | None = None
    """The part of the pictures that is drawn."""
    shown: FloatArray | None = None
    """Latents that the U-Net sees behind its own all the while, a row for each picture."""
    finish: Callable[[Image], Image] | None = None
    """What becomes of a picture that is drawn."""


class Settings(NamedTuple):
    """The arguments of a call that the loop heeds, by diffusers' names."""

    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float
    image_guidance_scale: float
    eta: float
    strength: float | None
    """The share of the steps that is made over pictures; None begins at noise alone."""
    denoising_start: float | None
    denoising_end: float | None
    """The share of the timesteps after which the latents are left as they are; None is the whole."""
    generator: Any
    latents: Any
    output_type: str
    callback_on_step_end: OnStepEnd | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Those of a call's arguments, checked; a pipeline may lack some of them."""

        def share(name: str) -> float | None:
            value = given.get(name)
            return None if value is None else number(name, value, 0, 1)

        if text("output_type", given["output_type"]) not in ("pil", "np", "latent"):
            raise InvalidParameterError(f"output_type: must be pil, np or latent, not {given['output_type']!r:.80}")
        function("callback_on_step_end", given["callback_on_step_end"], "this pipeline, step, timestep and a dictionary")
        start, end = share("denoising_start"), share("denoising_end")
        # As there: a whole run is none that ends early.
        end = end if end is not None and 0 < end < 1 else None
        if start is not None and end is not None and start >= end:
            raise InvalidParameterError(f"denoising_start: must be less than denoising_end, {end}, not {start}")
        return cls(
            num_inference_steps=whole("num_inference_steps", given["num_inference_steps"], 1, 10_000),
            guidance_scale=number("guidance_scale", given["guidance_scale"], -1000, 1000),
            guidance_rescale=number("guidance_rescale", given.get("guidance_rescale", 0.0), 0, 1),
            image_guidance_scale=number("image_guidance_scale", given.get("image_guidance_scale", 1.0), -1000, 1000),
            eta=number("eta", given["eta"], 0),
            strength=share("strength"),
            denoising_start=start,
            denoising_end=end,
            generator=given["generator"],
            latents=given.get("latents"),
            output_type=given["output_type"],
            callback_on_step_end=given["callback_on_step_end"],
        )


class Kept(NamedTuple):
    """The part of the latents that is drawn, and what is put back of the rest."""

    mask: FloatArray
    image: FloatArray
    noise: FloatArray
    sigmas: npt.NDArray[np.float64]


class Ended(Exception):
    """The run has come to where it is to end."""


class Loop:
    """The loop of one call. It draws random numbers in diffusers' order: for the pictures' latents, the noise, and the latents of what
    a mask leaves."""

    def __init__(
        self, pipeline: Pipeline, scheduler: Scheduler, settings: Settings, pictures: Pictures, conditions: Conditions
    ) -> None:
        self._pipeline = pipeline
        self._scheduler = scheduler
        self._settings = settings
        self._pictures = pictures
        self.count = len(conditions.cond)
        """The number of pictures."""
        sizes = pipeline.sizes
        self._shape = (self.count, sizes.latent_channels, *(side // sizes.downscale for side in pictures.sides))
        strength = settings.strength
        if pictures.region is not None and strength == 1:
            strength = None
        self._from_noise = strength is None and not pictures.noised
        self._plan = self._planned(strength, settings.denoising_start)
        self._draw = Draw(settings.generator, self._shape, pipeline.dtype)
        image = self._image()
        noise = None if pictures.noised and pictures.region is None else self._noise()
        self.behind, self._kept = self._region(image, noise)
        """Channels behind those of the latents, a row for each picture."""
        self._start = self._begun(image, noise)

    def run(
        self,
        evaluations: Sequence[Evaluation],
        guided: Callable[[Sequence[FloatArray]], FloatArray],
        tell: Callable[[int, float, FloatArray], FloatArray | None] | None,
        bar: Bar | None,
    ) -> FloatArray:
        """The latents that it comes to, or those of a call that ends early, with their noise.

        `guided` makes one prediction of all evaluations'. `tell` is called with step, timestep and latents, and may give others.
        """
        contexts = np.concatenate([evaluation.context for evaluation in evaluations])
        added = _joined([evaluation.added for evaluation in evaluations])
        behind = _joined([evaluation.behind for evaluation in evaluations])
        native, scheduler, plan = self._pipeline._native, self._scheduler, self._plan
        calls, last_step = self._calls()
        # Those of a step's calls. Two steps may end with one call, as UniPC's last ones do: both have its timestep then.
        timesteps: list[float] = []
        ended = False
        called = 0
        last: FloatArray | None = None

        def denoise(x: FloatArray, sigma: float, timestep: float) -> FloatArray:
            nonlocal ended, called
            if ended:
                timesteps.clear()
            ended = False
            called += 1
            timesteps.append(timestep)
            _, c_in, c_skip, c_out = _sdrs.scalings(native, sigma)
            scaled = np.tile(x * np.float32(c_in), (len(evaluations), 1, 1, 1))
            if behind is not None:
                scaled = np.concatenate([scaled, behind], axis=1)
            output = self._pipeline.unet(scaled, timestep, contexts, added)
            return x * np.float32(c_skip) + guided(np.split(output, len(evaluations))) * np.float32(c_out)

        def on_step(step: int, steps: int, sigma: float, x: FloatArray, denoised: FloatArray) -> FloatArray | None:
            nonlocal ended, last
            ended = True
            if bar is not None:
                bar(Event(step + 1, steps, sigma, 0, 1))
            replaced = None
            whole_steps = self._settings.num_inference_steps
            scale = np.float32(scheduler.scale_after(native, plan, step, timesteps[0], whole_steps))
            if self._kept is not None:
                x = replaced = self._put_back(self._kept, x, step, step == last_step, scale)
            last = np.asarray(x / scale, np.float32)
            changed = None if tell is None else tell(step, timesteps[0], last)
            if changed is not None:
                last = changed
                replaced = changed * scale
            if calls is not None and called == calls:
                raise Ended
            return replaced

        try:
            return sched.run(plan, denoise, self._start, noise=lambda _, __: self._draw(), callback=on_step)
        except Ended:
            assert last is not None
            return last

    def _planned(self, strength: float | None, start: float | None) -> _sdrs.Plan:
        settings = self._settings
        return self._scheduler.plan(self._pipeline._native, settings.num_inference_steps, settings.eta, strength, start)

    def _image(self) -> FloatArray | None:
        """Latents of the pictures that a run begins at, or keeps."""
        pictures = self._pictures
        if pictures.latents is not None:
            latents = each("image", pictures.latents, self.count)
            if latents.shape != self._shape:
                raise InvalidParameterError(f"image: latents must have the shape {list(self._shape)}, not {list(latents.shape)}")
            return latents
        if pictures.pixels is None:
            return None
        if pictures.region is None:
            return self._encode(pictures.pixels, self.count if self._draw.each else len(pictures.pixels))
        begun_at = pictures.noised or (not self._from_noise and self._settings.latents is None)
        return self._encode(pictures.pixels, len(pictures.pixels)) if begun_at or not self._sees_more else None

    def _noise(self) -> FloatArray:
        """The first noise, of unit variance."""
        given = self._settings.latents
        noise = self._draw() if given is None or self._pictures.noised else numbers("latents", given, np.float32)
        if noise.shape != self._shape:
            raise InvalidParameterError(f"latents: must have the shape {list(self._shape)}, not {list(noise.shape)}")
        return noise

    def _begun(self, image: FloatArray | None, noise: FloatArray | None) -> FloatArray:
        """The first latents."""
        scheduler, plan = self._scheduler, self._plan
        if self._pictures.noised and image is not None:
            return image * np.float32(scheduler.scale_before(plan))
        assert noise is not None
        if self._from_noise or image is None:
            return noise * np.float32(scheduler.noise_scale(plan, plan))
        if self._settings.latents is not None:
            # As there: the picture doesn't count, wherever the run begins.
            return noise * np.float32(scheduler.noise_scale(plan, self._planned(None, None)))
        return image * np.float32(plan.image_scale) + noise * np.float32(plan.noise_scale)

    @property
    def _sees_more(self) -> bool:
        """Whether the U-Net takes channels behind those of the latents."""
        return self._pipeline.sizes.unet_channels > self._pipeline.sizes.latent_channels

    def _region(self, image: FloatArray | None, noise: FloatArray | None) -> tuple[FloatArray | None, Kept | None]:
        """What a mask means: to an inpainting model channels that it sees, to another one a part that is put back after each step."""
        region, pixels = self._pictures.region, self._pictures.pixels
        if region is None:
            return self._pictures.shown, None
        factor = self._pipeline.sizes.downscale
        mask = each("mask_image", region.mask[:, :, ::factor, ::factor], self.count)
        latents = region.masked_latents
        if latents is None and pixels is not None:
            # diffusers encodes it for every model, and draws for it.
            latents = self._encode(pixels * (region.mask < 0.5), len(pixels))
        if self._sees_more:
            if latents is None:
                raise InvalidParameterError("masked_image_latents: an inpainting model needs them where the image is latents")
            return np.concatenate([mask, each("masked_image_latents", latents, self.count)], axis=1), None
        self._scheduler.check_stops("mask_image")
        plan = self._plan
        if plan.calls != plan.steps:
            kind = type(self._scheduler).__name__
            raise InvalidParameterError(
                f"mask_image: {kind} makes more than one call in a step; take another scheduler, or an inpainting model"
            )
        assert image is not None and noise is not None
        return None, Kept(mask, image, noise, np.frombuffer(plan.sigmas(), np.float64))

    def _encode(self, pictures: FloatArray, rows: int) -> FloatArray:
        """Latents of pictures, drawn from what the autoencoder gives for so many of them: one for all that are drawn, or one for each."""
        encoded = self._pipeline.vae_encode(each("image", pictures, rows))
        return each("image", np.asarray(encoded.mean + encoded.std * self._draw(rows), np.float32), self.count)

    def _calls(self) -> tuple[int | None, int]:
        """The number of calls after which the run ends early, if it does, and the last step where a step is a call."""
        end = self._settings.denoising_end
        if end is None:
            return None, self._plan.steps - 1
        self._scheduler.check_stops("denoising_end")
        timesteps = np.frombuffer(self._plan.timesteps(), np.float64)
        made = int(np.count_nonzero(timesteps >= cutoff(self._pipeline._native, end)))
        if made == 0:
            raise InvalidParameterError(f"denoising_end: no step of {self._settings.num_inference_steps} is left before {end}")
        if made < 2 and self._plan.calls > self._plan.steps:
            kind = type(self._scheduler).__name__
            raise InvalidParameterError(f"denoising_end: {kind} makes its first step with two calls, and {end} is between them; end later")
        return made, made - 1

    @staticmethod
    def _put_back(kept: Kept, x: FloatArray, step: int, final: bool, scale: np.float32) -> FloatArray:
        """Latents with what the mask leaves put back, at the noise level that the step arrived at."""
        # The last one has no noise, and nothing but the scale of what comes out.
        old = kept.image * scale if final else kept.image + kept.noise * np.float32(kept.sigmas[step + 1])
        return np.asarray((1 - kept.mask) * old + kept.mask * x, np.float32)


def guide(uncond: FloatArray, cond: FloatArray, scale: float, rescale: float) -> FloatArray:
    """Classifier-free guidance, with the rescaling of Lin et al. 2023, arXiv:2305.08891, section 3.4."""
    guided = uncond + (cond - uncond) * np.float32(scale)
    if rescale > 0:
        axes = (1, 2, 3)
        spread: FloatArray = cond.std(axes, ddof=1, keepdims=True) / guided.std(axes, ddof=1, keepdims=True)
        guided = guided * spread * np.float32(rescale) + guided * np.float32(1 - rescale)
    return np.asarray(guided, np.float32)


def each(name: str, rows: FloatArray, count: int) -> FloatArray:
    """A row for each picture, of one for all or of as many."""
    if len(rows) not in (1, count):
        raise InvalidParameterError(f"{name}: {len(rows)} of them are not for {count} pictures")
    return np.broadcast_to(rows, (count, *rows.shape[1:]))


def _joined(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    """All parts, if they are there."""
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None
