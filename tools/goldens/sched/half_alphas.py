"""k-diffusion's schedules and timesteps over alphas_cumprod in float16, as the WebUI up to 1.7 had them on models in half precision, and as
its "Downcast alphas_cumprod" has them since."""

import importlib
import types

import numpy as np
import torch

from common import k_diffusion, rounded, write

K = k_diffusion()
E = importlib.import_module("k_diffusion.external")

betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
alphas_cumprod = torch.tensor(np.cumprod(1 - betas, axis=0), dtype=torch.float32).half()
model = E.DiscreteEpsDDPMDenoiser(types.SimpleNamespace(), alphas_cumprod, quantize=False)
assert model.sigmas.dtype == torch.float16
lo, hi = model.sigmas[0].item(), model.sigmas[-1].item()
rows = {"uniform": {}, "karras": {}, "exponential": {}}
for n in (1, 8, 20, 30):
    rows["uniform"][n] = rounded(model.get_sigmas(n), 9)
    rows["karras"][n] = rounded(K.get_sigmas_karras(n, lo, hi), 9)
    rows["exponential"][n] = rounded(K.get_sigmas_exponential(n, lo, hi), 9)
positions = [0.01, 0.0292, 0.0313, 0.05, 0.3, 1.0, 2.5, 14.5, 14.6146, 20.0]
table = {"sigmas": rounded(model.sigmas[::37], 9), "t": rounded([model.sigma_to_t(torch.tensor([s])) for s in positions], 9),
         "of": positions}
write("half_alphas.json", {"schedules": rows, "table": table}, script=__file__, packages=["k-diffusion", "torch", "numpy"],
      tolerance="2e-6 relative; timesteps 2e-3", note="Stable Diffusion's betas, alphas_cumprod in float16.")
