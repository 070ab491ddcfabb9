"""Trains the autoencoder on all three styles. python train_vae.py --minutes 22"""

import argparse
import os

import torch
from diffusers import AutoencoderKL

import common
import scenes


def psnr(a, b):
    return (10 * torch.log10(4 / ((a - b) ** 2).flatten(1).mean(1))).mean().item()


@torch.no_grad()
def check(vae, style, path=None, n=64):
    """PSNR on scenes that were never trained on."""
    x = scenes.render(scenes.scenes_from(99, n), style)
    y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
    if path:
        scenes.sheet(torch.cat([x[:16], y[:16]]), 16, path)
    return psnr(x, y)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=22)
    ap.add_argument("--resume", action="store_true")
    args = ap.parse_args()
    common.seed_all(0)
    parts = [common.bank(11, 8192, "paint"), common.bank(12, 3072, "chalk"), common.bank(13, 3072, "outline")]
    pictures = torch.cat([p[1] for p in parts])
    weight = 1 + 3 * (torch.cat([p[2] for p in parts]) > 0).float()
    # Paint is the face of the model: it gets 70% of the pictures.
    odds = torch.cat([torch.full((len(p[0]),), s / len(p[0])) for p, s in zip(parts, (0.66, 0.18, 0.16))])
    vae = AutoencoderKL(**common.VAE).to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    state, step, spent = f"{common.WORK}/vae.pt", 0, 0.0
    if args.resume and os.path.exists(state):
        s = torch.load(state)
        vae.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
        step, spent = s["step"], s["spent"]
    clock = common.Clock(args.minutes, 1e-3, spent=spent)
    total = 0.0

    def save():
        torch.save({"model": vae.state_dict(), "opt": opt.state_dict(), "step": step, "spent": clock.spent()}, state)

    while not clock.done():
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i = torch.multinomial(odds, 16)
        x, w = common.to_float(pictures[i]), weight[i][:, None]
        flip = [d for d in (2, 3) if torch.rand(()) < 0.5]
        x, w = x.flip(flip), w.flip(flip)
        with common.autocast():
            post = vae.encode(x).latent_dist
            y = vae.decode(post.sample()).sample
        d = y.float() - x
        mean, logvar = post.mean.float(), post.logvar.float()
        kl = 0.5 * (mean ** 2 + logvar.exp() - 1 - logvar).mean()
        rec = (w * (d.abs() + 0.5 * d * d)).sum() / (w.sum() * 3)
        loss = rec + 3e-5 * kl
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step()
        step += 1
        total += rec.item()
        if step % 200 == 0:
            print(f"{step} {clock.spent() / 60:.1f} min rec {total / 200:.4f} kl {kl.item():.2f} psnr {psnr(x, y.float()):.2f}", flush=True)
            total = 0.0
        if step % 1000 == 0:
            save()
            check(vae, "paint", f"{common.WORK}/vae-paint.png")
    save()
    for style in scenes.STYLES:
        print(style, f"psnr {check(vae, style, f'{common.WORK}/vae-{style}.png'):.2f}")
    z = torch.cat([vae.encode(common.to_float(p[1][:256])).latent_dist.mode() for p in parts[:1]])
    print("latent std", z.std().item(), "mean", z.mean((0, 2, 3)).tolist(), "std", z.std((0, 2, 3)).tolist())


if __name__ == "__main__":
    main()
