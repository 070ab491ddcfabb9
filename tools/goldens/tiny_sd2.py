"""What makes SD2 of the tiny SD1: another U-Net, whose projections are linear and whose levels have their own heads, and v-prediction.

Text encoder and autoencoder are the tiny SD1's, the former with OpenCLIP's activation and padding, so that their files are not repeated:
tests put the folder together.
"""

import math

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

import common
import k_diff
import refs
import tiny_sd1

SEED = 29
FOLDER = "goldens/tiny-sd2"
STEPS = 6
CFG = 6.0
PROMPT = "a red circle above a blue square"
NEGATIVE = "blurry, low quality"

TEXT_ENCODER = tiny_sd1.TEXT_ENCODER | {"hidden_act": "gelu"}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.8.0",
    "act_fn": "silu",
    "attention_head_dim": [2, 4, 4],
    "block_out_channels": [32, 64, 32],
    "center_input_sample": False,
    "cross_attention_dim": 16,
    "down_block_types": ["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 16,
    "out_channels": 4,
    "sample_size": 16,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
    "use_linear_projection": True,
}
SCHEDULER = tiny_sd1.SCHEDULER | {"prediction_type": "v_prediction"}
FILE = f"{FOLDER}/unet/diffusion_pytorch_model.safetensors"


def text_encoder():
    model = CLIPTextModel._from_config(CLIPTextConfig(**TEXT_ENCODER), attn_implementation="eager").float().eval()
    model.load_state_dict(tiny_sd1.load(common.ROOT)["text_encoder"].state_dict())
    return model


def padded(ids):
    """OpenCLIP's padding: 0 behind the first end token."""
    ids = ids.clone()
    for row in ids:
        row[(row == 49407).nonzero()[0, 0] + 1 :] = 0
    return ids


def residual(k, shape):
    """What a control network would give for the k-th place: a formula, so that no file has to hold it."""
    n = torch.arange(math.prod(shape), dtype=torch.float64)
    return (0.3 * torch.sin(0.7 * n + k)).float().reshape(shape)


def controlled(unet, latents, timesteps, context):
    """The U-Net with residuals at each skip and behind the middle."""
    # Channels and divisor of the sides of each skip, then of the middle.
    places = [(32, 1), (32, 1), (32, 2), (64, 2), (64, 4), (32, 4), (32, 4)]
    batch, _, height, width = latents.shape
    *skips, middle = (residual(k, (batch, c, height // f, width // f)) for k, (c, f) in enumerate(places))
    return unet(
        latents, timesteps, context, down_block_additional_residuals=tuple(skips), mid_block_additional_residual=middle
    ).sample


def make(out):
    unet = tiny_sd1.plain(UNet2DConditionModel.from_config(UNET))
    weights = tiny_sd1.random_weights("unet", unet, torch.Generator().manual_seed(SEED))
    out.weights(FILE, weights, seed=SEED)
    out.json(f"{FOLDER}/unet/config.json", UNET)
    out.json(f"{FOLDER}/text_encoder/config.json", TEXT_ENCODER)
    out.json(f"{FOLDER}/scheduler/scheduler_config.json", SCHEDULER)
    unet.load_state_dict({name: t.float() for name, t in load_file(out.root / FILE).items()})

    ids = padded(refs.token_ids([PROMPT, NEGATIVE]))
    cond, uncond = text_encoder()(ids).last_hidden_state.split(1)
    latents = torch.randn(2, 4, 16, 24, generator=torch.Generator().manual_seed(SEED))
    call = latents, torch.tensor([900.0, 17.0]), torch.cat([cond, uncond])
    output = unet(*call).sample

    model = k_diff.denoiser(unet, "v")
    sigmas = k_diff.schedule(model, "karras", STEPS)
    torch.manual_seed(SEED)
    noise = torch.randn(1, 4, 16, 24)
    run, _ = k_diff.run(k_diff.sampling.sample_euler, k_diff.Guided(model, cond, uncond, CFG), noise, sigmas)
    out.tensors(
        f"{FOLDER}/refs.safetensors",
        {"input_ids": ids, "cond": cond, "uncond": uncond, "latents": latents, "output": output, "controlled": controlled(unet, *call),
            "run": run[-1:]},
        seed=SEED,
        steps=STEPS,
        cfg_scale=CFG,
        prompts={"cond": PROMPT, "uncond": NEGATIVE},
        tolerance={"f32": 1e-5, "run": 1e-4},
        note="cond, uncond: transformers' CLIPTextModel with the exact GELU on ids padded with 0; output: diffusers' U-Net at timesteps "
        "900 and 17, rows cond and uncond; controlled: the same with the residuals that tiny_sd2.py computes; run: the latents after k-diffusion's Euler over Karras' schedule, CompVisVDenoiser, from the "
        "noise of torch.manual_seed(29)",
    )
