"""A small U-Net without a middle, as the distilled models of SD1 are (segmind/tiny-sd, BK-SDM-Small), and what it gives."""

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

import tiny_sd1

FOLDER = "goldens/no-middle"
SEED = 53

# Their structure, sizes aside: attention on the last level too, one layer in a level.
UNET = tiny_sd1.UNET | {
    "_diffusers_version": "0.19.0.dev0",
    "attention_head_dim": 4,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D"] * 2,
    "layers_per_block": 1,
    "mid_block_type": None,
    "norm_num_groups": 8,
    "up_block_types": ["CrossAttnUpBlock2D"] * 2,
}


def make(out):
    generator = torch.Generator("cpu").manual_seed(SEED)
    unet = UNet2DConditionModel.from_config(UNET).float().eval()
    unet.set_attn_processor(AttnProcessor())
    assert unet.mid_block is None
    weights = tiny_sd1.random_weights("unet", unet, generator)
    unet.load_state_dict({name: t.float() for name, t in weights.items()})
    out.json(f"{FOLDER}/config.json", UNET, note="as segmind/tiny-sd's, sizes and norm_num_groups aside")
    out.weights(
        f"{FOLDER}/diffusion_pytorch_model.safetensors", weights, seed=SEED,
        note="random; rounded to 4 bits of mantissa, so exact in f16, bf16 and f32",
    )
    tensors = {}
    for batch, height, width, timestep in [(1, 16, 16, 801.0), (2, 9, 14, 37.5)]:
        case = f"b{batch}_{height}x{width}"
        sample = torch.randn(batch, 4, height, width, generator=generator)
        context = torch.randn(batch, 77, 16, generator=generator)
        tensors |= {
            f"{case}.sample": sample,
            f"{case}.timestep": torch.full([batch], timestep),
            f"{case}.encoder_hidden_states": context,
            f"{case}.out": unet(sample, torch.tensor(timestep), context).sample,
        }
    out.tensors(
        f"{FOLDER}/refs.safetensors", tensors, seed=SEED, tolerance={"f32": 1e-5},
        note="per case bB_HxW: sample, timestep, encoder_hidden_states, out. diffusers' UNet2DConditionModel, AttnProcessor",
    )
