"""Tokenizer folders as several writers leave them, and what transformers' CLIPTokenizer makes of texts with them."""

import json
import tempfile
from pathlib import Path

import clip_vocab
import tokenizer as awkward
from text_repair import END, START, Reference, packed

FILE = "goldens/tokenizer/folders.json.gz"
MERGES = 300
ALONE = "tokenizer.json alone, other normalizer"
SPECIAL = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
CONFIG = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
TEXTS = [
    "a red <cat> on the line", "a red <CAT> on the line", "<cat><cat>x", "a<cat>b", " <cat> ", "the <Dog> and the <dog>", "x!y! !", "wow!",
    "a sks1 b sks1c", "it\u2019s <cat>\u2019s", "\ufb01ne <cat>", "<|startoftext|>a<|endoftext|>", "<style>, in the <style> of <style>s", "[PAD] [pad]", "<cat> Caf\u00c9",
]


def make(out):
    merges = clip_vocab.merges_from_open_clip()[:MERGES]
    symbols = clip_vocab.byte_symbols()
    words = symbols + [s + "</w>" for s in symbols] + ["".join(m.split(" ")) for m in merges] + [START, END]
    vocab = {word: i for i, word in enumerate(words)}
    assert len(vocab) == len(words)
    plain = {"vocab.json": json.dumps(vocab), "merges.txt": "#version: 0.2\n" + "\n".join(merges) + "\n"}
    cases = [case(name, files, vocab, merges) for name, files in folders(plain, len(vocab))]
    texts = TEXTS + awkward.STRINGS[:60:3]
    for entry in cases:
        read = entry.pop("read")
        entry["texts"] = [read(text) for text in texts]
    value = {"reference": "transformers.CLIPTokenizer", "cases": cases}
    out.bytes(
        FILE,
        packed(json.dumps(value)),
        tolerance={"ids": 0},
        holds=f"{len(cases)} folders, {len(texts)} texts each: the files by name, the padding token's id, ids without start and end",
        note="`as_is` is transformers' (tokenizers-backed); `repaired` follows transformers' slow class of 4.x: tokens that were added are cut "
        "out spelt as they are, ftfy, then OpenAI's loop (text_repair.py). 4.30.2's own class gives the same where it opens the folder",
    )


def folders(plain, size):
    """Name and files of each."""

    def texts(**files):
        return plain | {name.replace("_json", ".json"): json.dumps(value) for name, value in files.items()}

    old = {"special_tokens_map_json": SPECIAL, "tokenizer_config_json": CONFIG}
    token = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    decoder = {
        str(size - 2): token | {"content": START},
        str(size - 1): token | {"content": END},
        str(size): token | {"content": "<cat>", "normalized": True, "special": False},
        str(size + 1): token | {"content": "sks1", "normalized": True, "special": False, "single_word": True},
        str(size + 2): token | {"content": "<style>", "lstrip": True, "rstrip": True},
    }
    yield "plain", texts(**old)
    yield "added_tokens.json", texts(added_tokens_json={"<cat>": size, "<Dog>": size + 1}, **old)
    yield "added_tokens_decoder", texts(
        special_tokens_map_json=SPECIAL, tokenizer_config_json=CONFIG | {"added_tokens_decoder": decoder}
    )
    yield "both, and additional special tokens", texts(
        added_tokens_json={"<cat>": size, "<style>": size + 1},
        special_tokens_map_json=SPECIAL | {"additional_special_tokens": ["<style>", "<Dog>"]},
        tokenizer_config_json=CONFIG,
    )
    yield "padding token of the vocabulary", texts(
        special_tokens_map_json=SPECIAL | {"pad_token": {"content": "!"} | {k: v for k, v in token.items() if k != "special"}},
        tokenizer_config_json=CONFIG,
    )
    yield "padding token that was added", texts(
        added_tokens_json={"[PAD]": size}, special_tokens_map_json=SPECIAL | {"pad_token": "[PAD]"}, tokenizer_config_json=CONFIG
    )
    yield "transformers 5", saved(plain, tokens=["<cat>", "<Dog>"], special=["<style>"])
    yield "transformers 5, padding token", saved(plain, tokens=["<cat>"], pad="!")
    yield "transformers 5, other normalizer", saved(plain, tokens=["<cat>"], normalizers=["NFKC"])
    # The file alone, as some copy it: then it counts as it is, where CLIPTokenizer has normalizers of its own.
    yield ALONE, {"tokenizer.json": saved(plain, tokens=["<cat>"], normalizers=["NFKC"])["tokenizer.json"]}
    yield "tokenizer.json alone", {"tokenizer.json": saved(plain, tokens=["<cat>"], special=["<style>"])["tokenizer.json"]}


def opened(files):
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        return CLIPTokenizer.from_pretrained(folder)


def saved(plain, tokens=(), special=(), pad=None, normalizers=()):
    """What transformers 5 writes."""
    from tokenizers import normalizers as kinds

    tokenizer = opened(plain | {"tokenizer_config.json": json.dumps(CONFIG)})
    tokenizer.add_tokens(list(tokens))
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    if pad:
        tokenizer.add_special_tokens({"pad_token": pad})
    if normalizers:
        tokenizer.backend_tokenizer.normalizer = kinds.Sequence([getattr(kinds, name)() for name in normalizers])
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_text() for path in sorted(Path(folder).iterdir())}
    assert sorted(files) == ["tokenizer.json", "tokenizer_config.json"], sorted(files)
    # Compact, since it is kept.
    return {name: json.dumps(json.loads(text), ensure_ascii=False) for name, text in files.items()}


def alone(name, files):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(files["tokenizer.json"])

    def read(text):
        return {"text": text, "as_is": tokenizer.encode(text, add_special_tokens=False).ids}

    return {"name": name, "files": files, "pad": tokenizer.token_to_id(END), "size": tokenizer.get_vocab_size(), "read": read}


def case(name, files, vocab, merges):
    if name == ALONE:
        return alone(name, files)
    if "vocab.json" in files or "tokenizer_config.json" in files:
        tokenizer = opened(files)
    else:
        tokenizer = opened(files | {"tokenizer_config.json": json.dumps(CONFIG)})
    added = {token.content: id for id, token in tokenizer.added_tokens_decoder.items()}
    lower = "Lowercase" in files.get("tokenizer.json", "Lowercase")
    reference = Reference(vocab, merges, added) if lower and "sks1" not in added else None

    def read(text):
        ids = {"text": text, "as_is": tokenizer(text, add_special_tokens=False)["input_ids"]}
        return ids | ({"repaired": reference.encode(text)} if reference else {})

    return {"name": name, "files": files, "pad": tokenizer.pad_token_id, "size": len(tokenizer), "read": read}
