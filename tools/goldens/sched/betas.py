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
write("betas.json", {"pick": PICK, "rows": rows}, script=__file__, packages=["diffusers", "torch", "numpy"],
      tolerance="1e-6 relative", note="Values at the picked timesteps. WebUI and ComfyUI: latent-diffusion's formula in numpy.")
