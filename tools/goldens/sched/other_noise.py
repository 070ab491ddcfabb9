"""numpy's SeedSequence, CUDA's Philox, and torchsde's Brownian trees as k-diffusion samples them."""

import numpy as np
import torch

from common import k_diffusion, write

K = k_diffusion()

rows = []
for entropy, key, pool, n in [(0, (), 4, 8), (1, (), 4, 4), (123456789, (3, 1), 8, 8), (2**40 + 7, (0, 0), 24, 4),
                              (42, (), 24, 3), (42, (5, 3), 24, 4), (2**63 + 1, (2**33, 20), 24, 4), (7, (1023, 10), 8, 6)]:
    s = np.random.SeedSequence(entropy=entropy, spawn_key=key, pool_size=pool)
    rows.append({"entropy": str(entropy), "key": [str(k) for k in key], "pool": pool, "state": s.generate_state(n).tolist()})
write("seed_sequence.json", rows, script=__file__, packages=["numpy"], tolerance="exact",
      note="SeedSequence(entropy, spawn_key=key, pool_size=pool).generate_state(n)")


def philox(counter, key):
    """Salmon et al. 2011, Philox 4x32-10: written anew from the paper's definition."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


# numpy's Philox is the 4x64 one, so the 4x32 integers are checked with the known answers of the paper's own test suite
# (Random123, kat_vectors) before they are written.
assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]) == [
    0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
rows = []
for counter, key in [([0] * 4, [0] * 2), ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2),
                     ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]),
                     ([1, 0, 12345, 0], [42, 7])]:
    rows.append({"counter": counter, "key": key, "out": philox(counter, key)})


def normals(seed, offset, n):
    """The WebUI's "NV" values: cuRAND's float32 constants, then float64 arithmetic (what numpy makes of uint32 * float32)."""
    inv = float(np.float32(2.3283064e-10))
    turn = float(np.float32(2.3283064e-10 * 6.2831855))
    out = []
    for i in range(n):
        x, y, _, _ = philox([offset, 0, i, 0], [seed & 0xFFFFFFFF, seed >> 32])
        v = np.sqrt(-2.0 * np.log(x * inv + inv / 2)) * np.sin(y * turn + turn / 2)
        out.append(float(np.float32(v)))
    return out


for seed in [0, 1, 2**40 + 3]:
    rows.append({"seed": str(seed), "normals": [normals(seed, 0, 20), normals(seed, 1, 5)]})
write("philox.json", rows, script=__file__, packages=["numpy"], tolerance="integers exact, normals 1 ulp",
      note="Philox 4x32-10; the first three are Random123's known answers. Normals: the WebUI's documented formula.")

# A whole sampling run's worth of queries: falling sigmas, then some out of order.
rows = []
for seed, n in [(1, 4), (12345, 20), (2**33 + 3, 5)]:
    sigmas = K.get_sigmas_karras(8, 0.0291675, 14.614642)
    x = torch.zeros(1, n)
    sampler = K.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=[seed])
    queries = []
    pairs = [(float(a), float(b)) for a, b in zip(sigmas[:-2], sigmas[1:-1])]
    pairs += [(5.0, 4.5), (4.5, 3.25), (14.614642, 0.0291675), (1.0, 2.0), (0.5, 0.499999)]
    for a, b in pairs:
        queries.append({"from": a, "to": b, "noise": [float(f"{v:.9g}") for v in sampler(a, b)[0].tolist()]})
    rows.append({"seed": str(seed), "n": n, "min": float(sigmas[sigmas > 0].min()), "max": float(sigmas.max()),
                 "queries": queries})
write("brownian.json", rows, script=__file__, packages=["torchsde", "k-diffusion", "torch", "numpy"],
      tolerance="1e-5 absolute", note="BrownianTreeNoiseSampler over zeros of shape (1, n), float32.")
