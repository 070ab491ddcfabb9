"""Draws models/demo/contact-sheet.png: one row a file, the same prompts and seeds. `python contact.py STATE OUT` draws a training state."""

import sys

import torch
from safetensors.torch import load_file

import evaluate
import export
import scenes

PROMPTS = [
    "a red circle above a blue square", "a big green star on a yellow background", "a pink heart at night",
    "an orange diamond left of a purple triangle", "a yellow star inside a blue circle", "a dotted red ring",
    "a white cross on a blue background", "a black heart on a meadow", "a green triangle below a yellow circle at sunset",
    "a striped purple square", "a cyan star to the right of a brown heart", "a small red diamond in the sky",
]


def add_lora(unet, path, strength=1.0):
    """Adds a kohya-format LoRA to the weights."""
    state = load_file(path)
    for name, module in unet.named_modules():
        key = "lora_unet_" + name.replace(".", "_")
        if f"{key}.lora_up.weight" in state:
            up, down = state[f"{key}.lora_up.weight"].float(), state[f"{key}.lora_down.weight"].float()
            scale = state[f"{key}.alpha"].float() / down.shape[0]
            module.weight.data += strength * scale * (up @ down).view_as(module.weight)


def rows(pipe, cfg=5, sampler="dpm++", steps=20):
    pipe.scheduler = evaluate.sampler(sampler, pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return evaluate.draw(pipe, [{"prompt": p, "seed": 7 + i} for i, p in enumerate(PROMPTS)], steps, cfg)


def main():
    torch.set_grad_enabled(False)
    if len(sys.argv) > 2:
        out = [rows(export.pipeline(sys.argv[1]), cfg, s) for cfg, s in ((4, "dpm++"), (7, "dpm++"), (5, "euler_a"))]
        scenes.sheet(torch.cat(out), len(PROMPTS), sys.argv[2])
        return
    lined = export.pipeline("unet")
    add_lora(lined.unet, f"{export.OUT}/outlines.safetensors")
    washed = export.pipeline("unet")
    washed.vae.decoder.conv_out.load_state_dict(
        {k: load_file(f"{export.OUT}/vae-washed.safetensors")[f"decoder.conv_out.{k}"].float() for k in ("weight", "bias")})
    out = torch.cat([rows(p) for p in (export.pipeline("unet"), export.pipeline("chalk"), lined, washed)])
    scenes.sheet(out, len(PROMPTS), f"{export.OUT}/contact-sheet.png")


if __name__ == "__main__":
    main()
