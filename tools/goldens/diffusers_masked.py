"""diffusers' StableDiffusionInpaintPipeline, StableDiffusionInstructPix2PixPipeline and StableDiffusionXLImg2ImgPipeline: what the Python
package's bridge is compared with."""

import contextlib

import diffusers
import numpy as np
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
)

import common
import diffusers_sdxl
import tiny_sdxl
from diffusers_pipeline import LINSPACE, contexts, seeded, tiny
from from_pictures import mask_of, picture, widened

FOLDER = "goldens/diffusers"
CALL = {"num_inference_steps": 8, "guidance_scale": 5.0, "generator": 3}

# Channels of the U-Net, name, scheduler, what from_config is given besides, arguments of the call.
INPAINT = [
    (4, "kept-ddim", "DDIMScheduler", {}, {"strength": 0.7}),
    (4, "kept-ddim-eta", "DDIMScheduler", {}, {"eta": 0.6}),
    (4, "kept-euler", "EulerDiscreteScheduler", LINSPACE, {}),
    (4, "kept-euler-a", "EulerAncestralDiscreteScheduler", {}, {"strength": 0.6}),
    (4, "kept-dpm-2m-karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, {"strength": 0.75}),
    (4, "kept-dpm-2m-sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
    (4, "kept-ddpm", "DDPMScheduler", {}, {}),
    (4, "kept-lcm", "LCMScheduler", {}, {"guidance_scale": 1.5}),
    (4, "kept-batch", "DDIMScheduler", {}, {"num_images_per_prompt": 2, "strength": 0.5}),
    (9, "seen-ddim", "DDIMScheduler", {}, {}),
    (9, "seen-pndm", "PNDMScheduler", {}, {}),
    (9, "seen-unipc", "UniPCMultistepScheduler", {}, {"strength": 0.6}),
    (9, "seen-euler-a", "EulerAncestralDiscreteScheduler", {}, {"guidance_scale": 1.0}),
    (9, "seen-batch", "EulerDiscreteScheduler", LINSPACE, {"num_images_per_prompt": 2}),
]
EDIT = [
    ("edit-ddim", "DDIMScheduler", {}, {}),
    ("edit-euler-a", "EulerAncestralDiscreteScheduler", {}, {"image_guidance_scale": 1.2, "guidance_scale": 7.0}),
    ("edit-no-guidance", "DDIMScheduler", {}, {"image_guidance_scale": 0.9}),
    ("edit-batch", "EulerDiscreteScheduler", LINSPACE, {"num_images_per_prompt": 2}),
]
XL_CALL = {"prompt": diffusers_sdxl.PROMPT, "num_inference_steps": 8, "guidance_scale": 5.0, "generator": 3, "strength": 0.6}
XL = [
    ("xl-euler", "EulerDiscreteScheduler", {}, {}),
    ("xl-ddim", "DDIMScheduler", {}, {"strength": 0.3, "negative_prompt": "grey"}),
    (
        "xl-sizes", "EulerDiscreteScheduler", {},
        {"original_size": [300, 400], "crops_coords_top_left": [8, 16], "negative_original_size": [100, 200], "negative_prompt": ""},
    ),
    ("xl-batch", "EulerAncestralDiscreteScheduler", {}, {"num_images_per_prompt": 2, "generator": [5, 9], "strength": 1.0}),
]


@contextlib.contextmanager
def drawn_in_f32():
    """Noise as a pipeline in f32 draws it, for one in f64."""
    draw = torch.randn
    torch.randn = lambda *args, dtype=None, **kwargs: draw(*args, dtype=torch.float32, **kwargs).to(dtype)
    yield
    torch.randn = draw


def make(out):
    parts = tiny().to(torch.float32).components
    base = diffusers.PNDMScheduler.load_config(common.ROOT / "models/demo/base/scheduler")
    cond, uncond = contexts(StableDiffusionPipeline(**parts, requires_safety_checker=False))
    # Of another size than what is drawn, and than each other.
    image, mask = picture(60, 43), mask_of(80, 90)
    arrays = {name: torch.from_numpy(np.asarray(each).copy()) for name, each in [("image", image), ("mask", mask)]}
    tensors, cases = {"cond": cond, "uncond": uncond} | arrays, []

    def run(pipe, channels, name, scheduler, config, call, settings=base, **given):
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = getattr(diffusers, scheduler).from_config(settings, **config)
        # JSON has no tuples, diffusers wants them.
        sizes = {key: tuple(value) for key, value in call.items() if key.endswith(("_size", "_left"))}
        latents = pipe(**call | sizes | {"generator": seeded(call["generator"])}, output_type="latent", **given).images
        tensors[name] = latents.float()
        cases.append({"name": name, "channels": channels, "scheduler": scheduler, "config": config, "call": call})

    embeds = {"prompt_embeds": cond, "negative_prompt_embeds": uncond}
    for channels, name, scheduler, config, arguments in INPAINT:
        unet = parts["unet"] if channels == 4 else widened(parts["unet"], channels)
        unet.register_to_config(in_channels=channels)
        pipe = StableDiffusionInpaintPipeline(**parts | {"unet": unet}, requires_safety_checker=False)
        call = CALL | {"height": 48, "width": 64} | arguments
        run(pipe, channels, name, scheduler, config, call, image=image, mask_image=mask, **embeds)
    unet = widened(parts["unet"], 8)
    unet.register_to_config(in_channels=8)
    edit = StableDiffusionInstructPix2PixPipeline(**parts | {"unet": unet}, requires_safety_checker=False)
    for name, scheduler, config, arguments in EDIT:
        run(edit, 8, name, scheduler, config, CALL | arguments, image=image, **embeds)
    # In f32 diffusers itself is up to 6e-4 away from f64 here, where the negative prompt is zeros: a random network is badly conditioned there.
    xl = StableDiffusionXLImg2ImgPipeline(**diffusers_sdxl.pipeline().components, add_watermarker=False).to(torch.float64)
    settings = {key: value for key, value in tiny_sdxl.SCHEDULER.items() if key not in ["interpolation_type"]}
    with drawn_in_f32():
        for name, scheduler, config, arguments in XL:
            run(xl, 0, name, scheduler, config, XL_CALL | arguments, settings=settings, image=image)
    out.json(
        f"{FOLDER}/masked.json", cases, note="each call's arguments; channels: those of the U-Net, 0 for the tiny SDXL; generator: seeds"
    )
    out.tensors(
        f"{FOLDER}/masked.safetensors", tensors, tolerance={"f32": 1e-4},
        note="latents of diffusers' pipelines on tiny-sd1 with cond and uncond as prompt_embeds, its U-Net widened as in from_pictures.py, and "
        "on tiny-sdxl in f64",
    )
