"""Names of parameters: diffusers' to the original Stable Diffusion (LDM) ones, for this block structure."""

import re

import torch

# U-Net with one layer a block and two levels, as train_unet.UNET lays it out.
LEVELS, LAYERS = 2, 1
CROSS_DOWN, CROSS_UP = (True, False), (False, True)


def _unet_prefixes():
    pairs = [("conv_in", "input_blocks.0.0"), ("time_embedding.linear_1", "time_embed.0"),
             ("time_embedding.linear_2", "time_embed.2"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
             ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"),
             ("mid_block.resnets.1", "middle_block.2")]
    n = 1
    for level in range(LEVELS):
        for layer in range(LAYERS):
            pairs.append((f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{n}.0"))
            if CROSS_DOWN[level]:
                pairs.append((f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{n}.1"))
            n += 1
        if level < LEVELS - 1:
            pairs.append((f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{n}.0.op"))
            n += 1
    n = 0
    for level in range(LEVELS):
        for layer in range(LAYERS + 1):
            pairs.append((f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{n}.0"))
            at = 1
            if CROSS_UP[level]:
                pairs.append((f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{n}.1"))
                at = 2
            if layer == LAYERS and level < LEVELS - 1:
                pairs.append((f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{n}.{at}.conv"))
            n += 1
    return pairs


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
          "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def unet_to_ldm(state):
    pairs = _unet_prefixes()
    out = {}
    for key, value in state.items():
        old, new = next((p for p in pairs if key.startswith(p[0] + ".")))
        rest = key[len(old) + 1:]
        if ".resnets." in old:
            head, tail = rest.split(".", 1)
            rest = f"{RESNET[head]}.{tail}"
        out[f"{new}.{rest}"] = value
    return out


ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_to_ldm(state, levels=4):
    out = {}
    for key, value in state.items():
        k = key
        k = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.", r"encoder.down.\1.block.", k)
        k = re.sub(r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", k)
        # LDM counts the decoder's levels from the fine end.
        k = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.block.", k)
        k = re.sub(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.",
                   lambda m: f"decoder.up.{levels - 1 - int(m[1])}.upsample.", k)
        k = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", k)
        if "mid_block.attentions.0." in k:
            k = k.replace("mid_block.attentions.0.", "mid.attn_1.")
            for a, b in ATTENTION.items():
                k = k.replace(f"attn_1.{a}.", f"attn_1.{b}.")
            # LDM has these as 1x1 convolutions.
            if value.ndim == 2:
                value = value[:, :, None, None]
        k = k.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        out[k] = value
    return out


def to_ldm(unet, vae, text):
    out = {f"model.diffusion_model.{k}": v for k, v in unet_to_ldm(unet).items()}
    out.update({f"first_stage_model.{k}": v for k, v in vae_to_ldm(vae).items()})
    for k, v in text.items():
        k = k if k.startswith("text_model.") else f"text_model.{k}"
        out[f"cond_stage_model.transformer.{k}"] = v
    positions = text[next(k for k in text if k.endswith("position_embedding.weight"))].shape[0]
    out["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(positions)[None]
    assert len(out) == len(unet) + len(vae) + len(text) + 1 - ("text_model.embeddings.position_ids" in text)
    return out
