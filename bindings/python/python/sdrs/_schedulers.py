"""diffusers' schedulers: which sampler over which noise levels a configuration means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Dict, Mapping, cast

import numpy as np
import numpy.typing as npt

from . import _sdrs
from ._arguments import StrPath, kind, whole
from ._arguments import path as _path
from .errors import FileError, InvalidFileError, InvalidParameterError, MissingFileError

_SPACED: dict[str, object] = {"timestep_spacing": "linspace", "steps_offset": 0}
_LEADING: dict[str, object] = {"timestep_spacing": "leading", "steps_offset": 0}
_BENT: dict[str, object] = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
_FLOW: dict[str, object] = {"use_flow_sigmas": False, "use_dynamic_shifting": False}
_TO_ZERO: dict[str, object] = {"final_sigmas_type": "zero"}
_CORRECTS = "corrects a step in the next one"


class Config(Dict[str, Any]):
    """A scheduler's settings: those that were given, and its class's defaults."""

    given: frozenset[str] = frozenset()


class Scheduler:
    """A scheduler as diffusers has it: its settings. It holds no state of a run."""

    sampler: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, object]] = {}
    """The settings that act, with diffusers' defaults."""
    only: ClassVar[Mapping[str, object]] = {}
    """The settings that must have these values."""
    exploding: ClassVar[bool] = False
    """Whether latents between steps keep their signal and grow with the noise."""
    goes_on: ClassVar[str | None] = None
    """Why a run can't stop after any step, if it can't."""
    joins: ClassVar[bool] = True
    """Whether a run may begin at any step: diffusers' own takes no notice of steps that were not made."""

    def __init__(self, **config: Any) -> None:
        self.config = Config({**self.defaults, **config})
        self.config.given = frozenset(config)
        for key, value in self.only.items():
            if self.config.get(key, value) != value:
                raise InvalidParameterError(f"{key}: must be {value!r} for {type(self).__name__}, not {self.config[key]!r}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **settings: Any) -> Scheduler:
        """This scheduler with another one's settings: what was given to that one, but not its defaults, and `settings`."""
        if not isinstance(cast(object, config), Mapping):
            raise TypeError(f"config: must be a scheduler's config or a dictionary, not {kind(config)}")
        given = config.given if isinstance(config, Config) else set(config) - set(config.get("_use_default_values", ()))
        kept = {key: value for key, value in config.items() if key in given and not key.startswith("_")}
        return cls(**{**kept, **settings})

    @classmethod
    def from_pretrained(cls, path: StrPath, subfolder: str = "scheduler", **settings: Any) -> Scheduler:
        """From the configuration in a diffusers folder of this machine."""
        return cls.from_config(_read(Path(_path("path", path), subfolder)), **settings)

    def plan(
        self, pipeline: _sdrs.Pipeline, steps: int, eta: float, strength: float | None = None, start: float | None = None
    ) -> _sdrs.Plan:
        """The sampler laid out over its steps. Over a picture the last of them are made: a share of `strength`, or those below the
        timestep that `start` is the share up to, if it is between 0 and 1."""
        self._check(pipeline)
        spacing = self.config.get("timestep_spacing")
        bent = [name for name in ("karras", "exponential", "beta") if self.config.get(f"use_{name}_sigmas")]
        if len(bent) > 1:
            raise InvalidParameterError(f"use_{bent[1]}_sigmas: can't be together with use_{bent[0]}_sigmas")
        if spacing == "leading" and self.config.get("steps_offset") != 1:
            raise InvalidParameterError("steps_offset: must be 1 with leading timesteps, as Stable Diffusion's configurations have it")
        names = {"leading": "leading", "trailing": "trailing", "linspace": "uniform"}
        if not isinstance(spacing, str) or spacing not in names:
            raise InvalidParameterError(f"timestep_spacing: must be leading, trailing or linspace, not {spacing!r}")
        schedule = bent[0] if bent else names[spacing]
        options = self.options()
        if "eta" in self.defaults:
            options["eta"] = eta
        if bent and self.exploding:
            low, high = self._range(self._table(pipeline), spacing, steps)
            options.update(sigma_min=low, sigma_max=high)
        options["zero_terminal_snr"] = self._rescales()

        def laid_out(**more: object) -> _sdrs.Plan:
            return _sdrs.Plan(pipeline, self.name(), schedule, steps, None, "diffusers", {**options, **more})

        if start is not None and 0 < start < 1:
            made = self._made(laid_out(), cutoff(pipeline, start))
            left_out = f"denoising_start: no step of {steps} is left after {start}"
        elif strength is not None:
            made = min(int(steps * strength), steps)
            left_out = f"strength: {strength} leaves nothing of {steps} steps"
        else:
            return laid_out()
        if not self.joins:
            raise InvalidParameterError(
                f"scheduler: diffusers' {type(self).__name__} counts steps that a picture leaves out as made; take another scheduler"
            )
        if made == 0:
            raise InvalidParameterError(left_out)
        return laid_out(skipped_steps=steps - made)

    @staticmethod
    def _made(plan: _sdrs.Plan, below: int) -> int:
        """The number of a plan's last steps whose timesteps lie below one."""
        left = int(np.count_nonzero(np.frombuffer(plan.timesteps(), np.float64) < below))
        # Of a step's two calls the second one has the next step's timestep; diffusers makes a step whole.
        return left // 2 + 1 if plan.calls > plan.steps else left

    def check_stops(self, what: str) -> None:
        """Refuses what needs the latents between steps of a scheduler that isn't done with them there."""
        if self.goes_on is not None:
            raise InvalidParameterError(f"{what}: {type(self).__name__} {self.goes_on}; take another scheduler")

    def noise_scale(self, plan: _sdrs.Plan, whole: _sdrs.Plan) -> float:
        """The factor on noise alone as the first latents of a plan; leading timesteps let the U-Net see unit variance. `whole`: the plan
        with all steps."""
        if plan is whole and (not self.exploding or self.config["timestep_spacing"] == "leading"):
            return plan.noise_scale
        if not self.exploding:
            return self.scale_before(plan)
        return whole.noise_scale if self.config["timestep_spacing"] == "leading" else _first(whole)

    def scale_before(self, plan: _sdrs.Plan) -> float:
        """The ratio of a plan's first latents, here to diffusers'."""
        return 1.0 if self.exploding else float(np.sqrt(1 + _first(plan) ** 2))

    def scale_after(self, pipeline: _sdrs.Pipeline, plan: _sdrs.Plan, step: int, timestep: float, steps: int) -> float:
        """The ratio of latents after a step, here to diffusers', where they keep their variance and not their signal. `steps`: those of the
        whole schedule, of which the plan may have the last ones."""
        if self.exploding:
            return 1.0
        sigma = self.arrived(pipeline, np.frombuffer(plan.sigmas(), dtype=np.float64), step, timestep, steps)
        return float(np.sqrt(1 + sigma**2))

    def arrived(
        self, pipeline: _sdrs.Pipeline, sigmas: npt.NDArray[np.float64], step: int, timestep: float, steps: int
    ) -> float:
        """The noise level that a step ends at."""
        return float(sigmas[min(step + 1, len(sigmas) - 1)])

    def name(self) -> str:
        """The sampler's name."""
        return self.sampler

    def options(self) -> dict[str, object]:
        """The further options of a plan."""
        return {}

    def _check(self, pipeline: _sdrs.Pipeline) -> None:
        """Settings that the checkpoint decides may be given here, and must agree with it."""
        has: dict[str, object] = {"trained_betas": None, "prediction_type": pipeline.prediction}
        has["num_train_timesteps"] = len(pipeline.train_sigmas()) // np.dtype(np.float64).itemsize
        betas = _sdrs.betas(pipeline)
        if betas is not None:
            has["beta_schedule"] = betas[0]
            if betas[1] is not None:
                has["beta_start"], has["beta_end"] = betas[1]
        for key, value in has.items():
            given = self.config.get(key)
            if key == "prediction_type" and given == "v_prediction":
                given = "v"
            if key in self.config.given and given != value:
                raise InvalidParameterError(
                    f"{key}: is {self.config[key]!r}, but the pipeline's model has {value!r}; say it where the pipeline is loaded"
                )

    def _rescales(self) -> bool | None:
        """Whether the betas are rescaled to zero terminal SNR; None if the checkpoint's are."""
        return bool(self.config["rescale_betas_zero_snr"]) if "rescale_betas_zero_snr" in self.config.given else None

    def _table(self, pipeline: _sdrs.Pipeline) -> npt.NDArray[np.float64]:
        """The noise level of each timestep."""
        return np.frombuffer(_sdrs.noise_levels(pipeline, self.name(), self._rescales()), dtype=np.float64)

    @staticmethod
    def _range(table: npt.NDArray[np.float64], spacing: str, steps: int) -> tuple[float, float]:
        """Sigmas are bent between the ends that the spacing gives."""
        n = len(table)
        if spacing == "linspace":
            return float(table[0]), float(table[-1])
        if spacing == "leading":
            first, last = (steps - 1) * (n // steps) + 1, 1
        else:
            first, last = n - 1, round(n - (steps - 1) * n / steps) - 1
        return float(table[min(last, n - 1)]), float(table[min(first, n - 1)])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self.config)})"


class _Whole(Scheduler):
    only: ClassVar[Mapping[str, object]] = {"clip_sample": False, "thresholding": False}

    def options(self) -> dict[str, object]:
        return {"set_alpha_to_one": bool(self.config["set_alpha_to_one"])} if "set_alpha_to_one" in self.defaults else {}


class DDIMScheduler(_Whole):
    sampler = "DDIM"
    defaults = {**_LEADING, "set_alpha_to_one": True, "clip_sample": True, "eta": 0.0}

    def arrived(
        self, pipeline: _sdrs.Pipeline, sigmas: npt.NDArray[np.float64], step: int, timestep: float, steps: int
    ) -> float:
        # A stride further down, whichever timestep comes next.
        table = self._table(pipeline)
        at = int(timestep) - len(table) // steps
        return float(table[at]) if at >= 0 else float(sigmas[-1])


class DDPMScheduler(_Whole):
    sampler = "DDPM"
    defaults = {**_LEADING, "clip_sample": True, "variance_type": "fixed_small"}
    only = {**_Whole.only, "variance_type": "fixed_small"}


class PNDMScheduler(_Whole):
    joins = False
    sampler = "PLMS"
    defaults = {**_LEADING, "set_alpha_to_one": False, "skip_prk_steps": False}
    only = {"skip_prk_steps": True}


class LCMScheduler(_Whole):
    sampler = "LCM"
    defaults = {**_LEADING, "set_alpha_to_one": True, "original_inference_steps": 50, "timestep_scaling": 10.0}
    only = {**_Whole.only, "original_inference_steps": 50, "timestep_scaling": 10.0}


class TCDScheduler(LCMScheduler):
    sampler = "TCD"
    defaults = {**LCMScheduler.defaults, "eta": 0.3}


class _Exploding(Scheduler):
    exploding = True
    defaults = {**_SPACED, **_BENT}


class EulerDiscreteScheduler(_Exploding):
    sampler = "Euler"
    defaults = {**_SPACED, **_BENT, **_TO_ZERO, "interpolation_type": "linear", "timestep_type": "discrete"}
    only = {**_TO_ZERO, "interpolation_type": "linear", "timestep_type": "discrete", "sigma_min": None, "sigma_max": None}


class EulerAncestralDiscreteScheduler(_Exploding):
    sampler = "Euler a"
    defaults = _SPACED


class HeunDiscreteScheduler(_Exploding):
    sampler = "Heun"
    goes_on = "makes one step of two of diffusers'"
    only = {"clip_sample": False}


class LMSDiscreteScheduler(_Exploding):
    joins = False
    sampler = "LMS"


class _Multistep(Scheduler):
    only: ClassVar[Mapping[str, object]] = {**_FLOW, "thresholding": False, "lower_order_final": True}
    defaults: ClassVar[Mapping[str, object]] = {**_SPACED, **_BENT, "solver_order": 2}

    def options(self) -> dict[str, object]:
        return {"order": whole("solver_order", self.config["solver_order"], 1)}


class DPMSolverMultistepScheduler(_Multistep):
    defaults = {
        **_SPACED, **_BENT, **_TO_ZERO, "solver_order": 2, "algorithm_type": "dpmsolver++", "solver_type": "midpoint",
        "euler_at_final": False, "use_lu_lambdas": False,
    }  # fmt: skip
    only = {**_Multistep.only, **_TO_ZERO, "solver_order": 2, "euler_at_final": False, "use_lu_lambdas": False}

    def name(self) -> str:
        kind = (self.config["algorithm_type"], self.config["solver_type"])
        names = {
            ("dpmsolver++", "midpoint"): "DPM++ 2M",
            ("sde-dpmsolver++", "midpoint"): "DPM++ 2M SDE",
        }
        if kind not in names:
            known = ", ".join(" with ".join(pair) for pair in names)
            raise InvalidParameterError(f"algorithm_type: {' with '.join(map(str, kind))} is not there; known are {known}")
        return names[kind]

    def options(self) -> dict[str, object]:
        return {}


class UniPCMultistepScheduler(_Multistep):
    goes_on = _CORRECTS
    defaults = {**_Multistep.defaults, **_TO_ZERO, "solver_type": "bh2", "predict_x0": True, "disable_corrector": []}
    only = {**_Multistep.only, **_TO_ZERO, "solver_type": "bh2", "predict_x0": True, "disable_corrector": [], "solver_p": None}
    sampler = "UniPC bh2"


class DEISMultistepScheduler(_Multistep):
    sampler = "DEIS"
    only = {**_Multistep.only, "algorithm_type": "deis", "solver_type": "logrho"}


class SASolverScheduler(_Multistep):
    sampler = "SA-Solver"
    goes_on = _CORRECTS
    defaults = {**_SPACED, **_BENT, "predictor_order": 2, "corrector_order": 2, "algorithm_type": "data_prediction"}
    only = {
        **_Multistep.only, "predictor_order": 2, "corrector_order": 2, "algorithm_type": "data_prediction", "tau_func": None,
    }  # fmt: skip

    def options(self) -> dict[str, object]:
        return {}


SCHEDULERS: dict[str, type[Scheduler]] = {
    kind.__name__: kind
    for kind in (
        DDIMScheduler, DDPMScheduler, PNDMScheduler, LCMScheduler, TCDScheduler, EulerDiscreteScheduler,
        EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, LMSDiscreteScheduler, DPMSolverMultistepScheduler,
        UniPCMultistepScheduler, DEISMultistepScheduler, SASolverScheduler,
    )
}  # fmt: skip


def cutoff(pipeline: _sdrs.Pipeline, share: float) -> int:
    """The timestep that a share of the way from noise leads to."""
    trained = len(pipeline.train_sigmas()) // np.dtype(np.float64).itemsize
    return round(trained - share * trained)


def _first(plan: _sdrs.Plan) -> float:
    """The noise level that a plan begins at."""
    return float(np.frombuffer(plan.sigmas(), dtype=np.float64)[0])


def _read(folder: Path) -> dict[str, Any]:
    file = folder / "scheduler_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{file}: is not there") from None
    except OSError as error:
        raise FileError(f"{file}: can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(f"{file}: is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InvalidFileError(f"{file}: must be a JSON object")
    return cast("dict[str, Any]", config)


def of_folder(path: Path) -> Scheduler:
    """The scheduler that a diffusers folder names."""
    config = _read(path / "scheduler")
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in SCHEDULERS:
        raise InvalidFileError(f"{path}: its scheduler {name!r} is not there; known are {', '.join(SCHEDULERS)}")
    return SCHEDULERS[name].from_config(config)
