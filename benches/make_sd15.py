"""Writes a Stable Diffusion 1.5 of full size with random weights: for memory and speed, not for pictures.

    python benches/make_sd15.py OUT_FOLDER                        # a diffusers folder
    python benches/make_sd15.py OUT.safetensors --layout ldm      # an LDM single file

Tensors are made and written one at a time: it needs little memory, and 2.1 GB of disk.
"""

import argparse
import json
import math
import struct
import sys
import zlib
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools/goldens"))
import ldm_names

with open(Path(__file__).resolve().parent / "models/sd15.json", encoding="utf-8") as configs:
    CONFIGS = json.load(configs)


def shapes():
    """Per part the names that files have and their shapes, from the networks themselves, without their memory."""
    with torch.device("meta"):
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**CONFIGS["text_encoder"])),
            "unet": UNet2DConditionModel.from_config(CONFIGS["unet"]),
            "vae": AutoencoderKL.from_config(CONFIGS["vae"]),
        }
    named = {
        part: {name: tuple(t.shape) for name, t in module.state_dict().items() if "position_ids" not in name}
        for part, module in parts.items()
    }
    # transformers 5 dropped a prefix from its parameter names that every file has.
    named["text_encoder"] = {f"text_model.{name}": shape for name, shape in named["text_encoder"].items()}
    return named


def values(part, name, shape):
    """Scaled so that activations stay near 1; the seed is the name's, so that both layouts hold the same weights."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{part}.{name}".encode()))
    x = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        x *= 0.1
    elif "token_embedding" in name or "position_embedding" in name:
        x *= 0.5
    elif len(shape) == 1:
        x = 1 + 0.1 * x
    else:
        x *= math.prod(shape[1:]) ** -0.5
    return x.half().numpy().tobytes()


def write(path, tensors):
    """A safetensors file of `tensors`: name to (shape, what makes its bytes)."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, _) in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for _, make in tensors.values():
            file.write(make())
    print(f"{path}: {len(tensors)} tensors, {at / 1e9:.2f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layout", choices=["diffusers", "ldm"], default="diffusers")
    args = parser.parse_args()
    named = shapes()

    def source(part, name, shape):
        return lambda: values(part, name, shape)

    if args.layout == "ldm":
        tensors = {}
        for part, names in named.items():
            for name, shape in names.items():
                ldm = ldm_names.RENAME[part](name)
                # LDM has the VAE's attention as 1x1 convolutions.
                convolution = part == "vae" and "attn_1" in ldm and len(shape) == 2
                tensors[ldm] = (shape + (1, 1) if convolution else shape, source(part, name, shape))
        write(args.out, tensors)
        return
    for part, names in named.items():
        file = "model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors"
        write(args.out / part / file, {n: (s, source(part, n, s)) for n, s in names.items()})
    write_configs(args.out, CONFIGS)


def write_configs(out, configs):
    """The configurations of a diffusers folder."""
    for part, config in configs.items():
        name = {"model_index": "model_index.json", "scheduler": "scheduler/scheduler_config.json"}.get(part, f"{part}/config.json")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
