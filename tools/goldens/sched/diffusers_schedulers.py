"""diffusers' schedulers on the analytic denoiser: latents, sigmas and timesteps."""

import importlib

import torch

from common import START, Noise, denoise, rounded, write

import diffusers

noise = None
for name in ["ddim", "ddpm", "lcm", "tcd", "sasolver", "dpmsolver_multistep", "euler_ancestral_discrete", "euler_discrete"]:
    module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda shape, **kwargs: noise().reshape(shape)

# At sigma 0 bh1 is NaN in diffusers (minus infinity times 0), so it ends at the smallest sigma.
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
CLIP = dict(clip_sample=False)
CASES = [
    ("DDIM", diffusers.DDIMScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.0}),
    ("DDIM", diffusers.DDIMScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.6}),
    ("DDIM", diffusers.DDIMScheduler, dict(CLIP, set_alpha_to_one=True), {"eta": 0.0}),
    ("DDPM", diffusers.DDPMScheduler, dict(CLIP), {}),
    ("PLMS", diffusers.PNDMScheduler, dict(skip_prk_steps=True, set_alpha_to_one=False), {}),
    ("UniPC bh2", diffusers.UniPCMultistepScheduler, dict(solver_order=2, solver_type="bh2"), {}),
    ("UniPC bh2", diffusers.UniPCMultistepScheduler, dict(solver_order=3, solver_type="bh2"), {}),
    ("UniPC", diffusers.UniPCMultistepScheduler, dict(solver_order=2, solver_type="bh1", final_sigmas_type="sigma_min"), {}),
    ("UniPC", diffusers.UniPCMultistepScheduler, dict(solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min"), {}),
    ("DEIS", diffusers.DEISMultistepScheduler, dict(solver_order=2), {}),
    ("DEIS", diffusers.DEISMultistepScheduler, dict(solver_order=3), {}),
    ("SA-Solver", diffusers.SASolverScheduler, dict(), {}),
    ("DPM++ 2M", diffusers.DPMSolverMultistepScheduler, dict(solver_order=2), {}),
    ("DPM++ 2M SDE", diffusers.DPMSolverMultistepScheduler, dict(solver_order=2, algorithm_type="sde-dpmsolver++"), {}),
    ("Euler", diffusers.EulerDiscreteScheduler, dict(), {}),
    ("Euler a", diffusers.EulerAncestralDiscreteScheduler, dict(), {}),
    ("LCM", diffusers.LCMScheduler, dict(CLIP), {}),
    ("TCD", diffusers.TCDScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.3}),
    ("TCD", diffusers.TCDScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.0}),
]


def run(name, cls, config, step_options, spacing, n):
    """A run of `n` steps, and what the tests need to repeat it."""
    global noise
    extra = dict(timestep_spacing=spacing)
    if spacing == "leading" and name not in ("LCM", "TCD"):
        extra["steps_offset"] = 1
    # Options that a scheduler doesn't know are left aside.
    scheduler = cls.from_config({**SD, **config, **extra})
    scheduler.set_timesteps(n)
    if name in ("DEIS", "SA-Solver"):
        # In float32 the terms of their coefficients cancel to 2e-5; in float64 they don't.
        scheduler.sigmas = scheduler.sigmas.double()
    noise, calls = Noise(), 0
    x = START.clone()[None] * float(scheduler.init_noise_sigma)
    exploding = name.startswith("Euler") or name in ("Heun", "LMS")
    own_sigmas = hasattr(scheduler, "sigmas") and name not in ("DDIM", "DDPM", "PLMS", "LCM", "TCD")
    for i, t in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[i]) if own_sigmas else None
        if sigma is None:
            # Where nothing is left of the signal, the denoiser's limit is that of a huge sigma.
            a = max(float(scheduler.alphas_cumprod[int(t)]), 2.0**-64)
            sigma = ((1 - a) / a) ** 0.5
        scheduler.scale_model_input(x, t)
        ve = x if exploding else x * (1 + sigma**2) ** 0.5
        x0 = denoise(ve, sigma)
        eps = (ve - x0) / sigma
        v = (eps - sigma * x0) / (1 + sigma**2) ** 0.5
        calls += 1
        predicted = {"epsilon": eps, "v_prediction": v}[config.get("prediction_type", "epsilon")]
        x = scheduler.step(predicted, t, x, **step_options).prev_sample
    assert torch.isfinite(x).all(), (name, config, spacing, n)
    bent = [key[4:-7] for key in config if key.startswith("use_")]
    sigmas = scheduler.sigmas if own_sigmas else None
    if name == "Heun":
        sigmas = torch.unique_consecutive(sigmas)
    return {
        "sampler": name, "steps": n, "spacing": spacing, "bent": bent[0] if bent else None, "eta": step_options.get("eta"),
        "order": config.get("solver_order"), "set_alpha_to_one": config.get("set_alpha_to_one", False),
        "calls": calls, "draws": noise.i, "x": rounded(x[0]), "exploding": exploding,
        "own_sigmas": config.get("final_sigmas_type") is not None,
        "timesteps": rounded(scheduler.timesteps, 9),
        "sigmas": rounded(sigmas, 10) if own_sigmas else None,
    }


rows = []
for name, cls, config, step_options in CASES:
    spacings = ["leading", "trailing", "linspace"]
    if name in ("LCM", "TCD"):
        spacings = ["leading"]
    if name == "PLMS":
        spacings = ["leading", "trailing"]
    rows += [run(name, cls, config, step_options, spacing, n) for spacing in spacings for n in [5, 20]]
write("diffusers.json", rows, script=__file__, packages=["diffusers", "torch", "numpy"],
      tolerance="1e-5 relative (coefficients in float32)",
      note="From START (times init_noise_sigma); steps_offset 1 with leading spacing; latents as each scheduler returns them.")

ZERO = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction")
KARRAS = dict(use_karras_sigmas=True)
ZERO_CASES = [
    ("DDIM", diffusers.DDIMScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.0}),
    ("DDIM", diffusers.DDIMScheduler, dict(CLIP, set_alpha_to_one=True), {"eta": 0.6}),
    ("DDPM", diffusers.DDPMScheduler, dict(CLIP), {}),
    ("PLMS", diffusers.PNDMScheduler, dict(skip_prk_steps=True, set_alpha_to_one=False), {}),
    ("LCM", diffusers.LCMScheduler, dict(CLIP), {}),
    ("TCD", diffusers.TCDScheduler, dict(CLIP, set_alpha_to_one=False), {"eta": 0.3}),
    ("Euler", diffusers.EulerDiscreteScheduler, {}, {}),
    ("Euler", diffusers.EulerDiscreteScheduler, KARRAS, {}),
    ("Euler a", diffusers.EulerAncestralDiscreteScheduler, {}, {}),
    ("Heun", diffusers.HeunDiscreteScheduler, {}, {}),
    ("Heun", diffusers.HeunDiscreteScheduler, KARRAS, {}),
    ("LMS", diffusers.LMSDiscreteScheduler, {}, {}),
    ("LMS", diffusers.LMSDiscreteScheduler, KARRAS, {}),
    ("DPM++ 2M", diffusers.DPMSolverMultistepScheduler, dict(solver_order=2), {}),
    ("DPM++ 2M", diffusers.DPMSolverMultistepScheduler, dict(KARRAS, solver_order=2), {}),
    ("DPM++ 2M SDE", diffusers.DPMSolverMultistepScheduler, dict(solver_order=2, algorithm_type="sde-dpmsolver++"), {}),
    ("DPM++ 2M SDE", diffusers.DPMSolverMultistepScheduler, dict(KARRAS, solver_order=2, algorithm_type="sde-dpmsolver++"), {}),
    ("UniPC bh2", diffusers.UniPCMultistepScheduler, dict(solver_order=2, solver_type="bh2"), {}),
    ("UniPC bh2", diffusers.UniPCMultistepScheduler, dict(KARRAS, solver_order=2, solver_type="bh2"), {}),
    ("DEIS", diffusers.DEISMultistepScheduler, dict(solver_order=2), {}),
    ("DEIS", diffusers.DEISMultistepScheduler, dict(KARRAS, solver_order=2), {}),
    ("SA-Solver", diffusers.SASolverScheduler, {}, {}),
    ("SA-Solver", diffusers.SASolverScheduler, KARRAS, {}),
]
rows = []
for name, cls, config, step_options in ZERO_CASES:
    spacings = ["leading", "trailing"] + ["linspace"] * (name != "PLMS")
    if name in ("LCM", "TCD"):
        spacings = ["leading"]
    rows += [run(name, cls, {**ZERO, **config}, step_options, spacing, 8) for spacing in spacings]
write("diffusers_zero_snr.json", rows, script=__file__, packages=["diffusers", "torch", "numpy"],
      tolerance="1e-5 relative (coefficients in float32)",
      note="As diffusers.json, with rescale_betas_zero_snr (where a scheduler knows it) and v_prediction.")
