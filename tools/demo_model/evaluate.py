"""Measures the demo model on prompts.json: held-out combinations, judged from the pictures alone.

python evaluate.py --make-prompts            writes prompts.json
python evaluate.py FOLDER                    judges FOLDER/000.png ... made by any program
python evaluate.py --sdrs ../../target/release/sdrs FOLDER [--sampler "DPM++ 2M"] [--steps 20] [--cfg 5]
                                             draws them with the command first
python evaluate.py --draw FOLDER [--model ../../models/demo/base] [--sampler dpm++|euler_a] [--steps 20] [--cfg 5]
                                             draws them through diffusers first
"""

import argparse
import json
import os
import random
import subprocess

import numpy as np
import torch

import judge
import scenes

PROMPTS = f"{os.path.dirname(os.path.abspath(__file__))}/prompts.json"


def make_prompts(n=200):
    rng = random.Random(2024)
    prompts, seen = [], set()
    while len(prompts) < n:
        s = scenes.sample(rng, held=True)
        text = scenes.caption(s, rng, full=True)
        # Two things in three prompts of four; no prompt twice.
        if text in seen or (len(s["things"]) == 1) != (len(prompts) % 4 == 3):
            continue
        seen.add(text)
        things = s["things"]
        rel = s["relation"]
        prompts.append({
            "prompt": text, "things": [{"shape": t["shape"], "colour": t["colour"]} for t in things],
            "relation": rel, "background": s["background"], "seed": 1000 + len(prompts)})
    with open(PROMPTS, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(p) for p in prompts) + "\n]\n")


def sampler(name, config):
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, PNDMScheduler

    if name == "dpm++":
        return DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    return {"euler_a": EulerAncestralDiscreteScheduler, "ddim": DDIMScheduler, "pndm": PNDMScheduler}[name].from_config(config)


def draw(pipe, prompts, steps, cfg, batch=25):
    """Pictures of the prompts, in -1..1."""
    out = []
    for i in range(0, len(prompts), batch):
        part = prompts[i:i + batch]
        images = pipe([p["prompt"] for p in part], num_inference_steps=steps, guidance_scale=cfg, output_type="np",
                      generator=[torch.Generator().manual_seed(p["seed"]) for p in part]).images
        out.append(torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1)
    return torch.cat(out)


def rates(pictures, prompts):
    net = judge.load()
    seen = judge.look(net, pictures)
    results = []
    for p, things in zip(prompts, seen):
        wanted = [(t["shape"], t["colour"]) for t in p["things"]]
        results.append(judge.marks(things, wanted, p["relation"]))
    shape = np.mean([r[0] for r in results])
    colour = np.mean([r[1] for r in results])
    both = np.mean([r[0] and r[1] for r in results])
    rel = np.mean([r[2] for r in results if r[2] is not None])
    print(f"shapes {shape:.1%}  colours {colour:.1%}  shapes and colours {both:.1%}  relation {rel:.1%}", flush=True)
    return results


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder", nargs="?")
    ap.add_argument("--make-prompts", action="store_true")
    ap.add_argument("--draw", action="store_true")
    ap.add_argument("--sdrs", metavar="COMMAND")
    ap.add_argument("--model", default=f"{os.path.dirname(PROMPTS)}/../../models/demo/base")
    ap.add_argument("--sampler")
    ap.add_argument("--steps", type=int, default=20)
    ap.add_argument("--cfg", type=float, default=5)
    args = ap.parse_args()
    if args.make_prompts:
        make_prompts()
    if not args.folder:
        return
    from PIL import Image

    with open(PROMPTS) as f:
        prompts = json.load(f)
    if args.sdrs:
        os.makedirs(args.folder, exist_ok=True)
        for i, p in enumerate(prompts):
            options = {"--sampler": args.sampler or "DPM++ 2M", "--steps": args.steps, "--cfg-scale": args.cfg,
                       "--seed": p["seed"], "--output": f"{args.folder}/{i:03}.png"}
            command = [args.sdrs, "txt2img", p["prompt"], *(str(word) for pair in options.items() for word in pair)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if args.draw:
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(args.model, safety_checker=None, torch_dtype=torch.float32)
        pipe.scheduler = sampler(args.sampler or "dpm++", pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        os.makedirs(args.folder, exist_ok=True)
        for i, x in enumerate(draw(pipe, prompts, args.steps, args.cfg)):
            x = ((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(x).save(f"{args.folder}/{i:03}.png")
    pictures = []
    for i in range(len(prompts)):
        im = Image.open(f"{args.folder}/{i:03}.png").convert("RGB")
        pictures.append(torch.from_numpy(np.array(im)).permute(2, 0, 1).float() / 127.5 - 1)
    results = rates(torch.stack(pictures), prompts)
    for i, (p, r) in enumerate(zip(prompts, results)):
        if not all(x is not False for x in r):
            print(f"{i:03} shapes {bool(r[0])} colours {bool(r[1])} relation {r[2]}: {p['prompt']}")


if __name__ == "__main__":
    main()
