"""Schedules that k-diffusion doesn't have: the WebUI's, Forge's and ComfyUI's, and diffusers' own.

The first are written anew here from their documented formulas (no packages exist); diffusers is run itself.
"""

import math

import numpy as np
import torch
from scipy import stats

from common import rounded, write

import diffusers

# latent-diffusion's alphas (the WebUI): float64 stored as float32.
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
ALPHAS = np.cumprod(1 - BETAS).astype(np.float32).astype(np.float64)
TABLE = ((1 - ALPHAS) / ALPHAS) ** 0.5
LO, HI = float(TABLE[0]), float(TABLE[-1])


def at(t):
    return np.exp(np.interp(t, np.arange(1000), np.log(TABLE)))


def zero(s):
    return list(s) + [0.0]


def falling(table, n):
    """Evenly over the table's index in ln(sigma)."""
    table = np.array(table)
    return np.exp(np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(table)), np.log(table[::-1])))[::-1]


AYS = {
    False: [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029],
    True: [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029],
}
AYS_LONG = {
    False: [14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904, 0.6523686016,
            0.3977456272, 0.1515232662, 0.0291671582],
    True: [14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289, 0.3798540708,
           0.2332364134, 0.1114188177, 0.0291671582],
}
GITS = {
    False: [14.615, 4.617, 2.507, 1.236, 0.702, 0.402, 0.240, 0.156, 0.104, 0.094, 0.029],
    True: [14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029],
}
AYS32 = {
    False: [14.615, 11.23951352, 8.64363081, 6.64729424, 5.57250862, 4.71648546, 3.99196065, 3.5195609, 3.13490466,
            2.79228788, 2.48773628, 2.21663865, 1.97508351, 1.7793172, 1.61475335, 1.46540953, 1.314849, 1.16642497,
            1.03475547, 0.91573744, 0.80748169, 0.71202361, 0.621739, 0.53065202, 0.4529096, 0.37491455, 0.27461819,
            0.2011529, 0.14105873, 0.06682881, 0.03166121, 0.015],
    True: [14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457, 2.74396527,
           2.29968659, 1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443, 0.80290886, 0.69660121,
           0.60436903, 0.52852552, 0.46773344, 0.41393379, 0.36258186, 0.31008517, 0.26518925, 0.22326461, 0.17653877,
           0.13959192, 0.10587381, 0.05519369, 0.02877334, 0.015],
}


def ays_comfy(n, sdxl):
    s = falling(AYS_LONG[sdxl], n + 1)
    s[-1] = 0
    return list(s)


def kl(n, points):
    w = np.arange(n if points == n else n + 1) / max(points - 1 if points == n else n, 1)
    return np.tan(w * math.atan(LO) + (1 - w) * math.atan(HI))


def ddim(n):
    s, i = [], 1
    while i < 1000:
        s.append(TABLE[i])
        i += max(1000 // n, 1)
    return zero(s[::-1])


def beta_comfy(n):
    ts = np.rint(stats.beta.ppf(1 - np.linspace(0, 1, n, endpoint=False), 0.6, 0.6) * 999).astype(int)
    kept = [t for i, t in enumerate(ts) if i == 0 or t != ts[i - 1]]
    return zero(TABLE[kept])


def linear_quadratic(n, threshold=0.025):
    if n == 1:
        return [HI, 0.0]
    k = n // 2
    lin = [i * threshold / k for i in range(k)]
    diff = k - threshold * n
    q = n - k
    a = diff / (k * q * q)
    b = threshold / k - 2 * diff / (q * q)
    quad = [a * i * i + b * i + a * k * k for i in range(k, n)]
    return [(1 - v) * HI for v in lin + quad + [1.0]]


def turbo_forge(n):
    t = np.clip(np.round(np.arange(1, n + 1) * (1000.0 / n) - 1)[::-1].astype(int), 0, 999)
    return zero(TABLE[t])


def turbo_comfy(n):
    return zero(TABLE[(np.arange(1, 11) * 100 - 1)[::-1][:n]])


def thin(s):
    s = rounded(s, 10)
    return s if len(s) <= 12 else s[:3] + [s[len(s) // 2]] + s[-4:]


rows = []


def add(name, dialect, f, steps=range(1, 101), sdxl=False):
    by_steps = {n: list(f(n)) for n in steps}
    rows.append({"schedule": name, "dialect": dialect, "sdxl": sdxl, "lengths": {n: len(s) for n, s in by_steps.items()},
                 "sigmas": {n: thin(s) for n, s in by_steps.items()}})


add("SGM Uniform", "webui", lambda n: zero(at(np.linspace(999, 0, n + 1)[:-1])))
add("Normal", "webui", lambda n: zero(at(np.linspace(999, 0, n))))
add("Simple", "webui", lambda n: zero(TABLE[[-(1 + int(i * (1000 / n))) for i in range(n)]]))
add("DDIM", "webui", ddim)
add("KL Optimal", "webui", lambda n: np.tan(np.arange(n + 1) / n * math.atan(LO) + (1 - np.arange(n + 1) / n) * math.atan(HI)))
add("KL Optimal", "comfy", lambda n: zero(np.tan(np.arange(n) / max(n - 1, 1) * math.atan(LO)
                                              + (1 - np.arange(n) / max(n - 1, 1)) * math.atan(HI))))
add("Beta", "webui", lambda n: zero(LO + stats.beta.ppf(1 - np.linspace(0, 1, n), 0.6, 0.6) * (HI - LO)))
add("Beta", "comfy", beta_comfy)
add("Linear Quadratic", "webui", linear_quadratic)
add("Turbo", "webui", turbo_forge)
add("Turbo", "comfy", turbo_comfy, range(1, 11))
for sdxl in [False, True]:
    add("Align Your Steps", "webui", lambda n: zero(falling(AYS[sdxl], n)), sdxl=sdxl)
    add("Align Your Steps", "comfy", lambda n: ays_comfy(n, sdxl), sdxl=sdxl)
    add("Align Your Steps GITS", "webui", lambda n: zero(falling(GITS[sdxl], n)), sdxl=sdxl)
    add("Align Your Steps 32", "webui", lambda n: zero(falling(AYS32[sdxl], n)), sdxl=sdxl)

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
for name, flag in [("Leading", {}), ("Trailing", {"timestep_spacing": "trailing"}), ("Uniform", {"timestep_spacing": "linspace"}),
                   ("Karras", {"use_karras_sigmas": True}), ("Exponential", {"use_exponential_sigmas": True}),
                   ("Beta", {"use_beta_sigmas": True})]:
    def run(n):
        config = dict(SD, timestep_spacing="leading", steps_offset=1)
        config.update(flag)
        s = diffusers.EulerDiscreteScheduler(**config)
        s.set_timesteps(n)
        return s.sigmas.tolist()
    # For a few step counts (61, ...) rounding gives diffusers' trailing spacing a timestep of -1 too many: a fault, left out.
    add(name, "diffusers", run, [n for n in range(2, 101) if name != "Trailing" or len(run(n)) == n + 1])
write("more_schedules.json", rows, script=__file__, packages=["numpy", "scipy", "torch", "diffusers"], tolerance="1e-6 relative",
      note="Lists of over 12 are thinned to their first three, middle and last four values; lengths are whole.")
