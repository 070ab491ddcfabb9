"""Every sampler of k-diffusion on the analytic denoiser, in float64, with numbered noise."""

import types

import numpy as np
import torch

from common import START, Noise, denoise, k_diffusion, rounded, write

torch.set_default_dtype(torch.float64)
K = k_diffusion()
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
ALPHAS = np.cumprod(1 - BETAS).astype(np.float32).astype(np.float64)
TABLE = ((1 - ALPHAS) / ALPHAS) ** 0.5


def uniform(n):
    t = np.linspace(999, 0, n)
    return np.append(np.exp(np.interp(t, np.arange(1000), np.log(TABLE))), 0.0)


def karras(n):
    r = np.linspace(0, 1, n)
    lo, hi = TABLE[0] ** (1 / 7), TABLE[-1] ** (1 / 7)
    return np.append((hi + r * (lo - hi)) ** 7, 0.0)


def exponential(n):
    return np.append(np.exp(np.linspace(np.log(TABLE[-1]), np.log(TABLE[0]), n)), 0.0)


SCHEDULES = {"uniform": uniform, "karras": karras, "exponential": exponential}
noise = None


class Proxy(types.ModuleType):
    """torch, with randn_like counted: plain samplers call it by name."""

    def __getattr__(self, name):
        return (lambda x: noise(x)) if name == "randn_like" else getattr(torch, name)


K.torch = Proxy("torch")


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, sigma, **kwargs):
        self.calls += 1
        return denoise(x, sigma)


CASES = [
    ("Euler", K.sample_euler, {}),
    ("Euler", K.sample_euler, {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 8.0, "s_noise": 1.003}),
    ("Euler a", K.sample_euler_ancestral, {"eta": 1.0}),
    ("Euler a", K.sample_euler_ancestral, {"eta": 0.6, "s_noise": 0.98}),
    ("LMS", K.sample_lms, {}),
    ("Heun", K.sample_heun, {}),
    ("Heun", K.sample_heun, {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 8.0, "s_noise": 1.003}),
    ("DPM2", K.sample_dpm_2, {}),
    ("DPM2", K.sample_dpm_2, {"s_churn": 6.0, "s_tmin": 0.05, "s_tmax": 8.0, "s_noise": 1.003}),
    ("DPM2 a", K.sample_dpm_2_ancestral, {"eta": 1.0}),
    ("DPM2 a", K.sample_dpm_2_ancestral, {"eta": 0.6, "s_noise": 0.98}),
    ("DPM++ 2S a", K.sample_dpmpp_2s_ancestral, {"eta": 1.0}),
    ("DPM++ 2S a", K.sample_dpmpp_2s_ancestral, {"eta": 0.6, "s_noise": 0.98}),
    ("DPM++ SDE", K.sample_dpmpp_sde, {"eta": 1.0}),
    ("DPM++ SDE", K.sample_dpmpp_sde, {"eta": 0.6, "s_noise": 0.98}),
    ("DPM++ 2M", K.sample_dpmpp_2m, {}),
    ("DPM++ 2M SDE", K.sample_dpmpp_2m_sde, {"eta": 1.0}),
    ("DPM++ 2M SDE", K.sample_dpmpp_2m_sde, {"eta": 0.6, "s_noise": 0.98}),
    ("DPM++ 2M SDE Heun", K.sample_dpmpp_2m_sde, {"eta": 1.0, "solver_type": "heun"}),
    ("DPM++ 2M SDE Heun", K.sample_dpmpp_2m_sde, {"eta": 0.6, "s_noise": 0.98, "solver_type": "heun"}),
    ("DPM++ 3M SDE", K.sample_dpmpp_3m_sde, {"eta": 1.0}),
    ("DPM++ 3M SDE", K.sample_dpmpp_3m_sde, {"eta": 0.6, "s_noise": 0.98}),
]
WITH_SAMPLER = {K.sample_euler_ancestral, K.sample_dpm_2_ancestral, K.sample_dpmpp_2s_ancestral, K.sample_dpmpp_sde,
                K.sample_dpmpp_2m_sde, K.sample_dpmpp_3m_sde}

rows = []
for name, function, options in CASES:
    for schedule, make in SCHEDULES.items():
        for n in [5, 20]:
            sigmas = torch.from_numpy(make(n))
            noise = Noise()
            kwargs = dict(options)
            if function in WITH_SAMPLER:
                kwargs["noise_sampler"] = lambda a, b: noise().reshape(1, -1)
            model = Model()
            x = function(model, START[None] * sigmas[0], sigmas, disable=True, **kwargs)[0]
            rows.append({"sampler": name, "options": {k: v for k, v in options.items() if k != "solver_type"},
                         "sigmas": f"{schedule}/{n}", "calls": model.calls, "draws": noise.i, "x": rounded(x)})

# DPM fast and DPM adaptive take a range of sigmas.
lo, hi = float(TABLE[0]), float(TABLE[-1])
for n in [5, 7, 20, 21]:
    for options in [{"eta": 0.0}, {"eta": 1.0}, {"eta": 0.6, "s_noise": 0.98}]:
        noise, model = Noise(), Model()
        kwargs = dict(options, noise_sampler=lambda a, b: noise().reshape(1, -1))
        x = K.sample_dpm_fast(model, START[None] * hi, lo, hi, n, disable=True, **kwargs)[0]
        rows.append({"sampler": "DPM fast", "options": options, "steps": n, "calls": model.calls, "draws": noise.i,
                     "x": rounded(x)})
for order in [2, 3]:
    for options in [{"eta": 0.0}, {"eta": 1.0}, {"eta": 0.6, "s_noise": 0.98},
                    {"eta": 0.0, "rtol": 0.005, "atol": 0.0005}, {"eta": 0.0, "pcoeff": 0.1, "dcoeff": 0.05}]:
        noise, model = Noise(), Model()
        kwargs = dict(options, noise_sampler=lambda a, b: noise().reshape(1, -1))
        x, info = K.sample_dpm_adaptive(model, START[None] * hi, lo, hi, order=order, disable=True, return_info=True,
                                        **kwargs)
        rows.append({"sampler": "DPM adaptive", "options": dict(options, order=order), "calls": model.calls,
                     "draws": noise.i, "x": rounded(x[0]), "accepted": info["n_accept"], "rejected": info["n_reject"]})

sigmas = {f"{s}/{n}": rounded(make(n), 17) for s, make in SCHEDULES.items() for n in [5, 20]}
write("k_samplers.json", {"range": [lo, hi], "sigmas": sigmas, "cases": rows}, script=__file__,
      packages=["k-diffusion", "torch", "numpy", "scipy"], tolerance="1e-6 relative",
      note="Latents after sampling from START * sigma[0]; calls and noise draws counted. All float64.")
