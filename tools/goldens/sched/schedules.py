"""Schedules of k-diffusion over the WebUI's alphas_cumprod, with float64 as PyTorch's default type: in its usual float32
the reference's own rounding reaches 1.1e-6 (Karras, rho 5, 77 steps)."""

import importlib
import types

import numpy as np
import torch

from common import k_diffusion, rounded, write

K = k_diffusion()
E = importlib.import_module("k_diffusion.external")
STEPS = list(range(1, 101))


def thin(sigmas):
    """First, middle and last values: enough to pin every formula, small enough to keep for 100 step counts."""
    s = rounded(sigmas, 10)
    return s if len(s) <= 12 else s[:3] + [s[len(s) // 2]] + s[-4:]


# latent-diffusion's buffers: computed in float64, stored in float32.
torch.set_default_dtype(torch.float64)
betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
alphas_cumprod = torch.tensor(np.cumprod(1 - betas, axis=0), dtype=torch.float32).double()
model = E.DiscreteEpsDDPMDenoiser(types.SimpleNamespace(), alphas_cumprod, quantize=False)
lo, hi = model.sigma_min.item(), model.sigma_max.item()
rows = {"uniform": {}, "karras": {}, "karras rho 5": {}, "exponential": {}, "polyexponential": {}, "polyexponential rho 2": {}}
for n in STEPS:
    rows["uniform"][n] = thin(model.get_sigmas(n))
    rows["karras"][n] = thin(K.get_sigmas_karras(n, lo, hi))
    rows["karras rho 5"][n] = thin(K.get_sigmas_karras(n, lo, hi, rho=5.0))
    rows["exponential"][n] = thin(K.get_sigmas_exponential(n, lo, hi))
    rows["polyexponential"][n] = thin(K.get_sigmas_polyexponential(n, lo, hi, rho=1.0))
    rows["polyexponential rho 2"][n] = thin(K.get_sigmas_polyexponential(n, lo, hi, rho=2.0))
positions = [0.01, 0.0292, 0.05, 0.3, 1.0, 2.5, 14.5, 14.6146, 20.0]
table = {"sigmas": rounded(model.sigmas[::37], 9), "t": rounded([model.sigma_to_t(torch.tensor([s])) for s in positions], 9),
         "of": positions}
write("k_schedules.json", {"schedules": rows, "table": table}, script=__file__, packages=["k-diffusion", "torch", "numpy"],
      tolerance="1e-6 relative", note="Stable Diffusion's betas.")
