"""CLIP, tiny: pictures of the demo's world and what is said of them, in one space.

python train_clip.py --minutes 20 [--more]   trains it, beginning with the captioner's eye
python train_clip.py --export                writes models/demo/clip, f16
"""

import argparse
import math
import os
import random
import shutil

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel

import common
import scenes
import sight
import train_captioner
import words

OUT = os.path.normpath(f"{common.PUBLISHED}/../clip")
TEXT_LAYERS = 2


def new_model(tok):
    shape = {"hidden_size": sight.WIDTH, "intermediate_size": 4 * sight.WIDTH, "num_attention_heads": sight.HEADS, "hidden_act": "gelu",
             "projection_dim": sight.WIDTH}
    config = CLIPConfig(
        text_config={**shape, "vocab_size": len(tok), "num_hidden_layers": TEXT_LAYERS, "max_position_embeddings": words.POSITIONS,
                     "bos_token_id": tok.bos_token_id, "eos_token_id": tok.eos_token_id, "pad_token_id": tok.eos_token_id},
        vision_config={**shape, "num_hidden_layers": sight.LAYERS, "image_size": sight.SEEN, "patch_size": sight.PATCH},
        projection_dim=sight.WIDTH)
    return CLIPModel._from_config(config, attn_implementation="eager")


def with_eye(model, eye):
    """Puts the eye's weights into CLIP's vision half: its patches have no bias, and a norm stands before its layers."""
    to, at = model.vision_model.state_dict(), {}
    bias, places = eye["embeddings.patch_embedding.bias"], eye["embeddings.position_embedding"][0].clone()
    places[1:] += bias
    at["embeddings.class_embedding"] = eye["embeddings.class_embedding"].flatten()
    at["embeddings.patch_embedding.weight"] = eye["embeddings.patch_embedding.weight"]
    at["embeddings.position_embedding.weight"] = places
    for k in range(sight.LAYERS):
        p = f"encoder.layers.{k}."
        for leaf in ("weight", "bias"):
            q, key, v = eye[f"{p}self_attn.qkv.{leaf}"].chunk(3)
            at |= {f"{p}self_attn.q_proj.{leaf}": q, f"{p}self_attn.k_proj.{leaf}": key, f"{p}self_attn.v_proj.{leaf}": v,
                   f"{p}self_attn.out_proj.{leaf}": eye[f"{p}self_attn.projection.{leaf}"]}
            for name in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"):
                at[f"{p}{name}.{leaf}"] = eye[f"{p}{name}.{leaf}"]
    for leaf in ("weight", "bias"):
        at[f"post_layernorm.{leaf}"] = eye[f"post_layernorm.{leaf}"]
    model.vision_model.load_state_dict(to | at)
    # The norm takes away a scale that the layers know: give it back on average.
    some, pictures = sight.unseen(64)
    with torch.no_grad():
        x = model.vision_model.embeddings(pictures)
        model.vision_model.pre_layrnorm.weight.fill_(x.std(2).mean())


# ---------------------------------------------------------------- what is said

def facts(scene, style):
    """All that may be said of a picture, as a set."""
    things, rel = sight.ordered(scene)
    out = {("n", len(things)), ("style", style)}
    if style != "chalk":
        out.add(("background", scene["background"]))
    for t in things:
        out |= {t["shape"], t["colour"], ("pattern", t["pattern"]), ("size", t["size"]), (t["colour"], t["shape"]), ("noun", sight.noun(t))}
    if rel:
        out.add((sight.noun(things[0]), rel, sight.noun(things[1])))
        out.add(("relation", rel))
    return frozenset(out)


def _say(rng, text):
    return " ".join(rng.choice(scenes.WORDS.get(w, [w])) for w in text.split())


def sentence(scene, style, rng):
    """A caption and the facts that it states."""
    things, rel = sight.ordered(scene)
    names = [sight.noun(t) for t in things]
    need = {("n", len(things))} | {("noun", n) for n in names}
    said = [_say(rng, n) for n in names]
    if rng.random() < 0.8:
        said = [sight.with_article(n) for n in said]
    if rel:
        need.add((names[0], rel, names[1]))
        if rel != "inside" and rng.random() < 0.35:
            said.reverse()
            rel = scenes.OPPOSITE[rel]
        text = f"{said[0]} {rng.choice(scenes.WORDS[rel])} {said[1]}"
    else:
        text = said[0]
    back = sight.background(scene)
    if back and style != "chalk" and rng.random() < 0.8:
        text += f" {back}" if rng.random() < 0.7 else f", {scene['background']} background"
        need.add(("background", scene["background"]))
    if rng.random() < 0.1:
        text = rng.choice(["a picture of ", "an image of ", "a drawing of "]) + text
    return text, need


def fragments(scene, style, rng, most):
    """Single phrases that are true, and the facts that they state."""
    things, rel = sight.ordered(scene)
    out = [(rng.choice(sight.MEDIUMS[style]), {("style", style)}),
           (rng.choice([["one shape", "a single shape"], ["two shapes", "a pair of shapes"]][len(things) - 1]), {("n", len(things))})]
    back = sight.background(scene)
    if style != "chalk":
        named = f"{scene['background']} background"
        out.append((rng.choice([back, named]) if back else rng.choice(["plain background", "simple background"]), {("background", scene["background"])}))
    if rel:
        pair = {"above": ["one above the other", "vertical arrangement"], "left of": ["side by side", "horizontal arrangement"],
                "inside": ["one inside the other", "concentric"]}[rel]
        out.append((rng.choice(pair), {("relation", rel)}))
    for t in things:
        out.append((_say(rng, f"{t['colour']} {t['shape']}"), {(t["colour"], t["shape"])}))
        out.append((_say(rng, t["colour"]), {t["colour"]}))
        out.append((_say(rng, t["shape"]), {t["shape"]}))
        if t["pattern"] != "solid":
            out.append((_say(rng, t["pattern"]), {("pattern", t["pattern"])}))
            out.append((_say(rng, f"{t['pattern']} {t['shape']}"), {("pattern", t["pattern"]), t["shape"]}))
        if t["size"]:
            out.append((_say(rng, f"{t['size']} {t['shape']}"), {("size", t["size"]), t["shape"]}))
    rng.shuffle(out)
    out = out[:rng.randint(1, most)]
    return ", ".join(t for t, _ in out), set().union(*(n for _, n in out))


def words_of(scene, style, rng):
    way = rng.random()
    if way < 0.5:
        return sentence(scene, style, rng)
    if way < 0.8:
        return fragments(scene, style, rng, 4 if way < 0.7 else 1)
    (a, need), (b, more) = sentence(scene, style, rng), fragments(scene, style, rng, 6)
    return f"{a}, {b}", need | more


def altered(scene, rng):
    """The scene with one thing changed: what is said of it is nearly true of the picture."""
    new = {**scene, "things": [dict(t) for t in scene["things"]]}
    t = rng.choice(new["things"])
    way = rng.random()
    if len(new["things"]) == 2 and way < 0.5:
        a, b = new["things"]
        key = rng.choice(["colour", "shape", "relation"])
        if key != "relation":
            a[key], b[key] = b[key], a[key]
        elif scene["relation"] == "inside":
            new["things"].reverse()
        else:
            new["relation"] = rng.choice([r for r in scenes.RELATIONS[:4] if r != scene["relation"]])
    elif way < 0.65:
        t["shape"] = rng.choice([s for s in scenes.SHAPES if s != t["shape"]])
    elif way < 0.85:
        t["colour"] = rng.choice([c for c in scenes.COLOURS if c != t["colour"]])
    elif way < 0.92:
        t["pattern"] = rng.choice([p for p in scenes.PATTERNS if p != t["pattern"]])
    else:
        new["background"] = rng.choice([b for b in scenes.BACKGROUNDS if b != scene["background"]])
    return new


class Said:
    def __init__(self, bank, tok):
        self.bank, self.encode, self.rng = bank, words.Encode(tok), random.Random(12)
        self.have = [[facts(s, style) for s, style in zip(some, bank.styles)] for some in (bank.scenes, bank.mirrored)]

    def ids(self, texts):
        x = self.encode(texts)
        longest = int((x != self.encode.eos).sum(1).max()) + 1
        return x[:, :longest]

    def batch(self, i, mirror):
        """Texts of the pictures, then nearly true ones; and where text and picture fit though they were not meant for each other."""
        pairs = [((self.bank.mirrored if m else self.bank.scenes)[k], self.bank.styles[k], self.have[int(m)][k])
                 for k, m in zip(i.tolist(), mirror.tolist())]
        said = [words_of(s, style, self.rng) for s, style, _ in pairs]
        said += [words_of(altered(s, self.rng), style, self.rng) for s, style, _ in pairs]
        fits = torch.tensor([[need <= have for _, need in said] for _, _, have in pairs])
        n = len(pairs)
        fits[torch.arange(n), torch.arange(n)] = False
        return self.ids([t for t, _ in said]), fits


@torch.no_grad()
def figures(model, some, pictures, said):
    """Of 200 pictures: the caption found among those of all and among nearly true ones, and single words put right."""
    image = F.normalize(model.visual_projection(model.vision_model(pixel_values=pictures).pooler_output), dim=1)
    text = lambda t: F.normalize(model.text_projection(model.text_model(said.ids(t)).pooler_output), dim=1)
    own = text([sight.description(s) for s in some])
    among = ((image @ own.T).argmax(1) == torch.arange(len(some))).float().mean().item()
    rng, right = random.Random(3), []
    for k, s in enumerate(some):
        others = {sight.description(altered(s, rng)) for _ in range(12)} - {sight.description(s)}
        right.append(bool((image[k] @ own[k]) > (text(sorted(others)) @ image[k]).max()))
    lone = [k for k, s in enumerate(some) if len(s["things"]) == 1]
    single = {}
    for key, names in (("shape", scenes.SHAPES), ("colour", list(scenes.COLOURS))):
        best = (image[lone] @ text(names).T).argmax(1).tolist()
        single[key] = sum(names[b] == some[k]["things"][0][key] for k, b in zip(lone, best)) / len(lone)
    pairs = [f"{c} {s}" for c in scenes.COLOURS for s in scenes.SHAPES]
    top = [{pairs[j] for j in row} for row in (image @ text(pairs).T).topk(2).indices.tolist()]
    two = [k for k, s in enumerate(some) if len(s["things"]) == 2]
    both = sum(top[k] == {f"{t['colour']} {t['shape']}" for t in some[k]["things"]} for k in two) / len(two)
    return f"own of 200 captions {among:.1%}, before 12 nearly true {sum(right) / len(right):.1%}, single shape {single['shape']:.1%}, " \
           f"colour {single['colour']:.1%}, both things on top of 96 {both:.1%}"


def train(minutes, peak, more, banks):
    common.seed_all(6)
    bank = sight.Bank(*banks)
    tok = words.load_tokenizer(f"{common.PUBLISHED}/tokenizer")
    said = Said(bank, tok)
    model, heads = new_model(tok), sight.Heads()
    heads.load_state_dict(torch.load(f"{common.WORK}/heads.pt"))
    if more:
        model.load_state_dict(torch.load(f"{common.WORK}/clip.pt"))
    else:
        state = torch.load(f"{common.WORK}/captioner.pt")
        with_eye(model, {k.removeprefix("vision_model."): v for k, v in state.items() if k.startswith("vision_model.")})
    training = sight.Training(minutes, peak, model, heads)
    average, smooth = common.Average(model, 0.998), new_model(tok)
    some, pictures = sight.unseen()
    n = 64
    while not training.done():
        i, mirror, x = bank.batch(n)
        ids, fits = said.batch(i, mirror)
        out = model.vision_model(pixel_values=x, output_hidden_states=True)
        hidden = model.vision_model.post_layernorm(out.last_hidden_state)
        image = F.normalize(model.visual_projection(out.pooler_output), dim=1)
        text = F.normalize(model.text_projection(model.text_model(ids).pooler_output), dim=1)
        logits = (image @ text.T * model.logit_scale.exp()).masked_fill(fits, -1e4)
        own = torch.arange(n)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :n].T, own)) / 2
        dense, whole = heads.patch_loss(hidden, out.hidden_states, bank, i, mirror), heads.scene_loss(out.pooler_output, bank.facts[mirror.long(), i])
        training.learn(contrast + 0.3 * dense + 0.2 * whole)
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100))
        average.update(model, training.step)
        if training.step % 50 == 0:
            print(training, f"contrast {contrast.item():.3f} patches {dense.item():.3f} scene {whole.item():.3f} "
                  f"scale {model.logit_scale.exp().item():.1f}", flush=True)
        if training.step % 300 == 0 or training.done():
            smooth.load_state_dict(average.shadow)
            print(figures(smooth.eval(), some, pictures, said), flush=True)
            torch.save(average.shadow, f"{common.WORK}/clip.pt")


def phrases():
    """The demo's own phrase files: what CLIP has learnt to tell apart."""
    backs = [b for b in (sight.background({"background": b}) for b in scenes.BACKGROUNDS) if b]
    flavors = [f"{c} {s}" for c in scenes.COLOURS for s in scenes.SHAPES]
    flavors += [f"{p} {s}" for p in ("striped", "dotted", "small", "big") for s in scenes.SHAPES]
    flavors += [*backs, "plain background", "one shape", "two shapes", "side by side", "one above the other", "one inside the other"]
    mediums = [m for many in sight.MEDIUMS.values() for m in many if m.startswith("a ")]
    return {"mediums": mediums, "flavors": flavors}


def export():
    folder = os.path.normpath(f"{common.PUBLISHED}/../phrases")
    os.makedirs(folder, exist_ok=True)
    for name, lines in phrases().items():
        with open(f"{folder}/{name}.txt", "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for line in sorted(lines)))
    tok = words.load_tokenizer(f"{common.PUBLISHED}/tokenizer")
    model = new_model(tok)
    model.load_state_dict(torch.load(f"{common.WORK}/clip.pt"))
    model.half().save_pretrained(OUT)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(f"{common.PUBLISHED}/tokenizer/{name}", f"{OUT}/{name}")
    train_captioner.write_json(f"{OUT}/preprocessor_config.json", train_captioner.image_processor(
        "CLIPImageProcessor", size={"shortest_edge": sight.SEEN}, crop_size={"height": sight.SEEN, "width": sight.SEEN}, do_center_crop=True))
    os.chmod(f"{OUT}/model.safetensors", 0o644)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=0)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--more", action="store_true")
    ap.add_argument("--banks", nargs="+", default=["rendered", "decoded"])
    ap.add_argument("--export", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    if args.minutes:
        train(args.minutes, args.lr, args.more, args.banks)
    if args.export:
        export()


if __name__ == "__main__":
    main()
