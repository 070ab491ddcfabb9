"""Pictures with their words, for the networks that look: what train_captioner.py and train_clip.py share.

python sight.py --bank               draws pictures; --draw SDRS: lets the demo model draw some
python sight.py --minutes 12               trains the eye: a vision transformer that both networks begin with
"""

import argparse
import math
import os
import random
import subprocess
import time

import numpy as np
import torch
import torch.nn.functional as F
from transformers import BlipVisionConfig, BlipVisionModel

import common
import judge
import scenes
import words

# What the networks see: pictures of this size, in patches of that.
SEEN = 64
PATCH = 8
CELLS = 32
WIDTH = 96
LAYERS = 4
HEADS = 4
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# Columns beyond what a caption tells (words.facts): the style.
FIELDS = words.FIELDS + [len(scenes.STYLES)]
MEDIUMS = {"paint": ["painting", "a painting", "poster paint"], "chalk": ["chalk drawing", "a chalk drawing", "chalk on a blackboard"],
           "outline": ["outline drawing", "a drawing with thick outlines", "bold outlines"]}


# ---------------------------------------------------------------- words

def ordered(scene):
    """Things in reading order and how the first lies to the second: "above", "left of" or "inside"."""
    things, rel = list(scene["things"]), scene["relation"]
    if rel in ("below", "right of"):
        things.reverse()
        rel = scenes.OPPOSITE[rel]
    return things, rel


def flipped(scene):
    """The scene in a mirror."""
    swap = {"left of": "right of", "right of": "left of"}
    return {**scene, "relation": swap.get(scene["relation"], scene["relation"])}


def noun(thing):
    parts = [p for p in (thing["size"], thing["pattern"] if thing["pattern"] != "solid" else "", thing["colour"], thing["shape"]) if p]
    return " ".join(parts)


def with_article(text):
    return ("an " if text[0] in "aeiou" else "a ") + text


def background(scene):
    """The phrase for a scene's background, empty for the plain one."""
    back = scene["background"]
    if back == "plain":
        return ""
    return {"sky": "in the sky", "sunset": "at sunset", "night": "at night", "meadow": "on a meadow"}.get(back, f"on a {back} background")


def description(scene, style="paint"):
    """The one caption of a scene that the captioner learns; a blackboard hides the background."""
    things, rel = ordered(scene)
    nouns = [with_article(noun(t)) for t in things]
    text = nouns[0] if len(nouns) == 1 else f"{nouns[0]} {rel} {nouns[1]}"
    return " ".join(p for p in (text, background(scene) if style != "chalk" else "") if p)


def facts(scene, style):
    out = words.facts(scene)
    if style == "chalk":
        out[-1] = -100
    return out + [scenes.STYLES.index(style)]


# ---------------------------------------------------------------- pictures

def seen(pictures):
    """uint8 pictures at the size that the networks see."""
    x = F.interpolate(pictures.float(), (SEEN, SEEN), mode="bicubic", antialias=True, align_corners=False)
    return x.round().clamp(0, 255).byte()


def patches(owners):
    """Which thing a patch belongs to, 0 for none: the one that covers most of it, from a fifth on."""
    step = PATCH * scenes.SIZE // SEEN
    share = torch.stack([F.avg_pool2d((owners == k).float()[:, None], step)[:, 0] for k in (1, 2)], 1)
    most, which = share.max(1)
    return torch.where(most > 0.2, which + 1, 0).flatten(1)


def cells(some):
    """Which thing each of 32x32 points belongs to, 0 for none: finer than patches, and quick."""
    axis = (torch.arange(CELLS) + 0.5) * scenes.UNITS / CELLS
    y, x = axis[:, None], axis[None, :]
    out = torch.zeros(len(some), CELLS, CELLS, dtype=torch.int8)
    for layer in (1, 0):
        for shape in scenes.SHAPES:
            at = [i for i, s in enumerate(some) if len(s["things"]) > layer and s["things"][layer]["shape"] == shape]
            for part in torch.tensor(at, dtype=torch.long).split(1024):
                column = lambda f: torch.tensor([f(some[i]["things"][layer]) for i in part.tolist()])[:, None, None]
                r, cos, sin = column(lambda t: t["r"]), column(lambda t: math.cos(t["tilt"])), column(lambda t: math.sin(t["tilt"]))
                px, py = (x - column(lambda t: t["x"])) / r, (y - column(lambda t: t["y"])) / r
                inside = scenes.sdf(shape, px * cos + py * sin, py * cos - px * sin) < 0
                old = out[part]
                old[inside] = layer + 1
                out[part] = old
    return out


def rendered():
    """Scenes in the three styles, mostly in the base's."""
    for style, seed, n in (("paint", 51, 24576), ("chalk", 52, 3072), ("outline", 53, 3072)):
        some = scenes.scenes_from(seed, n)
        for i in range(0, n, 512):
            p, o = scenes.render(some[i:i + 512], style, masks=True)
            yield some[i:i + 512], style, ((p + 1) * 127.5).round().byte(), o.byte()


@torch.no_grad()
def decoded(n=5120):
    """Scenes as the autoencoder draws them, latents slightly off as a sampler leaves them."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(f"{common.PUBLISHED}/vae", torch_dtype=torch.float32).eval()
    some = scenes.scenes_from(54, n)
    for i in range(0, n, 64):
        p, o = scenes.render(some[i:i + 64], "paint", masks=True)
        z = vae.encode(p).latent_dist.mode()
        z = z + 0.1 * torch.rand(len(z), 1, 1, 1) * z.std() * torch.randn_like(z)
        y = vae.decode(z).sample.clamp(-1, 1)
        yield some[i:i + 64], "paint", ((y + 1) * 127.5).round().byte(), o.byte()


def drawn(command, n):
    """What the demo model draws from captions, where the judge finds all that was asked for."""
    from PIL import Image

    rng = random.Random(57)
    some = scenes.scenes_from(55, n)
    folder = f"{common.WORK}/drawn"
    os.makedirs(folder, exist_ok=True)
    pictures = []
    for i, scene in enumerate(some):
        path = f"{folder}/{i:04}.png"
        if not os.path.exists(path):
            subprocess.run([command, "txt2img", scenes.caption(scene, rng, full=True), "--seed", str(i), "--output", path, "--threads", "1"],
                           check=True, stdout=subprocess.DEVNULL)
        else:
            scenes.caption(scene, rng, full=True)
        pictures.append(torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1))
    pictures = torch.stack(pictures)
    looked = judge.look(judge.load(), pictures.float() / 127.5 - 1)
    good = [i for i, (s, things) in enumerate(zip(some, looked)) if all(m is not False for m in judge.marks(things, judge.wanted(s), s["relation"]))]
    print(f"{len(good)} of {n} drawn as asked", flush=True)
    # Where its things are to the pixel isn't known: patches are left out.
    yield [some[i] for i in good], "paint", pictures[good], torch.full((len(good), scenes.SIZE, scenes.SIZE), 255, dtype=torch.uint8)


class Bank:
    """Pictures as the networks see them, with scenes, facts and patches of each."""

    def __init__(self, *names):
        parts = [torch.load(f"{common.WORK}/sight-{name}.pt", weights_only=False) for name in names]
        self.scenes = [s for p in parts for s in p["scenes"]]
        self.styles = [s for p in parts for s in p["styles"]]
        self.pictures = torch.cat([p["pictures"] for p in parts])
        self.owners = torch.cat([p["owners"] for p in parts])
        self.mirrored = [flipped(s) for s in self.scenes]
        path = f"{common.WORK}/sight-cells-{'-'.join(names)}.pt"
        if not os.path.exists(path):
            torch.save(cells(self.scenes), path)
        self.cells = torch.load(path)
        self.facts = torch.tensor([[facts(s, style) for s, style in zip(x, self.styles)] for x in (self.scenes, self.mirrored)])

    @staticmethod
    def write(name, parts):
        out = {"scenes": [], "styles": [], "pictures": [], "owners": []}
        for some, style, pictures, owners in parts:
            out["scenes"] += some
            out["styles"] += [style] * len(some)
            out["pictures"].append(seen(pictures))
            out["owners"].append(torch.full((len(some), (SEEN // PATCH) ** 2), -1) if owners.max() == 255 else patches(owners))
        out["pictures"], out["owners"] = torch.cat(out["pictures"]), torch.cat(out["owners"]).to(torch.int8)
        torch.save(out, f"{common.WORK}/sight-{name}.pt")
        print(name, len(out["scenes"]), flush=True)

    def batch(self, n):
        """Indices, which of them are mirrored, and pictures for the networks, slightly changed."""
        i = torch.randint(len(self.scenes), (n,))
        mirror = torch.rand(n) < 0.5
        x = self.pictures[i].float() / 255
        x[mirror] = x[mirror].flip(3)
        x = x * (1 + 0.04 * torch.randn(n, 1, 1, 1)) + 0.02 * torch.randn(n, 3, 1, 1) + 0.02 * torch.rand(()) * torch.randn_like(x)
        return i, mirror, normal(x)

    def patch_targets(self, i, mirror):
        """Shape and colour of each patch, counted from 1, 0 for none, -100 where unknown."""
        side = SEEN // PATCH
        own = self.owners[i].long().view(-1, side, side)
        own[mirror] = own[mirror].flip(2)
        own = own.flatten(1)
        kinds = torch.tensor([[[0, 0]] + [[scenes.SHAPES.index(t["shape"]) + 1, judge.COLOURS.index(t["colour"]) + 1] for t in self.scenes[k]["things"]]
                              + [[0, 0]] * (2 - len(self.scenes[k]["things"])) for k in i.tolist()])
        return [torch.where(own < 0, -100, kinds[:, :, f].gather(1, own.clamp(min=0))) for f in (0, 1)]


    def cell_targets(self, i, mirror):
        """For each patch which of its 4x4 points belong to its thing, or to any if it has none; and whether that is known."""
        side, n = SEEN // PATCH, CELLS * PATCH // SEEN
        own = self.owners[i].long().view(-1, side, side)
        cell = self.cells[i].long().view(-1, side, n, side, n).transpose(2, 3).flatten(3)
        hit = torch.where(own[..., None] > 0, cell == own[..., None], cell > 0)
        hit[mirror] = hit[mirror].unflatten(3, (n, n)).flip(2, 4).flatten(3)
        own[mirror] = own[mirror].flip(2)
        return hit.flatten(1, 2).float(), own.flatten(1) >= 0


def normal(pictures):
    """Pictures in 0..1, normalised as CLIP's."""
    return (pictures - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


# ---------------------------------------------------------------- the eye

def vision_config():
    return BlipVisionConfig(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                            image_size=SEEN, patch_size=PATCH, initializer_range=0.02)


def places(width=WIDTH):
    """Sines and cosines of each patch's place, which tell at once which patches are near."""
    side = SEEN // PATCH
    rates = 1.5 * 40 ** -torch.linspace(0, 1, width // 4)
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    angles = [axis.flatten()[:, None] * rates for axis in (x, y)]
    return 0.5 * torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1)


def new_eye():
    """An eye that begins by looking at what is like and near: attention as trained transformers have it (Trockman and Kolter 2023)."""
    eye = BlipVisionModel._from_config(vision_config(), attn_implementation="eager")
    eye.embeddings.position_embedding.data[0, 1:] = places()
    d = WIDTH // HEADS
    some = lambda noise, same: torch.linalg.svd(noise * torch.randn(WIDTH, WIDTH) / WIDTH**0.5 + same * torch.eye(WIDTH))
    for layer in eye.encoder.layers:
        qkv, projection = layer.self_attn.qkv.weight.data, layer.self_attn.projection.weight.data
        for h in range(0, WIDTH, d):
            u, s, v = some(0.7, 0.7)
            qkv[h:h + d], qkv[WIDTH + h:WIDTH + h + d] = (u[:, :d] * s[:d].sqrt()).T, v[:d] * s[:d, None].sqrt()
        u, s, v = some(0.4, -0.4)
        qkv[2 * WIDTH:], projection[:] = s[:, None].sqrt() * v, u * s.sqrt()
    return eye


class Heads(torch.nn.Module):
    """What the eye is asked while it learns, thrown away afterwards: each patch's thing, and the whole scene's facts."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.patch = torch.nn.Linear(width, len(scenes.SHAPES) + len(scenes.COLOURS) + 2)
        self.scene = torch.nn.Linear(width, sum(FIELDS))
        self.cell = torch.nn.Linear(width, (CELLS * PATCH // SEEN) ** 2)

    def patch_loss(self, hidden, states, bank, i, mirror):
        """`states` are those of each layer: half-way up, a patch should know its thing's outline, whatever the colours are."""
        points, known = bank.cell_targets(i, mirror)
        outline = F.binary_cross_entropy_with_logits(self.cell(states[LAYERS // 2][:, 1:])[known], points[known])
        self.outline = outline.item()
        guess = self.patch(hidden[:, 1:]).split([len(scenes.SHAPES) + 1, len(scenes.COLOURS) + 1], 2)
        return outline + sum(F.cross_entropy(g.flatten(0, 1), t.flatten()) for g, t in zip(guess, bank.patch_targets(i, mirror)))

    def scene_loss(self, pooled, targets):
        return sum(F.cross_entropy(g, t) for g, t in zip(self.scene(pooled).split(FIELDS, 1), targets.T))

    @torch.no_grad()
    def right(self, pooled, targets):
        """How often each of a slot's shape and colour, the relation, the background and the style are right."""
        guess = torch.stack([g.argmax(1) for g in self.scene(pooled).split(FIELDS, 1)], 1)
        hit = ((guess == targets) | (targets == -100)).float().mean(0).tolist()
        return [round(hit[k], 3) for k in (0, 1, 4, 5, 8, 9, 10)]


class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024: momentum made orthogonal by Newton-Schulz steps; in f32, since old processors have no bf16, matrices of one shape at once."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.02):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for (rows, columns), many in shapes.items():
                turned = rows > columns
                moved = []
                for p in many:
                    old = self.state[p].setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["momentum"])
                    moved.append(p.grad.lerp(old, group["momentum"]))
                x = torch.stack(moved)
                x = x.transpose(1, 2) if turned else x
                x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
                for _ in range(5):
                    square = x @ x.transpose(1, 2)
                    x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
                x = x.transpose(1, 2) if turned else x
                # As large as AdamW's steps are.
                rate = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
                for p, change in zip(many, x):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(change, alpha=rate)


class Training:
    """Muon on the matrices of layers, which needs half of the steps, AdamW on all else; the learning rate follows the processor's time."""

    def __init__(self, minutes, peak, *modules, floor=0.02):
        self.params = [p for m in modules for p in m.parameters()]
        inner = [p for m in modules for name, p in m.named_parameters() if p.ndim == 2 and "layer" in name]
        others = [p for p in self.params if not any(p is q for q in inner)]
        self.opts = [Muon(inner, peak), torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.02)]
        self.clock, self.step = common.Clock(minutes, peak, warmup=40, floor=floor, time=time.process_time), 0

    def learn(self, loss):
        for opt in self.opts:
            for g in opt.param_groups:
                g["lr"] = self.clock.lr(self.step)
            opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        for opt in self.opts:
            opt.step()
        self.clock.now = self.clock.spent()
        self.step += 1

    def done(self):
        return self.clock.done()

    def __str__(self):
        return f"{self.step} {self.clock.spent() / 60:.1f} min"


def unseen(n=200, seed=910):
    """Rendered scenes of combinations that were never trained on: scenes and normalised pictures."""
    some = scenes.scenes_from(seed, n, held=True)
    pictures = ((scenes.render(some) + 1) * 127.5).round().byte()
    return some, normal(seen(pictures).float() / 255)


def train(minutes, peak, more):
    common.seed_all(3)
    bank = Bank("rendered", "decoded")
    eye, heads = new_eye(), Heads()
    if more:
        state = torch.load(f"{common.WORK}/eye.pt")
        eye.load_state_dict(state["eye"])
        heads.load_state_dict(state["heads"], strict=False)
    # The networks go on from here: the learning rate stays up.
    training = Training(minutes, peak, eye, heads, floor=0.5)
    some, pictures = unseen()
    targets = torch.tensor([facts(s, "paint") for s in some])
    while not training.done():
        i, mirror, x = bank.batch(32)
        out = eye(pixel_values=x, output_hidden_states=True)
        hidden = out.last_hidden_state
        dense, whole = heads.patch_loss(hidden, out.hidden_states, bank, i, mirror), heads.scene_loss(hidden[:, 0], bank.facts[mirror.long(), i])
        training.learn(2 * dense + 0.5 * whole)
        if training.step % 100 == 0:
            print(training, f"patches {dense.item():.3f} outlines {heads.outline:.3f} scene {whole.item():.3f}", flush=True)
        if training.step % 300 == 0 or training.done():
            with torch.no_grad():
                right = heads.right(eye(pixel_values=pictures).last_hidden_state[:, 0], targets)
            print(f"unseen right {right}", flush=True)
            torch.save({"eye": eye.state_dict(), "heads": heads.state_dict()}, f"{common.WORK}/eye.pt")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bank", action="store_true", help="render pictures, and send some through the autoencoder")
    ap.add_argument("--draw", metavar="SDRS", help="let this command draw pictures")
    ap.add_argument("--pictures", type=int, default=400)
    ap.add_argument("--minutes", type=float, default=0)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--more", action="store_true", help="go on from eye.pt")
    args = ap.parse_args()
    torch.set_num_threads(1)
    if args.bank:
        Bank.write("rendered", rendered())
        Bank.write("decoded", decoded())
    if args.draw:
        Bank.write("drawn", drawn(args.draw, args.pictures))
    if args.minutes:
        train(args.minutes, args.lr, args.more)


if __name__ == "__main__":
    main()
