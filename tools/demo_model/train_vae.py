"""Trains the autoencoder on all three styles. python train_vae.py --minutes 22"""

import argparse
import os

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import common
import scenes
import train_unet


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
    ap.add_argument("--polish", action="store_true", help="the decoder alone: latents made so far stay valid")
    ap.add_argument("--more", action="store_true", help="another round from the weights there are")
    ap.add_argument("--lr", type=float, default=1.5e-3)
    args = ap.parse_args()
    common.seed_all(0)
    team = common.Team()
    parts = [common.bank(11, 8192, "paint"), common.bank(12, 3072, "chalk"), common.bank(13, 3072, "outline")]
    pictures = torch.cat([p[1] for p in parts])
    inside = (torch.cat([p[2] for p in parts]) > 0).float()
    grown = torch.cat([F.max_pool2d(i[:, None], 7, 1, 3)[:, 0] for i in inside.split(512)])
    shrunk = torch.cat([-F.max_pool2d(-i[:, None], 7, 1, 3)[:, 0] for i in inside.split(512)])
    # Edges make the shape: they count most, then what lies inside.
    weight = (1 + 2 * inside + 4 * (grown - shrunk)).byte()
    # Paint is the face of the model: it gets 70% of the pictures.
    odds = torch.cat([torch.full((len(p[0]),), s / len(p[0])) for p, s in zip(parts, (0.8, 0.08, 0.12))])
    vae = AutoencoderKL(**common.VAE).to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(vae.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    state, step, spent = f"{common.WORK}/vae.pt", 0, 0.0
    if args.polish:
        vae.load_state_dict(train_unet.load_vae().state_dict())
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
    elif args.more:
        vae.load_state_dict(torch.load(state)["model"])
        opt.load_state_dict(torch.load(state)["opt"])
    elif args.resume and os.path.exists(state):
        s = torch.load(state)
        vae.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
        step, spent = s["step"], s["spent"]
    clock = common.Clock(args.minutes, args.lr, spent=spent)
    common.seed_all(100 * step + team.rank)
    total = 0.0

    def save():
        torch.save({"model": vae.state_dict(), "opt": opt.state_dict(), "step": step, "spent": clock.spent()}, state)

    while not clock.done():
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i = torch.multinomial(odds, 8)
        x, w = common.to_float(pictures[i]), weight[i][:, None].float()
        flip = [d for d in (2, 3) if torch.rand(()) < 0.5]
        x, w = x.flip(flip), w.flip(flip)
        with common.autocast():
            post = vae.encode(x).latent_dist
            z = post.sample()
            if args.polish or args.more:
                # Latents slightly off, as a sampler leaves them.
                z = z + 0.06 * torch.rand(len(z), 1, 1, 1) * torch.randn_like(z)
            y = vae.decode(z).sample
        d = y.float() - x
        mean, logvar = post.mean.float(), post.logvar.float()
        kl = 0.5 * (mean ** 2 + logvar.exp() - 1 - logvar).mean()
        rec = (w * (d.abs() + d * d)).sum() / (w.sum() * 3)
        # Group norm makes flat colour slow to learn: at first three channels are led to be the shrunk picture.
        lead = 0.0 if args.more else max(0.0, 1 - clock.now / clock.total / 0.6)
        led = (mean[:, :3] - 1.5 * F.avg_pool2d(x, 8)).abs().mean()
        loss = rec + 3e-5 * kl + lead * led
        opt.zero_grad()
        loss.backward()
        clock.now = team.average(vae.parameters(), clock.spent())
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        opt.step()
        step += 1
        total += rec.item()
        if step % 100 == 0 and team.rank == 0:
            print(f"{step} {clock.spent() / 60:.1f} min rec {total / 100:.4f} kl {kl.item():.2f} led {led.item():.3f} psnr {psnr(x, y.float()):.2f}", flush=True)
            total = 0.0
        if step % 500 == 0 and team.rank == 0:
            save()
            check(vae, "paint", f"{common.WORK}/vae-paint.png")
    if team.rank:
        return
    save()
    for style in scenes.STYLES:
        print(style, f"psnr {check(vae, style, f'{common.WORK}/vae-{style}.png'):.2f}")
    z = torch.cat([vae.encode(common.to_float(p[1][:256])).latent_dist.mode() for p in parts[:1]])
    print("latent std", z.std().item(), "mean", z.mean((0, 2, 3)).tolist(), "std", z.std((0, 2, 3)).tolist())


if __name__ == "__main__":
    main()
