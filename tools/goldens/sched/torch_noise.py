"""PyTorch's CPU normals."""

import torch

from common import write

CASES = [(0, [1]), (0, [15]), (0, [16]), (1, [17]), (42, [4, 8, 8]), (123456789, [100]), (2**32 + 5, [3, 7]),
         (2**63 + 11, [40]), (7, [5, 5, 40, 3])]


def bits32(t):
    return [int(v) for v in t.flatten().view(torch.int32).tolist()]


def bits16(t):
    return [int(v) & 0xFFFF for v in t.flatten().view(torch.int16).tolist()]


rows = []
for seed, shape_or_draws in CASES:
    g = torch.Generator("cpu").manual_seed(seed)
    # Consecutive draws from one generator: short ones share a cached value, long ones don't touch it.
    draws = [torch.randn(n, generator=g) for n in (shape_or_draws if seed == 7 else [torch.Size(shape_or_draws).numel()])]
    rows.append({"seed": str(seed), "f32": [bits32(d) for d in draws]})
for kind, dtype in [("f16", torch.float16), ("bf16", torch.bfloat16)]:
    for seed, sizes in [(0, [5]), (3, [16]), (9, [3, 70, 2])]:
        g = torch.Generator("cpu").manual_seed(seed)
        rows.append({"seed": str(seed), kind: [bits16(torch.randn(n, generator=g, dtype=dtype)) for n in sizes]})
write("torch_cpu_noise.json", rows, script=__file__, packages=["torch"],
      tolerance="4 ulp of float32 (absolute 4 ulp of 1e-3 below 1e-3); f16 and bf16: 1 ulp",
      note="Bit patterns of torch.randn(n, generator=g) on the CPU; each row lists consecutive draws from one generator.")
