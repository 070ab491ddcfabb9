"""Weights that follow from their names, so that no file has to hold them; crates/goldens/src/formula.rs makes the same."""

import math

import numpy as np
import torch


def uniform(name, n):
    """Numbers from -1 to 1: SplitMix64 (Steele, Lea and Flood 2014), seeded with the name's FNV-1a hash."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    # 24 bits: exact in f32.
    bits = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.int64) - 2**23
    return bits.astype(np.float32) / np.float32(2**23)


def tensor(name, shape):
    """Norms near 1, biases near 0, weights of variance 1 over their inputs."""
    values = uniform(name, math.prod(shape))
    if len(shape) > 1:
        values = values * np.float32(math.sqrt(3 / math.prod(shape[1:])))
    else:
        values = values * np.float32(0.25) + np.float32(1 if name.endswith(".weight") else 0)
    return torch.from_numpy(values.reshape(shape))


def fill(module):
    """Gives all parameters of a network their values; their number."""
    state = {name: tensor(name, tuple(t.shape)) for name, t in module.state_dict().items()}
    module.load_state_dict(state)
    return len(state)
