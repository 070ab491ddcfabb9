"""Tiny random CLIPs and BLIPs in the layouts that there are, what they see and say, and what becomes of pictures before."""

import io
import json

import open_clip
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision import __version__ as torchvision_version
from transformers import (
    BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel, CLIPTokenizer,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import common

FOLDER = "goldens/interrogation"
SEED = 51
TEXTS = ["a red circle", "a blue square above a green triangle", "by Piet Mondrian", "photo"]
# The demo's tokenizer has 739 tokens.
TOKENIZER = common.ROOT / "models/demo/base/tokenizer"
TOKENS = 739

# A picture's side is no multiple of a square's, heads are of other widths than in the text model.
CLIP = {
    "projection_dim": 20,
    "text_config": {
        "vocab_size": TOKENS, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
        "hidden_act": "quick_gelu", "bos_token_id": 737, "eos_token_id": 738, "pad_token_id": 738, "projection_dim": 20,
    },
    "vision_config": {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 30,
        "patch_size": 7, "hidden_act": "quick_gelu", "projection_dim": 20,
    },
}
OPEN_CLIP = {
    "embed_dim": 20,
    "vision_cfg": {"image_size": 28, "layers": 2, "width": 24, "head_width": 8, "patch_size": 7, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 77, "vocab_size": TOKENS, "width": 16, "heads": 4, "layers": 2},
}
# In OpenAI's archives heads are 64 wide.
OPENAI = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 14, "layers": 1, "width": 64, "patch_size": 7, "mlp_ratio": 0.5},
    "text_cfg": {"context_length": 77, "vocab_size": TOKENS, "width": 16, "heads": 1, "layers": 1},
}
# Words of a vocabulary of BERT's kind; the two last tokens are BLIP's.
VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a picture of the red green blue circle square tri ##angle ##s ##ed . , ' - is on above and 3 "
    "##d caf ##e one two dog cat ##fish with 's t ##t 中 [DEC] [ENC]"
).split()
BLIP = {
    "tie_word_embeddings": True,
    "text_config": {
        "vocab_size": len(VOCABULARY), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 40, "bos_token_id": VOCABULARY.index("[DEC]"), "sep_token_id": VOCABULARY.index("[SEP]"),
        "pad_token_id": 0, "eos_token_id": 2,
    },
    "vision_config": {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 28, "patch_size": 7,
    },
}
CAPTIONS = [
    {},
    {"min_length": 9, "max_length": 14},
    {"max_length": 12, "repetition_penalty": 1.6},
    {"num_beams": 3},
    {"num_beams": 4, "max_length": 12, "length_penalty": 2.0},
    {"num_beams": 4, "max_length": 12, "length_penalty": -1.0, "early_stopping": True},
    {"num_beams": 3, "max_length": 16, "early_stopping": "never", "min_length": 6},
    {"num_beams": 2, "max_length": 10, "repetition_penalty": 1.3},
]
PROMPTS = [[], ["[CLS]", "a", "picture", "of"]]


def weights(model, generator, scale=1.0):
    """Weights that keep activations near 1 and differ by place, as exact in 16 bits as in 32."""
    drawn = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        new = torch.randn(value.shape, generator=generator)
        if value.dim() >= 2 and "embed" not in name and "token" not in name:
            new *= scale / value[0].numel() ** 0.5
        elif "norm" in name.lower() or ".ln_" in name or name.startswith("ln_"):
            new = 1 + 0.2 * new if name.endswith("weight") else 0.2 * new
        elif value.dim() < 2:
            new *= 0.3
        drawn[name] = new.half().float()
    if "logit_scale" in drawn:
        drawn["logit_scale"] = torch.tensor(1.5)
    model.load_state_dict(drawn, strict=False)
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    return model.eval()


def halves(state):
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def ids_of(texts):
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    return [tokenizer(text)["input_ids"] for text in texts]


def tiny_clip(out, generator, refs):
    model = weights(CLIPModel(CLIPConfig(**CLIP)), generator)
    config = model.config.to_dict() | {"architectures": ["CLIPModel"]}
    out.json(f"{FOLDER}/clip/config.json", json.loads(json.dumps(config)), reference="transformers")
    out.weights(f"{FOLDER}/clip/model.safetensors", halves(model.state_dict()), reference="transformers", seed=SEED)
    pictures = torch.randn(2, 3, 30, 30, generator=generator)
    refs["clip.pictures"] = pictures.permute(0, 2, 3, 1)
    vision = model.vision_model(pictures, output_hidden_states=True)
    for i, state in enumerate(vision.hidden_states):
        refs[f"clip.vision.{i}"] = state
    refs["clip.image_embeds"] = model.visual_projection(vision.pooler_output)
    for i, ids in enumerate(ids_of(TEXTS)):
        refs[f"clip.ids.{i}"] = torch.tensor(ids)
        text = model.text_model(torch.tensor([ids]), output_hidden_states=True)
        for j, state in enumerate(text.hidden_states):
            refs[f"clip.text.{i}.{j}"] = state
        refs[f"clip.text_embeds.{i}"] = model.text_projection(text.pooler_output)
    whole = model(input_ids=torch.tensor([ids_of(TEXTS)[0]]), pixel_values=pictures)
    refs["clip.logits"] = whole.logits_per_image


def open_clips(out, generator, refs):
    model = weights(open_clip.CLIP(**OPEN_CLIP, quick_gelu=False), generator)
    out.json(
        f"{FOLDER}/open_clip/open_clip_config.json",
        {"model_cfg": OPEN_CLIP, "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"}},
        reference="open_clip",
    )
    state = halves(model.state_dict())
    out.weights(f"{FOLDER}/open_clip/open_clip_model.safetensors", state, reference="open_clip", seed=SEED)
    compare(model, "open_clip", 28, generator, refs)

    model = weights(open_clip.CLIP(**OPENAI, quick_gelu=True), generator)
    numbers = {"input_resolution": 14, "context_length": 77, "vocab_size": TOKENS}
    for name, value in numbers.items():
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    compare(model, "openai", 14, generator, refs)
    example = (torch.zeros(1, 3, 14, 14), torch.zeros(1, 77, dtype=torch.long))
    script = torch.jit.trace(model, example, strict=False, check_trace=False).half()
    data = io.BytesIO()
    torch.jit.save(script, data)
    out.bytes(f"{FOLDER}/openai.pt", data.getvalue(), reference="open_clip, PyTorch", seed=SEED)


def compare(model, name, side, generator, refs):
    pictures = torch.randn(2, 3, side, side, generator=generator)
    refs[f"{name}.pictures"] = pictures.permute(0, 2, 3, 1)
    refs[f"{name}.image_embeds"] = model.encode_image(pictures)
    for i, ids in enumerate(ids_of(TEXTS)):
        padded = torch.zeros(1, 77, dtype=torch.long)
        padded[0, : len(ids)] = torch.tensor(ids)
        refs[f"{name}.text_embeds.{i}"] = model.encode_text(padded)


def tiny_blip(out, generator, refs):
    model = weights(BlipForConditionalGeneration(BlipConfig(**BLIP)), generator, 2.0)
    # Captions should end now and then.
    model.text_decoder.cls.predictions.bias[VOCABULARY.index("[SEP]")] = -1
    config = model.config.to_dict() | {"architectures": ["BlipForConditionalGeneration"]}
    out.json(f"{FOLDER}/blip/config.json", json.loads(json.dumps(config)), reference="transformers")
    shared = ["text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias"]
    state = halves(model.state_dict())
    untied = {name: value for name, value in state.items() if name not in shared}
    out.weights(f"{FOLDER}/blip/model.safetensors", untied, reference="transformers", seed=SEED)
    out.bytes(f"{FOLDER}/blip/vocab.txt", ("\n".join(VOCABULARY) + "\n").encode(), note="words of our own")
    data = io.BytesIO()
    torch.save({"model": {original(name): value for name, value in state.items()}}, data)
    out.bytes(f"{FOLDER}/blip.pth", data.getvalue(), reference="the names of BLIP's repository", seed=SEED)

    pictures = 3 * torch.randn(3, 3, 28, 28, generator=generator)
    refs["blip.pictures"] = pictures.permute(0, 2, 3, 1)
    vision = model.vision_model(pictures[:1], output_hidden_states=True)
    for i, state in enumerate(vision.hidden_states):
        refs[f"blip.vision.{i}"] = state
    refs["blip.vision.last"] = vision.last_hidden_state
    ids = torch.tensor([[VOCABULARY.index("[DEC]"), 5, 6, 7, 9]])
    refs["blip.ids"] = ids[0]
    text = model.text_decoder(ids, encoder_hidden_states=vision.last_hidden_state, output_hidden_states=True)
    for i, state in enumerate(text.hidden_states):
        refs[f"blip.text.{i}"] = state
    refs["blip.logits"] = text.logits[:, -1]

    cases = []
    for picture in range(3):
        for prompt in PROMPTS:
            for options in CAPTIONS:
                # The last one of a prompt's tokens closes it, and is cut off by the model itself.
                ids = [VOCABULARY.index(word) for word in [*prompt, "[SEP]"]] if prompt else None
                said = model.generate(
                    pictures[picture : picture + 1], **({"input_ids": torch.tensor([ids])} if ids else {}), **options,
                )
                cases.append({
                    "picture": picture, "prompt": [] if not ids else ids[:-1], "options": options,
                    "tokens": said[0].tolist()[len(ids) - 1 if ids else 1:],
                })
    out.json(f"{FOLDER}/captions.json", cases, reference="transformers", seed=SEED)


def original(name):
    """A parameter's name in the authors' files, by what transformers' conversion script replaces."""
    for theirs, ours in [
        ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
        ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
        ("visual_encoder.patch_embed.proj", "vision_model.embeddings.patch_embedding"),
        ("visual_encoder.norm", "vision_model.post_layernorm"),
        ("visual_encoder.blocks", "vision_model.encoder.layers"),
    ]:
        name = name.replace(ours, theirs)
    if name.startswith("visual_encoder.blocks"):
        for theirs, ours in [
            (".attn.proj", ".self_attn.projection"), (".attn", ".self_attn"),
            (".norm1", ".layer_norm1"), (".norm2", ".layer_norm2"),
        ]:
            name = name.replace(ours, theirs)
    return name


def words(out):
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(VOCABULARY)})
    texts = [
        "a picture of ", "Two RED triangles, one dog's catfish.", "café 3D", "cafe\u0301", "中a中", "  tabs\tand\nlines ", "squared circles - unknownword",
        "x" * 120 + " red", "", "[SEP] a [DEC]", "the dog is on the cat . ' s", "\u0000red\ufffd\u200b blue",
    ]
    cases = [{"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]} for text in texts]
    spoken = [[5, 6, 7, 8, 14, 15, 16, 18], [9, 19, 10, 20, 31, 20, 32, 3, 0], [31, 34], [12, 18, 1, 2, 38], []]
    decoded = [{"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in spoken]
    out.json(f"{FOLDER}/words.json", {"encoded": cases, "decoded": decoded}, reference="transformers' BertTokenizer")


SIDE = 11
# Of every kind of colours. The reference clips 16 bits of grey to white, and resizes a palette as it is: these are left out.
FILES = [
    "bmp.rgb", "gif.clear", "jpeg.cmyk", "jpeg.grey", "jpeg.turned6", "png.grey", "png.grey_alpha", "png.one", "png.one_bit",
    "png.palette_clear", "png.rgb16", "png.rgba", "png.turned", "webp.lossy",
]
# Sides that leave a rest which is odd, even and none, from below and from above.
SIZES = [(37, 20), (20, 37), (11, 41), (15, 11), (14, 11), (5, 9), (64, 63)]


def preparation(out):
    files = load_file(common.ROOT / "goldens/pictures/files.safetensors")
    refs = {}
    clip = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    blip = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    torchvision = open_clip.transform.image_transform(SIDE, is_train=False)
    for name in FILES:
        data = files[f"file.{name}"]
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(bytes(data.numpy()))))
        for kind, processor in [("clip", clip), ("blip", blip)]:
            pixels = processor(picture, return_tensors="pt")["pixel_values"][0]
            refs[f"{kind}.{name}"] = pixels
        if picture.mode in ("RGB", "RGBA"):
            refs[f"open_clip.{name}"] = torchvision(picture)
    generator = torch.Generator().manual_seed(SEED)
    for width, height in SIZES:
        pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        picture = Image.fromarray(pixels.numpy())
        name = f"{width}x{height}"
        refs[f"pixels.{name}"] = pixels
        for kind, processor in [("clip", clip), ("blip", blip)]:
            refs[f"{kind}.{name}"] = processor(picture, return_tensors="pt")["pixel_values"][0]
        refs[f"open_clip.{name}"] = torchvision(picture)
    out.tensors(
        f"{FOLDER}/preparation.safetensors", refs, reference=f"transformers, open_clip over torchvision {torchvision_version}", tolerance=1e-6,
    )


def make(out):
    generator = torch.Generator().manual_seed(SEED)
    refs = {}
    tiny_clip(out, generator, refs)
    open_clips(out, generator, refs)
    tiny_blip(out, generator, refs)
    out.tensors(f"{FOLDER}/refs.safetensors", refs, reference="transformers, open_clip", seed=SEED, tolerance=1e-5)
    words(out)
    preparation(out)
