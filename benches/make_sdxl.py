"""Writes a Stable Diffusion XL of full size with random weights: for memory and speed, not for pictures.

    python benches/make_sdxl.py OUT_FOLDER

A diffusers folder in f16. Tensors are made and written one at a time: it needs little memory, and 6.9 GB of disk. Random numbers repeat
every four million, which saves minutes.
"""

import argparse
import json
import math
import zlib
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import make_sd15

with open(Path(__file__).resolve().parent / "models/sdxl.json", encoding="utf-8") as configs:
    CONFIGS = json.load(configs)


def shapes():
    """Per part the names that files have and their shapes, from the networks themselves, without their memory."""
    with torch.device("meta"):
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**CONFIGS["text_encoder"])),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**CONFIGS["text_encoder_2"])),
            "unet": UNet2DConditionModel.from_config(CONFIGS["unet"]),
            "vae": AutoencoderKL.from_config(CONFIGS["vae"]),
        }

    def in_files(part, name):
        # transformers 5 dropped a prefix from some of its parameters' names that every file has.
        bare = part.startswith("text_encoder") and not name.startswith("text_")
        return f"text_model.{name}" if bare else name

    return {
        part: {in_files(part, name): tuple(t.shape) for name, t in module.state_dict().items() if "position_ids" not in name}
        for part, module in parts.items()
    }


POOL = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0)).half()


def values(part, name, shape):
    """As large as make_sd15's."""
    count = math.prod(shape)
    start = zlib.crc32(f"{part}.{name}".encode()) % len(POOL)
    x = POOL.roll(-start).repeat(-(-count // len(POOL)))[:count]
    if name.endswith("bias"):
        x = x * 0.1
    elif "token_embedding" in name or "position_embedding" in name:
        x = x * 0.5
    elif len(shape) == 1:
        x = 1 + 0.1 * x
    else:
        x = x * math.prod(shape[1:]) ** -0.5
    return x.numpy().tobytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for part, names in shapes().items():
        file = "model.safetensors" if part.startswith("text_encoder") else "diffusion_pytorch_model.safetensors"
        tensors = {n: (s, lambda n=n, s=s, part=part: values(part, n, s)) for n, s in names.items()}
        make_sd15.write(args.out / part / file, tensors)
    make_sd15.write_configs(args.out, CONFIGS)


if __name__ == "__main__":
    main()
