"""Times sdrs and transformers on PyTorch on the full-size CLIP and BLIP of make_interrogation.py, in turn.

    cargo build --release -p benches
    python benches/words.py FOLDER PICTURE [--repeat 3] [--program sdrs torch]

Phrases go through PyTorch padded to 77 tokens, as clip-interrogator, open_clip and the WebUI have them, and as long as the longest of a
batch, as transformers can do it: of the first a tenth is timed. Each program runs in a process of its own. Prints a JSON line for each, then
a table.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

SAID = "a photograph of a lighthouse on a cliff above the sea at dawn, oil on canvas, by an unknown painter, trending on a website, "


def report(what, seconds):
    # Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    figures = {"what": what, "program": "torch", "median_s": round(statistics.median(seconds), 3), "peak_gb": round(peak, 2)}
    print(json.dumps(figures), flush=True)


def timed(what, repeat, call, times=1):
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        call()
        seconds.append(times * (time.perf_counter() - began))
    report(what, seconds)


def measure(folder, picture, repeat):
    import torch
    from PIL import Image
    from transformers import BlipForConditionalGeneration, BlipImageProcessor, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    torch.set_grad_enabled(False)
    picture = Image.open(picture).convert("RGB")
    with open(os.path.join(folder, "phrases.txt"), encoding="utf-8") as file:
        phrases = file.read().splitlines()
    began = time.perf_counter()
    clip = CLIPModel.from_pretrained(os.path.join(folder, "clip")).eval()
    report("CLIP's loading", [time.perf_counter() - began])
    prepare = CLIPImageProcessor()
    timed("a picture's vector", repeat, lambda: clip.get_image_features(**prepare(picture, return_tensors="pt")))
    tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "clip"))

    def embed(texts, padding):
        for at in range(0, len(texts), 128):
            rows = tokenizer(texts[at : at + 128], padding=padding, max_length=77, truncation=True, return_tensors="pt")
            clip.get_text_features(**rows)

    few = phrases[: len(phrases) // 10]
    what = f"vectors of {len(phrases)} phrases"
    timed(what, 1, lambda: embed(sorted(phrases, key=len), "longest"))
    timed(what + ", 77 tokens", 1, lambda: embed(few, "max_length"), len(phrases) / len(few))
    chain = [SAID + phrase for phrase in phrases[:2048]]
    timed("a step of a chain, 2048 phrases", 1, lambda: embed(sorted(chain, key=len), "longest"))
    del clip
    began = time.perf_counter()
    blip = BlipForConditionalGeneration.from_pretrained(os.path.join(folder, "blip")).eval()
    report("BLIP's loading", [time.perf_counter() - began])
    prepare = BlipImageProcessor()

    def caption(beams):
        pixels = prepare(picture, return_tensors="pt").pixel_values
        # BLIP's own first token isn't counted.
        blip.generate(pixel_values=pixels, num_beams=beams, min_length=33, max_length=33)

    for beams in [1, 3]:
        timed(f"a caption of 32 tokens, beams {beams}", repeat, lambda: caption(beams))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("picture")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--program", nargs="+", choices=["sdrs", "torch"], default=["sdrs", "torch"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return measure(args.folder, args.picture, args.repeat)
    found = {}
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    for program in args.program:
        words = [args.folder, args.picture]
        match program:
            case "sdrs":
                command = [os.path.join(target, "release/words"), *words, str(args.repeat)]
            case _:
                command = [sys.executable, __file__, *words, "--repeat", str(args.repeat), "--one"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", flush=True)
        for line in map(json.loads, done.stdout.splitlines()):
            found.setdefault(line["what"], {})[program] = line
    print("\n| | " + " | ".join(f"{program}: s, peak GB" for program in args.program) + " |")
    print("|---" * (1 + len(args.program)) + "|")
    for what, figures in found.items():
        cells = (figures.get(program) for program in args.program)
        print(f"| {what} | " + " | ".join(f and f"{f['median_s']:.3g}, {f['peak_gb']:.2f}" or "" for f in cells) + " |")


if __name__ == "__main__":
    main()
