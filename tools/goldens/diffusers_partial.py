"""diffusers' pipelines over a part of the steps, from latents, or over a part of a picture: StableDiffusionImg2ImgPipeline,
StableDiffusionInpaintPipeline, StableDiffusionXLImg2ImgPipeline, also for a refiner, and StableDiffusionXLInpaintPipeline. What the Python
package's bridge is compared with."""

import diffusers
import numpy as np
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

import common
import diffusers_sdxl
import tiny_refiner
import tiny_sdxl
from diffusers_masked import drawn_in_f32
from diffusers_pipeline import contexts, seeded, tiny
from from_pictures import mask_of, picture, widened

FOLDER = "goldens/diffusers"
SD = {"num_inference_steps": 8, "guidance_scale": 5.0, "generator": 3}
XL = SD | {"prompt": diffusers_sdxl.PROMPT}
SIDES = {"height": 48, "width": 64}
KARRAS = {"use_karras_sigmas": True}
CROP = {"padding_mask_crop": 4, "strength": 0.8, "output_type": "pil"}

# Large enough for the autoencoder to take it in several parts here; the other picture is resized to it.
LARGE = (264, 200)

# Pipeline, name, scheduler, what from_config is given besides, arguments of the call, and those that are arrays by their names.
CASES = [
    ("img2img", "distilled", "LCMScheduler", {}, {"strength": 0.5, "guidance_scale": 1.5}, {}),
    ("img2img", "latents", "DDIMScheduler", {}, {"strength": 0.6}, {"image": "other"}),
    ("img2img", "large", "DDIMScheduler", {}, {"strength": 0.3}, {"image": LARGE}),
    ("inpaint", "noise-ddim", "DDIMScheduler", {}, SIDES | {"strength": 0.6}, {"latents": "noise"}),
    ("inpaint", "noise-euler", "EulerDiscreteScheduler", {}, SIDES | {"strength": 0.6}, {"latents": "noise"}),
    ("inpaint", "noise-linspace", "EulerDiscreteScheduler", {"timestep_spacing": "linspace"}, SIDES | {"strength": 0.6}, {"latents": "noise"}),
    ("inpaint", "crop", "DDIMScheduler", {}, SIDES | CROP, {}),
    ("inpaint", "crop-tall", "DDIMScheduler", {}, CROP | {"height": 64, "width": 40, "padding_mask_crop": 30}, {}),
    ("inpaint-9", "crop-seen", "EulerDiscreteScheduler", {}, SIDES | CROP | {"strength": 1.0, "padding_mask_crop": 0}, {}),
    ("xl-img2img", "start-euler", "EulerDiscreteScheduler", {}, {"denoising_start": 0.6}, {"image": "half-euler"}),
    ("xl-img2img", "start-ddim", "DDIMScheduler", {}, {"denoising_start": 0.6, "negative_prompt": "grey"}, {"image": "half-ddim"}),
    ("xl-img2img", "start-dpm", "DPMSolverMultistepScheduler", KARRAS, {"denoising_start": 0.5}, {"image": "half-ddim"}),
    ("xl-img2img", "start-heun", "HeunDiscreteScheduler", {}, {"denoising_start": 0.6}, {"image": "half-euler"}),
    ("xl-img2img", "start-unipc", "UniPCMultistepScheduler", {}, {"denoising_start": 0.6}, {"image": "half-ddim"}),
    ("xl-img2img", "start-picture", "EulerDiscreteScheduler", {}, {"denoising_start": 0.5}, {}),
    ("xl-img2img", "start-end", "EulerDiscreteScheduler", {}, {"denoising_start": 0.3, "denoising_end": 0.7}, {"image": "half-euler"}),
    ("xl-img2img", "end", "DDIMScheduler", {}, {"denoising_end": 0.7, "strength": 0.8, "negative_prompt": "grey"}, {}),
    ("xl-img2img", "as-they-are", "EulerDiscreteScheduler", {}, {"strength": 0.5}, {"latents": "half-euler"}),
    ("refiner", "refined", "EulerDiscreteScheduler", {}, {"denoising_start": 0.6, "negative_prompt": "grey"}, {"image": "half-euler"}),
    (
        "refiner", "refined-scores", "DDIMScheduler", {},
        {
            "strength": 0.6, "negative_prompt": "grey", "aesthetic_score": 7.5, "negative_aesthetic_score": 1.0,
            "crops_coords_top_left": [8, 16], "negative_crops_coords_top_left": [1, 2], "negative_original_size": [100, 200],
        },
        {},
    ),
    ("xl-inpaint", "xl-kept", "EulerDiscreteScheduler", {}, SIDES, {}),
    ("xl-inpaint", "xl-kept-noise", "EulerAncestralDiscreteScheduler", {}, SIDES | {"strength": 1.0, "negative_prompt": "grey"}, {}),
    ("xl-inpaint", "xl-kept-ends", "DDIMScheduler", {}, SIDES | {"denoising_start": 0.2, "denoising_end": 0.7}, {}),
    ("xl-inpaint", "xl-kept-latents", "EulerDiscreteScheduler", {}, SIDES | {"denoising_start": 0.6}, {"image": "half-euler"}),
    ("xl-inpaint", "xl-kept-batch", "DDIMScheduler", {}, SIDES | {"num_images_per_prompt": 2, "strength": 0.7}, {}),
    ("xl-inpaint", "xl-crop", "EulerDiscreteScheduler", {}, SIDES | CROP | {"negative_prompt": "grey"}, {}),
    ("xl-inpaint-9", "xl-seen", "EulerDiscreteScheduler", {}, SIDES | {"crops_coords_top_left": [4, 8], "negative_target_size": [64, 96]}, {}),
    ("xl-inpaint-9", "xl-seen-noise", "UniPCMultistepScheduler", {}, SIDES | {"strength": 1.0}, {}),
    ("xl-inpaint-9", "xl-seen-start", "DDIMScheduler", {}, SIDES | {"denoising_start": 0.4}, {}),
]


def pipelines():
    parts = tiny().to(torch.float32).components
    base = diffusers_sdxl.pipeline().components

    def with_channels(kind, parts, channels, **settings):
        unet = parts["unet"] if channels == 4 else widened(parts["unet"], channels)
        unet.register_to_config(in_channels=channels)
        return kind(**parts | {"unet": unet}, **settings)

    sd, xl = {"requires_safety_checker": False}, {"add_watermarker": False}
    refiner = base | {"text_encoder": None, "tokenizer": None, "unet": tiny_refiner.load(common.ROOT)}
    made = {
        "img2img": StableDiffusionImg2ImgPipeline(**parts, **sd),
        "inpaint": with_channels(StableDiffusionInpaintPipeline, parts, 4, **sd),
        "inpaint-9": with_channels(StableDiffusionInpaintPipeline, parts, 9, **sd),
        "xl-img2img": StableDiffusionXLImg2ImgPipeline(**base, **xl),
        "refiner": StableDiffusionXLImg2ImgPipeline(**refiner, **xl, requires_aesthetics_score=True, force_zeros_for_empty_prompt=False),
        "xl-inpaint": with_channels(StableDiffusionXLInpaintPipeline, base, 4, **xl),
        "xl-inpaint-9": with_channels(StableDiffusionXLInpaintPipeline, base, 9, **xl),
    }
    return made, contexts(StableDiffusionPipeline(**parts, **sd))


def half(scheduler):
    """Latents that a base model leaves to another, with their noise."""
    pipe = diffusers_sdxl.pipeline().to(torch.float64)
    pipe.scheduler = getattr(diffusers, scheduler).from_config(settings())
    with drawn_in_f32():
        return pipe(**XL | SIDES | {"generator": seeded(3)}, denoising_end=0.6, output_type="latent").images.float()


def settings():
    return {key: value for key, value in tiny_sdxl.SCHEDULER.items() if key not in ["interpolation_type"]}


def make(out):
    made, (cond, uncond) = pipelines()
    image, mask = picture(90, 70), mask_of(90, 70)
    generator = torch.Generator("cpu").manual_seed(5)
    arrays = {name: torch.from_numpy(np.asarray(each).copy()) for name, each in [("image", image), ("mask", mask)]}
    arrays |= {"half-euler": half("EulerDiscreteScheduler"), "half-ddim": half("DDIMScheduler")}
    arrays |= {name: torch.randn(1, 4, 6, 8, generator=generator) for name in ["other", "noise"]}
    tensors, cases = {"cond": cond, "uncond": uncond} | arrays, []
    base = diffusers.PNDMScheduler.load_config(common.ROOT / "models/demo/base/scheduler")
    for kind, name, scheduler, config, arguments, named in CASES:
        large = kind.startswith("xl") or kind == "refiner"
        # As for diffusers_masked.py: in f32 diffusers itself is too far from f64 there.
        dtype = torch.float64 if large else torch.float32
        pipe = made[kind].to(dtype)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = getattr(diffusers, scheduler).from_config(settings() if large else base, **config)
        call = {"output_type": "latent"} | (XL if large else SD) | arguments
        given = {"image": image} | ({"mask_image": mask} if "inpaint" in kind else {})
        given |= {} if large else {"prompt_embeds": cond, "negative_prompt_embeds": uncond}
        for argument, array in named.items():
            given[argument] = image.resize(LARGE, Image.Resampling.LANCZOS) if array == LARGE else arrays[array].to(dtype)
        # JSON has no tuples, diffusers wants them.
        sizes = {key: tuple(value) for key, value in call.items() if key.endswith(("_size", "_left"))}
        with drawn_in_f32():
            images = pipe(**call | sizes | {"generator": seeded(call["generator"])}, **given).images
        tensors[name] = images.float() if call["output_type"] == "latent" else torch.from_numpy(np.asarray(images[0]).copy())
        cases.append({"name": name, "pipeline": kind, "scheduler": scheduler, "config": config, "call": call, "arrays": named})
    out.json(
        f"{FOLDER}/partial.json", cases,
        note="each call's arguments, and those that are arrays by their names, or the size that the picture is resized to; generator: seeds; -9: with an inpainting model's channels",
    )
    out.tensors(
        f"{FOLDER}/partial.safetensors", tensors, tolerance={"f32": 1e-4},
        note="latents of diffusers' pipelines, or bytes of pictures, on tiny-sd1 with cond and uncond as prompt_embeds, and in f64 on "
        "tiny-sdxl and tiny-refiner, U-Nets widened as in from_pictures.py. half-*: what StableDiffusionXLPipeline leaves at denoising_end 0.6",
    )
