"""Writes CLIP ViT-L/14 and BLIP large of full size with random weights: for memory and speed, not for words.

    python benches/make_interrogation.py OUT_FOLDER

Two of transformers' folders, OUT_FOLDER/clip and OUT_FOLDER/blip, in f32, with OpenAI's tokenizer and a vocabulary whose words are numbers;
and OUT_FOLDER/phrases.txt, 10,000 phrases.
"""

import argparse
import sys
from pathlib import Path

import torch
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPConfig, CLIPModel

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools/goldens"))
import clip_vocab  # noqa: E402


def write(model, folder):
    model.save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in model.parameters()) / 1e6:.0f} million parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.manual_seed(0)
    # openai/clip-vit-large-patch14.
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}
    config = CLIPConfig(text_config=text, vision_config={**vision, "projection_dim": 768}, projection_dim=768)
    write(CLIPModel(config), out / "clip")
    # Salesforce/blip-image-captioning-large.
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "image_size": 384}
    blip = BlipForConditionalGeneration(BlipConfig(text_config={"encoder_hidden_size": 1024}, vision_config=vision))
    write(blip, out / "blip")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The decoder has two tokens more, which open texts.
    words = special + [f"w{i}" for i in range(blip.config.text_config.vocab_size - len(special) - 2)]
    (out / "blip" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    clip_vocab.tokenizer().save_pretrained(out / "clip")
    lists = ROOT / "crates/sdrs/phrases"
    phrases = [line for name in ["flavors", "lights", "mediums", "movements", "cameras"] for line in (lists / f"{name}.txt").read_text().splitlines()]
    phrases += [f"by {name}" for name in (lists / "artists.txt").read_text().splitlines()]
    pairs = (f"{a}, {b}" for a in phrases for b in phrases[:5] if a != b)
    phrases = (phrases + list(pairs))[:10_000]
    (out / "phrases.txt").write_text("\n".join(phrases) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
