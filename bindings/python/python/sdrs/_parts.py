"""The parts of a pipeline, one call at a time, on NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _arguments, _sdrs
from ._arrays import FloatArray, give, numbers, plain, take
from ._pictures import planes
from .errors import InvalidParameterError


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
    """The largest `clip_skip`: layers of the text encoder, for SDXL one less than the smaller one has."""
    vocabulary: int
    """One more than the largest token id."""
    text_width: int
    """The part of the context that the first text encoder makes: all of it where there is one."""
    text_width_2: int
    """The part that a second text encoder makes; 0 without one."""
    pooled_width: int
    """Values of a pooled text; 0 where no text encoder gives one."""
    added_width: int
    """Values of the vector that the U-Net takes beside the timestep, a pooled text and sizes; 0 where it takes none."""
    unet_channels: int
    """Channels that the U-Net takes: `latent_channels`, and those behind them of inpainting, depth and editing models."""


class Scalings(NamedTuple):
    """The scalings of the U-Net at a noise level: `denoised = c_skip * x + c_out * unet(c_in * x, timestep)`."""

    timestep: float
    c_in: float
    c_skip: float
    c_out: float


class EncodedImages(NamedTuple):
    """The Gaussian that pictures are encoded to, each `[batch, latent_channels, h, w]`: a latent of the U-Net is `mean + std * noise`. Both
    are the autoencoder's own times `Pipeline.scaling_factor`."""

    mean: FloatArray
    std: FloatArray


class Latents(NamedTuple):
    """A run's latents before decoding."""

    latents: FloatArray
    """`[batch_size, latent_channels, h, w]`: what `Pipeline.vae_decode` takes."""
    seeds: list[int]
    """For each picture the seed that gives it alone."""
    infotexts: list[str]
    """For each picture its settings, in the WebUI's text form."""


class Parts:
    """The parts of a pipeline, each callable alone."""

    _native: _sdrs.Pipeline

    @property
    def sizes(self) -> Sizes:
        """The sizes that this model's arrays have."""
        return Sizes(*self._native.sizes())

    @property
    def scaling_factor(self) -> float:
        """The factor from the autoencoder's own latents to those of the U-Net, diffusers' `vae.config.scaling_factor`: 0.18215 for SD1 and
        SD2. `vae_encode` multiplies by it, `vae_decode` divides by it."""
        return self._native.scaling_factor

    def tokenize(self, text: str) -> npt.NDArray[np.int64]:
        """The token ids of a text, `[tokens]`, which is repaired first as a prompt's is: no start or end token, no padding, no limit."""
        return np.array(self._native.tokenize(text), dtype=np.int64)

    def encode_prompt(self, prompt: str, *, clip_skip: int = 1) -> FloatArray:
        """The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all: what a run of one step
        computes of it, `context_length` tokens for every 75 of the prompt.

        Raises `InvalidParameterError`, also for a prompt with AND, which has several contexts.
        """
        return take(self._native.encode_prompt(prompt, clip_skip))

    def encode_text(self, text: str, *, clip_skip: int = 1, encoder: int | None = None) -> FloatArray:
        """The context of a text in which no character has a meaning of its own, `[context_length, context_width]`, as diffusers encodes
        it: tokens for which there is no room are dropped. `encoder`: the part that one text encoder makes of it, counted from 0."""
        return take(self._native.encode_text(text, clip_skip, encoder))

    def pooled_prompt(self, prompt: str) -> FloatArray:
        """The pooled text of a prompt, `[pooled_width]`: of its first 75 tokens, without weights, by the last text encoder. With
        `size_vector` behind it, it is SDXL's vector beside the timestep. Raises `InvalidParameterError` if the model has none."""
        return take(self._native.pooled_prompt(prompt))

    def pooled_text(self, text: str) -> FloatArray:
        """The same of a text in which no character has a meaning of its own: diffusers' `pooled_prompt_embeds`."""
        return take(self._native.pooled_text(text))

    def size_vector(self, sizes: Any) -> FloatArray:
        """The part of SDXL's vector beside the timestep that stands behind the pooled text: 256 sinusoids of each number.

        `sizes` are 6 numbers, in pixels: original height and width, the crop's top and left edge, target height and width; for SDXL's
        refiner 5, with the aesthetic score in place of the target size. Raises `InvalidParameterError` for other models."""
        listed = numbers("sizes", sizes, np.float64)
        if listed.ndim != 1:
            raise InvalidParameterError(f"sizes: must have one axis, not the shape {list(listed.shape)}")
        return take(self._native.size_vector(listed.tolist()))

    def encode_ids(self, ids: Any, *, clip_skip: int = 1, encoder: int = 0) -> FloatArray:
        """The context of token ids as they are, `[tokens, width]`, for 1 to `context_length` of them, by one text encoder: its hidden
        state, from the end the one that `clip_skip` counts, with the final norm for SD1 and SD2. For SD1 and `clip_skip` 1 it is what
        transformers calls `last_hidden_state`, for SDXL `hidden_states[-2]`. Start and end token are the caller's."""
        return take(self._native.encode_ids(self._ids(ids), clip_skip, encoder))

    def text_hidden_states(self, ids: Any, *, encoder: int = 0) -> FloatArray:
        """Every hidden state of one text encoder, without the final norm, the embeddings first: `[layers + 1, tokens, width]`, for 1 to
        `context_length` ids `[tokens]`. `encode_ids` gives them with the norm."""
        return take(self._native.text_hidden_states(self._ids(ids), encoder))

    def _ids(self, given: Any) -> list[int]:
        """Token ids, of a list or an array."""
        ids, sizes = plain("ids", given), self.sizes
        if ids.ndim != 1:
            raise InvalidParameterError(f"ids: must have one axis, [tokens], not the shape {list(ids.shape)}")
        if not 1 <= len(ids) <= sizes.context_length:
            raise InvalidParameterError(f"ids: must be 1 to {sizes.context_length}, not {len(ids)}")
        if ids.dtype.kind not in "iu":
            raise InvalidParameterError(f"ids: must be whole numbers, not of {ids.dtype}")
        listed: list[int] = ids.tolist()
        for i, one in enumerate(listed):
            if not 0 <= one < sizes.vocabulary:
                last = sizes.vocabulary - 1
                raise InvalidParameterError(f"ids: {one} at index {i} is no token: this model's are 0 to {last}")
        return listed

    def unet(
        self,
        latents: npt.ArrayLike,
        timesteps: npt.ArrayLike,
        context: npt.ArrayLike,
        added: npt.ArrayLike | None = None,
        cfg_scale: float | None = None,
    ) -> FloatArray:
        """One evaluation of the U-Net: its raw prediction, `[batch, latent_channels, h, w]`.

        `latents`: `[batch, unet_channels, h, w]`, scaled by `scalings(sigma).c_in`, and behind its `latent_channels` what an inpainting,
        depth or editing model takes besides, which isn't scaled. `timesteps`: one number, or `[batch]`.
        `context`: `[batch, tokens, context_width]`. `added`: the vector beside the timestep, `[batch, added_width]`, for SDXL: a pooled
        text, and sizes (`size_vector`). `cfg_scale`: the scale of guidance, for a model that takes it (a latent consistency model), on all
        rows; diffusers makes its `timestep_cond` of it. Raises `InvalidParameterError` for other shapes, and if `added` is missing, or
        `added` or `cfg_scale` not wanted.
        """
        data, shape = give("latents", latents)
        times = numbers("timesteps", timesteps, np.float64)
        if times.ndim > 1:
            raise InvalidParameterError(f"timesteps: must be a number or have one axis, not the shape {list(times.shape)}")
        if times.ndim == 0:
            times = np.repeat(times, min([65536, *shape[:1]]))
        vector = None if added is None else give("added", added)
        scale = None if cfg_scale is None else _arguments.number("cfg_scale", cfg_scale)
        return take(self._native.unet((data, shape), times.tolist(), give("context", context), vector, scale))

    def vae_encode(self, images: Any) -> EncodedImages:
        """Encodes pictures to latents of the U-Net.

        `images`: `[batch, 3, height, width]` with values -1 to 1, or bytes (`uint8`), `[height, width, 3]` or `[batch, height, width, 3]`,
        such as `Result.arrays`, or a PIL picture or a list of them: bytes become `byte / 127.5 - 1`. Sides are multiples of `downscale`.

        What comes is `vae.encode(images).latent_dist` of diffusers, `mean` and `std` times its `vae.config.scaling_factor`, which is
        `scaling_factor` here. Raises `InvalidParameterError`, also for values far beyond -1 to 1.
        """
        data = planes("images", images)
        mean, std = self._native.vae_encode((data.tobytes(), list(data.shape)))
        return EncodedImages(take(mean), take(std))

    def vae_decode(self, latents: npt.ArrayLike) -> FloatArray:
        """Decodes latents of the U-Net, `[batch, latent_channels, h, w]`, to pictures `[batch, 3, downscale h, downscale w]` with values -1 to
        1, or a little beyond.

        It is `vae.decode(latents / vae.config.scaling_factor)` of diffusers, whose own latents are to be multiplied by `scaling_factor`.
        """
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
        """The scalings of the U-Net at a noise level, over 0."""
        return Scalings(*_sdrs.scalings(self._native, sigma))
