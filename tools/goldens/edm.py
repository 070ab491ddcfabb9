"""Runs over continuous noise levels, as Playground v2.5's, and latents with a mean and a deviation, on the tiny SD1's networks."""

import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler, EulerDiscreteScheduler

import common
import refs
import tiny_sd1

FILE = "goldens/distilled/edm.safetensors"
SEED = 42
STEPS = 10
CFG = 3.0
# Playground v2.5's.
MEAN = [-1.6574, 1.886, -1.383, 2.5155]
STD = [8.4927, 5.9022, 6.5498, 5.2299]
FACTOR = 0.5
PROMPTS = [refs.PROMPTS[0], "blurry"]


def run(scheduler, unet, contexts, noise):
    """From the largest sigma; guidance on the network's output, as diffusers' pipelines have it."""
    scheduler.set_timesteps(STEPS)
    x = noise * scheduler.sigmas[0]
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([x, x]), t)
        cond, uncond = unet(scaled, t, contexts).sample.chunk(2)
        x = scheduler.step(uncond + CFG * (cond - uncond), t, x, return_dict=False)[0]
    return x


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    unet, vae = parts["unet"], parts["vae"]
    contexts = parts["text_encoder"](refs.token_ids(PROMPTS)).last_hidden_state
    torch.manual_seed(SEED)
    noise = torch.randn(1, 4, 16, 16)
    levels = {"sigma_min": 0.002, "sigma_max": 80.0}
    continuous = EulerDiscreteScheduler(
        timestep_type="continuous", prediction_type="v_prediction", use_karras_sigmas=True, timestep_spacing="linspace", **levels,
    )
    runs = {
        "euler_karras": EDMEulerScheduler(**levels),
        "euler_exponential": EDMEulerScheduler(sigma_schedule="exponential", **levels),
        "euler_karras_v": EDMEulerScheduler(prediction_type="v_prediction", **levels),
        "dpmpp_2m_karras": EDMDPMSolverMultistepScheduler(lower_order_final=False, **levels),
        "continuous_v": continuous,
    }
    tensors = {name: run(scheduler, unet, contexts, noise) for name, scheduler in runs.items()}
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (MEAN, STD))
    latents = torch.randn(1, 4, 3, 4)
    picture = torch.rand(1, 3, 16, 24) * 2 - 1
    moments = vae.encode(picture).latent_dist
    tensors |= {
        "latents": latents,
        "decoded": vae.decode(latents * std / FACTOR + mean).sample,
        "picture": picture,
        "mean": (moments.mean - mean) * FACTOR / std,
        "std": moments.std * FACTOR / std,
    }
    out.tensors(
        FILE, tensors, seed=SEED, steps=STEPS, cfg_scale=CFG, prompts=PROMPTS, tolerance={"f32": 1e-4},
        note="latents of diffusers' EDMEulerScheduler, EDMDPMSolverMultistepScheduler and EulerDiscreteScheduler (continuous, v) from the noise of "
        "torch.manual_seed(42) times sigma_max; decoded, mean, std: AutoencoderKL around Playground v2.5's latents_mean, latents_std and scaling_factor",
    )
