"""Samplers that only ComfyUI, Forge or the WebUI have, and the WebUI's UniPC and Restart.

These programs are no packages, so their documented formulas are written anew here (sources: the papers named in each
function), in float64 over variance-exploding latents, straight from the definitions and not from the Rust code.
"""

import math

import numpy as np
import torch
from scipy import integrate

from common import START, Noise, denoise, denoise_uncond, k_diffusion, rounded, write

torch.set_default_dtype(torch.float64)
K = k_diffusion()
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
ALPHAS = np.cumprod(1 - BETAS).astype(np.float32).astype(np.float64)
TABLE = ((1 - ALPHAS) / ALPHAS) ** 0.5
lo, hi = float(TABLE[0]), float(TABLE[-1])
noise = None


def karras(n):
    return K.get_sigmas_karras(n, lo, hi).numpy()


def exponential(n):
    return K.get_sigmas_exponential(n, lo, hi).numpy()


def slope(x, s):
    return (x - denoise(x, s)) / s


def ancestral(s, t, eta):
    up = min(t, eta * (t * t * (s * s - t * t) / (s * s)) ** 0.5)
    return (t * t - up * up) ** 0.5, up


def heunpp2(x, sig):
    end = sig[-1]
    for i in range(len(sig) - 1):
        s, t = sig[i], sig[i + 1]
        d = slope(x, s)
        if t == end:
            x = x + d * (t - s)
            continue
        x2 = x + d * (t - s)
        d2 = slope(x2, t)
        if sig[i + 2] == end:
            w2 = t / (2 * sig[0])
            x = x + ((1 - w2) * d + w2 * d2) * (t - s)
        else:
            u = sig[i + 2]
            x3 = x2 + d2 * (u - t)
            d3 = slope(x3, u)
            w2, w3 = t / (3 * sig[0]), u / (3 * sig[0])
            x = x + ((1 - w2 - w3) * d + w2 * d2 + w3 * d3) * (t - s)
    return x


AB = {1: [1], 2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}


def ipndm(x, sig):
    old = []
    for s, t in zip(sig[:-1], sig[1:]):
        old = ([slope(x, s)] + old)[:4]
        x = denoise(x, s) if t == 0 else x + (t - s) * sum(c * d for c, d in zip(AB[len(old)], old))
    return x


def ipndm_v(x, sig):
    """diff-sampler's published coefficients for uneven steps."""
    old = []
    for i, (s, t) in enumerate(zip(sig[:-1], sig[1:])):
        old = ([slope(x, s)] + old)[:4]
        if t == 0:
            x = denoise(x, s)
            continue
        h = [sig[i + 1 - k] - sig[i - k] for k in range(len(old))] + [0] * 4
        n = len(old)
        if n == 1:
            c = [1]
        else:
            r = h[0] / h[1]
            c = [(2 + r) / 2, -r / 2, 0, 0]
            if n >= 3:
                a = (1 - h[0] / (3 * (h[0] + h[1])) * (h[0] * (h[0] + h[1])) / (h[1] * (h[1] + h[2]))) / 2
                q = h[1] / h[2]
                c[0] += a
                c[1] -= (1 + q) * a
                c[2] += a * q
            if n == 4:
                b = (1 - h[0] / (3 * (h[0] + h[1]))) / 2 + (1 - h[0] / (2 * (h[0] + h[1]))) * h[0] / (6 * (h[0] + h[1] + h[2]))
                b *= h[0] * (h[0] + h[1]) * (h[0] + h[1] + h[2]) / (h[1] * (h[1] + h[2]) * (h[1] + h[2] + h[3]))
                w = h[1] * (h[1] + h[2]) / (h[2] * (h[2] + h[3]))
                c[0] += b
                c[1] -= (1 + q + w) * b
                c[2] += (q + w * (1 + h[2] / h[3])) * b
                c[3] -= b * w * h[1] / h[2]
        x = x + (t - s) * sum(k * d for k, d in zip(c, old))
    return x


def deis(x, sig, max_order=3):
    """tAB-DEIS (arXiv:2204.13902), in the linear-beta time of Karras et al. between 0.002 and 80, summed over 10,000 points."""
    eps = 1e-3
    top, low = math.log(80**2 + 1), math.log(0.002**2 + 1)
    beta_d = 2 * (low / eps - top) / (eps - 1)
    beta_min = top - 0.5 * beta_d
    time = lambda s: (math.sqrt(beta_min**2 + 2 * beta_d * math.log(s * s + 1)) - beta_min) / beta_d
    old = []
    for i, (s, t) in enumerate(zip(sig[:-1], sig[1:])):
        old = ([slope(x, s)] + old)[:max_order]
        if t == 0 or len(old) == 1:
            x = x + (t - s) * old[0]
            continue
        nodes = [time(sig[i - k]) for k in range(len(old))]
        a, b = nodes[0], time(t)
        tau = np.linspace(a, b, 10000)
        log_alpha = -0.5 * tau**2 * beta_d - tau * beta_min
        weight = 0.5 * (tau * beta_d + beta_min) / np.sqrt(np.exp(log_alpha) * (1 - np.exp(log_alpha)))
        for j, d in enumerate(old):
            p = np.ones_like(tau)
            for k, n in enumerate(nodes):
                if k != j:
                    p = p * (tau - n) / (nodes[j] - n)
            x = x + float(np.sum(weight * p) * (b - a) / 10000) * d
    return x


def ddpm(x, sig):
    """Ho et al. 2020, algorithm 2, over variance-preserving latents."""
    for s, t in zip(sig[:-1], sig[1:]):
        e = slope(x, s)
        ac, ap = 1 / (s * s + 1), 1 / (t * t + 1)
        alpha = ac / ap
        z = x / (1 + s * s) ** 0.5
        z = (1 / alpha) ** 0.5 * (z - (1 - alpha) * e / (1 - ac) ** 0.5)
        if t > 0:
            z = z + ((1 - alpha) * (1 - ap) / (1 - ac)) ** 0.5 * noise()
        x = z * (1 + t * t) ** 0.5
    return x


def cfg_pp(x, sig, eta):
    """Chung et al. 2024, arXiv:2406.08070."""
    for s, t in zip(sig[:-1], sig[1:]):
        d = (x - denoise_uncond(x, s)) / s
        down, up = ancestral(s, t, eta) if eta else (t, 0)
        x = denoise(x, s) + d * down
        if up > 0:
            x = x + noise() * up
    return x


def dpmpp_2m_cfg_pp(x, sig):
    """ComfyUI's dpmpp_2m_cfg_pp: Lu et al. 2022, arXiv:2211.01095, with the noise of uncond as in Chung et al. 2024."""
    old = None
    for i, (s, t) in enumerate(zip(sig[:-1], sig[1:])):
        guided, uncond = denoise(x, s), denoise_uncond(x, s)
        if old is None or t == 0:
            mix = -(t / s) * uncond
        else:
            h, h_last = math.log(s) - math.log(t), math.log(sig[i - 1]) - math.log(s)
            mix = -math.exp(-h) * uncond - math.expm1(-h) * h / (2 * h_last) * (guided - old)
        x = guided + mix + t / s * x
        old = uncond
    return x


def res_multistep_cfg_pp(x, sig, eta=0.0):
    """ComfyUI's res_multistep_cfg_pp: Zhang et al. 2023, arXiv:2308.02157, likewise."""
    old = None
    for i, (s, t) in enumerate(zip(sig[:-1], sig[1:])):
        guided, uncond = denoise(x, s), denoise_uncond(x, s)
        down, up = ancestral(s, t, eta) if eta else (t, 0)
        if down == 0 or old is None:
            x = guided + (x - uncond) / s * down
        else:
            h = math.log(s) - math.log(down)
            c2 = (-math.log(sig[i - 1]) + math.log(old[1])) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            x = math.exp(-h) * (x + guided - uncond) + h * ((phi1 - phi2 / c2) * uncond + phi2 / c2 * old[0])
        if up > 0:
            x = x + noise() * up
        old = (uncond, down)
    return x


def res_multistep(x, sig, eta=0.0):
    """Zhang et al. 2023, arXiv:2308.02157."""
    old = None
    for i, (s, t) in enumerate(zip(sig[:-1], sig[1:])):
        m = denoise(x, s)
        down, up = ancestral(s, t, eta) if eta else (t, 0)
        if down == 0 or old is None:
            x = x + (x - m) / s * (down - s)
        else:
            h = math.log(s) - math.log(down)
            c2 = (-math.log(sig[i - 1]) + math.log(old[1])) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            x = math.exp(-h) * x + h * ((phi1 - phi2 / c2) * m + phi2 / c2 * old[0])
        if up > 0:
            x = x + noise() * up
        old = (m, down)
    return x


def sa_solver(x, sig, eta, predictor=3, corrector=4):
    """Xue et al. 2023, arXiv:2309.05019, with ComfyUI's orders and interval; integrals by quadrature."""
    sigma_at = lambda p: math.exp(np.interp(p, np.arange(1000), np.log(TABLE)))
    high, low = sigma_at(0.8 * 999), sigma_at(0.2 * 999)
    lam = [-math.log(s) if s > 0 else math.inf for s in sig]

    def coefficients(nodes, a, b, tau):
        m = 1 + tau * tau
        out = []
        for j in range(len(nodes)):
            def f(u):
                p = m * math.exp(m * (u - b))
                for k in range(len(nodes)):
                    if k != j:
                        p *= (u - nodes[k]) / (nodes[j] - nodes[k])
                return p
            out.append(integrate.quad(f, a, b, epsabs=1e-14, epsrel=1e-13)[0])
        return out

    n = len(sig) - 1
    pred, past, tau, extra = x, [], 0, 0
    for i in range(n):
        m = denoise(pred, sig[i])
        past = (past + [(lam[i], m)])[-max(predictor, corrector):]
        if sig[i + 1] == 0:
            pred = m
            break
        order = min(corrector, len(past))
        if sig[-1] == 0:
            order = min(order, n - i)
        if i == 0:
            x = pred
        else:
            used = past[-order:]
            b = coefficients([p[0] for p in used], lam[i - 1], lam[i], tau)
            x = sig[i] / sig[i - 1] * math.exp(-tau * tau * (lam[i] - lam[i - 1])) * x
            x = x + sum(c * p[1] for c, p in zip(b, used)) + extra
        order = min(predictor, len(past))
        if sig[-1] == 0:
            order = min(order, n - 1 - i)
        tau = eta if low <= sig[i + 1] <= high else 0
        used = past[-order:]
        b = coefficients([p[0] for p in used], lam[i], lam[i + 1], tau)
        h = lam[i + 1] - lam[i]
        extra = noise() * sig[i + 1] * math.sqrt(-math.expm1(-2 * tau * tau * h)) if tau > 0 else 0
        pred = sig[i + 1] / sig[i] * math.exp(-tau * tau * h) * x + sum(c * p[1] for c, p in zip(b, used)) + extra
    return pred


def unipc(x, points, order, variant):
    """Zhao et al. 2023, arXiv:2302.04867, algorithms 5 to 8 (multistep, data prediction); points are sigmas."""
    n = len(points) - 1
    past = [(points[0], denoise(x, points[0]))]
    for step in range(1, n + 1):
        s, t = points[step - 1], points[step]
        p = min(order, step, n + 1 - step)
        h = math.log(s / t)
        rks = [math.log(s / past[-1 - k][0]) / h for k in range(1, p)] + [1.0]
        d1s = [(past[-1 - k][1] - past[-1][1]) / rks[k - 1] for k in range(1, p)]
        hh = -h
        phi = math.expm1(hh)
        bh = hh if variant == "bh1" else phi
        phik, fact, R, b = phi / hh - 1, 1, [], []
        for k in range(1, p + 1):
            R.append([r ** (k - 1) for r in rks])
            b.append(phik * fact / bh)
            fact *= k + 1
            phik = phik / hh - 1 / fact
        R, b = np.array(R), np.array(b)
        base = t / s * x - phi * past[-1][1]
        rho = [0.5] if p == 2 else (np.linalg.solve(R[:-1, :-1], b[:-1]) if p > 2 else [])
        xt = base - bh * sum(float(r) * d for r, d in zip(rho, d1s))
        if step < n:
            m = denoise(xt, t)
            rho = [0.5] if p == 1 else np.linalg.solve(R, b)
            xt = base - bh * (sum(float(r) * d for r, d in zip(rho[:-1], d1s)) + float(rho[-1]) * (m - past[-1][1]))
            past.append((t, m))
        x = xt
    return x


def unipc_webui(steps, variant):
    n = len(np.clip(np.arange(0, 1000, 1000 // steps) + 1, 0, 999))
    a = np.exp(np.interp(np.linspace(999, 0, n + 1), np.arange(1000), np.log(ALPHAS)))
    x = unipc(START / ALPHAS[-1] ** 0.5, ((1 - a) / a) ** 0.5, min(3, n), variant)
    return x * ALPHAS[0] ** 0.5, n


def restart(x, sig):
    """Xu et al. 2023, arXiv:2306.14878, with the WebUI's stretch: sigma 0.1 back to 2."""
    n = len(sig) - 1
    pairs = list(zip(sig[:-1], sig[1:]))
    if n >= 20:
        length, times = (n // 4, 2) if n >= 36 else (9, 1)
        sig = K.get_sigmas_karras(n - length * times, sig[-2], sig[0]).numpy()
        low, high = int(np.argmin(abs(sig - 0.1))), int(np.argmin(abs(sig - 2)))
        pairs = []
        for i in range(len(sig) - 1):
            pairs.append((sig[i], sig[i + 1]))
            if i + 1 == low:
                again = K.get_sigmas_karras(length + 1, sig[low], sig[high]).numpy()[:-1]
                again[-1] = sig[low]  # equal but for rounding
                again[0] = sig[high]
                pairs += list(zip(again[:-1], again[1:])) * times
    last, calls = None, 0
    for s, t in pairs:
        if last is not None and last < s:
            x = x + noise() * (s * s - last * last) ** 0.5
        d = slope(x, s)
        calls += 1
        if t == 0:
            x = x + d * (t - s)
        else:
            x2 = x + d * (t - s)
            x = x + (d + slope(x2, t)) / 2 * (t - s)
            calls += 1
        last = t
    return x, calls


def lcm_comfy(x, sig):
    for s, t in zip(sig[:-1], sig[1:]):
        x = denoise(x, s) + (t * noise() if t > 0 else 0)
    return x


def lcm_webui(steps):
    """Luo et al. 2023, arXiv:2310.04378: 50 timesteps, boundary condition with timesteps times 10 and sigma_data 0.5."""
    sparse = TABLE[19::20]
    t = np.linspace(49, 0, steps)
    sig = np.append(np.exp(np.interp(t, np.arange(50), np.log(sparse))), 0.0)
    x = START * sig[0]
    for s, u in zip(sig[:-1], sig[1:]):
        t = (np.argmin(abs(np.log(sparse) - math.log(s))) * 20 + 19) * 10.0
        x = t / (t * t + 0.25) ** 0.5 * denoise(x, s) + 0.25 / (t * t + 0.25) * x
        if u > 0:
            x = x + u * noise()
    return x, sig


rows = []


def record(name, x, n, schedule, **options):
    rows.append({"sampler": name, "steps": n, "schedule": schedule, "draws": noise.i, "x": rounded(x), **options})


for n in [5, 20]:
    for schedule, make in [("Karras", karras), ("Exponential", exponential)]:
        sig = make(n)
        for name, f, options in [
            ("HeunPP2", heunpp2, {}), ("IPNDM", ipndm, {}), ("IPNDM_V", ipndm_v, {}), ("DEIS", deis, {}), ("DDPM", ddpm, {}),
            ("Euler CFG++", lambda x, s: cfg_pp(x, s, 0), {}), ("Euler a CFG++", lambda x, s: cfg_pp(x, s, 1.0), {}),
            ("DPM++ 2M CFG++", dpmpp_2m_cfg_pp, {}), ("Res Multistep CFG++", res_multistep_cfg_pp, {}),
            ("Res Multistep CFG++", lambda x, s: res_multistep_cfg_pp(x, s, 0.8), {"eta": 0.8}),
            ("Res Multistep", res_multistep, {}),
            ("Res Multistep", lambda x, s: res_multistep(x, s, 0.8), {"eta": 0.8}),
            ("SA-Solver", lambda x, s: sa_solver(x, s, 1.0), {"eta": 1.0}),
            ("SA-Solver", lambda x, s: sa_solver(x, s, 0.0), {"eta": 0.0}),
        ]:
            noise = Noise()
            record(name, f(START * sig[0], sig), n, schedule, **options)
        noise = Noise()
        record("LCM", lcm_comfy(START * (1 + sig[0] ** 2) ** 0.5, sig), n, schedule, dialect="comfy")
        # ComfyUI lays UniPC over one sigma more, drops the last but one, and ends at 0.001.
        more = make(n + 1)
        points = np.append(more[:-2], 0.001)
        for name, variant in [("UniPC", "bh1"), ("UniPC bh2", "bh2")]:
            noise = Noise()
            x = unipc(START * (1 + points[0] ** 2) ** 0.5, points, min(3, n - 1), variant)
            record(name, x, n, schedule, dialect="comfy", calls=n)
    for name, variant in [("UniPC", "bh1"), ("UniPC bh2", "bh2")]:
        noise = Noise()
        x, calls = unipc_webui(n, variant)
        record(name, x, n, "Automatic", calls=calls)
    noise = Noise()
    x, sig = lcm_webui(n)
    record("LCM", x, n, "Automatic", sigmas=rounded(sig))
noise = Noise()
x, calls = unipc_webui(30, "bh1")
record("UniPC", x, 30, "Automatic", calls=calls)
for n in [5, 20, 36, 50]:
    noise = Noise()
    x, calls = restart(START * hi, karras(n))
    record("Restart", x, n, "Karras", calls=calls)
write("comfy_forge.json", rows, script=__file__, packages=["numpy", "scipy", "torch", "k-diffusion"],
      tolerance="1e-6 relative", note="Fresh implementations of documented formulas, float64; from START times the plan's scale.")
