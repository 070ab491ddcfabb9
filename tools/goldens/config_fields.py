"""Every field that today's classes write into their configurations, with its default."""

import inspect
import json

import diffusers
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from transformers import CLIPTextConfig

# What Stable Diffusion's pipelines take.
SCHEDULERS = [kind.name for kind in KarrasDiffusionSchedulers]
SCHEDULERS += ["DDIMParallelScheduler", "DDPMParallelScheduler", "LCMScheduler", "SASolverScheduler", "TCDScheduler"]


def written(cls):
    """As `save_config` writes it."""
    text = cls().to_json_string() if hasattr(cls, "set_timesteps") else None
    if text is not None:
        return text
    parameters = list(inspect.signature(cls.__init__).parameters.items())[1:]
    return json.dumps({name: parameter.default for name, parameter in parameters})


def make(out):
    fields = {
        "unet": {"UNet2DConditionModel": written(UNet2DConditionModel)},
        "vae": {"AutoencoderKL": written(AutoencoderKL)},
        "text_encoder": {"CLIPTextConfig": CLIPTextConfig().to_json_string(use_diff=False)},
        "scheduler": {name: written(getattr(diffusers, name)) for name in SCHEDULERS},
    }
    out.json(
        "goldens/config_fields.json", fields,
        note="by reader and class: a configuration of every field at its default, as text, since Python's JSON has numbers that JSON lacks",
    )
