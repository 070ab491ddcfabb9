"""The noise of a batch by the WebUI's rules: variation, seed resize, eta noise seed delta; and ComfyUI's.

The WebUI and ComfyUI are no packages: their documented rules are written anew here over PyTorch's own generators.
"""

import torch

from common import write


def randn(seed, shape):
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def slerp(t, low, high):
    """The angle is taken along dimension 1 of (channels, height, width)."""
    low, high = low.double(), high.double()
    a = low / torch.norm(low, dim=1, keepdim=True)
    b = high / torch.norm(high, dim=1, keepdim=True)
    dot = (a * b).sum(1)
    if dot.mean() > 0.9995:
        return (low * t + high * (1 - t)).float()
    omega = torch.acos(dot)
    so = torch.sin(omega)
    sides = (torch.sin((1 - t) * omega) / so).unsqueeze(1) * low, (torch.sin(t * omega) / so).unsqueeze(1) * high
    return (sides[0] + sides[1]).float()


def bits(t):
    return t.flatten().view(torch.int32).tolist()


def webui(seed, batch, shape, variation=0, strength=0.0, ensd=0, resize=None, draws=2):
    seeds = [seed + (0 if strength > 0 else i) for i in range(batch)]
    generators = [torch.Generator("cpu").manual_seed(s) for s in seeds]
    first = []
    for i, (s, g) in enumerate(zip(seeds, generators)):
        drawn = (shape[0], *resize) if resize else shape
        n = randn(s, drawn) if drawn != shape else torch.randn(shape, generator=g)
        if strength > 0:
            n = slerp(strength, n, randn(variation + i, drawn))
        if drawn != shape:
            x = torch.randn(shape, generator=g)
            dx, dy = (shape[2] - drawn[2]) // 2, (shape[1] - drawn[1]) // 2
            w = drawn[2] if dx >= 0 else drawn[2] + 2 * dx
            h = drawn[1] if dy >= 0 else drawn[1] + 2 * dy
            tx, ty, dx, dy = max(dx, 0), max(dy, 0), max(-dx, 0), max(-dy, 0)
            x[:, ty:ty + h, tx:tx + w] = n[:, dy:dy + h, dx:dx + w]
            n = x
        first.append(n)
    if ensd:
        generators = [torch.Generator("cpu").manual_seed(s + ensd) for s in seeds]
    return [first] + [[torch.randn(shape, generator=g) for g in generators] for _ in range(draws - 1)]


SHAPE = (2, 5, 6)
CASES = [
    dict(seed=42, batch=3),
    dict(seed=42, batch=2, ensd=31337),
    dict(seed=7, batch=2, variation=1000, strength=0.35),
    dict(seed=7, batch=1, resize=(3, 4)),
    dict(seed=7, batch=1, resize=(8, 3)),
    dict(seed=9, batch=2, variation=5, strength=0.9, resize=(4, 8), ensd=-1),
    # The same noise twice: nearly parallel, so linear with its ends exchanged.
    dict(seed=7, batch=1, variation=7, strength=0.25),
]
rows = []
for case in CASES:
    draws = webui(shape=SHAPE, **case)
    rows.append({**case, "dialect": "webui", "draws": [[bits(n) for n in images] for images in draws]})
g = torch.Generator("cpu").manual_seed(11)
first = torch.randn((3, *SHAPE), generator=g)
again = torch.randn((3, *SHAPE), generator=g)
rows.append({"seed": 11, "batch": 3, "dialect": "diffusers", "draws": [[bits(n) for n in first], [bits(n) for n in again]]})
g = torch.Generator("cpu").manual_seed(12)
later = torch.randn((3, *SHAPE), generator=g)
rows.append({"seed": 11, "batch": 3, "dialect": "comfy", "draws": [[bits(n) for n in first], [bits(n) for n in later]]})
write("batch_noise.json", rows, script=__file__, packages=["torch"], tolerance="4 ulp; 1e-6 absolute after interpolation",
      note="Shape (2, 5, 6), float32 bit patterns; by case: draws, images, values.")
