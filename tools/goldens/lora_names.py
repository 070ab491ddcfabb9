"""The parameters of SD1, SD2 and SDXL under diffusers' names and LDM's, for adapters that come without their model."""

import gzip

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import ldm_names

FILE = "crates/sd-lora/data/names.txt.gz"

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
SD = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [CROSS, CROSS, CROSS, PLAIN],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
# The sizes that the models' own config.json files give.
UNETS = {
    "sd1": SD | {"cross_attention_dim": 768, "attention_head_dim": 8},
    "sd2": SD | {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": [PLAIN, CROSS, CROSS],
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
OPEN_CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
OPEN_CLIP_G = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "projection_dim": 1280,
}
TEXT_ENCODERS = {
    "sd1": [(CLIPTextModel, CLIP_L)],
    "sd2": [(CLIPTextModel, OPEN_CLIP_H)],
    "sdxl": [(CLIPTextModel, CLIP_L), (CLIPTextModelWithProjection, OPEN_CLIP_G)],
}


def ldm_name(name, names):
    """LDM's name: the table for SD1, but for what depends on a level's attention, and SDXL's second embedding."""
    for i, layer in enumerate(["linear_1", "linear_2"]):
        if name.startswith(f"add_embedding.{layer}."):
            return name.replace(f"add_embedding.{layer}", f"label_emb.0.{2 * i}")
    ldm = ldm_names.unet_inner(name)
    if ".upsamplers." in name:
        level = name.split(".")[1]
        place = 2 if any(other.startswith(f"up_blocks.{level}.attentions") for other in names) else 1
        block, rest = ldm.split(".conv.")
        ldm = f"{block.rsplit('.', 1)[0]}.{place}.conv.{rest}"
    return ldm


def unet_names(config):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    parameters = {name: list(t.shape) for name, t in unet.state_dict().items()}
    ldm = {name: ldm_name(name, parameters) for name in parameters}
    # diffusers' own converter is the judge: every tensor must come back under the name it had.
    marks = {name: torch.tensor(float(i)) for i, name in enumerate(parameters)}
    checkpoint = {"model.diffusion_model." + ldm[name]: mark for name, mark in marks.items()}
    converted = convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    assert {name: t.item() for name, t in converted.items()} == {name: t.item() for name, t in marks.items()}
    return [(name, ldm[name], shape) for name, shape in parameters.items()]


def text_names(kind, config):
    with torch.device("meta"):
        model = kind(CLIPTextConfig(**config))
    for name, tensor in model.state_dict().items():
        # Files have the outer name, which newer versions of transformers leave out in memory.
        inner = name.startswith(("text_model.", "text_projection."))
        yield name if inner else f"text_model.{name}", "", list(tensor.shape)


def make(out):
    lines = []
    for family in UNETS:
        networks = {"unet": unet_names(UNETS[family])}
        for i, (kind, config) in enumerate(TEXT_ENCODERS[family]):
            networks["text_encoder" if i == 0 else "text_encoder_2"] = text_names(kind, config)
        for network, names in networks.items():
            lines.append(f"# {family} {network}")
            lines += ["\t".join([name, ldm, ",".join(map(str, shape))]) for name, ldm, shape in sorted(names)]
    data = gzip.compress("\n".join(lines).encode() + b"\n", 9, mtime=0)
    out.bytes(
        FILE, data,
        note="a line for each parameter: diffusers' name, LDM's (U-Nets only; diffusers' converter confirms it), shape; sections by "
        "family and network",
    )
