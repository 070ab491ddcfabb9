"""The parts of a pipeline, one call at a time, on NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from . import _sdrs
from ._arrays import FloatArray, give, numbers, take
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


class Latents(NamedTuple):
    """A run's latents before decoding."""

    latents: FloatArray
    """`[batch_size, latent_channels, h, w]`: what `Pipeline.vae_decode` takes."""
    seeds: list[int]
    """For each picture the seed that gives it alone."""
    infotexts: list[str]
    """For each picture its settings, in the WebUI's text form."""


class Parts:
    """What a pipeline consists of."""

    _native: _sdrs.Pipeline

    @property
    def sizes(self) -> Sizes:
        """The sizes that this model's arrays have."""
        return Sizes(*self._native.sizes())

    def tokenize(self, text: str) -> npt.NDArray[np.int64]:
        """The token ids of a text, `[tokens]`, which is repaired first as a prompt's is: no start or end token, no padding, no limit."""
        return np.array(self._native.tokenize(text), dtype=np.int64)

    def encode_prompt(self, prompt: str, *, clip_skip: int = 1) -> FloatArray:
        """The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all: what a run of one step
        computes of it, `context_length` tokens for every 75 of the prompt.

        Raises `InvalidParameterError`, also for a prompt with AND, which has several contexts.
        """
        return take(self._native.encode_prompt(prompt, clip_skip))

    def encode_text(self, text: str, *, clip_skip: int = 1) -> FloatArray:
        """The context of a text in which no character has a meaning of its own, `[context_length, context_width]`, as diffusers encodes
        it: tokens for which there is no room are dropped."""
        return take(self._native.encode_text(text, clip_skip))

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
