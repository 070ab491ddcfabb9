"""Whole runs of the tiny SD1: latents after 10 steps of each sampler."""

import torch
from diffusers import DDIMScheduler

import common
import k_diff
import refs
import tiny_sd1

SEED = 42
STEPS = 10
CFG = 7.0
FOLDER = "goldens/tiny-sd1/refs"
PROMPT = "a red circle above a blue square"
NEGATIVE = "blurry, low quality"
SHAPE = (1, 4, 16, 16)


def start():
    """The global generator, as k-diffusion draws from it: what an ancestral sampler draws goes on from the first draw."""
    torch.manual_seed(SEED)
    return torch.randn(SHAPE)


def k_run(unet, contexts, sampler, schedule, prediction):
    model = k_diff.denoiser(unet, prediction)
    sigmas = k_diff.schedule(model, schedule, STEPS)
    noise = start()
    latents, denoised = k_diff.run(
        getattr(k_diff.sampling, f"sample_{sampler}"), k_diff.Guided(model, *contexts, CFG), noise, sigmas
    )
    return {"sigmas": sigmas, "latents": latents, "denoised0": denoised}


def guided_eps(unet, contexts, x, t):
    cond, uncond = contexts
    t = torch.full((2,), float(t))
    eps_uncond, eps_cond = unet(torch.cat([x, x]), t, torch.cat([uncond, cond])).sample.chunk(2)
    return eps_uncond + CFG * (eps_cond - eps_uncond)


def ddim_diffusers(unet, contexts):
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, timestep_spacing="leading",
    )
    scheduler.set_timesteps(STEPS)
    latents = [start()]
    for t in scheduler.timesteps:
        eps = guided_eps(unet, contexts, latents[-1], t)
        latents.append(scheduler.step(eps, t, latents[-1], eta=0.0).prev_sample)
    return {"timesteps": scheduler.timesteps, "latents": torch.cat(latents)}


def ddim_webui(unet, contexts):
    """The WebUI's timesteps and its one call fewer; the step itself is the DDIM paper's equation 12 with eta 0."""
    cumprod = k_diff.ldm_alphas_cumprod().double()
    timesteps = torch.clip(torch.arange(0, 1000, 1000 // STEPS) + 1, 0, 999)
    latents = [start()]
    for i in range(len(timesteps) - 1, 0, -1):
        x = latents[-1]
        now, then = cumprod[timesteps[i]], cumprod[timesteps[i - 1]]
        eps = guided_eps(unet, contexts, x, timesteps[i])
        x0 = (x - (1 - now).sqrt().float() * eps) / now.sqrt().float()
        latents.append(then.sqrt().float() * x0 + (1 - then).sqrt().float() * eps)
    return {"timesteps": timesteps.flip(0)[:-1], "latents": torch.cat(latents)}


def make(out):
    parts = tiny_sd1.load(common.ROOT)
    unet = parts["unet"]
    ids = refs.token_ids([PROMPT, NEGATIVE])
    cond, uncond = parts["text_encoder"](ids).last_hidden_state.split(1)

    runs = {}
    for sampler in ["euler", "euler_ancestral", "dpmpp_2m"]:
        for schedule in ["uniform", "karras"]:
            runs[f"{sampler}.{schedule}"] = k_run(unet, (cond, uncond), sampler, schedule, "eps")
    runs["euler.uniform.v"] = k_run(unet, (cond, uncond), "euler", "uniform", "v")
    runs["euler.karras.v"] = k_run(unet, (cond, uncond), "euler", "karras", "v")
    runs["ddim.diffusers"] = ddim_diffusers(unet, (cond, uncond))
    runs["ddim.webui"] = ddim_webui(unet, (cond, uncond))

    noise = start()
    # What Euler a adds: one draw per step but the last, whose sigma is 0.
    ancestral = torch.cat([torch.randn(SHAPE) for _ in range(STEPS - 1)])
    tensors = {"input_ids": ids, "cond": cond, "uncond": uncond, "noise": noise, "ancestral_noise": ancestral}
    for name, run in runs.items():
        tensors |= {f"{name}.{key}": t for key, t in run.items()}
    out.tensors(
        f"{FOLDER}/samplers.safetensors",
        tensors,
        seed=SEED,
        steps=STEPS,
        cfg_scale=CFG,
        prompts={"cond": PROMPT, "uncond": NEGATIVE},
        tolerance={"f32": 1e-4},
        note="per run: latents [calls+1, 4, 16, 16], x before every step and after the last (row 0 is noise * sigmas[0], "
        "for ddim the noise itself); sigmas or timesteps; denoised0, the guided x0 of the first call. k-diffusion's "
        "samplers over CompVisDenoiser (or CompVisVDenoiser: .v), quantize=False, LDM's alphas_cumprod; ddim.diffusers: "
        "DDIMScheduler, leading, steps_offset 1, alpha after the last step that of timestep 0; ddim.webui: the WebUI's "
        "timesteps and call count, formula written in samplers.py",
    )
