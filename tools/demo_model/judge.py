"""Looks at a picture and says which shapes, colours and relation it sees.

A small fully convolutional network labels every second pixel with a shape and a colour; connected
regions of shape labels are the things. It knows pictures only, never the prompt.

python judge.py --train --minutes 6     trains it (renders, some sent through the autoencoder)
python judge.py --check                 measures it on unseen renders
python judge.py PICTURE...              says what it sees
"""

import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

import scenes

HERE = os.path.dirname(os.path.abspath(__file__))
WEIGHTS = f"{HERE}/judge.safetensors"
COLOURS = list(scenes.COLOURS)


class Net(torch.nn.Module):
    def __init__(self, w=32):
        super().__init__()
        conv = lambda i, o, s=1, d=1: torch.nn.Sequential(
            torch.nn.Conv2d(i, o, 3, s, d, d), torch.nn.BatchNorm2d(o), torch.nn.ReLU())
        self.fine = torch.nn.Sequential(conv(3, 16), conv(16, w, 2), conv(w, w))
        self.coarse = torch.nn.Sequential(
            conv(w, w, 2), conv(w, w, 1, 2), conv(w, w, 1, 4), conv(w, w, 1, 2), conv(w, w))
        self.join = conv(2 * w, w)
        self.shape = torch.nn.Conv2d(w, len(scenes.SHAPES) + 1, 1)
        self.colour = torch.nn.Conv2d(w, len(COLOURS), 1)

    def forward(self, x):
        f = self.fine(x)
        c = F.interpolate(self.coarse(f), scale_factor=2, mode="bilinear")
        h = self.join(torch.cat([f, c], 1))
        return self.shape(h), self.colour(h)


def load():
    from safetensors.torch import load_file

    net = Net()
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(WEIGHTS).items()}
    net.load_state_dict(state, strict=False)
    return net.eval()


def shrink(pictures):
    """Pictures with one pixel for each unit, which is what the network and the templates know."""
    if pictures.shape[-1] == scenes.UNITS:
        return pictures
    return F.interpolate(pictures, (scenes.UNITS, scenes.UNITS), mode="area")


AXIS = torch.arange(scenes.UNITS, dtype=torch.float32) + 0.5


def _template(shape, x, y, r):
    return scenes.sdf(shape, (AXIS[None, :] - x) / r, (AXIS[:, None] - y) / r) < 0


def _moments():
    """Area and centre of each shape of radius 20, to place templates by."""
    out = {}
    for shape in scenes.SHAPES:
        at = _template(shape, 32, 32, 20)
        ys, xs = at.nonzero().float().mean(0) + 0.5
        out[shape] = (float(at.sum()) / 400, (float(xs) - 32) / 20, (float(ys) - 32) / 20)
    return out


MOMENTS = _moments()


def best_shape(region, ignore):
    """The shape whose drawing overlaps the region best, and by how much; `ignore` hides what lies on top."""
    known = ~ignore
    best = ("", 0.0)
    ys, xs = region.nonzero(as_tuple=True)
    # What lies on top hides part of the region: then the box tells more than centre and area.
    box = (xs.min().item(), ys.min().item(), xs.max().item() + 1, ys.max().item() + 1)
    for shape in scenes.SHAPES:
        area, ox, oy = MOMENTS[shape]
        unit = _template(shape, 32, 32, 20).nonzero(as_tuple=True)
        left, right = (unit[1].min().item() - 32) / 20, (unit[1].max().item() - 31) / 20
        top, low = (unit[0].min().item() - 32) / 20, (unit[0].max().item() - 31) / 20
        guesses = []
        r = ((box[2] - box[0]) / (right - left) + (box[3] - box[1]) / (low - top)) / 2
        guesses.append(((box[0] + box[2]) / 2 - r * (left + right) / 2, (box[1] + box[3]) / 2 - r * (top + low) / 2, r))
        if not ignore.any():
            r = (region.sum().item() / area) ** 0.5
            guesses.append((xs.float().mean().item() + 0.5 - ox * r, ys.float().mean().item() + 0.5 - oy * r, r))
        for x, y, r in guesses:
            for scale in (0.93, 1, 1.07):
                t = _template(shape, x, y, r * scale)
                both = (t & region & known).sum().item()
                overlap = both / max(1, ((t | region) & known).sum().item())
                if overlap > best[1]:
                    best = (shape, overlap)
    return best


def _two_means(points):
    """Two typical colours of some pixels: a pattern has two, and so has a gradient."""
    a, b = np.quantile(points, 0.15, axis=0), np.quantile(points, 0.85, axis=0)
    for _ in range(4):
        near = ((points - a) ** 2).sum(1) < ((points - b) ** 2).sum(1)
        a = points[near].mean(0) if near.any() else a
        b = points[~near].mean(0) if (~near).any() else b
    return a, b


def sharpen(picture, at, others):
    """The network's coarse region, redrawn to the pixel by the colours inside and around it."""
    core = ndimage.binary_erosion(at, iterations=2)
    if core.sum() < 12:
        core = ndimage.binary_erosion(at)
    around = ndimage.binary_dilation(at, iterations=6) & ~ndimage.binary_dilation(at, iterations=3)
    around &= ~ndimage.binary_dilation(others, iterations=2)
    if core.sum() < 6 or around.sum() < 10:
        return at
    inner, outer = _two_means(picture[core]), _two_means(picture[around])
    distance = lambda colours: np.min([((picture - c) ** 2).sum(2) for c in colours], axis=0)
    mask = (distance(inner) < distance(outer)) & ndimage.binary_dilation(at, iterations=3) & ~others
    mask = ndimage.binary_opening(mask | core) | core
    labels, n = ndimage.label(mask)
    if n == 0:
        return at
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    # Specks in a pattern belong to it; a ring's hole stays.
    holes, n = ndimage.label(~largest)
    for k in range(1, n + 1):
        if (holes == k).sum() < 9:
            largest |= holes == k
    return largest if largest.sum() >= 40 else at


def _box(at):
    ys, xs = np.nonzero(at)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def _beside(at, regions):
    """All other regions, but for one around this: that is its background."""
    out = np.zeros_like(at)
    a = _box(at)
    for other in regions:
        o = _box(other)
        if other is not at and not (o[0] < a[0] and o[1] < a[1] and o[2] > a[2] and o[3] > a[3]):
            out |= other
    return out


@torch.no_grad()
def look(net, pictures):
    """Pictures (n, 3, size, size) in -1..1 to a list of things for each: shape, colour, centre, box, area.

    The network says what is a thing and of which colour; the shape is found by drawing all of them over it.
    """
    pictures = shrink(pictures)
    solid, colour = net(pictures)
    size = (scenes.UNITS, scenes.UNITS)
    solid = F.interpolate(1 - solid.softmax(1)[:, :1], size, mode="bilinear")[:, 0] > 0.5
    colour = F.interpolate(colour.softmax(1), size, mode="bilinear").argmax(1)
    out = []
    pixels = pictures.permute(0, 2, 3, 1).numpy()
    for on, tint, picture in zip(solid.numpy(), colour.numpy(), pixels):
        regions = []
        # A thing is a connected region of one colour.
        for c in range(len(COLOURS)):
            labels, n = ndimage.label(on & (tint == c))
            for k in range(1, n + 1):
                at = labels == k
                if at.sum() >= 50:
                    regions.append((c, at))
        coarse = [at for _, at in regions]
        regions = [(c, sharpen(picture, at, _beside(at, coarse))) for c, at in regions]
        # A colour seen again within its own thing shows through a hole of what lies on top.
        inside = lambda a, b: b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2] and b[3] >= a[3]
        regions = [(c, at) for c, at in regions if not any(
            o is not at and k == c and o.sum() > at.sum() and inside(_box(at), _box(o)) for k, o in regions)]
        things = []
        for c, at in regions:
            ys, xs = np.nonzero(at)
            box = _box(at)
            others = np.zeros_like(at)
            for _, other in regions:
                if other is not at:
                    oy, ox = np.nonzero(other)
                    if box[0] <= ox.mean() <= box[2] and box[1] <= oy.mean() <= box[3] and other.sum() < at.sum():
                        others |= ndimage.binary_dilation(other, iterations=2)
            shape, overlap = best_shape(torch.from_numpy(at), torch.from_numpy(others))
            things.append({"shape": shape, "colour": COLOURS[c], "area": int(at.sum()), "overlap": round(overlap, 3),
                           "x": float(xs.mean()), "y": float(ys.mean()), "box": box})
        out.append(sorted(things, key=lambda t: -t["area"]))
    return out


def relation(a, b):
    """How `a` lies to `b`, by their boxes and centres."""
    ax0, ay0, ax1, ay1 = a["box"]
    bx0, by0, bx1, by1 = b["box"]
    slack = 3
    if bx0 <= ax0 + slack and by0 <= ay0 + slack and bx1 >= ax1 - slack and by1 >= ay1 - slack \
            and (bx1 - bx0) * (by1 - by0) > 1.5 * (ax1 - ax0) * (ay1 - ay0):
        return "inside"
    dx, dy = b["x"] - a["x"], b["y"] - a["y"]
    if abs(dy) > abs(dx):
        return "above" if dy > 0 else "below"
    return "left of" if dx > 0 else "right of"


def marks(seen, wanted, rel):
    """(shapes right, colours right, relation right) of one picture; `wanted` is (shape, colour) in the caption's order.

    A shape or colour counts when as many things of it are seen as asked for, and no thing too many;
    the relation counts when both things asked for are there and lie as asked.
    """
    count = len(seen) == len(wanted)
    shapes = count and sorted(t["shape"] for t in seen) == sorted(s for s, _ in wanted)
    colours = count and sorted(t["colour"] for t in seen) == sorted(c for _, c in wanted)
    if rel is None:
        return shapes, colours, None
    right = False
    for a in seen:
        for b in seen:
            if a is not b and (a["shape"], a["colour"]) == tuple(wanted[0]) and (b["shape"], b["colour"]) == tuple(wanted[1]):
                right = right or relation(a, b) == rel
    return shapes, colours, right


def wanted(scene):
    return [(t["shape"], t["colour"]) for t in scene["things"]]


def train(minutes):
    import common
    from safetensors.torch import save_file
    from train_unet import load_vae

    common.seed_all(7)
    all_scenes, pictures, owners = (part[:8192] for part in common.bank(41, 12288, "paint"))
    # What the model draws comes out of the decoder: two thirds of the training pictures do, too.
    path = f"{common.WORK}/judge-decoded.pt"
    if os.path.exists(path):
        decoded = torch.load(path)
    else:
        vae, decoded = load_vae(), pictures.clone()
        with torch.no_grad(), common.autocast():
            for i in range(0, len(pictures), 64):
                z = vae.encode(common.to_float(pictures[i:i + 64])).latent_dist.mode()
                # Latents slightly off, as a sampler leaves them.
                z = z + 0.08 * torch.rand(len(z), 1, 1, 1) * z.std() * torch.randn_like(z)
                y = vae.decode(z).sample.float().clamp(-1, 1)
                decoded[i:i + 64] = ((y + 1) * 127.5).round().byte()
        torch.save(decoded, path)
    shape_of = torch.tensor([[0] + [scenes.SHAPES.index(t["shape"]) + 1 for t in s["things"]] + [0] * (2 - len(s["things"]))
                             for s in all_scenes])
    colour_of = torch.tensor([[-100] + [COLOURS.index(t["colour"]) for t in s["things"]] + [-100] * (2 - len(s["things"]))
                              for s in all_scenes])
    net = Net().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    clock, step = common.Clock(minutes, 3e-3), 0
    while not clock.done():
        clock.now = clock.spent()
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i = torch.randint(len(pictures), (32,))
        x = shrink(common.to_float(decoded[i] if step % 3 else pictures[i]))
        x = x * (1 + 0.06 * torch.randn(32, 1, 1, 1)) + 0.03 * torch.randn(32, 3, 1, 1) + 0.03 * torch.rand(()) * torch.randn_like(x)
        # Every second unit's pixel.
        every = 2 * scenes.SIZE // scenes.UNITS
        own = owners[i][:, every // 2::every, every // 2::every].long()
        s_true = shape_of[i].gather(1, own.flatten(1)).view_as(own)
        c_true = colour_of[i].gather(1, own.flatten(1)).view_as(own)
        with common.autocast():
            s, c = net(x)
        loss = F.cross_entropy(s.float(), s_true) + F.cross_entropy(c.float(), c_true)
        opt.zero_grad()
        loss.backward()
        opt.step()
        step += 1
        if step % 200 == 0:
            print(step, f"{clock.spent() / 60:.1f} min loss {loss.item():.4f}", flush=True)
    torch.save(net.state_dict(), f"{common.WORK}/judge.pt")
    save_file({k: v.half().contiguous() if v.is_floating_point() else v for k, v in net.state_dict().items()
               if "num_batches" not in k}, WEIGHTS)


@torch.no_grad()
def check(n=600):
    """All of a scene right, on unseen renders and on the same through the autoencoder."""
    from train_unet import load_vae

    net, vae = load(), load_vae()
    some = scenes.scenes_from(771, n // 2) + scenes.scenes_from(772, n // 2, held=True)
    for name in ("rendered", "through the autoencoder"):
        score = np.zeros(4)
        pairs = 0
        for i in range(0, n, 100):
            batch = some[i:i + 100]
            x = scenes.render(batch)
            if "auto" in name:
                x = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
            for s, seen in zip(batch, look(net, x)):
                a, b, r = marks(seen, wanted(s), s["relation"])
                pairs += r is not None
                score += (a, b, bool(r), a and b and r is not False)
        print(f"{name}: shapes {score[0] / n:.1%} colours {score[1] / n:.1%} relation {score[2] / pairs:.1%} all {score[3] / n:.1%}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--train", action="store_true")
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--minutes", type=float, default=6)
    ap.add_argument("pictures", nargs="*")
    args = ap.parse_args()
    if args.train:
        train(args.minutes)
    if args.train or args.check:
        check()
    if args.pictures:
        from PIL import Image

        net = load()
        for p in args.pictures:
            im = Image.open(p).convert("RGB").resize((scenes.SIZE, scenes.SIZE))
            x = torch.from_numpy(np.array(im)).permute(2, 0, 1)[None].float() / 127.5 - 1
            for t in look(net, x)[0]:
                print(p, t)


if __name__ == "__main__":
    main()
