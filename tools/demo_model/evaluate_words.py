"""Measures the captioner and CLIP of the demo, as published in models/demo.

python evaluate_words.py                        rendered scenes of combinations that were never trained on
python evaluate_words.py --again FOLDER [N]     draws N of prompts.json through diffusers, captions them, draws the captions, and lets
                                                the judge say whether shapes and colours stayed
"""

import argparse
import json
import os

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


def again(folder, n):
    from diffusers import StableDiffusionPipeline

    with open(evaluate.PROMPTS) as f:
        prompts = json.load(f)[:n]
    pipe = StableDiffusionPipeline.from_pretrained(common.PUBLISHED, safety_checker=None, torch_dtype=torch.float32)
    pipe.scheduler = evaluate.sampler("dpm++", pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    os.makedirs(folder, exist_ok=True)

    def draw(name, texts):
        path = f"{folder}/{name}.pt"
        if not os.path.exists(path):
            torch.save(evaluate.draw(pipe, [{"prompt": t, "seed": p["seed"] + 5000 * (name == "again")} for t, p in zip(texts, prompts)], 20, 4.5, 10), path)
        return torch.load(path)

    first = draw("first", [p["prompt"] for p in prompts])
    said = train_captioner.say(captioner(), prepared(first))
    second = draw("again", said)
    net = judge.load()
    before, after = judge.look(net, first), judge.look(net, second)
    kinds = lambda things: sorted((t["shape"], t["colour"]) for t in things)
    wanted = [sorted((t["shape"], t["colour"]) for t in p["things"]) for p in prompts]
    share = lambda hits: f"{sum(hits) / n:.1%}"
    print(f"of {n} pictures: drawn as asked {share(kinds(a) == w for a, w in zip(before, wanted))}, "
          f"caption names what was asked for {share(sorted(train_captioner.read(t)[0]) == w for t, w in zip(said, wanted))}, "
          f"shapes and colours kept by drawing again {share(kinds(a) == kinds(b) for a, b in zip(before, after))}")
    for p, t, a, b in zip(prompts, said, before, after):
        if kinds(a) != kinds(b):
            print(f"{p['prompt']} | {t} | {kinds(a)} | {kinds(b)}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--again", metavar="FOLDER")
    ap.add_argument("n", nargs="?", type=int, default=200)
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if args.again:
        again(args.again, args.n)
    else:
        rendered()


if __name__ == "__main__":
    main()
