"""Schedules and samplers alone, for any network."""

from __future__ import annotations

from typing import Any, Callable, cast

import numpy as np
import numpy.typing as npt

from . import _sdrs
from ._arguments import function, text
from ._arrays import numbers, plain, shaped
from .errors import InvalidParameterError

__all__ = ["sample", "sigmas"]

Array = npt.NDArray[Any]
Denoiser = Callable[[Array, float], Any]
Noise = Callable[[float, float], Any]


def sigmas(
    schedule: str,
    steps: int,
    *,
    sampler: str | None = None,
    dialect: str = "webui",
    family: str = "sd1",
    **options: float,
) -> npt.NDArray[np.float64]:
    """The noise levels of a schedule for Stable Diffusion, falling, most often `steps + 1` of them with a final 0; with a `sampler`,
    those that it visits.

    `dialect`: whose meaning of the name: "webui", "comfy", "diffusers". `family`: "sd1" or "sdxl", for tables that differ.
    `options`: `rho`, `sigma_min`, `sigma_max`, `beta_alpha`, `beta_beta`.

    Raises `UnknownNameError`, `InvalidParameterError`.
    """
    if text("family", family) not in ("sd1", "sdxl"):
        raise InvalidParameterError(f"family: must be sd1 or sdxl, not {family!r:.80}")
    given: dict[str, object] = {**options, "sdxl": family == "sdxl"}
    return np.frombuffer(_sdrs.sigmas(None, schedule, steps, sampler, dialect, given), dtype=np.float64)


def sample(
    denoiser: Denoiser,
    x: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    sampler: str,
    *,
    noise: Noise | None = None,
    seed: int = 0,
    rng: str = "cpu",
    callback: Callable[[int, int, float, Array, Array], object] | None = None,
    **options: float | int | None,
) -> Array:
    """Samples from `x` on, an array of any shape that has the noise of `sigmas[0]`, and returns what it arrives at.

    `denoiser(x, sigma)` returns the denoised `x`, of its shape; for CFG++ samplers a tuple of that and what the negative prompt alone
    gives. `sigmas` fall strictly, and may end in 0. Computes in float32 if `x` is, else in float64.

    `noise(sigma, sigma_next)` returns noise of unit variance, as k-diffusion's noise samplers do; by default it comes from `seed`, and
    for SDE samplers from a Brownian tree. `callback(step, steps, sigma, x, denoised)` is called after each step.
    `options`: `eta`, `s_churn`, `s_tmin`, `s_tmax`, `s_noise`, `order`.

    Raises `InvalidParameterError`, `UnknownNameError`, and what the functions raise.
    """
    function("denoiser", denoiser, "x and sigma", optional=False)
    levels = numbers("sigmas", sigmas, np.float64)
    if levels.ndim != 1:
        raise InvalidParameterError("sigmas: must have one axis")
    plan = _sdrs.Plan(None, sampler, "automatic", 1, levels.tolist(), "webui", dict(options))
    function("callback", callback, "step, steps, sigma, x and denoised")

    def on_step(step: int, steps: int, sigma: float, x: Array, denoised: Array) -> None:
        assert callback is not None
        callback(step, steps, sigma, x, denoised)

    told = None if callback is None else on_step
    return run(plan, lambda x, sigma, timestep: denoiser(x, sigma), x, noise=noise, seed=seed, rng=rng, callback=told)


def run(
    plan: _sdrs.Plan,
    denoiser: Callable[[Array, float, float], Any],
    x: npt.ArrayLike,
    *,
    noise: Noise | None = None,
    seed: int = 0,
    rng: str = "cpu",
    callback: Callable[[int, int, float, Array, Array], Array | None] | None = None,
) -> Array:
    """Follows a plan; `denoiser` is given the timestep, too. What `callback` returns goes in the place of the latents that a step has
    arrived at."""
    start = plain("x", x)
    single = start.dtype == np.float32
    dtype = np.float32 if single else np.float64
    start = numbers("x", start, dtype)

    function("noise", noise, "sigma and sigma_next")
    function("callback", callback, "step, steps, sigma, x and denoised")

    def array(data: bytearray) -> Array:
        return shaped(data, dtype, start.shape)

    def data(name: str, value: Any) -> bytes:
        given = numbers(name, value, dtype)
        if given.shape != start.shape:
            raise InvalidParameterError(f"{name}: must have x's shape {list(start.shape)}, not {list(given.shape)}")
        return given.tobytes()

    def denoise(x: bytearray, sigma: float, timestep: float, uncond: bool) -> tuple[bytes, bytes | None]:
        answer = denoiser(array(x), sigma, timestep)
        if not uncond:
            return data("denoised", answer), None
        pair = cast("tuple[object, ...]", answer) if isinstance(answer, tuple) else ()
        if len(pair) != 2:
            raise InvalidParameterError("denoiser: this sampler needs a tuple of the denoised latent and the uncond one")
        return data("denoised", pair[0]), data("uncond", pair[1])

    def draw(sigma: float, sigma_next: float) -> bytes:
        assert noise is not None
        return data("noise", noise(sigma, sigma_next))

    def on_step(step: int, steps: int, sigma: float, x: bytearray, denoised: bytearray) -> bytes | None:
        assert callback is not None
        replaced = callback(step, steps, sigma, array(x), array(denoised))
        return None if replaced is None else data("the replaced x", replaced)

    drawn, reported = None if noise is None else draw, None if callback is None else on_step
    return array(_sdrs.sample(denoise, start.tobytes(), single, plan, drawn, seed, rng, reported))
