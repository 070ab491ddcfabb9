"""For programs that were written for diffusers: its pipelines for Stable Diffusion and SDXL, with their arguments and their rules.

    from sdrs.diffusers import DDIMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    image = pipe("a lighthouse at dawn", num_inference_steps=30, generator=1).images[0]

Noise, timesteps, rounding and clip skip are those of diffusers. Prompts are plain text, and end where the text encoder has no more room.
Arrays are NumPy's; where torch is there, its generators and tensors may be given.
"""

from __future__ import annotations

from ._diffusers_img2img import StableDiffusionImg2ImgPipeline
from ._diffusers_inpaint import StableDiffusionInpaintPipeline
from ._diffusers_pix2pix import StableDiffusionInstructPix2PixPipeline
from ._diffusers_sd import StableDiffusionPipeline, StableDiffusionPipelineOutput
from ._diffusers_sdxl import StableDiffusionXLPipeline, StableDiffusionXLPipelineOutput
from ._diffusers_sdxl_img2img import StableDiffusionXLImg2ImgPipeline
from ._diffusers_sdxl_inpaint import StableDiffusionXLInpaintPipeline
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
)

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
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionPipelineOutput",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLPipelineOutput",
    "TCDScheduler",
    "UniPCMultistepScheduler",
]
