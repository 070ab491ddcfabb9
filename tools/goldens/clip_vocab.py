"""CLIP's vocabulary, from the merges alone, as OpenAI's tokenizer builds it."""

import gzip
import importlib.util
from pathlib import Path

MERGES = 49152 - 256 - 2


def open_clip_folder():
    return Path(importlib.util.find_spec("open_clip").submodule_search_locations[0])


def merges_from_open_clip():
    """The merges that CLIP uses of the list that the open_clip wheel carries (which goes on for 200,000 more)."""
    packed = open_clip_folder() / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")
    return lines[1 : 1 + MERGES]


def byte_symbols():
    """One printable character per byte, in the order of CLIP's ids: bytes that print as themselves come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def vocabulary(merges):
    symbols = byte_symbols()
    words = symbols + [s + "</w>" for s in symbols] + ["".join(m.split(" ")) for m in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate(words)}
    assert len(vocab) == len(words) == 49408, len(vocab)
    return vocab


def tokenizer():
    """transformers' CLIPTokenizer over this vocabulary, built without any download."""
    from transformers import CLIPTokenizer

    merges = merges_from_open_clip()
    return CLIPTokenizer(
        vocab=vocabulary(merges), merges=[tuple(m.split(" ")) for m in merges], model_max_length=77
    )
