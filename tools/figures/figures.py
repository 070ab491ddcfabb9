"""The book's figures: `python3 tools/figures/figures.py` writes them into docs/figures, `--check` compares them with what is there.

Needs Python 3 and no packages.
"""

import math
import sys
from pathlib import Path

from draw import BLUE, BLUE_LINE, GREEN, GREEN_LINE, GREY, INK, ORANGE, ORANGE_LINE, SOFT, Figure

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"


def overview():
    f = Figure(760, 330, "From a prompt to a picture: three networks")
    f.text(88, 52, "“a red circle”", 15, italic=True)
    f.arrow((88, 62), (88, 86))
    f.box(18, 88, 140, 62, ["Text encoder", "once a prompt"], BLUE, BLUE_LINE)
    f.box(250, 36, 270, 214, (), "#f4f2ec", "#c9c7c0")
    f.text(385, 58, "for each step", 13, color=SOFT)
    f.arrow((158, 119), (274, 119))
    f.text(204, 108, "context")
    f.text(204, 140, "77 × 768", 13, color=SOFT)

    f.box(276, 88, 222, 62, ["U-Net", "which part of this is noise?"], ORANGE, ORANGE_LINE)
    f.box(276, 180, 222, 54, ["Sampler", "takes some of it away"], GREEN, GREEN_LINE)
    f.arrow((340, 150), (340, 178))
    f.text(330, 169, "noise", 13, "end", SOFT)
    f.arrow((442, 180), (442, 152))
    f.text(452, 169, "latent", 13, "start", SOFT)

    f.box(18, 186, 140, 44, ["Noise of a seed"], GREY)
    f.arrow((158, 208), (274, 208))
    f.text(204, 228, "4 × 64 × 64", 13, color=SOFT)
    f.arrow((498, 208), (610, 208))
    f.text(565, 198, "latent", 14)
    f.text(565, 228, "4 × 64 × 64", 13, color=SOFT)
    f.box(612, 176, 132, 62, ["VAE decoder", "once a picture"], BLUE, BLUE_LINE)
    f.arrow((678, 238), (678, 264))
    f.text(678, 283, "picture")
    f.text(678, 303, "3 × 512 × 512", 13, color=SOFT)
    f.text(20, 303, "Sizes are those of Stable Diffusion 1 at 512 × 512 pixels.", 13, "start", SOFT)
    return f


def text_encoder():
    f = Figure(760, 350, "The text encoder: tokens become vectors, layers mix them")
    f.text(24, 36, "“a red circle”", 15, "start", italic=True)
    f.text(24, 64, "tokens", 13, "start", SOFT)
    names = ["start", "a", "red", "circle", "end", "end", "…", "end"]
    for i, name in enumerate(names):
        f.box(90 + 66 * i, 48, 58, 26, [name], GREY if name in ("start", "end", "…") else BLUE)
        if name != "…":
            f.arrow((119 + 66 * i, 74), (119 + 66 * i, 96))
    f.text(634, 66, "77 of them", 13, "start", SOFT)
    f.box(90, 98, 520, 30, ["a vector for each token and place: 77 × 768"], GREY)
    f.arrow((350, 128), (350, 146))
    for i, name in enumerate(["layer 1", "layers 2 to 10", "layer 11", "layer 12"]):
        f.box(90, 148 + 36 * i, 520, 28, [name], BLUE, BLUE_LINE)
    f.box(90, 304, 520, 30, ["final norm: the context, 77 × 768"], ORANGE, ORANGE_LINE)
    f.arrow((350, 284), (350, 302))
    f.arrow((610, 270), (636, 270), (636, 312), (612, 312))
    f.text(644, 296, "CLIP skip 1", 13, "start")
    f.arrow((610, 234), (734, 234), (734, 326), (612, 326), dash="5 4")
    f.text(734, 226, "CLIP skip 2", 13, "end")
    return f


def unet():
    f = Figure(760, 416, "The U-Net of Stable Diffusion 1")
    levels = [("64 × 64", 320), ("32 × 32", 640), ("16 × 16", 1280), ("8 × 8", 1280)]
    f.text(100, 30, "latent, 4 × 64 × 64", 13, color=SOFT)
    f.text(660, 30, "noise, 4 × 64 × 64", 13, color=SOFT)
    f.arrow((100, 36), (100, 52))
    f.arrow((660, 54), (660, 36))
    for i, (size, channels) in enumerate(levels):
        y, left, right = 54 + 78 * i, 30 + 56 * i, 590 - 56 * i
        text = i < 3
        lines = [size, f"{channels} channels"]
        fill, line = (ORANGE, ORANGE_LINE) if text else (GREY, SOFT)
        f.box(left, y, 140, 52, lines, fill, line)
        f.box(right, y, 140, 52, lines, fill, line)
        f.arrow((left + 142, y + 18), (right - 2, y + 18), dash="5 4", color=SOFT, width=1.2)
        if i < 3:
            f.arrow((left + 98, y + 52), (left + 98, y + 76))
            f.arrow((right + 42, y + 76), (right + 42, y + 54))
    f.box(302, 356, 156, 48, ["middle", "8 × 8, 1280 channels"], ORANGE, ORANGE_LINE)
    f.arrow((270, 340), (270, 380), (300, 380))
    f.arrow((458, 380), (490, 380), (490, 342))
    f.text(380, 64, "features of the way down", 13, color=SOFT)
    f.text(380, 110, "orange: also looks at the text", 13, color=ORANGE_LINE)
    f.text(24, 350, "All blocks are told", 13, "start", SOFT)
    f.text(24, 368, "the timestep.", 13, "start", SOFT)
    return f


def flow(x, sigma):
    """The slope of the exact way of a model that knows two pictures, -1 and 1: `(x - denoised) / sigma`."""
    return (x - math.tanh(x / sigma**2)) / sigma


def karras(steps, low=0.1, high=10.0, rho=7.0):
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [(a + i / (steps - 1) * (b - a)) ** rho for i in range(steps)]


def exact(x, sigmas, parts=200):
    """The way from the first of the noise levels to each, by many small steps of Runge and Kutta."""
    ways = [x]
    for start, end in zip(sigmas, sigmas[1:]):
        for i in range(parts):
            s = start * (end / start) ** (i / parts)
            h = start * (end / start) ** ((i + 1) / parts) - s
            k1 = flow(x, s)
            k2 = flow(x + h / 2 * k1, s + h / 2)
            k3 = flow(x + h / 2 * k2, s + h / 2)
            k4 = flow(x + h * k3, s + h)
            x += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        ways.append(x)
    return ways


def euler(x, sigmas):
    ways = [x]
    for sigma, following in zip(sigmas, sigmas[1:]):
        x += flow(x, sigma) * (following - sigma)
        ways.append(x)
    return ways


def dpmpp_2m(x, sigmas):
    ways, old, last = [x], None, None
    for sigma, following in zip(sigmas, sigmas[1:]):
        denoised, ratio = math.tanh(x / sigma**2), following / sigma
        h = -math.log(ratio)
        used = denoised if old is None else denoised + h / (2 * last) * (denoised - old)
        x = ratio * x + (1 - ratio) * used
        ways.append(x)
        old, last = denoised, h
    return ways


def sampler():
    f = Figure(760, 380, "Ways from noise to a picture, and two samplers that follow one of them")
    high, low = 10.0, 0.1

    def at(sigma, x):
        along = math.log(high / sigma) / math.log(high / low)
        return 60 + 520 * along, 192 - 100 * x / math.sqrt(1 + sigma**2)

    fine = [high * (low / high) ** (i / 60) for i in range(61)]
    for start in (-12, -8, -5, -2, 2, 8, 12):
        f.path([at(s, x) for s, x in zip(fine, exact(start, fine, 8))], "#b9b6ad", 1.2)
    coarse = karras(9)
    start = 4.0
    for method, color in ((exact, INK), (euler, BLUE_LINE), (dpmpp_2m, ORANGE_LINE)):
        if method is exact:
            f.path([at(s, x) for s, x in zip(fine, exact(start, fine, 8))], color, 2)
            continue
        points = [at(s, x) for s, x in zip(coarse, method(start, coarse))]
        f.path(points, color, 2)
        for point in points[1:]:
            f.dot(*point, color)
    f.dot(*at(high, start))
    for sigma in (10, 3, 1, 0.3, 0.1):
        x, _ = at(sigma, 0)
        f.path([(x, 342), (x, 348)], SOFT, 1)
        f.text(x, 363, f"{sigma:g}", 13, color=SOFT)
    f.text(320, 28, "noise level sigma falls from left to right; each grey line is a noise that becomes a picture", 13, color=SOFT)
    f.text(600, at(low, 1)[1] + 5, "one picture", 13, "start")
    f.text(600, at(low, -1)[1] + 5, "another", 13, "start")
    for i, (name, color) in enumerate((("exact", INK), ("Euler, 8 steps", BLUE_LINE), ("DPM++ 2M, 8 steps", ORANGE_LINE))):
        y = 172 + 24 * i
        f.path([(600, y - 4), (622, y - 4)], color, 2)
        f.text(628, y, name, 13, "start")
    return f


def guidance():
    f = Figure(760, 250, "Guidance goes on beyond what the prompt alone gives")
    origin, step = (110, 196), (88, -26)

    def at(scale):
        return origin[0] + scale * step[0], origin[1] + scale * step[1]

    f.path([at(0), at(6.4)], SOFT, 1.2, "5 4")
    f.arrow(at(0), at(1), width=2.4, color=BLUE_LINE)
    for scale, name in ((0, "uncond"), (1, "cond"), (3, "scale 3"), (6, "scale 6")):
        x, y = at(scale)
        f.dot(x, y, ORANGE_LINE if scale > 1 else INK, 5)
        f.text(x, y + 26, name, 14, weight="bold")
    f.text(at(0)[0], at(0)[1] + 44, "scale 0", 13, color=SOFT)
    f.text(at(1)[0], at(1)[1] + 44, "scale 1", 13, color=SOFT)
    f.text(110, 152, "cond − uncond", 13, color=BLUE_LINE)
    f.text(24, 36, "guided = uncond + scale × (cond − uncond)", 15, "start", weight="bold")
    f.text(24, 62, "uncond: what the U-Net gives for the negative prompt", 13, "start", SOFT)
    f.text(24, 82, "cond: what it gives for the prompt", 13, "start", SOFT)
    return f


def vae():
    f = Figure(760, 330, "The VAE of Stable Diffusion 1: a latent is 48 times smaller than its picture")
    sizes = [(512, 128), (256, 256), (128, 512), (64, 512)]
    f.text(26, 34, "Encoder", 14, "start", weight="bold")
    f.text(734, 34, "Decoder", 14, "end", weight="bold")
    for i, (side, channels) in enumerate(sizes):
        height = 200 - 42 * i
        y, left, right = 150 - height / 2, 30 + 74 * i, 668 - 74 * i
        f.box(left, y, 62, height, (), BLUE, BLUE_LINE)
        f.box(right, y, 62, height, (), ORANGE, ORANGE_LINE)
        for x in (left, right):
            f.text(x + 31, 148, f"{side}²", 14, weight="bold")
            f.text(x + 31, 166, f"× {channels}", 12)
    f.box(334, 116, 92, 68, ["latent", "4 × 64 × 64"], GREEN, GREEN_LINE)
    f.arrow((314, 150), (332, 150))
    f.arrow((426, 150), (444, 150))
    f.arrow((61, 278), (61, 252))
    f.arrow((699, 252), (699, 278))
    f.text(61, 296, "picture", 13)
    f.text(61, 314, "3 × 512 × 512", 13, color=SOFT)
    f.text(699, 296, "picture", 13)
    f.text(699, 314, "3 × 512 × 512", 13, color=SOFT)
    f.text(380, 296, "Boxes: side², and channels at that size", 13, color=SOFT)
    return f


def texts(kind, steps, when=0):
    """Which part each call of a run uses. An entry counts while `call <= end`, as in the WebUI."""
    if kind == "edit":
        entries = [(when, 0), (steps, 1)]
    else:
        entries = [(step, (step - 1) % 2) for step in range(1, steps + 1)]
    return [next(part for end, part in entries if call <= end) for call in range(steps)]


def prompt_language():
    f = Figure(760, 240, "Prompts that change over 20 steps")
    rows = [
        ("[circle:square:0.5]", texts("edit", 20, 10), ["circle", "square"]),
        ("[fog::5]", texts("edit", 20, 5), ["fog", ""]),
        ("[star:0.8]", texts("edit", 20, 16), ["", "star"]),
        ("[red|blue]", texts("alternate", 20), ["red", "blue"]),
    ]
    for i, (prompt, parts, names) in enumerate(rows):
        y = 44 + 44 * i
        f.text(24, y + 18, prompt, 14, "start")
        if prompt == "[red|blue]":
            for call, part in enumerate(parts):
                f.box(200 + 26 * call, y, 26, 26, (), (BLUE, ORANGE)[part], SOFT, 0)
                f.text(213 + 26 * call, y + 18, names[part][0], 12)
            continue
        for part, name in enumerate(names):
            first, last = parts.index(part), len(parts) - 1 - parts[::-1].index(part)
            f.box(200 + 26 * first, y, 26 * (last - first + 1), 26, (), (BLUE, ORANGE)[part] if name else "#ffffff", SOFT, 0)
            f.text(213 + 13 * (first + last), y + 18, name or "nothing", 13, color=INK if name else SOFT)
    for call in (0, 5, 10, 15, 19):
        f.text(213 + 26 * call, 34, str(call + 1), 12, color=SOFT)
    f.text(24, 34, "call of the U-Net", 13, "start", SOFT)
    f.text(24, 228, "The text of step n is used in one call more: so the WebUI counts, and so does sdrs.", 13, "start", SOFT)
    return f


def noise():
    f = Figure(760, 300, "What is left of a picture at each timestep")
    root = [math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999 for i in range(1000)]
    alphas, product = [], 1.0
    for beta in root:
        product *= 1 - beta * beta
        alphas.append(product)

    def at(t, value):
        return 60 + 520 * t / 999, 250 - 200 * value

    for value in (0, 0.5, 1):
        f.path([at(0, value), at(999, value)], "#d8d6cf", 1)
        f.text(50, at(0, value)[1] + 5, f"{value:g}", 13, "end", SOFT)
    for t in (0, 250, 500, 750, 999):
        f.text(at(t, 0)[0], 270, str(t), 13, color=SOFT)
    f.text(320, 290, "timestep", 13, color=SOFT)
    times = list(range(0, 1000, 9))
    f.path([at(t, math.sqrt(alphas[t])) for t in times], BLUE_LINE, 2)
    f.path([at(t, math.sqrt(1 - alphas[t])) for t in times], ORANGE_LINE, 2)
    f.text(596, at(0, math.sqrt(1 - alphas[999]))[1] + 5, "noise: √(1 − ā)", 13, "start", ORANGE_LINE)
    f.text(596, at(0, math.sqrt(alphas[999]))[1] + 2, "picture: √ā", 13, "start", BLUE_LINE)
    f.text(60, 34, "latent at timestep t = √ā × picture + √(1 − ā) × noise", 14, "start", weight="bold")
    return f


FIGURES = {
    "overview": overview,
    "text-encoder": text_encoder,
    "unet": unet,
    "sampler": sampler,
    "guidance": guidance,
    "vae": vae,
    "prompt-language": prompt_language,
    "noise": noise,
}


def main(words):
    if words not in ([], ["--check"]):
        sys.exit("usage: figures.py [--check]")
    FOLDER.mkdir(exist_ok=True)
    made = {FOLDER / f"{name}.svg": draw().svg() for name, draw in FIGURES.items()}
    if not words:
        for path, svg in made.items():
            path.write_text(svg, encoding="utf-8", newline="\n")
        print(f"{len(made)} figures in {FOLDER}")
        return
    there = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}
    other = sorted(path.name for path in made.keys() | there.keys() if made.get(path) != there.get(path))
    if other:
        sys.exit(f"docs/figures: {', '.join(other)}: not what tools/figures/figures.py makes; run it")
    print(f"{len(made)} figures are up to date")


if __name__ == "__main__":
    main(sys.argv[1:])
