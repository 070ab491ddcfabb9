"""A Stable Diffusion 1 in small with random weights, as a diffusers folder and as an LDM single file."""

import json
import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

import ldm_names

SEED = 20240

FOLDER = "goldens/tiny-sd1"
# The single file repeats the folder: kept are its names, and what it has besides.
NAMES = "goldens/tiny-sd1/ldm/names.json"
OTHERS = "goldens/tiny-sd1/ldm/others.safetensors"

# What the real files say, sizes aside. One level is wider than the others, so that a level's input and output channels
# can't be mistaken for each other. Group norm has 2 to 8 channels a group: over single channels, as 32 groups of these
# would be, it takes away what the time embedding added, and a wrong timestep would not show.
TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 16,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 4,
    "num_hidden_layers": 5,
    "pad_token_id": 1,
    "projection_dim": 16,
    "torch_dtype": "float16",
    "vocab_size": 49408,
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [32, 32, 32, 64],
    "center_input_sample": False,
    "cross_attention_dim": 16,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 16,
    "out_channels": 4,
    "sample_size": 16,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [32, 64, 32, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 16,
    "out_channels": 3,
    "sample_size": 128,
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
    "trained_betas": None,
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
    "tokenizer": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
FILES = {
    "text_encoder": f"{FOLDER}/text_encoder/model.safetensors",
    "unet": f"{FOLDER}/unet/diffusion_pytorch_model.safetensors",
    "vae": f"{FOLDER}/vae/diffusion_pytorch_model.safetensors",
}


def networks():
    """The three networks in f32, eval mode, attention as plain matrix products."""
    text = CLIPTextModel._from_config(CLIPTextConfig(**TEXT_ENCODER), attn_implementation="eager")
    unet = UNet2DConditionModel.from_config(UNET)
    vae = AutoencoderKL.from_config(VAE)
    return {"text_encoder": text.float().eval(), "unet": plain(unet), "vae": plain(vae)}


def plain(network):
    """In f32, eval mode, with attention as plain matrix products."""
    for module in network.modules():
        if hasattr(module, "set_processor"):
            module.set_processor(AttnProcessor())
    return network.float().eval()


def file_name(part, name):
    """transformers 5 dropped a prefix from its parameter names that every file has."""
    return f"text_model.{name}" if part == "text_encoder" else name


def random_weights(part, module, generator):
    """Norms and biases too are random: at their usual 1 and 0 a forgotten one would not show.

    Weights are scaled by their fan-in so that activations stay near 1. They are rounded to 4 bits of mantissa: exact in
    f16 and in bf16, so that files in either hold the same model, and half the size once compressed.
    """
    weights = {}
    for name, p in sorted(module.state_dict().items()):
        if name.endswith("position_ids"):
            continue
        x = torch.randn(p.shape, generator=generator)
        if name.endswith("bias"):
            x = 0.1 * x
        elif "embedding" in name and "time" not in name:
            x = 0.5 * x
        elif p.ndim == 1:
            x = 1 + 0.2 * x
        else:
            # Time gets more weight, so that a rounded timestep shows in the pictures.
            x = x * p[0].numel() ** -0.5 * (2 if "time" in name else 1)
        weights[file_name(part, name)] = round_mantissa(x, 4).half()
    return weights


def round_mantissa(x, bits):
    mantissa, exponent = torch.frexp(x)
    scale = 2.0 ** (bits + 1)
    x = torch.ldexp(torch.round(mantissa * scale) / scale, exponent)
    # Under this f16 is subnormal, and bf16 to f16 would round.
    return torch.where(x.abs() < 2.0**-14, torch.zeros_like(x), x)


def load(root):
    """The networks with the weights of the files under `root`."""
    parts = networks()
    for part, module in parts.items():
        file = load_file(root / FILES[part])
        weights = {name: file[file_name(part, name)].float() for name in module.state_dict() if "position_ids" not in name}
        assert len(weights) == len(file)
        module.load_state_dict(weights, strict=False)
    return parts


def single_file(parts):
    """The same weights under LDM's names, what such files carry besides, and the names by part."""
    checkpoint, names = {}, {"convolutions": []}
    for part, weights in parts.items():
        names[part] = {}
        for name, t in weights.items():
            ldm = ldm_names.RENAME[part](name)
            if part == "vae" and re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", ldm):
                t = t[:, :, None, None]
                names["convolutions"].append(ldm)
            assert ldm not in checkpoint
            checkpoint[ldm] = t
            names[part][name] = ldm

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    cumprod = torch.cumprod(1 - betas, 0)
    extras = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "betas": betas.float(),
        "alphas_cumprod": cumprod.float(),
        "sqrt_alphas_cumprod": cumprod.sqrt().float(),
        "log_one_minus_alphas_cumprod": (1 - cumprod).log().float(),
        "posterior_mean_coef1": (betas * (cumprod / (1 - betas)).sqrt() / (1 - cumprod)).float(),
        "logvar": torch.zeros(1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(470000, dtype=torch.int32),
    }
    # EMA names lose their dots. The values differ from the weights, so that reading the wrong ones shows.
    for name in ["input_blocks.0.0.weight", "time_embed.0.bias", "out.2.weight"]:
        ema = "model_ema.diffusion_model" + name.replace(".", "")
        extras[ema] = checkpoint[f"model.diffusion_model.{name}"].float() * 0.5
    return checkpoint, extras, names


def prove(checkpoint, parts):
    """diffusers' own converters must give back exactly the folder's tensors."""
    back = {
        "unet": convert_ldm_unet_checkpoint(dict(checkpoint), UNET),
        "vae": convert_ldm_vae_checkpoint(dict(checkpoint), VAE),
        "text_encoder": convert_ldm_clip_checkpoint(dict(checkpoint)),
    }
    del back["text_encoder"]["text_model.embeddings.position_ids"]
    for part, weights in parts.items():
        assert back[part].keys() == weights.keys(), (part, sorted(back[part].keys() ^ weights.keys())[:5])
        for name, t in weights.items():
            assert back[part][name].shape == t.shape and torch.equal(back[part][name], t), name


def make(out):
    generator = torch.Generator("cpu").manual_seed(SEED)
    parts = {name: random_weights(name, module, generator) for name, module in networks().items()}
    note = "random; rounded to 4 bits of mantissa, so exact in f16, bf16 and f32"
    for part, weights in parts.items():
        for t in weights.values():
            assert torch.equal(t.float().bfloat16().float(), t.float())
        out.weights(FILES[part], weights, seed=SEED, note=note)

    for path, config in {
        "model_index.json": MODEL_INDEX,
        "text_encoder/config.json": TEXT_ENCODER,
        "unet/config.json": UNET,
        "vae/config.json": VAE,
        "scheduler/scheduler_config.json": SCHEDULER,
    }.items():
        out.json(f"{FOLDER}/{path}", config, note="as SD 1.5's, sizes and norm_num_groups aside; no tokenizer: CLIP's own is meant")

    checkpoint, extras, names = single_file(parts)
    prove(checkpoint | extras, parts)
    out.json(
        NAMES,
        names,
        note="the folder's tensors under LDM's names, VAE attention as 1x1 convolutions: diffusers' converters give back the folder's tensors "
        "exactly",
    )
    out.weights(
        OTHERS,
        extras,
        metadata={
            "sdrs.text_encoder.config": json.dumps(TEXT_ENCODER),
            "sdrs.unet.config": json.dumps(UNET),
            "sdrs.vae.config": json.dumps(VAE),
            "sdrs.scheduler.config": json.dumps(SCHEDULER),
        },
        seed=SEED,
        note="what single files carry besides. Of the configs, the text encoder's heads (4, not width / 64) and the norms' groups (16, not 32) "
        "can't be read off a file: they ride in its metadata, as sdrs.unet.config and so on",
    )
