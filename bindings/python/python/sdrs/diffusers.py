"""For programs that were written for diffusers: its pipeline for Stable Diffusion, with its arguments and its rules.

    from sdrs.diffusers import DDIMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    image = pipe("a lighthouse at dawn", num_inference_steps=30, generator=1).images[0]

Noise, timesteps, rounding and clip skip are those of diffusers. Prompts are plain text, and end where the text encoder has no more room.
Arrays are NumPy's; where torch is there, its generators and tensors may be given.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence, Union, cast

import numpy as np

from . import _arguments, _sdrs, noise, sched
from ._arguments import DeviceLike, DtypeLike, StrPath, function, listed, number, text, whole
from ._arrays import FloatArray, numbers
from ._pipeline import Pipeline
from ._progress import Bar, Event, watched
from ._schedulers import (
    SCHEDULERS,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    Scheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
    of_folder,
)
from .errors import InvalidParameterError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SCHEDULERS",
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "Scheduler",
    "StableDiffusionPipeline",
    "StableDiffusionPipelineOutput",
    "TCDScheduler",
    "UniPCMultistepScheduler",
]

Texts = Union[str, Sequence[str], None]
OnStepEnd = Callable[["StableDiffusionPipeline", int, float, "dict[str, Any]"], object]


class StableDiffusionPipelineOutput(NamedTuple):
    """The result of a call."""

    images: Any
    """A list of `PIL.Image.Image`; or an array, by `output_type`."""
    nsfw_content_detected: None = None
    """Nothing looks at the pictures."""


class StableDiffusionPipeline:
    """A loaded checkpoint behind diffusers' interface; `pipeline` is the one it computes with."""

    def __init__(self, pipeline: Pipeline, scheduler: Scheduler) -> None:
        self.pipeline = pipeline
        self.scheduler = _own(scheduler)
        self._progress: bool | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: StrPath,
        *,
        torch_dtype: DtypeLike | None = None,
        dtype: DtypeLike | None = None,
        scheduler: Scheduler | None = None,
        device: DeviceLike = "auto",
        safety_checker: None = None,
        requires_safety_checker: bool = False,
    ) -> StableDiffusionPipeline:
        """A diffusers folder of this machine; nothing is downloaded. `dtype` (or `torch_dtype`): torch's, or a name such as "f16".

        `device` is where it computes; it can't be moved afterwards.
        """
        if scheduler is not None:
            _own(scheduler)
        pipeline = Pipeline.from_pretrained(path, device=device, dtype=_dtype(dtype, torch_dtype))
        return cls(pipeline, scheduler or of_folder(Path(path)))

    @classmethod
    def from_single_file(
        cls,
        path: StrPath,
        *,
        torch_dtype: DtypeLike | None = None,
        dtype: DtypeLike | None = None,
        scheduler: Scheduler | None = None,
        config: StrPath | None = None,
        device: DeviceLike = "auto",
    ) -> StableDiffusionPipeline:
        """A checkpoint that is one file, with PNDM if no scheduler is given."""
        if scheduler is not None:
            _own(scheduler)
        pipeline = Pipeline.from_single_file(path, config=config, device=device, dtype=_dtype(dtype, torch_dtype))
        return cls(pipeline, scheduler or PNDMScheduler(skip_prk_steps=True, steps_offset=1))

    def to(self, device: DeviceLike) -> StableDiffusionPipeline:
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

    def encode_prompt(self, prompt: Texts, clip_skip: int | None = None) -> FloatArray:
        """The contexts of texts, `[texts, context_length, context_width]`. `clip_skip`: None or 0 for the last layer."""
        skipped = 0 if clip_skip is None else whole("clip_skip", clip_skip, 0, self.pipeline.sizes.text_layers - 1)
        return np.stack([self.pipeline.encode_text(text, clip_skip=1 + skipped) for text in _texts("prompt", prompt)])

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
        step (PNDM's first, Heun's), there is one here, and UniPC's latents are corrected already. What it changes in the latents does
        not count, what it raises ends the run.

        Returns a `StableDiffusionPipelineOutput`, without `return_dict` its fields. Raises `InvalidParameterError`.
        """
        if text("output_type", output_type) not in ("pil", "np", "latent"):
            raise InvalidParameterError(f"output_type: must be pil, np or latent, not {output_type!r:.80}")
        steps = whole("num_inference_steps", num_inference_steps, 1, 10_000)
        num_images_per_prompt = whole("num_images_per_prompt", num_images_per_prompt, 1)
        guidance_scale = number("guidance_scale", guidance_scale, -1000, 1000)
        guidance_rescale = number("guidance_rescale", guidance_rescale, 0, 1)
        function("callback_on_step_end", callback_on_step_end, "this pipeline, step, timestep and a dictionary")
        guided = guidance_scale > 1
        cond = self._contexts("prompt", prompt, prompt_embeds, clip_skip)
        contexts = np.repeat(cond, num_images_per_prompt, axis=0)
        if guided:
            negative = negative_prompt
            if negative is None and negative_prompt_embeds is None:
                negative = ""
            # diffusers skips layers for the prompt alone.
            uncond = self._contexts("negative_prompt", negative, negative_prompt_embeds, None)
            if len(uncond) not in (1, len(cond)):
                raise InvalidParameterError(f"negative_prompt: {len(uncond)} of them don't fit {len(cond)} prompts")
            uncond = np.repeat(np.broadcast_to(uncond, cond.shape), num_images_per_prompt, axis=0)
            contexts = np.concatenate([uncond, contexts])
        count = len(cond) * num_images_per_prompt
        shape = self._shape(count, height, width)
        draw = _drawer(generator, shape, self.pipeline.dtype)
        plan = _own(self.scheduler).plan(self.pipeline._native, steps, number("eta", eta, 0))
        first = draw() if latents is None else numbers("latents", latents, np.float32)
        if first.shape != shape:
            raise InvalidParameterError(f"latents: must have the shape {list(shape)}, not {list(first.shape)}")
        # Those of a step's calls. Two steps may end with one call, as UniPC's last ones do: both have its timestep then.
        timesteps: list[float] = []
        ended = False

        def denoise(x: FloatArray, sigma: float, timestep: float) -> FloatArray:
            nonlocal ended
            if ended:
                timesteps.clear()
            ended = False
            timesteps.append(timestep)
            _, c_in, c_skip, c_out = _sdrs.scalings(self.pipeline._native, sigma)
            scaled = x * np.float32(c_in)
            output = self.pipeline.unet(np.concatenate([scaled, scaled]) if guided else scaled, timestep, contexts)
            if guided:
                output = _guide(output[:count], output[count:], guidance_scale, guidance_rescale)
            return x * np.float32(c_skip) + output * np.float32(c_out)

        bar = Bar() if (watched() if self._progress is None else self._progress) else None

        def on_step(step: int, steps: int, sigma: float, x: FloatArray, denoised: FloatArray) -> None:
            nonlocal ended
            ended = True
            if bar is not None:
                bar(Event(step + 1, steps, sigma, 0, 1))
            if callback_on_step_end is not None:
                scale = self.scheduler.scale_after(self.pipeline._native, plan, step, timesteps[0])
                callback_on_step_end(self, step, timesteps[0], {"latents": x / np.float32(scale)})

        try:
            x = sched.run(
                plan, denoise, first * np.float32(self.scheduler.noise_scale(plan)), noise=lambda _, __: draw(), callback=on_step
            )
        finally:
            if bar is not None:
                bar.close()
        images = x if output_type == "latent" else self._decode(x, output_type)
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)

    def _contexts(self, name: str, prompt: Texts, embeds: Any, clip_skip: int | None) -> FloatArray:
        if (prompt is None) == (embeds is None):
            raise InvalidParameterError(f"{name}: give either it or {name}_embeds")
        if embeds is None:
            return self.encode_prompt(_texts(name, prompt), clip_skip)
        array: FloatArray = numbers(f"{name}_embeds", embeds, np.float32)
        if array.ndim != 3 or array.shape[2] != self.pipeline.sizes.context_width:
            raise InvalidParameterError(
                f"{name}_embeds: must have the shape [prompts, tokens, {self.pipeline.sizes.context_width}], not {list(array.shape)}"
            )
        return array

    def _shape(self, count: int, height: int | None, width: int | None) -> tuple[int, int, int, int]:
        sizes = self.pipeline.sizes
        sides: list[int] = []
        for name, side in (("height", height), ("width", width)):
            pixels = sizes.default_side if side is None else whole(name, side, 8, 16384)
            if pixels % 8 != 0:
                raise InvalidParameterError(f"{name}: must be a multiple of 8 up to 16384, not {pixels}")
            sides.append(pixels // sizes.downscale)
        return count, sizes.latent_channels, sides[0], sides[1]

    def _decode(self, latents: FloatArray, output_type: str) -> list[Image] | FloatArray:
        decoded = np.concatenate([self.pipeline.vae_decode(latent[None]) for latent in latents])
        values = np.transpose(decoded, (0, 2, 3, 1)) / 2 + 0.5
        clamped: FloatArray = np.minimum(np.maximum(values, 0), 1).astype(np.float32)
        if output_type == "np":
            return clamped
        from PIL import Image as pil

        pixels = np.round(clamped * np.float32(255)).astype(np.uint8)
        return [pil.fromarray(picture) for picture in pixels]


def _texts(name: str, prompt: Texts) -> Sequence[str]:
    texts = [prompt] if isinstance(prompt, str) else listed(name, prompt, "texts")
    if not texts:
        raise InvalidParameterError(f"{name}: the list is empty")
    return [text(name, one) for one in texts]


def _dtype(dtype: DtypeLike | None, torch_dtype: DtypeLike | None) -> str:
    """The argument that was given, under its new or its old name."""
    if dtype is None:
        return "auto" if torch_dtype is None else _arguments.dtype("torch_dtype", torch_dtype)
    return _arguments.dtype("dtype", dtype)


def _own(scheduler: Scheduler) -> Scheduler:
    if not isinstance(cast(object, scheduler), Scheduler):
        raise TypeError(
            f"scheduler: must be one of sdrs.diffusers, not {type(scheduler).__name__}; from_config of one of these takes another's config"
        )
    return scheduler


def _guide(uncond: FloatArray, cond: FloatArray, scale: float, rescale: float) -> FloatArray:
    """Classifier-free guidance, with the rescaling of Lin et al. 2023, arXiv:2305.08891, section 3.4."""
    guided = uncond + (cond - uncond) * np.float32(scale)
    if rescale > 0:
        axes = (1, 2, 3)
        spread: FloatArray = cond.std(axes, ddof=1, keepdims=True) / guided.std(axes, ddof=1, keepdims=True)
        guided = guided * spread * np.float32(rescale) + guided * np.float32(1 - rescale)
    return np.asarray(guided, np.float32)


def _drawer(generator: Any, shape: tuple[int, ...], dtype: str) -> Callable[[], FloatArray]:
    """A function that draws noise of a shape, time after time, as diffusers does with its generators."""
    each = list(cast("Sequence[Any]", generator)) if isinstance(generator, (list, tuple)) else [generator]
    if len(each) not in (1, shape[0]):
        raise InvalidParameterError(f"generator: a list must have one for each picture: {shape[0]}, not {len(each)}")
    part = shape if len(each) == 1 else (1, *shape[1:])
    sources = [_source(one, part, dtype) for one in each]
    return lambda: np.concatenate([source() for source in sources])


def _source(generator: Any, shape: tuple[int, ...], dtype: str) -> Callable[[], FloatArray]:
    if hasattr(generator, "initial_seed"):
        # torch's own: it is where its program left it, and moves on.
        torch: Any = sys.modules["torch"]
        kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]

        def draw() -> FloatArray:
            drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=kind)
            array: FloatArray = drawn.float().cpu().numpy()
            return array

        return draw
    if generator is None:
        seed = random.SystemRandom().getrandbits(63)
    elif isinstance(generator, np.random.Generator):
        seed = int(generator.integers(2**63))
    elif isinstance(generator, (int, np.integer)):
        seed = whole("generator: a seed", cast(int, generator), 0, 2**64 - 1)
    else:
        raise InvalidParameterError(f"generator: must be a seed, or NumPy's or torch's, not {type(generator).__name__}")
    own = noise.Generator(seed)
    return lambda: own.randn(shape, dtype=dtype)
