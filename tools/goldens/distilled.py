"""The structures of distilled models at small widths, and what diffusers' U-Net gives for each. Their weights follow from a formula."""

import torch
from diffusers import UNet2DConditionModel

import formula
import tiny_sd1

FOLDER = "goldens/distilled"

SD1 = tiny_sd1.UNET | {
    "_diffusers_version": "0.19.0.dev0",
    "block_out_channels": [64, 64, 64, 128],
    "layers_per_block": 1,
    "norm_num_groups": 32,
}
XL = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.22.0.dev0",
    "act_fn": "silu",
    "addition_embed_type": "text_time",
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": 256,
    "attention_head_dim": [1, 1, 2],
    "block_out_channels": [64, 64, 128],
    "cross_attention_dim": 24,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 2,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "projection_class_embeddings_input_dim": 40,
    "sample_size": 128,
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
CROSS = "CrossAttnDownBlock2D"
# As the published config.json files have it, widths aside.
MODELS = {
    "ssd-1b": XL | {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, [2, 2], [4, 4]],
        "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
    },
    "vega": XL | {
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": [1, [1, 1], [2, 2]],
        "reverse_transformer_layers_per_block": [[2, 2, 2], [1, 1, 1], 1],
    },
    "koala-700m": XL | {"layers_per_block": 1, "mid_block_type": None, "transformer_layers_per_block": [0, 2, 5]},
    "koala-1b": XL | {"layers_per_block": 1, "transformer_layers_per_block": [0, 2, 6]},
    "small-sd": SD1,
    "tiny-sd": SD1 | {
        "block_out_channels": [64, 64, 128],
        "down_block_types": [CROSS] * 3,
        "mid_block_type": None,
        "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    },
    # No model is so, but diffusers can be.
    "uneven": SD1 | {
        "block_out_channels": [64, 128],
        "down_block_types": [CROSS, "DownBlock2D"],
        "layers_per_block": [1, 3],
        "transformer_layers_per_block": [[2], 3],
        "reverse_transformer_layers_per_block": [1, [1, 4]],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "lcm": SD1 | {
        "block_out_channels": [64, 128],
        "down_block_types": [CROSS, "DownBlock2D"],
        "time_cond_proj_dim": 256,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
}
CFG_SCALE = 8.0
TIMESTEP = 801.0


def guidance(width):
    """The embedding that diffusers' pipeline makes of a scale."""
    from diffusers import LatentConsistencyModelPipeline

    embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    return embed(None, torch.tensor([CFG_SCALE - 1.0]), embedding_dim=width)


def make(out):
    tensors = {}
    for name, config in MODELS.items():
        unet = tiny_sd1.plain(UNet2DConditionModel.from_config(config))
        count = formula.fill(unet)
        sample = formula.tensor("sample", (1, 4, 10, 12)) * 3
        context = formula.tensor("context", (1, 7, config["cross_attention_dim"])) * 3
        more = {}
        if "addition_embed_type" in config:
            # The U-Net puts sinusoids of the sizes behind the pooled text: none are left here, and the text has all of it.
            pooled = formula.tensor("added", (1, config["projection_class_embeddings_input_dim"])) * 3
            more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": torch.zeros(1, 0)}
        if "time_cond_proj_dim" in config:
            more["timestep_cond"] = guidance(config["time_cond_proj_dim"])
            tensors["guidance"] = more["timestep_cond"]
        tensors[name] = unet(sample, torch.tensor(TIMESTEP), context, **more).sample
        tensors[f"{name}.parameters"] = torch.tensor([count])
        out.json(f"{FOLDER}/{name}.json", config)
    out.tensors(
        f"{FOLDER}/refs.safetensors", tensors, tolerance={"f32": 1e-5},
        note="per model: what diffusers' UNet2DConditionModel gives at timestep 801 with weights and inputs of formula.py, and the number of its "
        "parameters; guidance: the embedding of cfg_scale 8, with which lcm was called",
    )
