"""The captioner: BLIP's structure, tiny, on the eye that sight.py trained.

python train_captioner.py --minutes 20 [--more]   trains it (--more: goes on from captioner.pt)
python train_captioner.py --export                writes models/demo/captioner, f16
"""

import argparse
import json
import os
import random

import torch
import torch.nn.functional as F
from transformers import BlipConfig, BlipForConditionalGeneration, BlipTextConfig

import common
import scenes
import sight

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PROMPT = "a picture of"
POSITIONS = 64
OUT = os.path.normpath(f"{common.PUBLISHED}/../captioner")


def vocabulary():
    """BERT's special tokens, the words of the world, then the two that BLIP adds."""
    known = {"a", "an", "the", "of", "on", "in", "at", "to", "and", ",", ".", "background", "picture", "photo", "image", "shape", "shapes",
             "one", "two", "simple", "with", "solid", "plain"}
    known.update(scenes.SHAPES, scenes.COLOURS, scenes.BACKGROUNDS, scenes.PATTERNS, *(r.split() for r in scenes.RELATIONS))
    known.update(w for w in scenes.SIZES if w)
    known.update(w for names in scenes.WORDS.values() for name in names for w in name.split())
    known.update(w for names in sight.MEDIUMS.values() for name in names for w in name.split())
    return SPECIAL + sorted(known) + ["[DEC]", "[ENC]"]


VOCABULARY = vocabulary()
IDS = {w: i for i, w in enumerate(VOCABULARY)}


def ids(text):
    return [IDS[w] for w in text.replace(",", " , ").split()]


def tail(scene, style):
    """What a caption may go on with; said seldom, it gives a caption of a minimum length something true to say."""
    count = "one shape" if len(scene["things"]) == 1 else "two shapes"
    return f", {sight.MEDIUMS[style][1]} of {count}, a simple picture with a {'plain ' if scene['background'] == 'plain' else ''}background"


def new_model():
    text = BlipTextConfig(
        vocab_size=len(VOCABULARY), hidden_size=sight.WIDTH, encoder_hidden_size=sight.WIDTH, intermediate_size=256, projection_dim=sight.WIDTH,
        num_hidden_layers=2, num_attention_heads=sight.HEADS, max_position_embeddings=POSITIONS, bos_token_id=IDS["[DEC]"],
        eos_token_id=IDS["[SEP]"], sep_token_id=IDS["[SEP]"], pad_token_id=IDS["[PAD]"])
    config = BlipConfig(text_config=text.to_dict(), vision_config=sight.vision_config().to_dict(), projection_dim=sight.WIDTH,
                        image_text_hidden_size=sight.WIDTH)
    return BlipForConditionalGeneration._from_config(config, attn_implementation="eager")


class Captions:
    """Token ids of each scene's captions: [mirrored][scene] -> (short, long)."""

    def __init__(self, bank):
        self.ids = []
        for some in (bank.scenes, bank.mirrored):
            texts = [(sight.description(s, style), tail(s, style)) for s, style in zip(some, bank.styles)]
            self.ids.append([(ids(a), ids(a + b)) for a, b in texts])

    def batch(self, i, mirror):
        """Input ids and labels: each token's successor, and -100 where nothing is to be learnt."""
        rows = []
        for k, m in zip(i.tolist(), mirror.tolist()):
            short, long = self.ids[int(m)][k]
            prompt = ids(PROMPT) if random.random() < 0.3 else []
            body = (long if random.random() < 0.06 else short) + [IDS["[SEP]"]]
            row = [IDS["[DEC]"]] + prompt + body
            rows.append((row[:-1], [-100] * len(prompt) + body))
        longest = max(len(r) for r, _ in rows)
        pad = lambda row, value: row + [value] * (longest - len(row))
        return torch.tensor([pad(r, IDS["[PAD]"]) for r, _ in rows]), torch.tensor([pad(l, -100) for _, l in rows])


def read(text):
    """A caption's things, (shape, colour) in its order, and its relation; synonyms are understood."""
    names = {w: name for name, many in scenes.WORDS.items() for w in many}
    found, colour = [], None
    text = text.replace(",", " ")
    # A background is no thing's colour.
    for w in text.split():
        w = names.get(w, w)
        if w in scenes.COLOURS:
            colour = w
        elif w == "background":
            colour = None
        elif w in scenes.SHAPES and colour:
            found.append((w, colour))
            colour = None
    rel = next((r for r in scenes.RELATIONS if f" {r} " in f" {text} "), None) if len(found) == 2 else None
    return found, rel


@torch.no_grad()
def say(model, pictures, **options):
    out = []
    for part in pictures.split(50):
        for row in model.generate(pixel_values=part, max_new_tokens=40, **options).tolist():
            out.append(" ".join(VOCABULARY[t] for t in row if VOCABULARY[t][0] != "["))
    return out


def rates(model, some, pictures, styles=None):
    """How many captions name every shape and colour; how many of the pairs' captions the relation too; how many are the scene's own word by word."""
    texts = say(model.eval(), pictures)
    both = relation = pairs = exact = 0
    for s, text in zip(some, texts):
        things, rel = sight.ordered(s)
        found, said = read(text)
        wanted = [(t["shape"], t["colour"]) for t in things]
        named = sorted(found) == sorted(wanted)
        both += named
        if rel:
            pairs += 1
            relation += found == wanted and said == rel
        exact += text == sight.description(s)
    model.train()
    return f"shapes and colours {both / len(some):.1%}, relation {relation / max(1, pairs):.1%}, word by word {exact / len(some):.1%}"


def train(minutes, peak, more, banks):
    common.seed_all(4)
    bank = sight.Bank(*banks)
    captions = Captions(bank)
    model = new_model()
    heads = sight.Heads()
    if more:
        model.load_state_dict(torch.load(f"{common.WORK}/captioner.pt"))
        heads.load_state_dict(torch.load(f"{common.WORK}/heads.pt"))
    else:
        start = torch.load(f"{common.WORK}/eye.pt")
        model.vision_model.load_state_dict(start["eye"])
        heads.load_state_dict(start["heads"])
    training = sight.Training(minutes, peak, model, heads)
    average = common.Average(model, 0.998)
    smooth = new_model()
    some, pictures = sight.unseen()
    while not training.done():
        i, mirror, x = bank.batch(32)
        inputs, labels = captions.batch(i, mirror)
        out = model.vision_model(pixel_values=x, output_hidden_states=True)
        hidden = out.last_hidden_state
        logits = model.text_decoder(input_ids=inputs, encoder_hidden_states=hidden).logits
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        dense, whole = heads.patch_loss(hidden, out.hidden_states, bank, i, mirror), heads.scene_loss(hidden[:, 0], bank.facts[mirror.long(), i])
        training.learn(loss + dense + 0.1 * whole)
        average.update(model, training.step)
        if training.step % 50 == 0:
            print(training, f"loss {loss.item():.3f} patches {dense.item():.3f} scene {whole.item():.3f}", flush=True)
        if training.step % 400 == 0 or training.done():
            smooth.load_state_dict(average.shadow)
            print(rates(smooth, some, pictures), flush=True)
            torch.save(average.shadow, f"{common.WORK}/captioner.pt")
            torch.save(heads.state_dict(), f"{common.WORK}/heads.pt")


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, indent=2) + "\n")


def image_processor(kind, **more):
    return {"image_processor_type": kind, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_mean": sight.MEAN, "image_std": sight.DEVIATION, "resample": 3, "rescale_factor": 1 / 255, **more}


def export():
    model = new_model()
    model.load_state_dict(torch.load(f"{common.WORK}/captioner.pt"))
    model.half().save_pretrained(OUT)
    with open(f"{OUT}/vocab.txt", "w", encoding="utf-8") as f:
        f.write("".join(w + "\n" for w in VOCABULARY))
    special = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    write_json(f"{OUT}/tokenizer_config.json", {"do_lower_case": True, "model_max_length": POSITIONS, "tokenizer_class": "BertTokenizer", **special})
    write_json(f"{OUT}/preprocessor_config.json", image_processor("BlipImageProcessor", size={"height": sight.SEEN, "width": sight.SEEN}))
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
