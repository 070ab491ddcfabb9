"""What the text encoder's outputs become for prompts with weights, schedules, several chunks and embeddings.

Tokens and hidden states are transformers'. Chunks, weights and means are written down here from the documented behaviour of the
WebUI and of ComfyUI. The encoder is the tiny one with its five layers gone through again and again, twelve in all.
"""

import copy

import torch
from transformers import CLIPTextConfig, CLIPTextModel

import clip_vocab
import common
import prompts
import tiny_sd1

SEED = 31
LAYERS = 12
FILE = "goldens/tiny-sd1/refs/conditioning.safetensors"
STEPS = 10
START, END, COMMA = 49406, 49407, 267
EMBEDDING = "sdrsstyle"

LONG = ", ".join(["a red circle above a blue square", "a small green triangle left of a yellow star", "masterpiece, best quality"] * 4)
WEIGHTS = "(a red:1.4) circle, [blue] ((square)), plain"
CASES = [
    ("plain", "a red circle above a blue square", {}),
    ("empty", "", {}),
    ("long", LONG, {}),
    ("long.no_backtrack", LONG, {"backtrack": 0}),
    ("break", "a red circle BREAK (blue:1.2) square BREAK x", {}),
    ("weights", WEIGHTS, {}),
    ("weights.no_norm", WEIGHTS, {"emphasis": "no norm"}),
    ("weights.ignore", WEIGHTS, {"emphasis": "ignore"}),
    ("weights.none", WEIGHTS, {"emphasis": "none"}),
    ("weights.long", LONG.replace("blue", "(blue:1.3)").replace("star", "[star]"), {}),
    ("skip.2", WEIGHTS, {"clip_skip": 2}),
    ("skip.6", WEIGHTS, {"clip_skip": 6}),
    ("skip.12", WEIGHTS, {"clip_skip": 12}),
    ("edit", "[(red:1.5):blue:3] circle (big:0.7)", {}),
    ("edit.longer", f"[{LONG}:(short:1.2):0.5], square", {}),
    ("alternation", "[(red:1.5)|blue|green (x:0.5)] circle", {}),
    ("embedding", f"a ({EMBEDDING}:1.2) circle, {EMBEDDING} x", {}),
    ("embedding.whole", "a " * 73 + EMBEDDING + " b", {}),
    ("comfy", "(a red:1.4) circle, ((blue:0.5) square) [x] \\(y\\)", {"dialect": "comfy"}),
    ("comfy.long", LONG.replace("blue", "(blue:1.3)"), {"dialect": "comfy"}),
]


def encoder():
    five = tiny_sd1.load(common.ROOT)["text_encoder"]
    config = CLIPTextConfig(**(five.config.to_dict() | {"num_hidden_layers": LAYERS}))
    model = CLIPTextModel._from_config(config, attn_implementation="eager").float().eval()
    state = five.state_dict()
    stacked = {}
    for name in model.state_dict():
        layer = name.split(".layers.")
        if len(layer) == 2:
            number, rest = layer[1].split(".", 1)
            stacked[name] = state[f"{layer[0]}.layers.{int(number) % 5}.{rest}"]
        else:
            stacked[name] = state[name]
    model.load_state_dict(stacked)
    return model


class Text:
    def __init__(self):
        self.model = encoder()
        self.tokenizer = clip_vocab.tokenizer()
        generator = torch.Generator().manual_seed(SEED)
        self.vectors = 0.5 * torch.randn(3, 16, generator=generator)

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def encode(self, chunk, clip_skip):
        """One chunk: [(id or vector, weight)], padded to 75; [77, width]."""
        items = [(START, 1.0)] + chunk + [(END, 1.0)] * (76 - len(chunk))
        ids = torch.tensor([[i if isinstance(i, int) else 0 for i, _ in items]])

        def place(module, args, output):
            for at, (item, _) in enumerate(items):
                if not isinstance(item, int):
                    output[0, at] = item
            return output

        table = next(m for n, m in self.model.named_modules() if n.endswith("token_embedding"))
        norm = next(m for n, m in self.model.named_modules() if n.endswith("final_layer_norm"))
        hook = table.register_forward_hook(place)
        states = self.model(ids, output_hidden_states=True).hidden_states
        hook.remove()
        return norm(states[-clip_skip])[0], torch.tensor([w for _, w in items])

    def with_embedding(self, ids):
        """Ids, the embedding's name replaced by its vectors: [[items that belong together]]."""
        name, out = self.ids(EMBEDDING), []
        while ids:
            if ids[: len(name)] == name:
                out.append(list(self.vectors))
                ids = ids[len(name) :]
            else:
                out.append([ids.pop(0)])
        return out

    def webui_chunks(self, text, emphasis, backtrack):
        chunks, chunk, comma = [], [], None
        for piece, weight in [[text, 1.0]] if emphasis == "none" else prompts.attention(text):
            if piece == "BREAK" and weight == -1:
                chunks.append(chunk)
                chunk, comma = [], None
                continue
            for items in self.with_embedding(self.ids(piece)):
                if items == [COMMA]:
                    comma = len(chunk)
                elif backtrack and len(chunk) == 75 and comma is not None and 75 - comma <= backtrack:
                    chunks.append(chunk[: comma + 1])
                    chunk, comma = chunk[comma + 1 :], None
                if len(chunk) + len(items) > 75:
                    chunks.append(chunk)
                    chunk, comma = [], None
                chunk = chunk + [(item, weight) for item in items]
        return chunks + [chunk] if chunk or not chunks else chunks

    def comfy_chunks(self, pieces):
        chunks = [[]]
        for piece, weight in pieces:
            for word in piece.replace("\n", " ").split():
                ids = self.ids(word)
                if len(chunks[-1]) + len(ids) > 75:
                    assert len(ids) < 8
                    chunks.append([])
                chunks[-1] += [(i, weight) for i in ids]
        return chunks


# By hand, from ComfyUI's rules.
COMFY = {
    "comfy": [("a red", 1.4), (" circle, ", 1.0), ("blue", 0.5), (" square", 1.1), (" [x] (y)", 1.0)],
    "comfy.long": [(part, 1.3 if part == "blue" else 1.0) for part in LONG.replace("blue", "|blue|").split("|")],
}


def condition(text, name, prompt, clip_skip=1, emphasis="original", dialect="webui", backtrack=20):
    """The contexts of the steps 1 to STEPS, one row each."""
    if dialect == "comfy":
        empty, _ = text.encode([], clip_skip)
        rows = []
        for chunk in text.comfy_chunks(COMFY[name]):
            z, w = text.encode(chunk, clip_skip)
            rows.append(torch.where(w[:, None] == 1, z, (z - empty) * w[:, None] + empty))
        return [(STEPS, torch.cat(rows))]
    ends = prompts.variants(prompt, STEPS)
    texts = [text.webui_chunks(variant, emphasis, backtrack) for _, variant in ends]
    rows = []
    for i in range(max(map(len, texts))):
        encoded = [text.encode(chunks[i] if i < len(chunks) else [], clip_skip) for chunks in texts]
        z = torch.stack([e[0] for e in encoded])
        weights = torch.stack([e[1] for e in encoded])[..., None]
        if emphasis in ("original", "no norm"):
            weighted = z * weights
            z = weighted * (z.double().mean() / weighted.double().mean()).float() if emphasis == "original" else weighted
        rows.append(z)
    return [(end, row) for (end, _), row in zip(ends, torch.cat(rows, 1))]


def make(out):
    text = Text()
    tensors, cases = {"embedding": text.vectors}, []
    for name, prompt, options in CASES:
        seen, entries = [], []
        for end, row in condition(text, name, prompt, **options):
            at = next((i for i, other in enumerate(seen) if torch.equal(other, row)), len(seen))
            if at == len(seen):
                seen.append(row)
                tensors[f"{name}.{at}"] = row
            entries.append([end, at])
        cases.append({"name": name, "prompt": prompt, "entries": entries} | options)
    out.json(FILE.replace(".safetensors", ".json"), cases, note="the cases of conditioning.safetensors: entries are [last step, number]")
    out.tensors(
        FILE, copy.copy(tensors), seed=SEED, tolerance={"f32": 1e-5},
        note=f"per case and number a context [tokens, width] of {STEPS} steps; `embedding` is the textual inversion '{EMBEDDING}'. The "
        f"text encoder is goldens/tiny-sd1's with {LAYERS} layers, layer i being its layer i mod 5",
    )
