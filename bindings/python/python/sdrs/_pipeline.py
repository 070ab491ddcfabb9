"""The pipeline: a checkpoint, ready to draw."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Iterable, NoReturn

import numpy.typing as npt

from . import _arguments, _sdrs
from ._arguments import DeviceLike, DtypeLike, StrPath, kept, optional_path, paths
from ._arrays import take
from ._files import LoraLike, lora_files
from ._log import Log, log_callback
from ._memory import MemoryPlan
from ._parts import Latents, Parts
from ._pictures import PictureLike, inputs
from ._progress import Callback, Progress, Watch
from ._result import ImageCallback, Result, image_callback
from ._settings import Settings
from ._signature import shows_settings
from ._stream import Stream
from .errors import InvalidParameterError, PicklingError

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Pipeline(Parts):
    """A loaded checkpoint. It holds nothing of a run: any number of threads may use one at the same time.

    `checkpoint` is a diffusers folder or a single file (safetensors, PyTorch's or GGUF).

    `config`: a diffusers folder whose `config.json` files describe a single file of an unusual shape; its tokenizer is taken too.
    `vae`, `text_encoder`, `text_encoder_2`, `unet`: other parts than the checkpoint's, which may lack them; each a file or a folder.
    `refiner`: a second checkpoint that takes over on the way from noise to the picture (`refiner_switch_at`), SDXL's refiner for one, with
    prompts encoded by itself and without LoRAs; a file or a folder, which needs no VAE.
    `taesd`: a tiny autoencoder's file, for previews of the method "taesd".
    `tokenizer`: another tokenizer than the checkpoint's: its folder, a diffusers folder, or a `tokenizer.json`.
    `loras`: LoRAs and other adapters, each a path, `(path, weight)`, `(path, weight on the U-Net, weight on the text encoder)` or a
    `Lora`; 1 is as trained.
    `lora_dirs`: folders whose LoRAs prompts may name, `<lora:name:0.8>`, by their files' names or by the names inside; subfolders included.
    They act in the runs whose prompt names them.
    `embeddings`: textual inversions, found in prompts by their files' names; files, or folders of them.
    `upscalers`: files of networks that enlarge pictures, for `hires_upscaler`, which names them without their endings.
    `device`: "auto", "cpu", "cuda:0", "vulkan:0", or torch's; `sdrs.available_devices()` has the kinds that this build knows. Several with
    commas between them, such as "cuda:0,cuda:1", or "cuda:all", have a copy of the networks each, and draw the pictures of a batch at once.
    `dtype`: the type of arithmetic: "auto" (on a CPU bf16 if it multiplies that, else f32; f16 on a GPU), "f32", "bf16", "f16", or the type
    itself, such as `torch.float16` or `np.float32`. "f16" on a CPU is f32 with weights kept in f16.
    `weight_dtype`: the type that weights are kept in on a CPU: "auto" (as the file has them, in 16 bits or fewer; never wider than
    `dtype`), "f32", "bf16", "f16", or "f8", which changes pictures. They are widened while they are used.
    `keep_text_encoders`: False lets text encoders go once a run's texts are encoded, and loads them again for new ones. Pictures don't
    depend on it.
    `threads`: how many the CPU computes with, for this pipeline alone; None is one for each core, shared by all. Pictures don't depend
    on it.
    `log`: a function that is called with "info" or "warning" and each line of the pipeline's log, or a `logging.Logger`: what was opened,
    loaded and passed over, how long parts of a run took. It is called in the threads that load and draw. What it raises is reported as
    Python reports what can't be raised (`sys.unraisablehook`). Without it nothing is logged.
    `memory_limit`: the most memory in bytes that the process may take, on the CPU in f32 or bf16; a model or picture that can't
    fit is refused at once.
    `quantization`: "int8" computes the U-Net's large layers in whole numbers, on the CPU in f32 or bf16: half the memory of 16
    bits, and less time on processors with AVX2, but pictures change a little. "none" does not; "auto" does where it is faster.
    `prediction`: "epsilon", "v", "sample", where the checkpoint doesn't say what the U-Net predicts, or wrongly.
    `predictions`: a JSON file with the prediction types of checkpoints that don't say theirs, from the SHA-256 of a file, or its first ten
    digits, to "epsilon", "v_prediction" or "sample".
    `allow_unexpected`: pass over tensors that belong to no part, and report them in the log, instead of refusing the file.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`, `InvalidWeightsError`, `UnknownNameError` (device, dtype,
    weight_dtype, quantization), `InvalidParameterError`.
    """

    def __init__(
        self,
        checkpoint: StrPath,
        *,
        config: StrPath | None = None,
        vae: StrPath | None = None,
        taesd: StrPath | None = None,
        tokenizer: StrPath | None = None,
        text_encoder: StrPath | None = None,
        text_encoder_2: StrPath | None = None,
        unet: StrPath | None = None,
        refiner: StrPath | None = None,
        loras: Iterable[LoraLike] = (),
        lora_dirs: Iterable[StrPath] = (),
        embeddings: Iterable[StrPath] = (),
        upscalers: Iterable[StrPath] = (),
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        prediction: str | None = None,
        predictions: StrPath | None = None,
        allow_unexpected: bool = False,
        threads: int | None = None,
        log: Log | None = None,
        memory_limit: int | None = None,
        quantization: str = "none",
        weight_dtype: DtypeLike = "auto",
        keep_text_encoders: bool = True,
    ) -> None:
        self._open(
            _arguments.path("checkpoint", checkpoint),
            config=config,
            vae=vae,
            taesd=taesd,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            unet=unet,
            refiner=refiner,
            loras=loras,
            lora_dirs=lora_dirs,
            embeddings=embeddings,
            upscalers=upscalers,
            device=device,
            dtype=dtype,
            prediction=prediction,
            predictions=predictions,
            allow_unexpected=allow_unexpected,
            threads=threads,
            log=log,
            memory_limit=memory_limit,
            quantization=quantization,
            weight_dtype=weight_dtype,
            keep_text_encoders=keep_text_encoders,
        )

    def _open(
        self,
        checkpoint: str | None,
        *,
        config: StrPath | None,
        vae: StrPath | None,
        taesd: StrPath | None,
        tokenizer: StrPath | None,
        text_encoder: StrPath | None,
        text_encoder_2: StrPath | None,
        unet: StrPath | None,
        refiner: StrPath | None,
        loras: Iterable[LoraLike],
        lora_dirs: Iterable[StrPath],
        embeddings: Iterable[StrPath],
        upscalers: Iterable[StrPath],
        device: DeviceLike,
        dtype: DtypeLike,
        prediction: str | None,
        predictions: StrPath | None,
        allow_unexpected: bool,
        threads: int | None,
        log: Log | None,
        memory_limit: int | None,
        quantization: str,
        weight_dtype: DtypeLike,
        keep_text_encoders: bool,
    ) -> None:
        self._native = _sdrs.Pipeline(
            checkpoint,
            config=optional_path("config", config),
            vae=optional_path("vae", vae),
            taesd=optional_path("taesd", taesd),
            tokenizer=optional_path("tokenizer", tokenizer),
            text_encoder=optional_path("text_encoder", text_encoder),
            text_encoder_2=optional_path("text_encoder_2", text_encoder_2),
            unet=optional_path("unet", unet),
            refiner=optional_path("refiner", refiner),
            loras=lora_files(loras),
            lora_dirs=paths("lora_dirs", lora_dirs),
            embeddings=paths("embeddings", embeddings),
            upscalers=paths("upscalers", upscalers),
            device=_arguments.device("device", device),
            dtype=_arguments.dtype("dtype", dtype),
            prediction=prediction,
            predictions=optional_path("predictions", predictions),
            allow_unexpected=_arguments.flag("allow_unexpected", allow_unexpected),
            threads=threads,
            log=log_callback(log),
            memory_limit=memory_limit,
            quantization=quantization,
            weight_dtype=_arguments.dtype("weight_dtype", weight_dtype),
            keep_text_encoders=_arguments.flag("keep_text_encoders", keep_text_encoders),
        )

    @classmethod
    def demo(
        cls,
        *,
        vae: StrPath | None = None,
        taesd: StrPath | None = None,
        tokenizer: StrPath | None = None,
        text_encoder: StrPath | None = None,
        text_encoder_2: StrPath | None = None,
        unet: StrPath | None = None,
        refiner: StrPath | None = None,
        loras: Iterable[LoraLike] = (),
        lora_dirs: Iterable[StrPath] = (),
        embeddings: Iterable[StrPath] = (),
        upscalers: Iterable[StrPath] = (),
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        threads: int | None = None,
        log: Log | None = None,
        memory_limit: int | None = None,
        quantization: str = "none",
        weight_dtype: DtypeLike = "auto",
        keep_text_encoders: bool = True,
    ) -> Pipeline:
        """The small model that is part of the package, trained for sdrs on pictures of coloured shapes."""
        pipeline = cls.__new__(cls)
        pipeline._open(
            None,
            config=None,
            vae=vae,
            taesd=taesd,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            unet=unet,
            refiner=refiner,
            loras=loras,
            lora_dirs=lora_dirs,
            embeddings=embeddings,
            upscalers=upscalers,
            device=device,
            dtype=dtype,
            prediction=None,
            predictions=None,
            allow_unexpected=False,
            threads=threads,
            log=log,
            memory_limit=memory_limit,
            quantization=quantization,
            weight_dtype=weight_dtype,
            keep_text_encoders=keep_text_encoders,
        )
        return pipeline

    @classmethod
    def from_pretrained(
        cls,
        path: StrPath,
        *,
        vae: StrPath | None = None,
        taesd: StrPath | None = None,
        tokenizer: StrPath | None = None,
        text_encoder: StrPath | None = None,
        text_encoder_2: StrPath | None = None,
        unet: StrPath | None = None,
        refiner: StrPath | None = None,
        loras: Iterable[LoraLike] = (),
        lora_dirs: Iterable[StrPath] = (),
        embeddings: Iterable[StrPath] = (),
        upscalers: Iterable[StrPath] = (),
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        prediction: str | None = None,
        predictions: StrPath | None = None,
        allow_unexpected: bool = False,
        threads: int | None = None,
        log: Log | None = None,
        memory_limit: int | None = None,
        quantization: str = "none",
        weight_dtype: DtypeLike = "auto",
        keep_text_encoders: bool = True,
    ) -> Pipeline:
        """A diffusers folder. Nothing is ever downloaded: `path` is a folder of this machine. Arguments and errors are the class's."""
        if os.path.isfile(_arguments.path("path", path)):
            raise InvalidParameterError(f"path: {os.fspath(path)} is a file; use from_single_file")
        return cls(
            path,
            vae=vae,
            taesd=taesd,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            unet=unet,
            refiner=refiner,
            loras=loras,
            lora_dirs=lora_dirs,
            embeddings=embeddings,
            upscalers=upscalers,
            device=device,
            dtype=dtype,
            prediction=prediction,
            predictions=predictions,
            allow_unexpected=allow_unexpected,
            threads=threads,
            log=log,
            memory_limit=memory_limit,
            quantization=quantization,
            weight_dtype=weight_dtype,
            keep_text_encoders=keep_text_encoders,
        )

    @classmethod
    def from_single_file(
        cls,
        path: StrPath,
        *,
        config: StrPath | None = None,
        vae: StrPath | None = None,
        taesd: StrPath | None = None,
        tokenizer: StrPath | None = None,
        text_encoder: StrPath | None = None,
        text_encoder_2: StrPath | None = None,
        unet: StrPath | None = None,
        refiner: StrPath | None = None,
        loras: Iterable[LoraLike] = (),
        lora_dirs: Iterable[StrPath] = (),
        embeddings: Iterable[StrPath] = (),
        upscalers: Iterable[StrPath] = (),
        device: DeviceLike = "auto",
        dtype: DtypeLike = "auto",
        prediction: str | None = None,
        predictions: StrPath | None = None,
        allow_unexpected: bool = False,
        threads: int | None = None,
        log: Log | None = None,
        memory_limit: int | None = None,
        quantization: str = "none",
        weight_dtype: DtypeLike = "auto",
        keep_text_encoders: bool = True,
    ) -> Pipeline:
        """A checkpoint that is one file. Arguments and errors are the class's."""
        if os.path.isdir(_arguments.path("path", path)):
            raise InvalidParameterError(f"path: {os.fspath(path)} is a folder; use from_pretrained")
        return cls(
            path,
            config=config,
            vae=vae,
            taesd=taesd,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            unet=unet,
            refiner=refiner,
            loras=loras,
            lora_dirs=lora_dirs,
            embeddings=embeddings,
            upscalers=upscalers,
            device=device,
            dtype=dtype,
            prediction=prediction,
            predictions=predictions,
            allow_unexpected=allow_unexpected,
            threads=threads,
            log=log,
            memory_limit=memory_limit,
            quantization=quantization,
            weight_dtype=weight_dtype,
            keep_text_encoders=keep_text_encoders,
        )

    @property
    def name(self) -> str:
        """The checkpoint's name: its file's or folder's, without extension."""
        return self._native.name

    @property
    def refiner_name(self) -> str | None:
        """The refiner's name, if there is one."""
        return self._native.refiner_name

    @property
    def device(self) -> str:
        """The device that it computes on, "auto" resolved."""
        return self._native.device

    @property
    def dtype(self) -> str:
        """The type that it computes in: "f32", "bf16" or "f16"."""
        return self._native.dtype

    @property
    def weight_dtype(self) -> str:
        """The type that weights are kept in: "auto" is that of their files."""
        return self._native.weight_dtype

    @property
    def prediction(self) -> str:
        """The prediction type of the U-Net: "epsilon", "v", "sample"."""
        return self._native.prediction

    @property
    def recommended(self) -> dict[str, Any]:
        """The settings that the checkpoint recommends, by their names in `txt2img`; most checkpoints recommend none."""
        values: dict[str, Any] = json.loads(self._native.recommended)
        return {name: value for name, value in values.items() if value is not None}

    @property
    def loras(self) -> list[tuple[str, float, float]]:
        """The LoRAs that it has: path, weight on the U-Net, weight on the text encoder."""
        return self._native.loras

    def with_loras(self, loras: Iterable[LoraLike]) -> Pipeline:
        """The same pipeline with these LoRAs instead of those that it has, in any form that the constructor takes; with none, as it was
        without any, to the bit. Everything that they don't change is shared, so it takes memory for the layers that they do.

        Raises what the constructor raises.
        """
        return self._sibling(self._native.with_loras(lora_files(loras)))

    def with_vae(self, vae: StrPath) -> Pipeline:
        """The same pipeline with another autoencoder, a file or a folder. Everything else is shared.

        Raises what the constructor raises.
        """
        return self._sibling(self._native.with_vae(_arguments.path("vae", vae)))

    def save_file(self, path: StrPath, *, dtype: DtypeLike = "f16") -> None:
        """Writes the pipeline as a single `.safetensors` file in LDM's layout, weights with its LoRAs merged into them. Its metadata
        carries the configurations, and the tokenizer unless it is CLIP's own.

        `dtype`: "f32", "bf16", "f16", or the type itself; everything is made from the checkpoint's own values, in whatever type the
        pipeline computes. A file that is there is replaced, when the new one is whole. Textual inversions stay files of their own.

        Raises `FileError`, `UnknownNameError`, and `InvalidWeightsError` for values beyond the type's range.
        """
        self._native.save_file(_arguments.path("path", path), _arguments.dtype("dtype", dtype))

    def save_folder(self, path: StrPath, *, dtype: DtypeLike = "f16") -> None:
        """Writes the pipeline as a diffusers folder: weights with its LoRAs merged into them, configurations, tokenizer, noise schedule.

        Arguments and errors are those of `save_file`; a folder with something in it is not replaced, but an error.
        """
        self._native.save_folder(_arguments.path("path", path), _arguments.dtype("dtype", dtype))

    def _sibling(self, native: _sdrs.Pipeline) -> Pipeline:
        pipeline = type(self).__new__(type(self))
        pipeline._native = native
        return pipeline

    @property
    def embeddings(self) -> list[str]:
        """Names of the textual inversions that prompts may use."""
        return self._native.embeddings

    @property
    def skipped_embeddings(self) -> list[str]:
        """The files of embedding folders that were passed over, each with the reason."""
        return self._native.skipped_embeddings

    @shows_settings
    def txt2img(
        self,
        prompt: str,
        *,
        image: PictureLike | None = None,
        mask: PictureLike | None = None,
        depth: PictureLike | None = None,
        image_latents: npt.ArrayLike | None = None,
        preview: str | None = None,
        preview_every: int = 1,
        callback: Callback | None = None,
        on_image: ImageCallback | None = None,
        progress: Progress = None,
        cancel: _sdrs.CancelToken | None = None,
        save_states: StrPath | None = None,
        save_states_every: int = 1,
        trace: StrPath | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Draws pictures, one after the other; a batch gives exactly what single runs with its seeds give.

        `settings`: as `sdrs.Settings` describes them. Where one that a checkpoint may recommend (`recommended`) is None, the recommendation
        counts, else the WebUI's default; the log says which was taken.

        `image`: a picture to begin at, and not noise: a path, PIL's, or an array of bytes. Without `width` and `height` its size counts, as
        far as latents allow. `image_latents`: latents of the U-Net in its place, `[1, latent_channels, h, w]`.
        `mask`: a picture of the same size; only its white, or of one with transparency what is opaque, is drawn anew, and all else stays to
        the bit.
        `depth`: the depth of the picture, bright is near, for models that draw after it.

        `preview`: whether events bring a picture, after every `preview_every` steps: "approximate" (of the latent's size, at next to no
        cost), "full" (decoded, at the price of a last step), "taesd" (decoded by the tiny autoencoder `taesd`) or None. It doesn't change the result.
        `callback` is called with an `Event` after each step, in this thread; what it raises ends the run, and is raised here.
        `on_image` is called likewise with each picture of a batch as soon as it is done: with its index, and a `Result` of it alone. What is
        cancelled or fails later can't take it away.
        `progress`: True shows a bar on standard error, False none; None shows it on a terminal or in a notebook; a function is
        called as `callback` is.
        `cancel`: a `CancelToken` that stops the run from any thread. Ctrl-C stops it within a step.
        `save_states`: a folder that the state of the run is written into after every `save_states_every` steps, and after the last of each
        pass: `picture-1-step-00012.safetensors` and so on. `resume` goes on from one.
        `trace`: a file that records what each stage of the run computes, as JSON lines, for `sdrs trace compare`.

        Other threads run meanwhile. Raises `InvalidParameterError` and `UnknownNameError` before any work, `CancelledError`,
        `NotFiniteError`, `KeyboardInterrupt`.
        """
        with Watch(progress, callback) as watch:
            given = {"prompt": prompt, **inputs(image, mask, depth, image_latents), **kept(save_states, save_states_every, trace), **settings}
            return Result(self._native.txt2img(given, preview, preview_every, watch.step, image_callback(on_image), cancel))

    @shows_settings
    def img2img(
        self,
        prompt: str,
        image: PictureLike,
        *,
        mask: PictureLike | None = None,
        depth: PictureLike | None = None,
        preview: str | None = None,
        preview_every: int = 1,
        callback: Callback | None = None,
        on_image: ImageCallback | None = None,
        progress: Progress = None,
        cancel: _sdrs.CancelToken | None = None,
        save_states: StrPath | None = None,
        save_states_every: int = 1,
        trace: StrPath | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """The same from a picture: `strength` says how much of it changes. With a `mask` only what that covers is drawn anew."""
        with Watch(progress, callback) as watch:
            given = {"prompt": prompt, **inputs(image, mask, depth, None), **kept(save_states, save_states_every, trace), **settings}
            return Result(self._native.txt2img(given, preview, preview_every, watch.step, image_callback(on_image), cancel))

    @shows_settings
    def resume(
        self,
        state: StrPath,
        *,
        prompt: str | None = None,
        preview: str | None = None,
        preview_every: int = 1,
        callback: Callback | None = None,
        on_image: ImageCallback | None = None,
        progress: Progress = None,
        cancel: _sdrs.CancelToken | None = None,
        save_states: StrPath | None = None,
        save_states_every: int = 1,
        trace: StrPath | None = None,
        **settings: Unpack[Settings],
    ) -> Result:
        """Goes on from a saved state, a file that `save_states` wrote: to the same picture, to the bit, or a branch of it with other
        `prompt` or `settings`. Those that decide only what is to come may be changed (prompt, guidance, shortcuts, tiles, a later pass, the pipeline's
        LoRAs); those that decided what is behind (size, seed, sampler, schedule, steps) are refused. Pictures that the run began at come along.

        Raises `FileError` if the file is none, and what `txt2img` raises.
        """
        with Watch(progress, callback) as watch:
            given: dict[str, Any] = {"resume": _arguments.path("state", state), **kept(save_states, save_states_every, trace), **settings}
            if prompt is not None:
                given["prompt"] = prompt
            return Result(self._native.txt2img(given, preview, preview_every, watch.step, image_callback(on_image), cancel))

    @shows_settings
    def latents(
        self,
        prompt: str,
        *,
        image: PictureLike | None = None,
        mask: PictureLike | None = None,
        depth: PictureLike | None = None,
        image_latents: npt.ArrayLike | None = None,
        preview: str | None = None,
        preview_every: int = 1,
        callback: Callback | None = None,
        progress: Progress = None,
        cancel: _sdrs.CancelToken | None = None,
        save_states: StrPath | None = None,
        save_states_every: int = 1,
        trace: StrPath | None = None,
        **settings: Unpack[Settings],
    ) -> Latents:
        """The same as `txt2img` without decoding: `vae_decode` makes pictures of the latents."""
        with Watch(progress, callback) as watch:
            given = {"prompt": prompt, **inputs(image, mask, depth, image_latents), **kept(save_states, save_states_every, trace), **settings}
            made = self._native.latents(given, preview, preview_every, watch.step, cancel)
        return Latents(take(made[0]), made[1], made[2])

    @shows_settings
    def stream(
        self,
        prompt: str,
        *,
        image: PictureLike | None = None,
        mask: PictureLike | None = None,
        depth: PictureLike | None = None,
        image_latents: npt.ArrayLike | None = None,
        preview: str | None = None,
        preview_every: int = 1,
        cancel: _sdrs.CancelToken | None = None,
        **settings: Unpack[Settings],
    ) -> Stream:
        """The same as `txt2img`, as events to loop over: one after each step, and a last one with the `result`.

        The run is in a thread of its own, at most a step ahead. Leaving the loop cancels it. Values out of range are raised by the
        first event.
        """
        return Stream(self._native.start({"prompt": prompt, **inputs(image, mask, depth, image_latents), **settings}, preview, preview_every, cancel))

    @shows_settings
    def memory_plan(
        self,
        prompt: str = "",
        *,
        image: PictureLike | None = None,
        mask: PictureLike | None = None,
        depth: PictureLike | None = None,
        image_latents: npt.ArrayLike | None = None,
        parallel: int = 1,
        **settings: Unpack[Settings],
    ) -> MemoryPlan:
        """The memory that `txt2img` with these arguments takes, with the layers that the prompt's LoRAs change; nothing is drawn.
        `memory_limit` is held against the same plan. `parallel`: the number of such runs at once on this pipeline.

        Raises `InvalidParameterError` and `UnknownNameError` as `txt2img` does.
        """
        given = {"prompt": prompt, **inputs(image, mask, depth, image_latents), **settings}
        return MemoryPlan(*self._native.memory_plan(given, parallel))

    def memory_of_loras(self, loras: Iterable[LoraLike]) -> int:
        """The bytes that a pipeline made by `with_loras` takes beside this one: those of the layers that its LoRAs or this one's change.

        Raises what the constructor raises.
        """
        return self._native.memory_of_loras(lora_files(loras))

    def memory_of_vae(self, vae: StrPath) -> int:
        """The bytes that a pipeline made by `with_vae` takes beside this one: those of the autoencoder.

        Raises what the constructor raises.
        """
        return self._native.memory_of_vae(_arguments.path("vae", vae))

    @shows_settings
    def plan(self, prompt: str, **settings: Unpack[Settings]) -> dict[str, Any]:
        """The plan of the prompts by these settings: texts by step, chunks, tokens with their places and weights, LoRAs, embeddings.

        Spans count bytes of the prompt in UTF-8. `calls` are of the U-Net; some samplers make two a step.
        """
        plan: dict[str, Any] = json.loads(self._native.plan({"prompt": prompt, **settings}))
        return plan

    def __repr__(self) -> str:
        return f"<sdrs.Pipeline: {self.name}, {self.device}, {self.dtype}>"

    def __reduce__(self) -> NoReturn:
        raise PicklingError(
            "a pipeline can't be pickled; with multiprocessing, make one in each process, for instance in the pool's initializer, and "
            'use the start method "spawn"; threads can share one'
        )
