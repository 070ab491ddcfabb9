"""DDIM, PLMS and UniPC as the WebUI runs them: over timesteps, in variance-preserving latents.

The WebUI is no package, so DDIM and PLMS are written anew here from their published formulas (Song et al. 2020,
arXiv:2010.02502; Liu et al. 2022, arXiv:2202.09778) with the WebUI's timesteps and its loop of one step fewer than
timesteps.
"""

import numpy as np
import torch

from common import START, Noise, denoise, denoise_uncond, rounded, write

BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
ALPHAS = np.cumprod(1 - BETAS).astype(np.float32).astype(np.float64)


def predict_noise(z, t):
    """The network's answer for the variance-preserving latent z at the whole timestep t."""
    a = ALPHAS[t]
    sigma = ((1 - a) / a) ** 0.5
    x = z / a**0.5
    return (x - denoise(x, sigma)) / sigma


def timesteps(steps):
    return np.clip(np.arange(0, 1000, 1000 // steps) + 1, 0, 999)


def move(z, e, a, a_to, s=0.0):
    x0 = (z - (1 - a) ** 0.5 * e) / a**0.5
    return a_to**0.5 * x0 + (1 - a_to - s * s) ** 0.5 * e


def ddim(z, ts, eta, noise):
    calls = 0
    for t, to in zip(ts[:0:-1], ts[-2::-1]):
        a, a_to = ALPHAS[t], ALPHAS[to]
        s = eta * ((1 - a_to) / (1 - a) * (1 - a / a_to)) ** 0.5
        e = predict_noise(z, t)
        calls += 1
        z = move(z, e, a, a_to, s) + (s * noise() if s > 0 else 0)
    return z, calls


def ddim_cfg_pp(z, ts):
    """Chung et al. 2024, arXiv:2406.08070: the direction is the unconditional prediction's."""
    for t, to in zip(ts[:0:-1], ts[-2::-1]):
        a, a_to = ALPHAS[t], ALPHAS[to]
        sigma = ((1 - a) / a) ** 0.5
        x = z / a**0.5
        e, e_uncond = (x - denoise(x, sigma)) / sigma, (x - denoise_uncond(x, sigma)) / sigma
        z = a_to**0.5 * (z - (1 - a) ** 0.5 * e) / a**0.5 + (1 - a_to) ** 0.5 * e_uncond
    return z, len(ts) - 1


def plms(z, ts):
    calls, old = 0, []
    for t, to in zip(ts[:0:-1], ts[-2::-1]):
        a, a_to = ALPHAS[t], ALPHAS[to]
        e = predict_noise(z, t)
        calls += 1
        if len(old) == 0:
            mixed = (e + predict_noise(move(z, e, a, a_to), to)) / 2
            calls += 1
        elif len(old) == 1:
            mixed = (3 * e - old[-1]) / 2
        elif len(old) == 2:
            mixed = (23 * e - 16 * old[-1] + 5 * old[-2]) / 12
        else:
            mixed = (55 * e - 59 * old[-1] + 37 * old[-2] - 9 * old[-3]) / 24
        z = move(z, mixed, a, a_to)
        old = (old + [e])[-3:]
    return z, calls


rows = []
for steps in [5, 20, 30, 999]:
    for sampler, eta in [("DDIM", 0.0), ("DDIM", 1.0), ("DDIM", 0.5), ("PLMS", 0.0), ("DDIM CFG++", 0.0)]:
        if steps == 999 and eta > 0:
            continue
        for strength in [None, 0.75]:
            ts = timesteps(steps)
            z = START
            if strength is not None:
                t_enc = int(min(strength, 0.999) * steps)
                a = ALPHAS[ts[t_enc]]
                z = a**0.5 * torch.linspace(-1, 1, 8, dtype=torch.float64) + (1 - a) ** 0.5 * START
                ts = ts[:t_enc]
            noise = Noise()
            if sampler == "DDIM":
                z, calls = ddim(z, ts, eta, noise)
            else:
                z, calls = plms(z, ts) if sampler == "PLMS" else ddim_cfg_pp(z, ts)
            rows.append({"sampler": sampler, "eta": eta, "steps": steps, "strength": strength, "calls": calls,
                         "draws": noise.i, "x": rounded(z)})
write("webui_timesteps.json", rows, script=__file__, packages=["torch", "numpy"], tolerance="1e-6 relative",
      note="Latents after sampling from START (txt2img) or from linspace(-1, 1, 8) noised with START. Float64. A fresh "
           "implementation of the documented formulas.")
