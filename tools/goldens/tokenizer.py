"""CLIP's merges in small, and the ids that transformers' CLIPTokenizer gives for a list of awkward strings."""

import gzip
import importlib.util
import json
import tempfile
from pathlib import Path

import clip_vocab

WORDS = [
    "", " ", "   ", "a", "A", "z", "!", "0", "a photo of a cat", "A Photo Of A CAT", "a red circle above a blue square",
    "masterpiece, best quality, 1girl, solo, (looking at viewer:1.2), [blurry], <lora:detail:0.8>",
    "an astronaut riding a horse on mars, trending on artstation, 8k uhd, f/1.8, 50mm",
    "portrait of a woman by Greg Rutkowski and Alphonse Mucha --ar 16:9",
    "photo-realistic, ultra-detailed, state-of-the-art", "snake_case and camelCase and kebab-case",
    "supercalifragilisticexpialidocious", "antidisestablishmentarianism floccinaucinihilipilification",
]
CONTRACTIONS = [
    "it's", "don't", "we're", "I've", "I'm", "they'll", "he'd", "IT'S", "DON'T", "it\u2019s", "don\u2019t", "'s", "'", "''",
    "'sdrs", "'tis the season", "rock'n'roll", "o'clock", "y'all'd've", "the cats' toys", "'re're", "'llama", "'Ve", "a'm'b",
    "I\u02bcm", "'d 'd'd", "dogs'll've'd",
]
NUMBERS = [
    "1", "12", "123456789", "3.14159", "1,000,000", "2024-01-31", "12:30", "0x1F", "1e-5", "50%", "$9.99", "\u00bd cup", "x\u00b2",
    "H\u2082O", "\u2167", "\u0661\u0662\u0663", "\u096a\u096b\u096c", "\uff11\uff12\uff13", "\u2460\u2461", "4k8k16k", "1girl2boys", "3d", "v1.5",
    "00000000000000000000",
]
PUNCTUATION = [
    ".", "...", "\u2026", "!!!", "?!?!", "-----", "_____", "=====", "(((a)))", "[[[b]]]", "{{c}}", "<>", "<|", "|>", "a,b;c:d", "a , b ; c : d",
    "\"quoted\"", "\u201ccurly\u201d \u2018quotes\u2019", "\u00abguillemets\u00bb", "em\u2014dash en\u2013dash", "a/b\\c", "#hashtag @mention", "a&b &amp; c &lt;",
    "foo*bar**baz", "~`^", "\u2022 bullet", "\u00a9\u00ae\u2122", "\u2190\u2191\u2192\u2193", "\u20ac\u00a3\u00a5\u20bf", "C++ and C#", "http://example.com/a?b=c&d=e#f",
    "user@example.com", "1/2", "\u3001\u3002\u300c\u300d", "(a:1.3)", "\\(escaped\\)", "a!b", "!a", "a!", "...a...",
]
SPACES = [
    " a", "a ", " a b ", "a  b", "a\tb", "a\nb", "a\r\nb", "a\n\n\nb", "\t\n", "a\u00a0b", "a\u2003b", "a\u3000b", "a\u200bb", "a\u200cb", "a\u200db", "a\u2060b",
    "\ufeffa", "a\u2028b", "a\u2029b", "a\u0085b", "a\x0bb", "a\x0cb", "a\x1cb", "a\u180eb", "a\u202fb", "a\u00adb",
]
CONTROLS = ["a\x00b", "\x00", "a\x01b", "\x07", "a\x08b", "a\x1bb[0m", "\x7f", "a\x80b", "\x9f", "\x01\x02\x03\x04", "\u202eabc\u202c", "\ufffd", "\ue000", "\uffff", "\U0010ffff"]
LATIN = [
    "caf\u00e9", "cafe\u0301", "CAF\u00c9", "na\u00efve r\u00e9sum\u00e9", "Z\u00fcrich", "stra\u00dfe", "STRASSE", "GRO\u1e9e", "\u0130stanbul", "istanbul", "I\u0307stanbul", "\u0131", "\u00e6sthetic \u0152uvre",
    "\u00c5ngstr\u00f6m", "\u212b", "\u00f1", "n\u0303", "\u0141\u00f3d\u017a", "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148", "\u1ebf\u1ec7\u1ed9 Vi\u1ec7t Nam", "\ufb01ne \ufb02ow", "\uff26\uff35\uff2c\uff2c \uff57\uff49\uff44\uff54\uff48", "\U0001d504\U0001d52b", "\u01c5", "\u00aa\u00ba", "\u0149", "\u1e9e",
    "a\u0300\u0301\u0302\u0303\u0304", "Z\u0351\u036b\u0343\u036a\u0302\u0343a\u0308l\u0338g\u0327o\u0334", "q\u0307\u0323", "q\u0323\u0307", "\u0301", "a \u0301b",
]
SCRIPTS = [
    "\u03a9\u03bc\u03ad\u03b3\u03b1", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u039f\u0394\u039f\u03a3", "\u041c\u043e\u0441\u043a\u0432\u0430 \u0401\u043b\u043a\u0430", "\u0439 \u0438\u0306", "\u732b", "\u4e00\u53ea\u7ea2\u8272\u7684\u732b", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\u30ab\u3099", "\uff76\uff9e", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0642\u0650\u0637\u0651\u0629", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0915\u093c", "\u0958", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\u1c90\u10d0", "\u13a0\uab70", "\u1200\u1208", "\U00010400\U00010428", "\U0002070e", "\u0f56\u0f7c\u0f51", "\u0baf\u0bbe\u0bb4\u0bcd",
    "mixed \u732bcat\u30cd\u30b3 \u043a\u043e\u0442",
]
EMOJI = [
    "\U0001f600", "\U0001f600\U0001f600\U0001f600", "a \U0001f431 cat", "\u2764", "\u2764\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1eb\U0001f1f7", "\U0001f3f3\ufe0f\u200d\U0001f308", "1\ufe0f\u20e3", "\U0001f9d1\u200d\U0001f680 in space", "cat\U0001f431dog",
    "\u2728 magic \u2728", "\u00af\\_(\u30c4)_/\u00af", "(\u256f\u00b0\u25a1\u00b0)\u256f\ufe35 \u253b\u2501\u253b", "\u2588\u2593\u2592\u2591", ":-) ;-) :D <3", "\u2603\u26c4",
]
SPECIALS = [
    "<|endoftext|>", "<|startoftext|>", "a<|endoftext|>b", "a <|endoftext|> b", "<|ENDOFTEXT|>", "<|endoftext|><|endoftext|>", "<|startoftext|>a<|endoftext|>",
    "<|endoftext", "endoftext|>", "<| endoftext |>", " <|endoftext|> ", "<|pad|>", "</w>", "a</w>", "a</w>b", "<unk>", "\u0120a", "\u00c4\u0142",
]
LONG = [
    "a" * 500, "!" * 100, "1" * 100, "ab" * 100, " ".join(["cat"] * 100), "caf\u00e9" * 60, "\u732b" * 80, "\U0001f600" * 40, "a " * 80 + "<|endoftext|>", "\u00e9" * 300, "\u0301" * 50, "," * 75, "a," * 75,
    "the quick brown fox jumps over the lazy dog " * 8, "x\u200b" * 40,
]
STRINGS = WORDS + CONTRACTIONS + NUMBERS + PUNCTUATION + SPACES + CONTROLS + LATIN + SCRIPTS + EMOJI + SPECIALS + LONG


def build_from_files():
    """From vocab.json and merges.txt, the way a diffusers folder is read; the in-memory way must agree."""
    from transformers import CLIPTokenizer

    merges = clip_vocab.merges_from_open_clip()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "vocab.json").write_text(json.dumps(clip_vocab.vocabulary(merges), ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
        )
        return CLIPTokenizer.from_pretrained(folder)


def make(out):
    merges = clip_vocab.merges_from_open_clip()
    assert len(merges) == clip_vocab.MERGES
    clip_vocab.vocabulary(merges)
    # No time in the header, so that the same merges give the same bytes.
    packed = gzip.compress(("\n".join(merges) + "\n").encode(), compresslevel=9, mtime=0)
    out.bytes(
        "crates/sd-core/data/clip_merges.txt.gz",
        packed,
        note="the 48,894 merges that CLIP uses, one a line; source: bpe_simple_vocab_16e6.txt.gz of open_clip_torch 3.3.0 "
        "(OpenAI CLIP, MIT). The vocabulary follows from them: 256 byte symbols, the same with </w>, the merges joined, "
        "<|startoftext|> 49406, <|endoftext|> 49407",
    )

    tokenizer = build_from_files()
    memory = clip_vocab.tokenizer()
    assert len(tokenizer) == 49408 and (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)
    assert len(STRINGS) == len(set(STRINGS))
    cases = []
    for text in STRINGS:
        ids = tokenizer(text, padding=False, truncation=False)["input_ids"]
        assert ids == memory(text, padding=False, truncation=False)["input_ids"], text
        cases.append({"text": text, "ids": ids})
    value = {"reference": "transformers.CLIPTokenizer, backed by the tokenizers library", "cases": cases}
    # One case a line keeps changes readable.
    lines = ",\n".join(json.dumps(c) for c in cases)
    head = json.dumps({k: v for k, v in value.items() if k != "cases"})[:-1]
    out.bytes(
        "goldens/tokenizer/clip.json",
        f'{head}, "cases": [\n{lines}\n]}}\n'.encode(),
        tolerance={"ids": 0},
        holds=f"{len(cases)} texts and their ids with <|startoftext|> and <|endoftext|>, neither padded nor truncated",
        note="transformers 5 has one CLIPTokenizer, the tokenizers-backed one (NFC, white space runs to one space, "
        "lower case; no ftfy). The slow class of transformers 4, and OpenAI's and open_clip's tokenizers with ftfy, "
        "give other ids for some of these; see differs_from_ftfy",
        differs_from_ftfy=differs_from_ftfy(tokenizer),
    )


def differs_from_ftfy(tokenizer):
    """The strings for which open_clip's tokenizer (ftfy, html unescape, its own loop) gives other ids."""
    # Its module alone: the package wants torchvision.
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", clip_vocab.open_clip_folder() / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    other = module.SimpleTokenizer()
    different = []
    for text in STRINGS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if other.encode(text) != ids:
            different.append(text if len(text) < 40 else text[:37] + "...")
    return different
