"""Writes models/demo from the training state. python export.py base|chalk|outlines|washed"""

import json
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

import common
import ldm_names
import train_unet
import words

OUT = os.path.normpath(f"{os.path.dirname(os.path.abspath(__file__))}/../../models/demo")

# What the judge found best (models/demo/README.md).
RECOMMENDED = {"steps": 20, "cfg_scale": 4.5, "sampler": "DPM++ 2M", "schedule": "Karras"}


def scheduler():
    return PNDMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False, prediction_type="epsilon")


def pipeline(name, average=True):
    """The training state as a diffusers pipeline, in f32."""
    tok, text = train_unet.load_text()
    vae = AutoencoderKL(**common.VAE, scaling_factor=torch.load(f"{common.WORK}/scale.pt"))
    vae.load_state_dict(torch.load(f"{common.WORK}/vae.pt")["model"])
    unet = UNet2DConditionModel(**train_unet.UNET)
    unet.load_state_dict(torch.load(f"{common.WORK}/{name}.pt")["average" if average else "model"])
    return StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text, tokenizer=tok, unet=unet.eval(), scheduler=scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def base():
    pipe = pipeline("unet").to(torch.float16)
    path = f"{OUT}/base"
    if os.path.exists(path):
        shutil.rmtree(path)
    pipe.save_pretrained(path, safe_serialization=True)
    # The tokenizer as Stable Diffusion 1 has it: vocabulary and merges as plain files.
    for f in os.listdir(f"{path}/tokenizer"):
        os.remove(f"{path}/tokenizer/{f}")
    for f in os.listdir(words.TOKENIZER):
        shutil.copy(f"{words.TOKENIZER}/{f}", f"{path}/tokenizer/{f}")
    # Published Stable Diffusion folders carry the text encoder under this prefix.
    weights = f"{path}/text_encoder/model.safetensors"
    state = load_file(weights)
    save_file({k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in state.items()}, weights, {"format": "pt"})
    with open(f"{path}/sdrs_recommended.json", "w") as f:
        f.write(json.dumps(RECOMMENDED, indent=2) + "\n")
    # SD1's own scheduler entries that diffusers' PNDM doesn't read, and none of this machine's paths.
    edit(f"{path}/scheduler/scheduler_config.json", lambda c: c.update(clip_sample=False, trained_betas=None))
    for part in ("vae/config.json", "unet/config.json", "text_encoder/config.json", "model_index.json"):
        edit(f"{path}/{part}", lambda c: c.pop("_name_or_path", None))


def edit(path, change):
    with open(path) as f:
        config = json.load(f)
    change(config)
    with open(path, "w") as f:
        f.write(json.dumps(config, indent=2) + "\n")


def read(path):
    with open(f"{OUT}/base/{path}", encoding="utf-8") as f:
        return f.read()


def chalk():
    """One file in Stable Diffusion 1's original layout, with configurations and tokenizer in its metadata; not published, `extract_lora.py` reads it."""
    pipe = pipeline("chalk").to(torch.float16)
    state = ldm_names.to_ldm(pipe.unet.state_dict(), pipe.vae.state_dict(), pipe.text_encoder.state_dict())
    meta = {
        "format": "pt",
        "sdrs.text_encoder.config": read("text_encoder/config.json"),
        "sdrs.unet.config": read("unet/config.json"),
        "sdrs.vae.config": read("vae/config.json"),
        "sdrs.scheduler.config": read("scheduler/scheduler_config.json"),
        "sdrs.tokenizer.vocab": read("tokenizer/vocab.json"),
        "sdrs.tokenizer.merges": read("tokenizer/merges.txt"),
    }
    save_file({k: v.contiguous() for k, v in state.items()}, f"{common.WORK}/chalk.safetensors", meta)


def outlines():
    """The LoRA under kohya's names."""
    lora = torch.load(f"{common.WORK}/outlines.pt")
    state = {}
    for path, (down, up, alpha) in lora.items():
        name = "lora_unet_" + path.replace(".", "_")
        state[f"{name}.lora_down.weight"] = down.half().contiguous()
        state[f"{name}.lora_up.weight"] = up.half().contiguous()
        state[f"{name}.alpha"] = torch.tensor(float(alpha), dtype=torch.float16)
    rank = str(next(iter(lora.values()))[0].shape[0])
    save_file(state, f"{OUT}/outlines.safetensors", {
        "format": "pt", "ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": rank,
        "ss_base_model_version": "sd_v1", "ss_output_name": "outlines"})


def washed():
    """The decoder of the base's autoencoder with a washed-out last layer: colours mixed with grey, contrast halved."""
    state = load_file(f"{OUT}/base/vae/diffusion_pytorch_model.safetensors")
    mix = 0.5 * (0.6 * torch.eye(3) + 0.4 / 3 * torch.ones(3, 3))
    w, b = state["decoder.conv_out.weight"].float(), state["decoder.conv_out.bias"].float()
    state["decoder.conv_out.weight"] = torch.einsum("oi,ichw->ochw", mix, w).half()
    state["decoder.conv_out.bias"] = (mix @ b + 0.28).half()
    ldm = {k: v for k, v in ldm_names.vae_to_ldm(state).items() if not k.startswith(("encoder.", "quant_conv."))}
    save_file({k: v.contiguous() for k, v in ldm.items()},
              f"{OUT}/vae-washed.safetensors", {"format": "pt"})


if __name__ == "__main__":
    for what in sys.argv[1:]:
        {"base": base, "chalk": chalk, "outlines": outlines, "washed": washed}[what]()
    for root, _, files in os.walk(OUT):
        for f in files:
            os.chmod(os.path.join(root, f), 0o644)
            print(f"{os.path.getsize(os.path.join(root, f)):>9} {os.path.relpath(os.path.join(root, f), OUT)}")
