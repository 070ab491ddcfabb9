"""Trains the outline style as a LoRA on the attention layers. python train_lora.py --minutes 5"""

import argparse
import math

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

import common
import train_unet
import words

RANK = 8


class Adapted(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = torch.nn.Parameter(torch.randn(RANK, layer.in_features) / math.sqrt(layer.in_features))
        self.up = torch.nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x):
        # alpha equals the rank, so the scale is 1.
        return self.layer(x) + (x @ self.down.T) @ self.up.T


def adapt(unet):
    """Wraps every linear layer of the transformer blocks, as kohya's trainer does."""
    found = {}
    for name, module in list(unet.named_modules()):
        if ".transformer_blocks." in name and isinstance(module, torch.nn.Linear):
            parent, leaf = name.rsplit(".", 1)
            found[name] = Adapted(module)
            unet.get_submodule(parent)._modules[leaf] = found[name]
    return found


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=5)
    ap.add_argument("--batch", type=int, default=32)
    args = ap.parse_args()
    common.seed_all(5)
    team = common.Team()
    vae = train_unet.load_vae()
    scale = train_unet.scaling_factor(vae, team)
    data = train_unet.latents(33, 4096, "outline", vae, team)
    tok, text = train_unet.load_text()
    noising = train_unet.Noising(data, scale, words.Encode(tok)([""])[0].short())
    unet = UNet2DConditionModel(**train_unet.UNET)
    unet.load_state_dict(torch.load(f"{common.WORK}/unet.pt")["average"])
    unet.requires_grad_(False)
    found = adapt(unet)
    unet = unet.to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    params = [p for m in found.values() for p in (m.down, m.up)]
    print(len(found), "layers", sum(p.numel() for p in params), "parameters")
    opt = torch.optim.AdamW(params, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0)
    clock, step, total = common.Clock(args.minutes, 2e-3), 0, 0.0
    common.seed_all(50 + team.rank)
    while not clock.done():
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i, x, noise, t, ids = noising.batch(args.batch)
        with common.autocast():
            with torch.no_grad():
                context = text(ids).last_hidden_state
            out = unet(x, t, context).sample
        loss = noising.loss(out, noise, i, t)
        opt.zero_grad()
        loss.backward()
        clock.now = team.average(params, clock.spent())
        opt.step()
        step += 1
        total += loss.item()
        if step % 100 == 0 and team.rank == 0:
            print(f"{step} {clock.spent() / 60:.1f} min loss {total / 100:.5f}", flush=True)
            total = 0.0
    if team.rank == 0:
        torch.save({k: (m.down.detach(), m.up.detach(), RANK) for k, m in found.items()}, f"{common.WORK}/outlines.pt")


if __name__ == "__main__":
    main()
