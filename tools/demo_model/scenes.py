"""The demo model's world: one or two coloured shapes on a background, drawn and captioned.

Everything follows from a seed. A scene is a plain dict; `render` draws a list of scenes with
signed distance functions (anti-aliased, vectorised), `caption` puts one into words.
"""

import hashlib
import math
import random

import numpy as np
import torch

# Scenes are laid out on 64 units; a picture has SIZE pixels along each side.
UNITS = 64
SIZE = 96
PIXEL = UNITS / SIZE

SHAPES = ["circle", "square", "triangle", "star", "heart", "diamond", "ring", "cross"]
COLOURS = {
    "red": (222, 44, 48),
    "orange": (247, 142, 30),
    "yellow": (250, 216, 48),
    "green": (44, 162, 66),
    "cyan": (58, 208, 222),
    "blue": (38, 86, 214),
    "purple": (134, 56, 190),
    "pink": (250, 134, 190),
    "brown": (128, 78, 44),
    "white": (250, 250, 250),
    "grey": (140, 143, 150),
    "black": (28, 28, 34),
}
# Top and bottom colour of each background. "plain" is what a caption without a background gets.
BACKGROUNDS = {
    "plain": ((250, 243, 226), (240, 228, 204)),
    "white": ((254, 254, 254), (246, 246, 248)),
    "black": ((22, 22, 28), (12, 12, 16)),
    "grey": ((176, 179, 186), (160, 163, 170)),
    "yellow": ((252, 230, 128), (248, 218, 100)),
    "pink": ((252, 202, 220), (246, 184, 206)),
    "blue": ((120, 168, 236), (98, 148, 224)),
    "green": ((160, 214, 146), (138, 198, 124)),
    "purple": ((196, 166, 232), (178, 146, 220)),
    "sky": ((112, 178, 240), (222, 240, 252)),
    "sunset": ((252, 122, 84), (252, 208, 122)),
    "night": ((12, 16, 52), (40, 44, 104)),
    "meadow": ((176, 220, 250), (96, 178, 76)),
}
PATTERNS = ["solid", "striped", "dotted"]
SIZES = ["", "small", "big"]
RELATIONS = ["above", "below", "left of", "right of", "inside"]
STYLES = ["paint", "chalk", "outline"]

# A shape must stand out: these pairs of shape colour and background are not drawn.
CLASHES = {
    "plain": {"white", "yellow"},
    "white": {"white"},
    "black": {"black"},
    "grey": {"grey", "white"},
    "yellow": {"yellow", "orange", "white"},
    "pink": {"pink", "white"},
    "blue": {"blue", "cyan"},
    "green": {"green", "cyan"},
    "purple": {"purple", "pink"},
    "sky": {"cyan", "blue", "white"},
    "sunset": {"orange", "red", "yellow", "pink"},
    "night": {"black", "blue", "purple"},
    "meadow": {"green", "cyan", "white"},
}
# One colour inside another must stand out as well.
INSIDE_CLASHES = {
    frozenset(p)
    for p in [
        ("orange", "yellow"), ("yellow", "white"), ("blue", "purple"), ("brown", "black"),
        ("brown", "purple"), ("red", "brown"), ("red", "orange"), ("grey", "cyan"), ("grey", "pink"),
        ("white", "cyan"), ("pink", "white"), ("grey", "white"), ("purple", "black"), ("blue", "black"),
        ("green", "brown"), ("grey", "brown"), ("grey", "green"), ("grey", "purple"),
    ]
}
OUTER_SHAPES = ["circle", "square", "triangle", "heart", "diamond", "ring"]


# ---------------------------------------------------------------- scenes

def combination(scene):
    """What a scene shows, apart from places and sizes: the unit that is held out."""
    t = scene["things"]
    names = [f"{x['colour']} {x['pattern']} {x['shape']}" for x in t]
    rel = scene["relation"]
    if len(t) == 1:
        return f"{names[0]} on {scene['background']}"
    if rel in ("below", "right of"):
        names.reverse()
        rel = {"below": "above", "right of": "left of"}[rel]
    return f"{names[0]} {rel} {names[1]}"


def held_out(scene):
    """True for one combination in twelve: never trained on, asked for in prompts.json."""
    return hashlib.sha256(combination(scene).encode()).digest()[0] % 12 == 0


def _thing(rng, shapes=SHAPES):
    return {
        "shape": rng.choice(shapes),
        "colour": rng.choice(list(COLOURS)),
        "pattern": rng.choices(PATTERNS, (80, 10, 10))[0],
        "size": rng.choices(SIZES, (70, 15, 15))[0],
        "tilt": rng.uniform(-0.07, 0.07),
    }


def _draw(rng):
    background = "plain" if rng.random() < 0.4 else rng.choice(list(BACKGROUNDS)[1:])
    n = 1 if rng.random() < 0.35 else 2
    scene = {"background": background, "relation": None}
    if n == 1:
        a = _thing(rng)
        r = {"": (13, 19), "small": (8, 11), "big": (22, 26)}[a["size"]]
        a["r"] = rng.uniform(*r)
        slack = min(31 - a["r"], 8)
        a["x"] = 32 + rng.uniform(-slack, slack)
        a["y"] = 32 + rng.uniform(-slack, slack)
        scene["things"] = [a]
        return scene
    rel = scene["relation"] = rng.choices(RELATIONS, (22, 22, 22, 22, 12))[0]
    a = _thing(rng)
    b = _thing(rng, OUTER_SHAPES if rel == "inside" else SHAPES)
    if rel == "inside":
        a["size"] = b["size"] = ""
        a["pattern"] = "solid"
        b["pattern"] = "solid"
        b["r"] = rng.uniform(22, 27)
        b["x"], b["y"] = 32 + rng.uniform(-3, 3), 32 + rng.uniform(-3, 3)
        a["r"] = b["r"] * rng.uniform(0.34, 0.4)
        a["x"] = b["x"]
        a["y"] = b["y"] + (0.06 * b["r"] if b["shape"] == "triangle" else 0)
    else:
        radius = {"": (10, 13), "small": (7.5, 9), "big": (13.5, 15)}
        for t in (a, b):
            t["r"] = rng.uniform(*radius[t["size"]])
        gap = 2 + rng.uniform(0, max(0.0, min(6.0, 58 - 2 * a["r"] - 2 * b["r"])))
        length = 2 * a["r"] + 2 * b["r"] + gap
        start = 32 - length / 2 + rng.uniform(-1, 1) * min(4, max(0, 30 - length / 2))
        first, second = (a, b) if rel in ("above", "left of") else (b, a)
        along, across = ("y", "x") if rel in ("above", "below") else ("x", "y")
        first[along] = start + first["r"]
        second[along] = start + 2 * first["r"] + gap + second["r"]
        shift = rng.uniform(-5, 5)
        for t in (a, b):
            t[across] = 32 + shift + rng.uniform(-5, 5)
    scene["things"] = [a, b]
    return scene


def allowed(scene):
    t = scene["things"]
    clash = CLASHES[scene["background"]]
    if any(x["colour"] in clash for x in t):
        return False
    if len(t) == 2:
        if t[0]["colour"] == t[1]["colour"]:
            return False
        if scene["relation"] == "inside" and (
            frozenset((t[0]["colour"], t[1]["colour"])) in INSIDE_CLASHES
        ):
            return False
        if t[0]["size"] == "big" and t[1]["size"] == "big":
            return False
    return True


def sample(rng, held=False):
    """One scene; `held` asks for a held-out combination, else such are refused."""
    while True:
        scene = _draw(rng)
        if allowed(scene) and held_out(scene) == held:
            scene["seed"] = rng.getrandbits(31)
            return scene


# ---------------------------------------------------------------- words

WORDS = {
    "circle": ["circle", "circle", "circle", "disc", "disk"],
    "square": ["square", "square", "square", "box"],
    "triangle": ["triangle"],
    "star": ["star"],
    "heart": ["heart"],
    "diamond": ["diamond", "diamond", "rhombus"],
    "ring": ["ring", "ring", "hoop"],
    "cross": ["cross", "cross", "plus"],
    "grey": ["grey", "gray"],
    "cyan": ["cyan", "cyan", "turquoise"],
    "purple": ["purple", "purple", "violet"],
    "small": ["small", "small", "little", "tiny"],
    "big": ["big", "big", "large", "huge"],
    "striped": ["striped", "striped", "stripy"],
    "dotted": ["dotted", "dotted", "spotted"],
    "above": ["above", "above", "over", "on top of"],
    "below": ["below", "below", "under", "beneath"],
    "left of": ["left of", "to the left of", "on the left of"],
    "right of": ["right of", "to the right of", "on the right of"],
    "inside": ["inside", "inside", "in", "within"],
}
OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
SCENERY = {
    "sky": ["in the sky", "on a sky background", "sky background"],
    "sunset": ["at sunset", "on a sunset background", "sunset background"],
    "night": ["at night", "in the night", "on a night background", "night background"],
    "meadow": ["on a meadow", "in a meadow", "on the grass", "meadow background"],
}


def _word(rng, name):
    return rng.choice(WORDS.get(name, [name]))


def _noun(rng, thing, article, full):
    parts = []
    if thing["size"] and (full or rng.random() < 0.9):
        parts.append(_word(rng, thing["size"]))
    if thing["pattern"] != "solid":
        parts.append(_word(rng, thing["pattern"]))
    elif rng.random() < 0.04:
        parts.append("plain")
    parts.append(_word(rng, thing["colour"]))
    if len(parts) > 1 and rng.random() < 0.15 and not full:
        parts[-1], parts[-2] = parts[-2], parts[-1]
    parts.append(_word(rng, thing["shape"]))
    if article:
        parts.insert(0, "an" if parts[0][0] in "aeiou" else "a")
    return " ".join(parts)


def caption(scene, rng, full=False):
    """A caption; `full` leaves nothing out, for prompts that are judged."""
    article = rng.random() < 0.75
    things = scene["things"]
    nouns = [_noun(rng, t, article, full) for t in things]
    if len(things) == 1:
        text = nouns[0]
    else:
        rel = scene["relation"]
        if rel == "inside":
            if full or rng.random() < 0.75:
                text = f"{nouns[0]} {_word(rng, rel)} {nouns[1]}"
            else:
                text = f"{nouns[1]} {rng.choice(['around', 'containing'])} {nouns[0]}"
        elif not full and rng.random() < 0.06:
            # The relation is left open: either order may be drawn.
            rng.shuffle(nouns)
            text = rng.choice(["{} and {}", "{}, {}", "{} next to {}"]).format(*nouns)
        else:
            if rng.random() < 0.5:
                nouns.reverse()
                rel = OPPOSITE[rel]
            text = f"{nouns[0]} {_word(rng, rel)} {nouns[1]}"
    back = scene["background"]
    if back == "plain":
        if not full and rng.random() < 0.1:
            text += rng.choice([" on a plain background", ", plain background", ", simple background"])
    elif full or rng.random() < 0.93:
        if back in SCENERY:
            where = rng.choice(SCENERY[back])
            text += (", " if where.endswith("background") and where[0] not in "oi" else " ") + where
        else:
            word = "gray" if back == "grey" and rng.random() < 0.3 else back
            text += rng.choice([f" on a {word} background", f" on {word}", f", {word} background",
                                f" on a {word} background"])
    if not full:
        if rng.random() < 0.08:
            text = rng.choice(["a picture of ", "an image of ", "a drawing of ", "a painting of "]) + text
        if rng.random() < 0.05:
            text += rng.choice([", high quality", ", best quality", ", masterpiece", ", simple"])
    return text


# ---------------------------------------------------------------- drawing

def _box(x, y, w, h):
    dx, dy = x.abs() - w, y.abs() - h
    return torch.sqrt(dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2 + 1e-12) + torch.maximum(dx, dy).clamp(max=0)


def _polygon(x, y, points):
    d = torch.full_like(x, 1e9)
    sign = torch.ones_like(x)
    for i, (ax, ay) in enumerate(points):
        bx, by = points[i - 1]
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        t = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0, 1)
        d = torch.minimum(d, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        c1, c2, c3 = y >= ay, y < by, ex * wy > ey * wx
        sign = torch.where((c1 & c2 & c3) | ~(c1 | c2 | c3), -sign, sign)
    return sign * torch.sqrt(d + 1e-12)


def _star():
    return [((1.0 if i % 2 == 0 else 0.46) * math.sin(math.pi * i / 5),
             -(1.0 if i % 2 == 0 else 0.46) * math.cos(math.pi * i / 5)) for i in range(10)]


def _heart(x, y):
    s = 1.62
    x, y = (x / s).abs(), (0.86 - y) / s
    far = torch.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2) - math.sqrt(2) / 4
    m = 0.5 * (x + y).clamp(min=0)
    near = torch.sqrt(torch.minimum(x * x + (y - 1) ** 2, (x - m) ** 2 + (y - m) ** 2) + 1e-12)
    return s * torch.where(x + y > 1, far, near * torch.sign(x - y))


def sdf(shape, x, y):
    """Signed distance of the unit-radius shape; y points down."""
    if shape == "circle":
        return torch.sqrt(x * x + y * y) - 0.9
    if shape == "square":
        return _box(x, y, 0.74, 0.74) - 0.05
    if shape == "triangle":
        k = [(math.sin(a), -math.cos(a) + 0.12) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
        return _polygon(x, y, k) - 0.04
    if shape == "star":
        return _polygon(x, y + -0.06, _star()) - 0.03
    if shape == "heart":
        return _heart(x, y)
    if shape == "diamond":
        return (x.abs() * 1.0 + y.abs() * 0.72 - 0.72) / math.hypot(1.0, 0.72)
    if shape == "ring":
        return (torch.sqrt(x * x + y * y) - 0.7).abs() - 0.22
    return torch.minimum(_box(x, y, 0.9, 0.28), _box(x, y, 0.28, 0.9)) - 0.02


def _cover(d, soft=PIXEL / 2):
    return ((soft - d) / (2 * soft)).clamp(0, 1)


def _noise(seed, n, cells):
    """Smooth noise in -1..1, the same for the same seed."""
    g = np.random.default_rng(seed)
    grid = torch.from_numpy(g.uniform(-1, 1, (n, 1, cells, cells)).astype(np.float32))
    return torch.nn.functional.interpolate(grid, (SIZE, SIZE), mode="bicubic", align_corners=True)[:, 0]


def _backdrop(scenes, style, y, x):
    n = len(scenes)
    top = torch.tensor([BACKGROUNDS[s["background"]][0] for s in scenes], dtype=torch.float32)
    low = torch.tensor([BACKGROUNDS[s["background"]][1] for s in scenes], dtype=torch.float32)
    if style == "chalk":
        top = torch.tensor([(46.0, 66, 58)]).expand(n, 3)
        low = torch.tensor([(38.0, 56, 49)]).expand(n, 3)
    t = (y / UNITS).expand(n, SIZE, SIZE).clone()
    names = [s["background"] for s in scenes]
    if style != "chalk":
        for i, name in enumerate(names):
            if name == "meadow":
                t[i] = ((y[0] - 41 - 2.0 * torch.sin(x[0] / 10 + scenes[i]["seed"] % 7)) / 2).clamp(0, 1)
    img = top[:, :, None, None] * (1 - t[:, None]) + low[:, :, None, None] * t[:, None]
    if style == "chalk":
        img = img + 7 * _noise(scenes[0]["seed"], n, 5)[:, None]
    else:
        stars = torch.tensor([[(9, 9), (52, 13), (24, 5), (57, 41), (6, 44), (38, 57)]], dtype=torch.float32)[0]
        for i, name in enumerate(names):
            if name == "night":
                for sx, sy in stars:
                    glow = torch.exp(-((x[0] - sx) ** 2 + (y[0] - sy) ** 2) / 1.6)
                    img[i] += glow * torch.tensor((230.0, 225, 190))[:, None, None] * 0.8
    return img


def render(scenes, style="paint", masks=False):
    """Scenes as a float tensor (n, 3, SIZE, SIZE) in -1..1; with `masks` also the thing owning each pixel (0 none)."""
    n = len(scenes)
    axis = (torch.arange(SIZE, dtype=torch.float32) + 0.5) * PIXEL
    y, x = axis[None, :, None].expand(1, SIZE, SIZE), axis[None, None, :].expand(1, SIZE, SIZE)
    img = _backdrop(scenes, style, y, x)
    owner = torch.zeros(n, SIZE, SIZE, dtype=torch.int64)
    depth = max(len(s["things"]) for s in scenes)
    # The outer thing of "inside" is listed second but drawn first.
    for layer in reversed(range(depth)):
        for shape in SHAPES:
            idx = [i for i, s in enumerate(scenes) if len(s["things"]) > layer and s["things"][layer]["shape"] == shape]
            if not idx:
                continue
            things = [scenes[i]["things"][layer] for i in idx]
            col = lambda f: torch.tensor([f(t) for t in things], dtype=torch.float32)[:, None, None]
            r, cos, sin = col(lambda t: t["r"]), col(lambda t: math.cos(t["tilt"])), col(lambda t: math.sin(t["tilt"]))
            px, py = (x - col(lambda t: t["x"])) / r, (y - col(lambda t: t["y"])) / r
            ux, uy = px * cos + py * sin, py * cos - px * sin
            d = sdf(shape, ux, uy) * r
            rgb = torch.tensor([COLOURS[t["colour"]] for t in things], dtype=torch.float32)[:, :, None, None]
            light = rgb.mean(1, keepdim=True) > 95
            second = torch.where(light, rgb * 0.62, rgb + (255 - rgb) * 0.5)
            striped = col(lambda t: t["pattern"] == "striped")
            dotted = col(lambda t: t["pattern"] == "dotted")
            sx, sy = ux * r, uy * r
            stripes = _cover((((sx + sy) / 1.4142 / 6.5 + 0.25) % 1 - 0.5).abs() * 6.5 - 1.6)
            dots = _cover(torch.sqrt(((sx + 3.5) % 7 - 3.5) ** 2 + ((sy + 3.5) % 7 - 3.5) ** 2) - 1.9)
            mark = (striped * stripes + dotted * dots)[:, None]
            fill = rgb * (1 - mark) + second * mark
            cover = _cover(d)[:, None]
            old = img[idx]
            if style == "paint":
                shade = sdf(shape, ux - 1.6 / r, uy - 2.2 / r) * r
                old = old * (1 - 0.26 * _cover(shade, 2.6)[:, None])
                tone = 1.06 - 0.1 * (py[:, None] * 0.7 + px[:, None] * 0.3 + 0.5)
                new = old * (1 - cover) + (fill * tone) * cover
            elif style == "outline":
                line = _cover(d.abs() - 1.5)[:, None]
                new = old * (1 - cover) + fill * cover
                new = new * (1 - line) + torch.tensor((18.0, 18, 22))[None, :, None, None] * line
            else:
                stroke = _cover(d.abs() - 1.1, 0.7)[:, None]
                hatch = _cover(((((x - y) / 1.4142 / 6) % 1 - 0.5).abs() * 6 - 1.5).expand_as(d), 1.0)[:, None]
                hatch = (1 - mark) * (0.55 + 0.3 * hatch) + mark * 0.12
                chalky = rgb * 0.86 + 255 * 0.14
                dark = rgb.mean(1, keepdim=True) < 60
                chalky = torch.where(dark, rgb * 0.4, chalky)
                grain = 0.94 + 0.06 * _noise(scenes[idx[0]]["seed"] + layer, len(idx), 22)[:, None]
                # What lies under is wiped first, so that a thing inside another keeps its colour.
                board = torch.tensor((42.0, 61, 54))[None, :, None, None]
                wiped = old * (1 - cover) + board * cover
                alpha = (torch.maximum(cover * hatch, stroke * 0.95) * grain).clamp(0, 1)
                new = wiped * (1 - alpha) + chalky * alpha
            img[idx] = new
            own = owner[idx]
            own[d < 0.3 * PIXEL] = layer + 1
            owner[idx] = own
    img = (img.clamp(0, 255) / 127.5 - 1)
    return (img, owner) if masks else img


def scenes_from(seed, n, held=False):
    rng = random.Random(seed)
    return [sample(rng, held) for _ in range(n)]


def sheet(images, columns, path, gap=2):
    """Saves a contact sheet of tensors in -1..1."""
    from PIL import Image

    images = ((images.clamp(-1, 1) + 1) * 127.5).round().byte()
    n, _, h, w = images.shape
    rows = (n + columns - 1) // columns
    out = torch.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 255, dtype=torch.uint8)
    for i, im in enumerate(images):
        r, c = divmod(i, columns)
        out[gap + r * (h + gap):, gap + c * (w + gap):][:h, :w] = im.permute(1, 2, 0)
    Image.fromarray(out.numpy()).save(path, optimize=True)


if __name__ == "__main__":
    import sys

    out = sys.argv[1] if len(sys.argv) > 1 else "/tmp"
    many = scenes_from(1, 80)
    for style in STYLES:
        sheet(render(many, style), 16, f"{out}/scenes-{style}.png")
    rng = random.Random(2)
    for s in many[:40]:
        print(caption(s, rng))
