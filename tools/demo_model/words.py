"""The vocabulary (a small CLIP-style byte-pair encoding) and the text encoder.

python words.py --minutes 4   writes the tokenizer and trains the encoder to tell, from a caption,
what the scene shows; the U-Net then learns against it, frozen.
"""

import argparse
import collections
import json
import os
import random

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import common
import scenes

POSITIONS = 77
WIDTH = 128
TOKENIZER = f"{common.WORK}/tokenizer"


def byte_symbols():
    """CLIP's printable stand-in for each byte, in CLIP's order."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    extra = [b for b in range(256) if b not in keep]
    return [chr(b) for b in keep] + [chr(256 + i) for i in range(len(extra))]


def learn_merges(counts):
    """Byte-pair merges until every counted word is one token."""
    words = {w: list(w[:-1]) + [w[-1] + "</w>"] for w in counts}
    merges = []
    while True:
        pairs = collections.Counter()
        for w, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[w]
        if not pairs:
            return merges
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for w, parts in words.items():
            i, out = 0, []
            while i < len(parts):
                if tuple(parts[i:i + 2]) == best:
                    out.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    out.append(parts[i])
                    i += 1
            words[w] = out


def write_tokenizer(path):
    rng = random.Random(5)
    counts = collections.Counter()
    for s in scenes.scenes_from(6, 6000):
        counts.update(scenes.caption(s, rng).replace(",", " ").split())
    merges = learn_merges(counts)
    symbols = byte_symbols()
    vocab = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges]
    vocab = list(dict.fromkeys(vocab)) + ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(path, exist_ok=True)

    def write(name, text):
        with open(f"{path}/{name}", "w", encoding="utf-8") as f:
            f.write(text)

    write("vocab.json", json.dumps({t: i for i, t in enumerate(vocab)}, ensure_ascii=False))
    write("merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write("special_tokens_map.json", json.dumps(special, indent=2) + "\n")
    write("tokenizer_config.json", json.dumps({
        "add_prefix_space": False, "do_lower_case": True, "errors": "replace",
        "model_max_length": POSITIONS, "tokenizer_class": "CLIPTokenizer", **special}, indent=2) + "\n")


def load_tokenizer(path=TOKENIZER):
    return CLIPTokenizer.from_pretrained(path)


class Encode:
    """Captions to padded ids. Every word we caption with is one token, so a cache by word will do."""

    def __init__(self, tok):
        self.tok, self.cache = tok, {}
        self.bos, self.eos = tok.bos_token_id, tok.eos_token_id

    def __call__(self, texts):
        out = torch.full((len(texts), POSITIONS), self.eos)
        out[:, 0] = self.bos
        for i, t in enumerate(texts):
            ids = []
            for w in t.replace(",", " , ").split():
                if w not in self.cache:
                    self.cache[w] = self.tok(w, add_special_tokens=False).input_ids
                ids += self.cache[w]
            out[i, 1:1 + len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return out


def new_encoder(tok):
    config = CLIPTextConfig(
        vocab_size=len(tok), hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=POSITIONS,
        hidden_act="quick_gelu", layer_norm_eps=1e-5, bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id, pad_token_id=tok.eos_token_id)
    # The fused attention is slow to train on a CPU.
    return CLIPTextModel._from_config(config, attn_implementation="eager")


# What the heads must read off: two slots in layout order, how they lie, the background.
FIELDS = [len(scenes.SHAPES) + 1, len(scenes.COLOURS) + 1, len(scenes.PATTERNS) + 1, len(scenes.SIZES) + 1] * 2 \
    + [len(scenes.RELATIONS), len(scenes.BACKGROUNDS)]


def facts(scene):
    things = list(scene["things"])
    rel = scene["relation"]
    if rel in ("below", "right of"):
        things.reverse()
    out = []
    for i in range(2):
        if i < len(things):
            t = things[i]
            out += [scenes.SHAPES.index(t["shape"]), list(scenes.COLOURS).index(t["colour"]),
                    scenes.PATTERNS.index(t["pattern"]), scenes.SIZES.index(t["size"])]
        else:
            out += [len(scenes.SHAPES), len(scenes.COLOURS), len(scenes.PATTERNS), len(scenes.SIZES)]
    out.append({None: 0, "above": 1, "below": 1, "left of": 2, "right of": 2, "inside": 3}[rel])
    out.append(list(scenes.BACKGROUNDS).index(scene["background"]))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=4)
    args = ap.parse_args()
    common.seed_all(1)
    write_tokenizer(TOKENIZER)
    tok = load_tokenizer()
    encode = Encode(tok)
    rng = random.Random(8)
    pool = scenes.scenes_from(21, 60000)
    targets = torch.tensor([facts(s) for s in pool])
    ids = encode([scenes.caption(s, rng) for s in pool])
    longest = int((ids != encode.eos).sum(1).max()) + 1
    sample = scenes.caption(pool[0], rng)
    assert encode([sample])[0].tolist() == tok(sample, padding="max_length").input_ids, sample
    print("vocabulary", len(tok), "longest caption", longest, flush=True)
    model = new_encoder(tok)
    head = torch.nn.Linear(WIDTH, sum(FIELDS))
    params = list(model.parameters()) + list(head.parameters())
    opt = torch.optim.AdamW(params, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    clock, step = common.Clock(args.minutes, 1e-3), 0
    # Training looks at a few positions after the words; the last ones are shown now and then.
    while not clock.done():
        clock.now = clock.spent()
        for g in opt.param_groups:
            g["lr"] = clock.lr(step)
        i = torch.randint(len(pool) - 2000, (128,))
        length = POSITIONS if step % 8 == 0 else longest + 3
        x = ids[i, :length]
        with common.autocast():
            h = model(x).last_hidden_state.float()
        end = (x == encode.eos).int().argmax(1)
        pads = (end + torch.randint(0, 100, end.shape) % (length - end)).clamp(max=length - 1)
        loss = 0
        for at in (end, pads):
            logits = head(h[torch.arange(len(i)), at]).split(FIELDS, 1)
            loss = loss + sum(torch.nn.functional.cross_entropy(l, t) for l, t in zip(logits, targets[i].T))
        opt.zero_grad()
        (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step += 1
        if step % 200 == 0:
            with torch.no_grad():
                x, t = ids[-2000:], targets[-2000:]
                h = model(x).last_hidden_state
                end = (x == encode.eos).int().argmax(1)
                guess = [l.argmax(1) for l in head(h[torch.arange(2000), end]).split(FIELDS, 1)]
                right = torch.stack([g == c for g, c in zip(guess, t.T)], 1).float().mean(0)
            print(step, f"{clock.spent() / 60:.1f} min loss {loss.item() / 2:.3f} unseen right",
                  [round(v, 3) for v in right.tolist()], flush=True)
            torch.save(model.state_dict(), f"{common.WORK}/text.pt")
    torch.save(model.state_dict(), f"{common.WORK}/text.pt")


if __name__ == "__main__":
    main()
