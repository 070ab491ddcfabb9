"""The chalk style as a LoRA: the difference of two U-Nets, cut down to its strongest directions.

    python extract_lora.py [--rank 8]        # writes models/demo/chalk-lora.safetensors

Each layer's difference is decomposed into singular vectors (Eckart & Young 1936), of which the first `rank` are kept, the roots of
their values on both sides. Biases and norms, which a LoRA can't change, are left out.
"""

import argparse
import os

import torch
from safetensors.torch import load_file, save_file

import common
import ldm_names

OUT = f"{os.path.dirname(os.path.abspath(__file__))}/../../models/demo"
PREFIX = "model.diffusion_model."


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rank", type=int, default=8)
    rank = ap.parse_args().rank
    base = load_file(f"{OUT}/base/unet/diffusion_pytorch_model.safetensors")
    stored = ldm_names.unet_to_ldm({name: name for name in base})
    chalk = load_file(f"{common.WORK}/chalk.safetensors")
    state, kept, whole = {}, 0.0, 0.0
    for ldm, name in stored.items():
        if base[name].dim() < 2 or not name.endswith(".weight"):
            continue
        change = (chalk[PREFIX + ldm].float() - base[name].float()).reshape(base[name].shape[0], -1)
        u, s, v = torch.linalg.svd(change, full_matrices=False)
        r = min(rank, len(s))
        whole += s.square().sum().item()
        kept += s[:r].square().sum().item()
        shape = base[name].shape
        down = (s[:r].sqrt()[:, None] * v[:r]).reshape(r, *shape[1:])
        up = (u[:, :r] * s[:r].sqrt()).reshape(shape[0], r, *(1 for _ in shape[2:]))
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        state[f"{module}.lora_down.weight"] = down.half().contiguous()
        state[f"{module}.lora_up.weight"] = up.half().contiguous()
        state[f"{module}.alpha"] = torch.tensor(float(r), dtype=torch.float16)
    path = f"{OUT}/chalk-lora.safetensors"
    save_file(state, path, {
        "format": "pt", "ss_network_module": "networks.lora", "ss_network_dim": str(rank),
        "ss_base_model_version": "sd_v1", "ss_output_name": "chalk"})
    os.chmod(path, 0o644)
    print(f"{len(state) // 3} layers, {os.path.getsize(path)} bytes, {kept / whole:.0%} of the difference's squares")


if __name__ == "__main__":
    main()
