"""How the cost of a picture grows with its size, with threads and with the batch, on the full-size model of make_sd15.py.

    cargo build --release -p benches && pip install ./bindings/python
    python benches/growth.py SD15_FOLDER [--threads 2] [--repeat 3] [--plot docs/growth.svg] [--quick]

Every measurement is the example `parts` in a process of its own, in bf16: one U-Net call of batch 2, one picture decoded.
Arithmetic is what PyTorch counts on diffusers' networks without weights. Self-attention's grows with the square of the pixels, the
rest with the pixels, and each has a rate of its own; seconds should grow as fast as that predicts, and no faster. Batches are drawn
from the demo model with the Python package. --quick takes the smallest size alone, to see that all works.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import time

PARTS = {"unet": "U-Net call", "vae": "VAE decode"}
SIDES = [256, 384, 512, 768, 1024]
# With one thread as well.
ONE_THREAD = [256, 512]
BATCHES = [1, 2, 4, 8]
# Ends of the names of what holds self-attention in diffusers' networks.
SELF_ATTENTION = {"unet": "attn1", "vae": "mid_block.attentions.0"}


def measure(args, part, side, threads):
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    words = [os.path.join(target, "release/parts"), args.folder, "bf16", str(side), str(args.repeat), part, "profile"]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout.splitlines()[0])
    print(json.dumps(figures), flush=True)
    # Operations come as "12.3 ms 4.5% .. attention 4096 x 4096, ..": queries and keys are as many in self-attention.
    operations = re.findall(r"^ *[\d.]+ ms +([\d.]+)% .* attention (\d+) x (\d+),", done.stdout, re.MULTILINE)
    share = sum(float(percent) / 100 for percent, queries, keys in operations if queries == keys)
    figures["split"] = share * figures["median_s"], (1 - share) * figures["median_s"]
    return figures


def arithmetic(folder, sides):
    """Multiplications and additions of a call by (part, side): self-attention's of pairs of pixels, and the others."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    counted = {}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, subfolder="unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder, subfolder="vae"))
        for side in sides:
            x, t, context = torch.zeros(2, 4, side // 8, side // 8), torch.tensor(500.0), torch.zeros(2, 77, 768)
            for part, call in (("unet", lambda: unet(x, t, context)), ("vae", lambda: vae.decode(x[:1]))):
                with torch.no_grad(), FlopCounterMode(display=False) as counter:
                    call()
                operations = counter.get_flop_counts()
                inner = [counts for module, counts in operations.items() if module.endswith(SELF_ATTENTION[part])]
                # Linear layers around the scores are in proportion to the pixels.
                pairs = sum(n for counts in inner for name, n in counts.items() if str(name) not in ("aten.mm", "aten.addmm"))
                counted[part, side] = pairs, counter.get_total_flops() - pairs
    return counted


def plot(path, seconds, predicted, sides):
    """Seconds against pixels, both logarithmic."""
    width, height, left, bottom = 640, 420, 60, 370
    every = [*seconds.values(), *predicted.values()]
    low, high = math.log10(min(every) / 1.3), math.log10(max(every) * 1.3)
    right, top = width - 150, 40

    def across(side):
        return left + (right - left) * (0.05 + 0.9 * math.log(side / sides[0]) / max(math.log(sides[-1] / sides[0]), 1e-9))

    def up(value):
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)

    def line(values, part, dash):
        points = " ".join(f"{across(side):.1f},{up(values[part, side]):.1f}" for side in sides)
        return f'<polyline class="{part}" points="{points}" stroke-dasharray="{dash}"/>'

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        "<style>text{fill:#333}path{stroke:#ccc}polyline{fill:none;stroke:currentColor;stroke-width:2}",
        "circle{fill:currentColor}rect{fill:#fff}.unet{color:#c2410c}.vae{color:#1d6fb8}",
        "@media(prefers-color-scheme:dark){text{fill:#ddd}path{stroke:#444}rect{fill:#14171c}",
        ".unet{color:#fb923c}.vae{color:#60a5fa}}</style>",
        '<rect width="100%" height="100%"/>',
        f'<text x="{left}" y="24" font-size="15">Seconds for a picture of so many pixels, bf16</text>',
    ]
    for power in range(math.floor(low), math.ceil(high) + 1):
        for value in (10.0**power, 2 * 10.0**power, 5 * 10.0**power):
            if low <= math.log10(value) <= high:
                y = up(value)
                out.append(f'<path d="M{left} {y:.1f}H{right}"/>')
                out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for side in sides:
        x = across(side)
        out.append(f'<path d="M{x:.1f} {top}V{bottom}"/><text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{side}²</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">pixels</text>')
    for row, (part, title) in enumerate(PARTS.items()):
        out += [line(seconds, part, ""), line(predicted, part, "4 4")]
        out += [f'<circle class="{part}" cx="{across(s):.1f}" cy="{up(seconds[part, s]):.1f}" r="3"/>' for s in sides]
        for place, (label, dash) in enumerate(((title, ""), ("predicted", "4 4"))):
            y = 60 + 40 * row + 18 * place
            out.append(f'<polyline class="{part}" points="{right + 12},{y} {right + 36},{y}" stroke-dasharray="{dash}"/>')
            out.append(f'<text x="{right + 42}" y="{y + 4}">{label}</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*out, "</svg>\n"]))


def batches(threads, repeat):
    """Pictures of a batch are drawn one after another, so twice as many should take twice as long."""
    import sdrs

    pipe = sdrs.demo(device="cpu", dtype="bf16", threads=threads)
    print("\n| pictures in a batch | s | s for each |\n|---|---|---|")
    for batch in BATCHES:
        seconds = []
        # The first is for warming up.
        for _ in range(repeat + 1):
            began = time.perf_counter()
            pipe.txt2img("a red circle above a blue square", seed=1, steps=20, batch_size=batch, progress=False)
            seconds.append(time.perf_counter() - began)
        median = statistics.median(seconds[1:])
        print(f"| {batch} | {median:.2f} | {median / batch:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plot", help="an SVG to write")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    sides = SIDES[:1] if args.quick else SIDES
    flops = arithmetic(args.folder, sides)
    found, alone = {}, {}
    for part, side in flops:
        found[part, side] = measure(args, part, side, args.threads)
        # Next to each other, since a shared machine's speed changes.
        if side in ONE_THREAD:
            alone[part, side] = measure(args, part, side, 1)["median_s"]
    seconds = {key: figures["median_s"] for key, figures in found.items()}
    # Each kind of arithmetic at the rate that it has at the model's own size.
    own = 512 if 512 in sides else sides[0]
    predicted = {
        (part, side): sum(now / then * spent for now, then, spent in zip(counts, flops[part, own], found[part, own]["split"]))
        for (part, side), counts in flops.items()
    }
    heads = ["part, side", "s", f"predicted from {own}", "s per megapixel", "TFLOP", "TFLOP/s of self-attention", "of the rest"]
    heads += ["peak GB", f"speedup of {args.threads} threads over 1"]
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for (part, side), figures in sorted(found.items()):
        counts, s = flops[part, side], figures["median_s"]
        rates = [f"{n / spent / 1e12:.2f}" if spent else "" for n, spent in zip(counts, figures["split"])]
        cells = [f"{PARTS[part]}, {side}", f"{s:.3g}", f"{predicted[part, side]:.3g}", f"{s / (side * side / 1e6):.3g}"]
        cells += [f"{sum(counts) / 1e12:.3g}", *rates, f"{figures['peak_gb']:.2f}"]
        cells.append(f"{alone[part, side] / s:.2f}" if (part, side) in alone else "")
        print("| " + " | ".join(cells) + " |")
    if args.plot:
        plot(args.plot, seconds, predicted, sides)
    batches(args.threads, args.repeat)


if __name__ == "__main__":
    main()
