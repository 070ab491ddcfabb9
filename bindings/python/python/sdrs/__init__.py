"""Stable Diffusion pictures from prompts, without PyTorch.

    import sdrs

    pipe = sdrs.demo()  # or sdrs.Pipeline("v1-5.safetensors")
    result = pipe.txt2img("a red circle above a blue square", seed=1)
    result.images[0].save("out.png")
"""

from __future__ import annotations

import json as _json
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import _sdrs, errors, infotext, noise, prompt, sched
from ._arguments import StrPath as _StrPath
from ._arguments import path as _path
from ._files import Lora
from ._interrogator import AestheticPredictor, Interrogation, Interrogator, RankedPhrase
from ._memory import MemoryPlan
from ._parts import EncodedImages, Latents, Scalings, Sizes
from ._pipeline import Pipeline
from ._progress import Event
from ._result import Result
from ._sdrs import CancelToken, __version__, available_devices, samplers, schedules
from ._settings import Settings
from ._signature import shows_settings as _shows_settings
from ._stream import Stream
from ._upscaler import Upscaler
from .errors import (
    CancelledError,
    FileError,
    ForkedError,
    InternalError,
    InvalidFileError,
    InvalidParameterError,
    InvalidWeightsError,
    MissingFileError,
    NotFiniteError,
    OutOfMemoryError,
    PicklingError,
    SdrsError,
    UnknownNameError,
)

if _TYPE_CHECKING:
    from typing_extensions import Unpack as _Unpack

__all__ = [
    "AestheticPredictor",
    "CancelToken",
    "CancelledError",
    "EncodedImages",
    "Event",
    "FileError",
    "ForkedError",
    "InternalError",
    "Interrogation",
    "Interrogator",
    "InvalidFileError",
    "InvalidParameterError",
    "InvalidWeightsError",
    "Latents",
    "Lora",
    "MemoryPlan",
    "MissingFileError",
    "NotFiniteError",
    "OutOfMemoryError",
    "PicklingError",
    "Pipeline",
    "RankedPhrase",
    "Result",
    "Scalings",
    "SdrsError",
    "Settings",
    "Sizes",
    "Stream",
    "UnknownNameError",
    "Upscaler",
    "__version__",
    "available_devices",
    "demo",
    "devices",
    "errors",
    "infotext",
    "inspect",
    "noise",
    "plan",
    "prompt",
    "samplers",
    "sched",
    "schedules",
]

demo = Pipeline.demo


def devices() -> list[dict[str, _Any]]:
    """The devices of this machine that this build can compute on, the CPU last: `name` (as `Pipeline` takes it), `title`, `class`, `memory`
    and `free_memory` in bytes (None where nobody tells), `dtypes`, `default_dtype`, and `is_default`, which is True for the one that
    "auto" takes. Each GPU is opened, which takes up to a second.
    """
    devices: list[dict[str, _Any]] = _json.loads(_sdrs.devices())
    return devices


def inspect(path: _StrPath) -> dict[str, _Any]:
    """The inspection of a file or diffusers folder (kind, family, parts, types, prediction type), reading nothing but headers.

    Raises `MissingFileError`, `FileError`, `InvalidFileError`.
    """
    inspection: dict[str, _Any] = _json.loads(_sdrs.inspect(_path("path", path)))
    return inspection


@_shows_settings
def plan(prompt: str, **settings: _Unpack[Settings]) -> dict[str, _Any]:
    """The plan of the prompts, as `Pipeline.plan` gives it, with CLIP's own tokenizer and no checkpoint."""
    plan: dict[str, _Any] = _json.loads(_sdrs.plan_prompts({"prompt": prompt, **settings}))
    return plan
