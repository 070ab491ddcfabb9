"""Trains the U-Net on latents, against the frozen text encoder.

python train_unet.py --minutes 50            the base
python train_unet.py --style chalk --from unet --minutes 9    another style, from the base's weights
python train_unet.py --from published --name unet --minutes 30 --lr 6e-4   goes on from models/demo/base, where nothing else is left
Restartable: state is saved every few minutes; --resume goes on from it.
"""

import argparse
import os
import random

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

import common
import scenes
import words

UNET = dict(
    sample_size=scenes.SIZE // 8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(96, 128),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    cross_attention_dim=words.WIDTH, attention_head_dim=4, norm_num_groups=16,
)
BATCH = 24  # a process
BASE = f"{os.path.dirname(os.path.abspath(__file__))}/../../models/demo/base"


def alphas_cumprod():
    betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def load_vae():
    if os.path.exists(f"{common.WORK}/vae.pt"):
        vae = AutoencoderKL(**common.VAE)
        vae.load_state_dict(torch.load(f"{common.WORK}/vae.pt")["model"])
    else:
        vae = AutoencoderKL.from_pretrained(f"{BASE}/vae", torch_dtype=torch.float32)
    return vae.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def load_text():
    if os.path.exists(f"{common.WORK}/text.pt"):
        tok = words.load_tokenizer()
        text = words.new_encoder(tok)
        text.load_state_dict(torch.load(f"{common.WORK}/text.pt"))
    else:
        tok = CLIPTokenizer.from_pretrained(f"{BASE}/tokenizer")
        text = CLIPTextModel.from_pretrained(f"{BASE}/text_encoder", torch_dtype=torch.float32)
    return tok, text.eval().requires_grad_(False)


@torch.no_grad()
def latents(seed, n, style, vae, team):
    """Latents of a bank with the weight of each cell, and three captions for each scene."""
    path = f"{common.WORK}/latents-{style}-{seed}-{n}.pt"
    if os.path.exists(path):
        return torch.load(path)
    all_scenes, pictures, owners = common.bank(seed, n, style)
    z = torch.zeros(n, 4, scenes.SIZE // 8, scenes.SIZE // 8)
    for i in range(128 * team.rank, n, 128 * team.size):
        with common.autocast():
            z[i:i + 128] = vae.encode(common.to_float(pictures[i:i + 128])).latent_dist.mode().float()
    team.sum(z)
    covered = F.avg_pool2d((owners > 0).float()[:, None], 8)
    rng = random.Random(seed)
    encode = words.Encode(load_text()[0])
    ids = torch.stack([encode([scenes.caption(s, rng) for s in all_scenes]) for _ in range(3)], 1).short()
    # Patterns, small things and things inside others are the hardest: they come twice as often.
    hard = [s["relation"] == "inside" or any(t["size"] == "small" or t["pattern"] != "solid" for t in s["things"])
            for s in all_scenes]
    out = {"z": z, "weight": 1 + 2 * (covered > 0.02).float(), "ids": ids, "odds": 1 + torch.tensor(hard).float()}
    if team.rank == 0:
        torch.save(out, path)
    team.sum(torch.zeros(1))  # nobody reads a half-written file
    return out


def scaling_factor(vae, team):
    """1 / std of the base style's latents, as Stable Diffusion defines it."""
    path = f"{common.WORK}/scale.pt"
    if not os.path.exists(path) and not os.path.exists(f"{common.WORK}/vae.pt"):
        return vae.config.scaling_factor  # the published model's, which its U-Net was trained with
    if not os.path.exists(path):
        scale = 1 / latents(31, N_SCENES, "paint", vae, team)["z"].std().item()
        if team.rank == 0:
            torch.save(scale, path)
        team.sum(torch.zeros(1))
        return scale
    return torch.load(path)


N_SCENES = 30720


class Noising:
    """Batches of noised latents and their captions, one in ten of them empty."""

    def __init__(self, data, scale, empty):
        self.data, self.z, self.empty = data, (data["z"] * scale).contiguous(), empty
        self.alphas = alphas_cumprod()
        snr = self.alphas / (1 - self.alphas)
        self.min_snr = snr.clamp(max=5) / snr

    def batch(self, size):
        """Which latents, noised latents, the noise in them, timesteps, token ids."""
        i = torch.multinomial(self.data["odds"], size)
        x0 = self.z[i]
        ids = self.data["ids"][i, torch.randint(3, (size,))]
        ids = torch.where(torch.rand(size, 1) < 0.1, self.empty, ids).long()
        # Times spread evenly over the batch: less variance for nothing.
        t = ((torch.randperm(size) + torch.rand(size)) * (1000 / size)).long().clamp(max=999)
        noise = torch.randn_like(x0)
        a = self.alphas[t].view(-1, 1, 1, 1)
        x = (a.sqrt() * x0 + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        return i, x, noise, t, ids

    def loss(self, out, noise, i, t):
        weight = self.data["weight"][i]
        error = ((out.float() - noise) ** 2 * weight).mean((1, 2, 3)) / weight.mean()
        return (error * self.min_snr[t]).mean()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=50)
    ap.add_argument("--style", default="paint")
    ap.add_argument("--scenes", type=int, default=N_SCENES)
    ap.add_argument("--from", dest="start")
    ap.add_argument("--name", default="unet")
    ap.add_argument("--lr", type=float, default=8e-4)
    ap.add_argument("--decay", type=float, default=0.999)
    ap.add_argument("--resume", action="store_true")
    args = ap.parse_args()
    common.seed_all(3)
    team = common.Team()
    vae = load_vae()
    scale = scaling_factor(vae, team)
    seed = {"paint": 31, "chalk": 32, "outline": 33}[args.style]
    data = latents(seed, args.scenes, args.style, vae, team)
    tok, text = load_text()
    noising = Noising(data, scale, words.Encode(tok)([""])[0].short())
    z = noising.z
    print("scaling factor", scale, "channels mean", z.mean((0, 2, 3)).tolist(), "std", z.std((0, 2, 3)).tolist())
    unet = UNet2DConditionModel(**UNET)
    print("parameters", sum(p.numel() for p in unet.parameters()), flush=True)
    if args.start == "published":
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(f"{BASE}/unet", torch_dtype=torch.float32).state_dict())
    elif args.start:
        unet.load_state_dict(torch.load(f"{common.WORK}/{args.start}.pt")["average"])
    unet = unet.to(memory_format=torch.channels_last)
    # The fused attention is slow to train on a CPU.
    unet.set_attn_processor(AttnProcessor())
    average = common.Average(unet, args.decay)
    opt = torch.optim.AdamW(unet.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    state, step, spent = f"{common.WORK}/{args.name}.pt", 0, 0.0
    if args.resume and os.path.exists(state):
        s = torch.load(state)
        unet.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
        average.shadow, step, spent = s["average"], s["step"], s["spent"]
    clock = common.Clock(args.minutes, args.lr, warmup=100, spent=spent)

    def save():
        torch.save({"model": unet.state_dict(), "opt": opt.state_dict(), "average": average.shadow,
                    "step": step, "spent": clock.spent()}, state)

    common.seed_all(100 * step + team.rank)
    total = 0.0
    while not clock.done():
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i, x, noise, t, ids = noising.batch(BATCH)
        with common.autocast():
            with torch.no_grad():
                context = text(ids).last_hidden_state
            out = unet(x, t, context).sample
        loss = noising.loss(out, noise, i, t)
        opt.zero_grad()
        loss.backward()
        clock.now = team.average(unet.parameters(), clock.spent())
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        opt.step()
        step += 1
        average.update(unet, step)
        total += loss.item()
        if step % 100 == 0 and team.rank == 0:
            print(f"{step} {clock.spent() / 60:.1f} min loss {total / 100:.5f}", flush=True)
            total = 0.0
        if step % 250 == 0 and team.rank == 0:
            save()
    if team.rank == 0:
        save()


if __name__ == "__main__":
    main()
