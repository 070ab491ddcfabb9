"""diffusers' StableDiffusionImg2ImgPipeline with its schedulers: what the Python package's bridge is compared with."""

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

import common
from diffusers_pipeline import LINSPACE, contexts, seeded, tiny
from from_pictures import picture

FOLDER = "goldens/diffusers"
CALL = {"num_inference_steps": 10, "strength": 0.65, "guidance_scale": 5.0, "generator": 3}

# Name, scheduler, what from_config is given besides, arguments of the call.
CASES = [
    ("ddim", "DDIMScheduler", {}, {}),
    ("ddim-eta", "DDIMScheduler", {}, {"eta": 0.6, "strength": 0.4}),
    ("euler", "EulerDiscreteScheduler", LINSPACE, {}),
    ("euler-karras", "EulerDiscreteScheduler", {"use_karras_sigmas": True}, {"strength": 1.0}),
    ("euler-a", "EulerAncestralDiscreteScheduler", {}, {}),
    ("dpm-2m-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {}),
    ("dpm-2m-sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
    ("unipc", "UniPCMultistepScheduler", {}, {}),
    ("heun", "HeunDiscreteScheduler", LINSPACE, {}),
    ("batch", "DDIMScheduler", {}, {"num_images_per_prompt": 2}),
    ("generators", "DDIMScheduler", {}, {"num_images_per_prompt": 2, "generator": [5, 9]}),
]


def make(out):
    parts = tiny().to(torch.float32)
    pipe = StableDiffusionImg2ImgPipeline(**parts.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    cond, uncond = contexts(pipe)
    # 60 and 43 are no multiples of 8: diffusers brings them to 56 and 40.
    image = picture(60, 43)
    cases, tensors = [], {"cond": cond, "uncond": uncond, "image": torch.from_numpy(np.asarray(image).copy())}
    base = diffusers.PNDMScheduler.load_config(common.ROOT / "models/demo/base/scheduler")
    for name, scheduler, config, arguments in CASES:
        pipe.scheduler = getattr(diffusers, scheduler).from_config(base, **config)
        arguments = CALL | arguments
        tensors[name] = pipe(
            **arguments | {"generator": seeded(arguments["generator"])}, image=image, prompt_embeds=cond,
            negative_prompt_embeds=uncond, output_type="latent",
        ).images
        cases.append({"name": name, "scheduler": scheduler, "config": config, "call": arguments})
    out.json(f"{FOLDER}/img2img.json", cases, note="each call's arguments; generator: seeds of CPU generators")
    out.tensors(
        f"{FOLDER}/img2img.safetensors", tensors, tolerance={"f32": 1e-4},
        note="latents of diffusers' StableDiffusionImg2ImgPipeline on tiny-sd1 with cond and uncond as prompt_embeds",
    )
