"""diffusers' parameter names of SD1 as LDM's single files call them."""

import re

LAYERS_PER_BLOCK = 2
LEVELS = 4


def unet_resnet(name):
    for diffusers, ldm in {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }.items():
        name = re.sub(rf"^{diffusers}\.", f"{ldm}.", name)
    return name


def unet(name):
    return "model.diffusion_model." + unet_inner(name)


def unet_inner(name):
    for diffusers, ldm in {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }.items():
        if name.startswith(diffusers + "."):
            return ldm + name.removeprefix(diffusers)

    if m := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, i, rest = m[1], int(m[2]), m[3]
        if kind == "resnets":
            return f"middle_block.{2 * i}.{unet_resnet(rest)}"
        return f"middle_block.1.{rest}"

    m = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    way, level, kind, i, rest = m[1], int(m[2]), m[3], int(m[4]), m[5]
    if way == "down":
        # Block 0 is conv_in; each level is its layers and a downsampler.
        block = 1 + level * (LAYERS_PER_BLOCK + 1) + i
        if kind == "downsamplers":
            return f"input_blocks.{block + LAYERS_PER_BLOCK}.0.{rest.replace('conv.', 'op.')}"
        return f"input_blocks.{block}." + (f"0.{unet_resnet(rest)}" if kind == "resnets" else f"1.{rest}")
    block = level * (LAYERS_PER_BLOCK + 1) + i
    if kind == "upsamplers":
        # The upsampler is the last member of the level's last block; the first level has no attention before it.
        return f"output_blocks.{block + LAYERS_PER_BLOCK}.{1 if level == 0 else 2}.{rest}"
    return f"output_blocks.{block}." + (f"0.{unet_resnet(rest)}" if kind == "resnets" else f"1.{rest}")


def vae(name):
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    # LDM counts the decoder's levels from the image.
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", name)
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
        name = name.replace("to_out.0", "proj_out")
        name = re.sub(r"to_([qkv])", r"\1", name)
    return "first_stage_model." + name


def text_encoder(name):
    return "cond_stage_model.transformer." + name


RENAME = {"text_encoder": text_encoder, "unet": unet, "vae": vae}
