"""The pipeline: a checkpoint, ready to draw."""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, NamedTuple, NoReturn, Sequence, Union

import numpy as np
import numpy.typing as npt

from . import _sdrs
from ._arrays import FloatArray, give, numbers, take
from ._progress import Callback, Progress, Watch
from ._result import Result
from ._stream import Stream
from .errors import InvalidParameterError, PicklingError

StrPath = Union[str, "os.PathLike[str]"]
Lora = Union[StrPath, "tuple[StrPath, float]"]


class Sizes(NamedTuple):
    """The sizes that a model's arrays have."""

    latent_channels: int
    """Channels of a latent."""
    downscale: int
    """Pixels of a side for each value of a latent's side."""
    default_side: int
    """Side in pixels of the pictures that the model was trained on."""
    context_length: int
    """Tokens of one chunk of the context, start and end token included."""
    context_width: int
    """Values of the context for each token."""
    text_layers: int
    """Layers of the text encoder: the largest `clip_skip`."""
    vocabulary: int
    """One more than the largest token id."""


class Scalings(NamedTuple):
    """How to call the U-Net at a noise level: `denoised = c_skip * x + c_out * unet(c_in * x, timestep)`."""

    timestep: float
    c_in: float
    c_skip: float
    c_out: float


class EncodedImages(NamedTuple):
    """The Gaussian that pictures are encoded to, each `[batch, latent_channels, h, w]`: a latent is `mean + std * noise`."""

    mean: FloatArray
    std: FloatArray


class Pipeline:
    """A loaded checkpoint. It holds nothing of a run: any number of threads may use one at the same time.

    `checkpoint` is a diffusers folder or a single file (safetensors, PyTorch's or GGUF).

    `config`: a diffusers folder whose `config.json` files describe a single file of an unusual shape.
    `vae`: another autoencoder than the checkpoint's, a file or a folder.
    `loras`: LoRAs and other adapters, each a path or `(path, weight)`; 1 is as trained.
    `embeddings`: textual inversions, found in prompts by their files' names; files, or folders of them.
    `device`: "auto", "cpu", "cuda:0", "vulkan:0"; `sdrs.available_devices()` has the kinds that this build knows.
    `dtype`: "auto" (f32 on a CPU, f16 on a GPU), "f32", "bf16", "f16".
    `prediction`: "epsilon", "v", "sample", where the checkpoint doesn't say what the U-Net predicts, or wrongly.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`, `InvalidWeightsError`, `UnknownNameError` (device, dtype),
    `InvalidParameterError`.
    """

    def __init__(
        self,
        checkpoint: StrPath,
        *,
        config: StrPath | None = None,
        vae: StrPath | None = None,
        loras: Iterable[Lora] = (),
        embeddings: Iterable[StrPath] = (),
        device: str = "auto",
        dtype: str = "auto",
        prediction: str | None = None,
    ) -> None:
        self._open(
            os.fspath(checkpoint),
            config=config,
            vae=vae,
            loras=loras,
            embeddings=embeddings,
            device=device,
            dtype=dtype,
            prediction=prediction,
        )

    def _open(
        self,
        checkpoint: str | None,
        *,
        config: StrPath | None,
        vae: StrPath | None,
        loras: Iterable[Lora],
        embeddings: Iterable[StrPath],
        device: str,
        dtype: str,
        prediction: str | None,
    ) -> None:
        for name, value in (("loras", loras), ("embeddings", embeddings)):
            if isinstance(value, (str, os.PathLike)):
                raise TypeError(f"{name}: must be a list of paths, not one")
        weighted = [lora if isinstance(lora, tuple) else (lora, 1.0) for lora in loras]
        self._loras = [(os.fspath(path), float(weight)) for path, weight in weighted]
        self._native = _sdrs.Pipeline(
            checkpoint,
            config=None if config is None else os.fspath(config),
            vae=None if vae is None else os.fspath(vae),
            loras=self._loras,
            embeddings=[os.fspath(path) for path in embeddings],
            device=device,
            dtype=dtype,
            prediction=prediction,
        )

    @classmethod
    def demo(
        cls,
        *,
        vae: StrPath | None = None,
        loras: Iterable[Lora] = (),
        embeddings: Iterable[StrPath] = (),
        device: str = "auto",
        dtype: str = "auto",
    ) -> Pipeline:
        """The small model that is part of the package, trained for sdrs on pictures of coloured shapes."""
        pipeline = cls.__new__(cls)
        pipeline._open(
            None,
            config=None,
            vae=vae,
            loras=loras,
            embeddings=embeddings,
            device=device,
            dtype=dtype,
            prediction=None,
        )
        return pipeline

    @classmethod
    def from_pretrained(
        cls,
        path: StrPath,
        *,
        vae: StrPath | None = None,
        loras: Iterable[Lora] = (),
        embeddings: Iterable[StrPath] = (),
        device: str = "auto",
        dtype: str = "auto",
        prediction: str | None = None,
    ) -> Pipeline:
        """A diffusers folder. Nothing is ever downloaded: `path` is a folder of this machine. Arguments and errors are the class's."""
        if os.path.isfile(path):
            raise InvalidParameterError(f"path: {os.fspath(path)} is a file; use from_single_file")
        return cls(
            path,
            vae=vae,
            loras=loras,
            embeddings=embeddings,
            device=device,
            dtype=dtype,
            prediction=prediction,
        )

    @classmethod
    def from_single_file(
        cls,
        path: StrPath,
        *,
        config: StrPath | None = None,
        vae: StrPath | None = None,
        loras: Iterable[Lora] = (),
        embeddings: Iterable[StrPath] = (),
        device: str = "auto",
        dtype: str = "auto",
        prediction: str | None = None,
    ) -> Pipeline:
        """A checkpoint that is one file. Arguments and errors are the class's."""
        if os.path.isdir(path):
            raise InvalidParameterError(f"path: {os.fspath(path)} is a folder; use from_pretrained")
        return cls(
            path,
            config=config,
            vae=vae,
            loras=loras,
            embeddings=embeddings,
            device=device,
            dtype=dtype,
            prediction=prediction,
        )

    @property
    def name(self) -> str:
        """The checkpoint's name: its file's or folder's, without extension."""
        return self._native.name

    @property
    def device(self) -> str:
        """The device that it computes on, "auto" resolved."""
        return self._native.device

    @property
    def dtype(self) -> str:
        """The type that it computes in: "f32", "bf16" or "f16"."""
        return self._native.dtype

    @property
    def prediction(self) -> str:
        """What the U-Net predicts: "epsilon", "v", "sample"."""
        return self._native.prediction

    @property
    def loras(self) -> list[tuple[str, float]]:
        """The LoRAs that it was loaded with: path and weight."""
        return list(self._loras)

    @property
    def embeddings(self) -> list[str]:
        """Names of the textual inversions that prompts may use."""
        return self._native.embeddings

    @property
    def skipped_embeddings(self) -> list[str]:
        """Which files of embedding folders were passed over, and why."""
        return self._native.skipped_embeddings

    @property
    def sizes(self) -> Sizes:
        """The sizes that this model's arrays have."""
        return Sizes(*self._native.sizes())

    def txt2img(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        steps: int = 20,
        cfg_scale: float = 7.0,
        sampler: str = "DPM++ 2M",
        schedule: str | None = None,
        seed: int = -1,
        batch_size: int = 1,
        clip_skip: int = 1,
        clip_skip_rule: str = "webui",
        prompt_dialect: str = "webui",
        emphasis: str = "original",
        time_rule: str = "current",
        comma_backtrack: int = 20,
        pad_prompts: bool = False,
        eta: float | None = None,
        ensd: int = 0,
        variation_seed: int = -1,
        variation_strength: float = 0.0,
        rng: str = "cpu",
        callback: Callback | None = None,
        progress: Progress = None,
        cancel: _sdrs.CancelToken | None = None,
    ) -> Result:
        """Draws pictures, one after the other; a batch gives exactly what single runs with its seeds give.

        `width`, `height`: pixels, multiples of 8 up to 16384; None is what the model was trained on.
        `steps`: 1 to 10,000. `cfg_scale`: -1000 to 1000; 1 is no guidance, and halves the work.
        `sampler`: one of `sdrs.samplers()`, in any program's spelling; may carry its schedule ("DPM++ 2M Karras").
        `schedule`: one of `sdrs.schedules()`; None is the sampler's suffix, or what suits the sampler.
        `seed`: of the first picture, the others follow by one each; -1 draws one at random. `batch_size`: 1 to 1000.
        `clip_skip`: the text encoder's layer, from the end; 1 is the last ("webui"), or 0 (`clip_skip_rule="diffusers"`).
        `prompt_dialect`: "webui" or "comfy". `emphasis`: "original", "no norm", "ignore" or "none".
        `time_rule`: "current", or "before-1.6" for prompt edits as in older versions of the WebUI.
        `comma_backtrack`: how many tokens back the last comma may lie for a long prompt to be cut there.
        `pad_prompts`: pads the shorter of both prompts.
        `eta`: how much fresh noise replaces old, 0 or more; None is the sampler's own. `ensd`: eta noise seed delta.
        `variation_seed`, `variation_strength`: mixes the first noise with another seed's, by 0 to 1.
        `rng`: "cpu" or "nv", PyTorch's generators on a CPU and on CUDA; noise is the same on every device.

        `callback` is called with an `Event` after each step, in this thread; what it raises ends the run, and is raised here.
        `progress`: True shows a bar on standard error, False none; None shows it on a terminal or in a notebook; a function is
        called as `callback` is.
        `cancel`: a `CancelToken` that stops the run from any thread. Ctrl-C stops it within a step.

        Other threads run meanwhile. Raises `InvalidParameterError` and `UnknownNameError` before any work, `CancelledError`,
        `NotFiniteError`, `KeyboardInterrupt`.
        """
        settings = {key: value for key, value in locals().items() if key not in _NO_SETTINGS}
        watch = Watch(progress, callback)
        try:
            return Result(self._native.txt2img(settings, watch.step, cancel))
        finally:
            watch.close()

    def stream(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        width: int | None = None,
        height: int | None = None,
        steps: int = 20,
        cfg_scale: float = 7.0,
        sampler: str = "DPM++ 2M",
        schedule: str | None = None,
        seed: int = -1,
        batch_size: int = 1,
        clip_skip: int = 1,
        clip_skip_rule: str = "webui",
        prompt_dialect: str = "webui",
        emphasis: str = "original",
        time_rule: str = "current",
        comma_backtrack: int = 20,
        pad_prompts: bool = False,
        eta: float | None = None,
        ensd: int = 0,
        variation_seed: int = -1,
        variation_strength: float = 0.0,
        rng: str = "cpu",
        cancel: _sdrs.CancelToken | None = None,
    ) -> Stream:
        """The same as `txt2img`, as events to loop over: one after each step, and a last one with the `result`.

        The run is in a thread of its own, at most a step ahead. Leaving the loop cancels it. Values out of range are raised by the
        first event.
        """
        settings = {key: value for key, value in locals().items() if key not in _NO_SETTINGS}
        return Stream(self._native.start(settings, cancel))

    def plan(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        steps: int = 20,
        sampler: str = "DPM++ 2M",
        prompt_dialect: str = "webui",
        emphasis: str = "original",
        time_rule: str = "current",
        comma_backtrack: int = 20,
    ) -> dict[str, Any]:
        """How prompts are read: texts by step, chunks, tokens with their places and weights, LoRAs, embeddings.

        Spans count bytes of the prompt in UTF-8. `calls` are of the U-Net; some samplers make two a step.
        """
        settings = {key: value for key, value in locals().items() if key not in _NO_SETTINGS}
        plan: dict[str, Any] = json.loads(self._native.plan(settings))
        return plan

    def tokenize(self, text: str) -> npt.NDArray[np.int64]:
        """The token ids of a text, `[tokens]`, as they are: no start or end token, no padding, no limit."""
        return np.array(self._native.tokenize(text), dtype=np.int64)

    def encode_prompt(self, prompt: str, *, clip_skip: int = 1) -> FloatArray:
        """The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all: what a run of one step
        computes of it, `context_length` tokens for every 75 of the prompt.

        Raises `InvalidParameterError`, also for a prompt with AND, which has several contexts.
        """
        return take(self._native.encode_prompt(prompt, clip_skip))

    def text_hidden_states(self, ids: Sequence[int] | npt.NDArray[Any]) -> FloatArray:
        """Every hidden state of the text encoder, without the final norm, the embeddings first:
        `[text_layers + 1, tokens, context_width]`, for 1 to `context_length` ids `[tokens]`."""
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise InvalidParameterError("ids: must be whole numbers with one axis")
        return take(self._native.text_hidden_states(array.tolist()))

    def unet(self, latents: npt.ArrayLike, timesteps: npt.ArrayLike, context: npt.ArrayLike) -> FloatArray:
        """One evaluation of the U-Net: its raw prediction, of the latents' shape.

        `latents`: `[batch, latent_channels, h, w]`, scaled by `scalings(sigma).c_in`. `timesteps`: one number, or `[batch]`.
        `context`: `[batch, tokens, context_width]`. Raises `InvalidParameterError` for other shapes.
        """
        data, shape = give("latents", latents)
        times = numbers("timesteps", timesteps, np.float64)
        if times.ndim > 1:
            raise InvalidParameterError(f"timesteps: must be a number or have one axis, not the shape {list(times.shape)}")
        if times.ndim == 0 and shape:
            times = np.repeat(times, min(shape[0], 65536))
        return take(self._native.unet((data, shape), times.tolist(), give("context", context)))

    def vae_encode(self, images: npt.ArrayLike) -> EncodedImages:
        """Encodes pictures, `[batch, 3, height, width]` with values -1 to 1, sides multiples of `downscale`."""
        mean, std = self._native.vae_encode(give("images", images))
        return EncodedImages(take(mean), take(std))

    def vae_decode(self, latents: npt.ArrayLike) -> FloatArray:
        """Decodes latents, `[batch, latent_channels, h, w]`, to pictures `[batch, 3, downscale h, downscale w]` with values -1 to 1,
        or a little beyond."""
        return take(self._native.vae_decode(give("latents", latents)))

    def sigmas(self, schedule: str, steps: int, *, sampler: str | None = None) -> npt.NDArray[np.float64]:
        """The noise levels of a schedule for this model, falling, most often `steps + 1` of them with a final 0; with a `sampler`,
        those that it visits."""
        data = _sdrs.sigmas(self._native, schedule, steps, sampler, "webui", {})
        return np.frombuffer(data, dtype=np.float64)

    def train_sigmas(self) -> npt.NDArray[np.float64]:
        """The model's own noise levels, rising, one for each timestep."""
        return np.frombuffer(self._native.train_sigmas(), dtype=np.float64)

    def scalings(self, sigma: float) -> Scalings:
        """How to call the U-Net at a noise level, over 0."""
        return Scalings(*_sdrs.scalings(self._native, sigma))

    def __repr__(self) -> str:
        return f"<sdrs.Pipeline: {self.name}, {self.device}, {self.dtype}>"

    def __reduce__(self) -> NoReturn:
        raise PicklingError(
            "a pipeline can't be pickled; with multiprocessing, make one in each process, for instance in the pool's initializer, and "
            'use the start method "spawn"; threads can share one'
        )


_NO_SETTINGS = ("self", "callback", "progress", "cancel")
