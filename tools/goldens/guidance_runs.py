"""Whole runs of the tiny SD1 with guidance that needs calls of its own, by diffusers' pipelines."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPAGPipeline, StableDiffusionPipeline, StableDiffusionSAGPipeline

import common
import refs
import samplers
import tiny_sd1

STEPS = 5
FOLDER = "goldens/tiny-sd1/refs"


def scheduler(prediction):
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, timestep_spacing="leading", prediction_type=prediction,
    )


def run(kind, parts, contexts, prediction="epsilon", scale=samplers.CFG, **settings):
    pipe = kind(
        vae=parts["vae"], text_encoder=parts["text_encoder"], tokenizer=None, unet=parts["unet"],
        scheduler=scheduler(prediction), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    cond, uncond = contexts
    return pipe(
        prompt_embeds=cond, negative_prompt_embeds=uncond, latents=samplers.start(), num_inference_steps=STEPS,
        guidance_scale=scale, height=128, width=128, output_type="latent", **settings,
    ).images


def make(out):
    contexts = None
    runs = {
        "rescaled": (StableDiffusionPipeline, {"guidance_rescale": 0.7}),
        "pag": (StableDiffusionPAGPipeline, {"pag_scale": 3.0}),
        "pag.rescaled": (StableDiffusionPAGPipeline, {"pag_scale": 3.0, "guidance_rescale": 0.7}),
        "pag.unguided": (StableDiffusionPAGPipeline, {"pag_scale": 3.0, "scale": 1.0}),
        "sag": (StableDiffusionSAGPipeline, {"sag_scale": 0.75}),
        "sag.v": (StableDiffusionSAGPipeline, {"sag_scale": 0.75, "prediction": "v_prediction"}),
        "sag.unguided": (StableDiffusionSAGPipeline, {"sag_scale": 0.75, "scale": 1.0}),
    }
    tensors = {}
    for name, (kind, settings) in runs.items():
        # Pipelines leave their processors in a network.
        parts = tiny_sd1.load(common.ROOT)
        if contexts is None:
            ids = refs.token_ids([samplers.PROMPT, samplers.NEGATIVE])
            contexts = parts["text_encoder"](ids).last_hidden_state.split(1)
        tensors[name] = run(kind, parts, contexts, **settings)
    out.tensors(
        f"{FOLDER}/guidance_runs.safetensors",
        tensors,
        seed=samplers.SEED,
        steps=STEPS,
        cfg_scale=samplers.CFG,
        tolerance={"f32": 1e-4},
        note="the last latents from samplers.safetensors' noise and contexts, DDIM as its ddim.diffusers. rescaled: guidance_rescale 0.7; "
        "pag: pag_scale 3 in the middle; sag: sag_scale 0.75; .unguided: at scale 1. diffusers' StableDiffusionPipeline, "
        "StableDiffusionPAGPipeline, StableDiffusionSAGPipeline",
    )
