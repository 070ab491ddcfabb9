"""PyTorch's CPU normal noise, for the "CPU" noise dialect."""

import torch

SEEDS = [0, 1, 42, 2**32 - 1, 2**33 + 5]
COUNTS = [1, 7, 15, 16, 17, 100, 1024]


def make(out):
    tensors = {}
    for seed in SEEDS:
        for n in COUNTS:
            generator = torch.Generator("cpu").manual_seed(seed)
            tensors[f"seed{seed}.n{n}"] = torch.randn(n, generator=generator, dtype=torch.float32)
    # One generator that draws more than once: an odd count under 16 leaves a cached sine behind.
    generator = torch.Generator("cpu").manual_seed(42)
    for i, n in enumerate([7, 7, 16, 5, 100, 1, 17]):
        tensors[f"continued.{i}.n{n}"] = torch.randn(n, generator=generator, dtype=torch.float32)
    out.tensors(
        "goldens/noise.safetensors",
        tensors,
        tolerance={"f32": 1e-6},
        note="torch.randn of n values from a fresh generator of that seed; continued.I: draws one after the other from "
        "seed 42. PyTorch's vector code approximates log, sin and cos to an ulp or two",
    )
