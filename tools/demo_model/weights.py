"""Measures what LoRAs, VAEs and checkpoints do to the demo model's pictures: the subject should stay, the style change.

    python weights.py ../../target/release/sdrs FOLDER [--prompts 60]

Draws the first prompts of prompts.json with every setting of `SETTINGS`. The judge says whether each picture shows the things asked
for; it was trained on the base style alone, so its answers on true renders of the other styles are printed first, as what can be
expected. The style is what a logistic regression says, which was fitted to renders of other scenes: their brightness and saturation.
"""

import argparse
import json
import os
import subprocess

import numpy as np
import torch
from PIL import Image

import evaluate
import judge
import scenes

MODELS = f"{os.path.dirname(os.path.abspath(__file__))}/../../models/demo"
OUTLINES, CHALK = f"{MODELS}/outlines.safetensors", f"{MODELS}/chalk-lora.safetensors"
SETTINGS = {
    "base": [],
    "outlines 0": ["--lora", f"{OUTLINES}:0"],
    "outlines 0.5": ["--lora", f"{OUTLINES}:0.5"],
    "outlines 1": ["--lora", OUTLINES],
    "chalk LoRA 1": ["--lora", CHALK],
    "outlines 0.5, chalk LoRA 0.5": ["--lora", f"{OUTLINES}:0.5", "--lora", f"{CHALK}:0.5"],
    "washed-out VAE": ["--vae", f"{MODELS}/vae-washed.safetensors"],
}


def features(pictures):
    """Shares of 24 steps of brightness, with the mean saturation: (n, 25)."""
    rgb = (judge.shrink(pictures).clamp(-1, 1) + 1) / 2
    grey = rgb.mean(1).flatten(1)
    steps = torch.stack([torch.histc(g, 24, 0, 1) / g.numel() for g in grey]).sqrt()
    saturation = (rgb.amax(1) - rgb.amin(1)).flatten(1).mean(1, keepdim=True)
    return torch.cat([steps, saturation], 1)


def fit(n=300):
    """A linear map from features to scores of `scenes.STYLES`."""
    other = scenes.scenes_from(99, n)
    x = torch.cat([features(scenes.render(other, style)) for style in scenes.STYLES])
    y = torch.arange(len(scenes.STYLES)).repeat_interleave(n)
    torch.manual_seed(0)
    model = torch.nn.Linear(x.shape[1], len(scenes.STYLES))
    steps = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        steps.zero_grad()
        value = torch.nn.functional.cross_entropy(model(x), y) + 1e-4 * model.weight.square().sum()
        value.backward()
        return value

    steps.step(loss)
    return model


@torch.no_grad()
def told(name, pictures, prompts, model):
    seen = judge.look(judge.load(), pictures)
    results = [
        judge.marks(things, [(t["shape"], t["colour"]) for t in p["things"]], p["relation"])
        for p, things in zip(prompts, seen)
    ]
    share = lambda values: f"{np.mean([bool(v) for v in values]):4.0%}"
    x = features(pictures)
    style = model(x).argmax(1)
    looks = " | ".join(f"{(style == i).float().mean():4.0%}" for i in range(len(scenes.STYLES)))
    print(
        f"| {name} | {share(r[0] for r in results)} | {share(r[1] for r in results)} "
        f"| {share(r[2] for r in results if r[2] is not None)} | {looks} | {x[:, -1].mean():.2f} |",
        flush=True,
    )


def read(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("sdrs")
    ap.add_argument("folder")
    ap.add_argument("--prompts", type=int, default=60)
    args = ap.parse_args()
    with open(evaluate.PROMPTS) as f:
        prompts = json.load(f)[: args.prompts]
    model = fit()
    print(f"| | shapes | colours | relation | {' | '.join(f'looks like {s}' for s in scenes.STYLES)} | saturation |")
    print("|---|" + "---|" * (4 + len(scenes.STYLES)))
    check = scenes.scenes_from(77, 60, held=True)
    wanted = [{"things": s["things"], "relation": s["relation"]} for s in check]
    for style in scenes.STYLES:
        told(f"renders, {style}", scenes.render(check, style), wanted, model)
    for name, options in SETTINGS.items():
        folder = f"{args.folder}/{name.replace(' ', '-').replace(',', '')}"
        os.makedirs(folder, exist_ok=True)
        pictures = []
        for i, p in enumerate(prompts):
            path = f"{folder}/{i:03}.png"
            if os.path.exists(path):
                pictures.append(read(path))
                continue
            command = [args.sdrs, "txt2img", p["prompt"], "--seed", str(p["seed"]), "--cfg-scale", "5", "--output", path]
            if "--model" not in options:
                command += ["--model", f"{MODELS}/base"]
            subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
            pictures.append(read(path))
        told(name, torch.stack(pictures), prompts, model)


if __name__ == "__main__":
    main()
