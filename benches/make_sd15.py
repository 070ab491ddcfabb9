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

TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"],
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float16",
    "vocab_size": 49408,
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}
MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    # None: CLIP's own vocabulary is meant.
    "tokenizer": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def shapes():
    """Per part the names that files have and their shapes, from the networks themselves, without their memory."""
    with torch.device("meta"):
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
            "unet": UNet2DConditionModel.from_config(UNET),
            "vae": AutoencoderKL.from_config(VAE),
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
    for path, config in {
        "model_index.json": MODEL_INDEX,
        "text_encoder/config.json": TEXT_ENCODER,
        "unet/config.json": UNET,
        "vae/config.json": VAE,
        "scheduler/scheduler_config.json": SCHEDULER,
    }.items():
        target = args.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
