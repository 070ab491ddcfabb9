"""alphas_cumprod of diffusers' beta schedules, its zero-terminal-SNR rescaling, and latent-diffusion's own."""

import numpy as np
import torch

from common import rounded, write

import diffusers
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

PICK = [0, 1, 2, 10, 100, 250, 500, 750, 900, 990, 998, 999]
rows = []
for name, config in [("scaled_linear", dict(beta_start=0.00085, beta_end=0.012)), ("linear", dict(beta_start=0.0001, beta_end=0.02)),
                     ("squaredcos_cap_v2", {})]:
    s = diffusers.DDIMScheduler(beta_schedule=name, num_train_timesteps=1000, **config)
    rows.append({"betas": name, "dialect": "diffusers", "alphas_cumprod": rounded(s.alphas_cumprod[PICK], 9)})
betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
exact = np.cumprod(1 - betas)
rows.append({"betas": "scaled_linear", "dialect": "webui", "alphas_cumprod": rounded(exact.astype(np.float32)[PICK], 9)})
rows.append({"betas": "scaled_linear", "dialect": "comfy", "alphas_cumprod": rounded(exact[PICK], 15)})
# diffusers' rescaling in float64 (in float32 the values before the last lose five digits). The last is 0 there and 4.897e-08 in
# the WebUI and ComfyUI: left out.
z = torch.cumprod(1 - rescale_zero_terminal_snr(torch.from_numpy(betas)), 0)
rows.append({"betas": "scaled_linear", "dialect": "comfy", "zero_snr": True, "alphas_cumprod": rounded(z[PICK[:-1]], 12)})
# In float32, as diffusers' schedulers compute them: all values, with what each puts in the last's place.
config = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, rescale_betas_zero_snr=True)
for sampler, cls in [("DDIM", diffusers.DDIMScheduler), ("DDPM", diffusers.DDPMScheduler), ("TCD", diffusers.TCDScheduler),
                     ("LCM", diffusers.LCMScheduler), ("Euler", diffusers.EulerDiscreteScheduler),
                     ("Euler a", diffusers.EulerAncestralDiscreteScheduler), ("DPM++ 2M", diffusers.DPMSolverMultistepScheduler),
                     ("UniPC bh2", diffusers.UniPCMultistepScheduler), ("Heun", diffusers.HeunDiscreteScheduler),
                     ("LMS", diffusers.LMSDiscreteScheduler), ("DEIS", diffusers.DEISMultistepScheduler),
                     ("SA-Solver", diffusers.SASolverScheduler), ("PLMS", diffusers.PNDMScheduler),
                     ("DPM2", diffusers.KDPM2DiscreteScheduler), ("DPM2 a", diffusers.KDPM2AncestralDiscreteScheduler),
                     ("DPM++ 2S a", diffusers.DPMSolverSinglestepScheduler)]:
    # Those that don't know the option leave it aside, as from_config does.
    s = cls.from_config(config)
    rows.append({"betas": "scaled_linear", "dialect": "diffusers", "zero_snr": True, "sampler": sampler,
                 "alphas_cumprod": rounded(s.alphas_cumprod[PICK], 9)})
write("betas.json", {"pick": PICK, "rows": rows}, script=__file__, packages=["diffusers", "torch", "numpy"],
      tolerance="1e-6 relative", note="Values at the picked timesteps. WebUI and ComfyUI: latent-diffusion's formula in numpy.")
