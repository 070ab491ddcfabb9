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

TEXT_ENCODER = make_sd15.TEXT_ENCODER
TEXT_ENCODER_2 = {
    **TEXT_ENCODER,
    "architectures": ["CLIPTextModelWithProjection"],
    "hidden_act": "gelu",
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.19.0",
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
VAE = {**make_sd15.VAE, "_diffusers_version": "0.19.0", "sample_size": 1024, "scaling_factor": 0.13025}
SCHEDULER = {**make_sd15.SCHEDULER, "_class_name": "EulerDiscreteScheduler"}
for key in ["set_alpha_to_one", "skip_prk_steps", "clip_sample"]:
    SCHEDULER.pop(key)
MODEL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    # None: CLIP's own vocabulary is meant.
    "tokenizer": [None, None],
    "tokenizer_2": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def shapes():
    """Per part the names that files have and their shapes, from the networks themselves, without their memory."""
    with torch.device("meta"):
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_ENCODER_2)),
            "unet": UNet2DConditionModel.from_config(UNET),
            "vae": AutoencoderKL.from_config(VAE),
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
    for path, config in {
        "model_index.json": MODEL_INDEX,
        "text_encoder/config.json": TEXT_ENCODER,
        "text_encoder_2/config.json": TEXT_ENCODER_2,
        "unet/config.json": UNET,
        "vae/config.json": VAE,
        "scheduler/scheduler_config.json": SCHEDULER,
    }.items():
        target = args.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
