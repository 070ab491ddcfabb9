"""Textual inversion embeddings in every container that is in use, with the vectors that are in them.

No package writes the pictures: their format is that of the WebUI, written here anew from its description. A picture's text chunk
`sd-ti-embedding` holds base64 of JSON, tensors as {"TORCHTENSOR": lists}. In the hidden variant zlib-compressed JSON is split into low
and high halves of bytes, which lie in the low four bits of a block of columns left of the picture and of one right of it, each parted
from the picture by a black column; the four bits are xored with a linear congruential sequence; the upper bits are decoration.
"""

import base64
import io
import json
import zlib

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save

from torch_files import saved

FOLDER = "goldens/embeddings"
SEED = 23
WIDTH = 768


def data(vectors, name):
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": name, "step": 1499,
            "sd_checkpoint": "4bdfc29c", "sd_checkpoint_name": "v1-5"}


def as_json(value):
    return json.dumps(value, default=lambda t: {"TORCHTENSOR": t.tolist()}).encode()


def png(image, text=None):
    info = PngImagePlugin.PngInfo()
    if text:
        info.add_text("sd-ti-embedding", text)
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=info, optimize=True)
    return file.getvalue()


def keystream(count):
    seed, out = 0, []
    for _ in range(count):
        seed = (1664525 * seed + 1013904223) % 2**32
        out.append(seed % 255 & 15)
    return np.array(out, np.uint8)


def hidden(picture, payload):
    height = picture.shape[0]
    stream = np.frombuffer(zlib.compress(payload, 9), np.uint8)
    width = -(-len(stream) // (height * 3)) + 1
    full = np.resize(stream, height * width * 3)
    sides = []
    for half in [full & 15, full >> 4]:
        block = (half ^ keystream(full.size)).reshape(height, width, 3)
        x, y = np.arange(width), np.arange(height)[:, None]
        decoration = ((x * 5 + y * 3) % 12 + 2 << 4).astype(np.uint8)
        sides.append(block | decoration[..., None])
    line = np.zeros((height, 1, 3), np.uint8)
    return Image.fromarray(np.concatenate([sides[0], line, picture, line, sides[1]], axis=1))


def make(out):
    generator = torch.Generator().manual_seed(SEED)

    def vectors(n, width=WIDTH):
        # Few digits keep the JSON short.
        return (torch.randn(n, width, generator=generator) * 64).round() / 512

    found = {name: vectors(n) for name, n in [("webui", 2), ("original", 1), ("diffusers_bin", 1), ("diffusers", 1),
                                              ("emb_params", 3), ("text", 2), ("pixels", 2)]}
    sdxl = {"clip_l": vectors(2), "clip_g": vectors(2, 1280)}
    out.bytes(f"{FOLDER}/webui.pt", saved(data(found["webui"], "other name")))
    # As the method's first implementation saved it: a module for the vectors.
    module = torch.nn.ParameterDict({"*": torch.nn.Parameter(found["original"])})
    out.bytes(f"{FOLDER}/original.pt", saved({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": module}))
    out.bytes(f"{FOLDER}/diffusers.bin", saved({"<cat-toy>": found["diffusers_bin"][0]}))
    for name, tensors in [("diffusers", {"<cat-toy>": found["diffusers"][0]}), ("emb_params", {"emb_params": found["emb_params"]}),
                          ("sdxl", sdxl)]:
        out.bytes(f"{FOLDER}/{name}.safetensors", save(tensors))
    grey = np.full((24, 20, 3), 128, np.uint8)
    text = base64.b64encode(as_json(data(found["text"], "in the text")))
    out.bytes(f"{FOLDER}/text.png", png(Image.fromarray(grey), text.decode()))
    picture = (np.arange(64 * 40 * 3).reshape(64, 40, 3) % 200 + 40).astype(np.uint8) | 1
    out.bytes(f"{FOLDER}/pixels.png", png(hidden(picture, as_json(data(found["pixels"], "in the pixels")))),
              note="format of the WebUI, written anew: see the script")
    out.bytes(f"{FOLDER}/preview.png", png(Image.fromarray(picture)), note="a picture without anything in it")
    out.tensors(f"{FOLDER}/vectors.safetensors", found | {f"sdxl.{name}": t for name, t in sdxl.items()}, tolerance={"f32": 0})
