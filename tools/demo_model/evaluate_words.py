"""Measures the captioner and CLIP of the demo, as published in models/demo.

python evaluate_words.py                        rendered scenes of combinations that were never trained on
python evaluate_words.py --again FOLDER [N]     the command sdrs draws N of prompts.json, captions the pictures, draws the captions, and the
                                                judge says whether shapes and colours stayed
"""

import argparse
import json
import os
import subprocess

import numpy as np
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, CLIPModel, CLIPTokenizer
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

import common
import evaluate
import judge
import scenes
import sight
import train_captioner
import train_clip


def captioner():
    return BlipForConditionalGeneration.from_pretrained(train_captioner.OUT, dtype=torch.float32).eval()


def prepared(pictures):
    """Pictures in -1..1 as transformers prepares them."""
    processor = BlipImageProcessorPil.from_pretrained(train_captioner.OUT)
    bytes_of = ((pictures + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return processor([Image.fromarray(x) for x in bytes_of], return_tensors="pt")["pixel_values"]


def rendered():
    some = scenes.scenes_from(911, 200, held=True)
    pictures = prepared(scenes.render(some))
    print("captions:", train_captioner.rates(captioner(), some, pictures))
    model = CLIPModel.from_pretrained(train_clip.OUT, dtype=torch.float32).eval()
    said = train_clip.Said.__new__(train_clip.Said)
    said.encode = train_clip.words.Encode(CLIPTokenizer.from_pretrained(train_clip.OUT))
    print("CLIP:", train_clip.figures(model, some, pictures, said))


def again(folder, n, command):
    with open(evaluate.PROMPTS) as f:
        prompts = json.load(f)[:n]
    sdrs = lambda *args: subprocess.run([command, *map(str, args)], check=True, capture_output=True, text=True).stdout

    def draw(name, texts, seeds):
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        for i, text in enumerate(texts):
            path = f"{folder}/{name}/{i:03}.png"
            if not os.path.exists(path):
                sdrs("txt2img", text, "--seed", prompts[i]["seed"] + seeds, "--output", path, "--threads", 1)
        pictures = [np.array(Image.open(f"{folder}/{name}/{i:03}.png").convert("RGB")) for i in range(len(texts))]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1

    first = draw("first", [p["prompt"] for p in prompts], 0)
    sdrs("interrogate", f"{folder}/first", "--mode", "caption", "--blip", train_captioner.OUT, "--overwrite")
    said = []
    for i in range(n):
        with open(f"{folder}/first/{i:03}.txt", encoding="utf-8") as f:
            said.append(f.read().strip())
    second = draw("again", said, 5000)
    net = judge.load()
    before, after = judge.look(net, first), judge.look(net, second)
    kinds = lambda things: sorted((t["shape"], t["colour"]) for t in things)
    wanted = [sorted((t["shape"], t["colour"]) for t in p["things"]) for p in prompts]
    share = lambda hits: f"{sum(hits) / n:.1%}"
    print(f"of {n} pictures: drawn as asked {share([kinds(a) == w for a, w in zip(before, wanted)])}, "
          f"caption names what was asked for {share([sorted(train_captioner.read(t)[0]) == w for t, w in zip(said, wanted)])}, "
          f"what the judge sees {share([sorted(train_captioner.read(t)[0]) == kinds(a) for t, a in zip(said, before)])}, "
          f"shapes and colours kept by drawing again {share([kinds(a) == kinds(b) for a, b in zip(before, after)])}, "
          f"of the first prompt {share([kinds(b) == w for b, w in zip(after, wanted)])}")
    for p, t, a, b in zip(prompts, said, before, after):
        if kinds(a) != kinds(b):
            print(f"{p['prompt']} | {t} | {kinds(a)} | {kinds(b)}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--again", metavar="FOLDER")
    ap.add_argument("--sdrs", metavar="COMMAND", default=f"{common.PUBLISHED}/../../../target/release/sdrs")
    ap.add_argument("n", nargs="?", type=int, default=200)
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if args.again:
        again(args.again, args.n, args.sdrs)
    else:
        rendered()


if __name__ == "__main__":
    main()
