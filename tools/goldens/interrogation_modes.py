"""What CLIP interrogation says of pictures: the modes of clip-interrogator and of the WebUI over a tiny random CLIP.

The algorithms are restated here, as they are meant and as the originals have them; what clip-interrogator's own functions say is compared.
"""

import io
import random
import re
import sys
import types

import torch
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import common

FOLDER = "goldens/interrogation/modes"
MODEL = common.ROOT / "goldens/interrogation/clip"
TOKENIZER = common.ROOT / "models/demo/base/tokenizer"
PHRASES = common.ROOT / "crates/sdrs/phrases"
SEED = 53
LENGTH = 77
COUNTS = {"artists": 40, "mediums": 30, "movements": 40, "flavors": 150, "sites": 10, "negative": 30}
# Small ones, so that ranking goes through several chunks and leaves phrases out.
CHUNK, INTERMEDIATE = 64, 100
# None: a caption that begins with the picture's medium.
CAPTIONS = ["a red circle above a blue square", "a green star at night", None]
LIMIT = 25


# ---------------------------------------------------------------- model and phrases

class Clip:
    """The tiny CLIP with open_clip's manners: tokens padded with zeros, texts cut at 77."""

    def __init__(self):
        self.model = CLIPModel.from_pretrained(MODEL, torch_dtype=torch.float32).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
        self.generator = torch.Generator().manual_seed(SEED)
        self.eos = self.tokenizer.eos_token_id
        self.known, self.shaken = {}, None

    def tokenize(self, texts):
        out = torch.zeros(len(texts), LENGTH, dtype=torch.long)
        for row, text in zip(out, list(texts)):
            ids = self.tokenizer(str(text))["input_ids"][:LENGTH]
            ids[-1] = self.eos
            row[: len(ids)] = torch.tensor(ids)
        return out

    def encode_text(self, tokens):
        rows = []
        for row in tokens:
            key = tuple(row.tolist())
            if key not in self.known:
                end = key.index(self.eos) + 1
                pooled = self.model.text_model(row[None, :end]).pooler_output
                self.known[key] = self.model.text_projection(pooled)[0]
            rows.append(self.known[key] if self.shaken is None else self.shaken.setdefault(key, self.shake(self.known[key])))
        return torch.stack(rows)

    def shake(self, value):
        """A text's vector as another machine might compute it, and worse."""
        return value * (1 + 2e-6 * torch.randn(value.shape, generator=self.generator))

    def encode_image(self, pixels):
        return self.model.visual_projection(self.model.vision_model(pixels).pooler_output)

    def embed(self, texts):
        features = self.encode_text(self.tokenize(texts))
        return features / features.norm(dim=-1, keepdim=True)

    def full(self, text):
        """Whether a text takes all 77 tokens."""
        return bool(self.tokenize([text])[0, -1] != 0)


def chosen():
    """300 phrases of our own lists, short ones: this model's tokenizer spells most words letter by letter."""
    rng = random.Random(SEED)
    lines = {name: (PHRASES / f"{name}.txt").read_text(encoding="utf-8").splitlines() for name in COUNTS}
    short = {name: [line for line in many if len(line) <= 16 and line.isascii()] for name, many in lines.items()}
    return {name: sorted(rng.sample(short[name], count), key=str.lower) for name, count in COUNTS.items()}


def tables(phrases):
    sites = phrases["sites"]
    trending = [*sites, *(f"trending on {s}" for s in sites), *(f"featured on {s}" for s in sites), *(f"{s} contest winner" for s in sites)]
    artists = [*(f"by {a}" for a in phrases["artists"]), *(f"inspired by {a}" for a in phrases["artists"])]
    return {"artists": artists, "flavors": phrases["flavors"], "mediums": phrases["mediums"], "movements": phrases["movements"],
            "trending": trending, "negative": phrases["negative"]}


# ---------------------------------------------------------------- clip-interrogator, restated

class Interrogation:
    """`original` keeps clip-interrogator 0.6.0's faults: ranking in chunks that loses its direction and phrases, a reversed chain that
    compares numbers of different sign, a length that is measured without the comma, embeddings rounded to 16 bits."""

    def __init__(self, clip, phrases, original):
        self.clip, self.original = clip, original
        self.tables = {name: (labels, self.embed(labels)) for name, labels in tables(phrases).items()}
        names = ["artists", "flavors", "mediums", "movements", "trending"]
        self.merged = sum((self.tables[n][0] for n in names), []), torch.cat([self.tables[n][1] for n in names])

    def embed(self, labels):
        features = self.clip.embed(labels)
        return features.half().float() if self.original else features

    def top(self, image, labels, embeds, count, reverse):
        similarity = embeds @ image[0] * (-1 if reverse else 1)
        return similarity.topk(min(count, len(labels))).indices

    def rank(self, image, table, count, reverse=False):
        labels, embeds = table
        if not self.original or len(labels) <= CHUNK:
            return [labels[i] for i in self.top(image, labels, embeds, count, reverse)]
        chunks = -(-len(labels) // CHUNK)
        kept = []
        for start in range(0, len(labels), CHUNK):
            part = embeds[start : start + CHUNK]
            kept += [start + int(i) for i in self.top(image, part, part, CHUNK // chunks, reverse)]
        return [labels[kept[i]] for i in self.top(image, kept, embeds[kept], count, False)]

    def similarity(self, image, texts):
        return self.clip.embed(texts) @ image[0]

    def best_of(self, image, texts, reverse=False):
        # Of equals, which texts cut to the same tokens are, the first counts.
        return int((self.similarity(image, texts) * (-1 if reverse else 1)).argmax())

    def cut(self, prompt):
        parts = prompt.split(", ")
        out = parts[0]
        for part in parts[1:]:
            if self.clip.full(out + ("" if self.original else ", ") + part):
                break
            out += ", " + part
        return out

    def chain(self, image, phrases, prompt="", least=8, most=32, reverse=False):
        sign = -1 if reverse else 1
        phrases = list(dict.fromkeys(phrases))
        if prompt:
            score = sign * self.similarity(image, [prompt]).item()
        else:
            prompt = phrases.pop(self.best_of(image, phrases, reverse))
            score = self.similarity(image, [prompt]).item() * (1 if self.original else sign)
        best, best_score = prompt, score
        for step in range(most):
            if not phrases:
                break
            at = self.best_of(image, [f"{prompt}, {p}" for p in phrases], reverse)
            longer = f"{prompt}, {phrases[at]}"
            new = sign * self.similarity(image, [longer]).item()
            if new > best_score:
                best, best_score = longer, new
            if not (new > score or step < least):
                break
            prompt, score = longer, new
            if self.clip.full(prompt):
                break
            phrases.pop(at)
        return best

    def classic(self, image, caption, flavors=3):
        medium, artist, trending, movement = (self.rank(image, self.tables[n], 1)[0] for n in ("mediums", "artists", "trending", "movements"))
        more = ", ".join(self.rank(image, self.tables["flavors"], flavors))
        start = caption if caption.startswith(medium) else f"{caption}, {medium}"
        return self.cut(f"{start} {artist}, {trending}, {movement}, {more}")

    def fast(self, image, caption, flavors=32):
        return self.cut(", ".join([caption, *self.rank(image, self.merged, flavors)]))

    def negative(self, image, flavors=32):
        least = self.rank(image, self.tables["flavors"], INTERMEDIATE, reverse=True)
        return self.chain(image, least + self.tables["negative"][0], most=flavors, reverse=True)

    def best(self, image, caption, least=8, most=32):
        chain = self.chain(image, self.rank(image, self.merged, INTERMEDIATE), caption, least, most)
        candidates = [caption, self.classic(image, caption, most), self.fast(image, caption, most), chain]
        return candidates[self.best_of(image, candidates)]

    def all(self, image, caption):
        return {"classic": self.classic(image, caption), "fast": self.fast(image, caption), "negative": self.negative(image),
                "best": self.best(image, caption)}


class Ordered(dict):
    def __init__(self, items):
        super().__init__(dict.fromkeys(items))

    remove = dict.__delitem__


def package_says(clip, phrases, image, caption):
    """The same by clip-interrogator's own code, with the tiny model in place of its own."""
    # The package loads and downloads models by open_clip when it is asked for them, which it isn't here.
    sys.modules.setdefault("open_clip", types.ModuleType("open_clip"))
    import clip_interrogator.clip_interrogator as original

    config = original.Config(clip_model_name="tiny/random", cache_path=None, chunk_size=CHUNK, device="cpu", flavor_intermediate_count=INTERMEDIATE, quiet=True)
    # A set's order, which decides between equals, differs from process to process.
    original.set = Ordered
    own = original.Interrogator.__new__(original.Interrogator)
    own.config, own.device, own.clip_model, own.tokenize = config, "cpu", clip, clip.tokenize
    own.caption_offloaded = own.clip_offloaded = False
    own.image_to_features = lambda features: features
    names = {"artists": "artists", "flavors": "flavors", "mediums": "mediums", "movements": "movements", "trending": "trendings", "negative": "negative"}
    for name, labels in tables(phrases).items():
        setattr(own, names[name], original.LabelTable(list(labels), None, own))
    return {"classic": own.interrogate_classic(image, caption=caption), "fast": own.interrogate_fast(image, caption=caption),
            "negative": own.interrogate_negative(image), "best": own.interrogate(image, caption=caption)}


# ---------------------------------------------------------------- the WebUI, restated (modules/interrogate.py)

def webui(clip, files, image, caption, limit=0, ranks=False, original=False):
    """`original` looks for ".topN." in a name without its ending, so that "flavors.top3.txt" means one phrase."""
    text, scores = caption, {}
    for name in sorted(files):
        stem = name.removesuffix(".txt")
        count = re.search(r"\.top(\d+)\.", stem if original else name)
        labels = files[name][:limit] if limit else files[name]
        probabilities = (100.0 * image @ clip.embed(labels).T).softmax(dim=-1)[0]
        values, at = probabilities.topk(min(int(count.group(1)) if count else 1, len(labels)))
        for value, i in zip(values.tolist(), at.tolist()):
            text += f", ({labels[i]}:{value:.3f})" if ranks else f", {labels[i]}"
            scores[labels[i]] = value
    return text, scores


# ---------------------------------------------------------------- the file

def pictures():
    """Pictures of the size that the model sees, so that nothing is resized."""
    generator = torch.Generator().manual_seed(SEED)
    side = CLIPModel.config_class.from_pretrained(MODEL).vision_config.image_size
    for _ in CAPTIONS:
        coarse = torch.rand(1, 3, 5, 5, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, (side, side), mode="nearest")[0]
        yield Image.fromarray((fine * 255).byte().permute(1, 2, 0).numpy())


def make(out):
    clip, phrases = Clip(), chosen()
    side = clip.model.config.vision_config.image_size
    prepare = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    right, faulty = Interrogation(clip, phrases, False), Interrogation(clip, phrases, True)
    files = {"artists.txt": phrases["artists"], "flavors.top3.txt": phrases["flavors"], "mediums.txt": phrases["mediums"], "movements.txt": phrases["movements"]}
    cases = []
    for k, (picture, caption) in enumerate(zip(pictures(), CAPTIONS)):
        name = f"{FOLDER}/{k}.png"
        data = io.BytesIO()
        picture.save(data, "PNG")
        out.bytes(name, data.getvalue(), note="squares of random colours", seed=SEED)
        image = clip.encode_image(prepare(picture, return_tensors="pt")["pixel_values"])
        image = image / image.norm(dim=-1, keepdim=True)
        caption = caption or right.rank(image, right.tables["mediums"], 1)[0] + " of a green star"
        as_original = faulty.all(image, caption)
        said = package_says(clip, phrases, image, caption)
        if as_original != said:
            raise SystemExit(f"restated {as_original}\noriginal {said}")
        wanted = right.all(image, caption), as_original
        clip.shaken = {}
        if wanted != tuple(Interrogation(clip, phrases, original).all(image, caption) for original in (False, True)):
            raise SystemExit(f"picture {k}: the last bits of a vector decide: take another seed")
        clip.shaken = None
        plain, scores = webui(clip, files, image, caption)
        cases.append({
            "picture": name.rsplit("/")[-1], "caption": caption, "right": wanted[0], "original": wanted[1],
            "webui": {
                "text": plain, "scores": scores, "ranks": webui(clip, files, image, caption, ranks=True)[0],
                "limited": webui(clip, files, image, caption, limit=LIMIT)[0], "original": webui(clip, files, image, caption, original=True)[0],
            },
        })
    value = {
        "model": "goldens/interrogation/clip", "tokenizer": "models/demo/base/tokenizer", "chunk_size": CHUNK, "intermediate_count": INTERMEDIATE,
        "limit": LIMIT, "phrases": phrases, "cases": cases,
    }
    out.json(f"{FOLDER}/modes.json", value, reference="clip-interrogator; the WebUI's algorithm restated", seed=SEED)
