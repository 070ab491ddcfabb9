"""What the golden scripts share: the analytic denoiser, the recorded noise, and writing of goldens.

Run each script with Python 3.11, PyTorch, diffusers, k-diffusion and torchsde (versions: goldens/sched/manifest.json).
"""

import json
import os
import sys
import types
import importlib.metadata as metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

torch.set_num_threads(1)
OUT = Path(__file__).resolve().parents[3] / "goldens" / "sched"

# k-diffusion's package imports training helpers that sampling never touches: only its modules below are loaded, over stubs.


class Stub(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        return type(name, (), {})


def k_diffusion():
    import importlib
    import importlib.util

    package = types.ModuleType("k_diffusion")
    package.__path__ = importlib.util.find_spec("k_diffusion").submodule_search_locations
    sys.modules["k_diffusion"] = package
    package.utils = sys.modules["k_diffusion.utils"] = Stub("k_diffusion.utils")
    package.utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    return importlib.import_module("k_diffusion.sampling")


WIDTH = 8

# The data: a mixture of two axis-aligned Gaussians in 8 dimensions, whose best denoiser is known in closed form.
MEANS = torch.tensor([[0.9, -0.4, 0.3, 1.2, -1.1, 0.05, 0.6, -0.7], [-0.8, 0.5, -0.2, 0.1, 0.7, -0.9, 1.3, 0.2]],
                     dtype=torch.float64)
STDS = torch.tensor([0.5, 0.3], dtype=torch.float64)
WEIGHTS = torch.tensor([0.6, 0.4], dtype=torch.float64)


def denoise(x, sigma):
    """E[x0 | x] for x = x0 + sigma * noise, in float64. x: (..., 8)."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    while sigma.ndim < x.ndim:
        sigma = sigma[..., None]
    x = x.to(torch.float64)
    variances = STDS**2 + sigma**2  # (..., 2)
    d = x[..., None, :] - MEANS  # (..., 2, 8)
    log = torch.log(WEIGHTS) - 0.5 * (d**2).sum(-1) / variances - 0.5 * WIDTH * torch.log(variances)
    p = torch.softmax(log, dim=-1)[..., None]
    mean = MEANS + (STDS**2 / variances)[..., None] * d
    return (p * mean).sum(-2)


def denoise_uncond(x, sigma):
    """The second denoiser that the CFG++ samplers ask for: one Gaussian of mean 0 and deviation 0.7."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    while sigma.ndim < x.ndim:
        sigma = sigma[..., None]
    return x * 0.49 / (0.49 + sigma**2)


class Noise:
    """Numbered noise that Rust can make again: value j of draw i is sqrt(2) * sin(12.9898 * (i + 1) + 78.233 * (j + 1))."""

    def __init__(self):
        self.i = 0

    def __call__(self, like=None):
        j = torch.arange(WIDTH, dtype=torch.float64)
        self.i += 1
        n = 2**0.5 * torch.sin(12.9898 * self.i + 78.233 * (j + 1))
        return n if like is None else n.reshape(like.shape)


START = torch.tensor([0.3, -1.2, 0.8, 1.9, -0.5, 0.05, -2.1, 1.1], dtype=torch.float64)


def versions(*packages):
    return {p: metadata.version(p) for p in packages}


def rounded(values, digits=12):
    return [float(f"{float(v):.{digits}g}") for v in values]


def write(name, data, *, script, packages, tolerance, note, seed=None):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(data, separators=(",", ":")) + "\n")
    path = OUT / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    manifest[name] = {"script": f"tools/goldens/sched/{Path(script).name}", "packages": versions(*packages), "seed": seed,
                      "tolerance": tolerance, "note": note}
    path.write_text(json.dumps(dict(sorted(manifest.items())), indent=1) + "\n")
    print(name, (OUT / name).stat().st_size)
