"""Measures inpainting on the demo model: of scenes with two things one is drawn anew as another thing, and the judge looks at both.

python evaluate_masked.py --sdrs ../../target/release/sdrs FOLDER [--count 100] [--steps 25] [--cfg 5] [--strength 1]

Pictures are the world's own, rendered from seeds. The mask is the masked thing's half, up to the middle between both. Right is a picture
that shows the new thing there, the other thing as it was, nothing else, and outside the mask the same bytes. Scenes that the judge doesn't
tell as they are rendered are left out of the first two rates: small rings are circles to it now and then.
"""

import argparse
import copy
import os
import random
import subprocess

import numpy as np
import torch
from PIL import Image

import judge
import scenes

BLUR = 2


def cases(count):
    """Scenes of two things that lie apart, with the one at `which` exchanged."""
    rng = random.Random(20261)
    found = []
    while len(found) < count:
        scene = scenes.sample(rng, held=len(found) % 2 == 0)
        if len(scene["things"]) != 2 or scene["relation"] == "inside":
            continue
        changed, which = copy.deepcopy(scene), len(found) % 2
        for key, names in (("shape", scenes.SHAPES), ("colour", list(scenes.COLOURS))):
            others = [name for name in names if name not in [thing[key] for thing in scene["things"]]]
            changed["things"][which][key] = rng.choice(others)
        if scenes.allowed(changed):
            found.append((scene, changed, which, scenes.caption(changed, rng, full=True)))
    return found


def mask_of(scene, which):
    """White from the middle of the gap between both things on."""
    own, other = scene["things"][which], scene["things"][1 - which]
    axis = "y" if scene["relation"] in ("above", "below") else "x"
    first, second = sorted((own, other), key=lambda thing: thing[axis])
    middle = round((first[axis] + first["r"] + second[axis] - second["r"]) / 2 * scenes.SIZE / scenes.UNITS)
    mask = np.zeros((scenes.SIZE, scenes.SIZE), np.uint8)
    half = slice(middle, None) if own[axis] > other[axis] else slice(0, middle)
    mask[(half, slice(None)) if axis == "y" else (slice(None), half)] = 255
    return mask


def pairs(seen):
    """Shape and colour of the things that are seen."""
    return [(thing["shape"], thing["colour"]) for thing in seen]


def values(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("--sdrs", required=True, metavar="COMMAND")
    ap.add_argument("--count", type=int, default=100)
    ap.add_argument("--steps", type=int, default=25)
    ap.add_argument("--cfg", type=float, default=5)
    ap.add_argument("--strength", type=float, default=1)
    args = ap.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    chosen = cases(args.count)
    rendered = scenes.render([scene for scene, *_ in chosen])
    before = [((x + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for x in rendered]
    after, masks = [], []
    for i, (scene, _, which, text) in enumerate(chosen):
        image, mask, out = (f"{args.folder}/{i:03}{part}.png" for part in ("-before", "-mask", ""))
        masks.append(mask_of(scene, which))
        Image.fromarray(before[i]).save(image)
        Image.fromarray(masks[-1]).save(mask)
        options = {"--mask": mask, "--masked-content": "fill", "--strength": args.strength, "--mask-blur": BLUR, "--steps": args.steps,
                   "--cfg-scale": args.cfg, "--seed": 500 + i, "--output": out}
        command = [args.sdrs, "img2img", image, text, *(str(word) for pair in options.items() for word in pair)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after.append(np.asarray(Image.open(out).convert("RGB")))
    net = judge.load()
    rendered = judge.look(net, scenes.render([changed for _, changed, *_ in chosen]))
    told = [sorted(pairs(seen)) == sorted(judge.wanted(changed)) for seen, (_, changed, *_) in zip(rendered, chosen)]
    kept = became = stayed = 0
    for i, (seen, (_, changed, which, text)) in enumerate(zip(judge.look(net, values(after)), chosen)):
        want = judge.wanted(changed)
        shown = pairs(seen)
        outside = masks[i] == 0
        # The blur reaches a few pixels beyond the edge.
        for axis in (0, 1):
            for step in range(1, 3 * BLUR + 1):
                outside &= np.roll(masks[i] == 0, step, axis) & np.roll(masks[i] == 0, -step, axis)
        marks = (want[which] in shown and len(shown) == 2, want[1 - which] in shown, bool((after[i] == before[i])[outside].all()))
        kept += marks[2]
        if told[i]:
            became, stayed = became + marks[0], stayed + marks[1]
        if not all(marks) or not told[i]:
            left_out = "" if told[i] else ", left out"
            print(f"{i:03} became {marks[0]} stayed {marks[1]} bytes {marks[2]}{left_out}: {text}, seen {shown}")
    n = sum(told)
    print(f"of {n}, what the mask covers became what was asked {became / n:.1%}, the other thing stayed {stayed / n:.1%}")
    print(f"of {len(chosen)}, bytes outside stayed {kept / len(chosen):.1%}")


if __name__ == "__main__":
    main()
