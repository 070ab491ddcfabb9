"""The tables of ftfy's fix_text, and what CLIP's tokenizer makes of texts that ftfy has repaired.

OpenAI's CLIP and transformers' slow CLIPTokenizer (4.x) run ftfy first where it is installed, as it is beside the WebUI.
"""

import gzip
import html
import importlib.util
import json
import random
import re._constants as code
import re._parser as parser

import clip_vocab
import ftfy
import regex
import tokenizer as awkward
from ftfy import badness, chardata

TABLES = "crates/sd-core/data/text_repair.json.gz"
GOLDENS = "goldens/tokenizer/repaired.jsonl.gz"
START, END = "<|startoftext|>", "<|endoftext|>"
LAST = 0x10FFFF


def make(out):
    out.bytes(
        TABLES,
        packed(json.dumps(tables(), ensure_ascii=False, separators=(",", ":"))),
        note="character tables of ftfy 6.3.1: single-byte encodings as ftfy fills their holes, sequences that ftfy calls unlikely, "
        "characters that look like bytes of UTF-8, ligatures, widths, HTML's entities. A set of characters is a string of first and "
        "last characters of ranges",
    )
    reference = Reference()
    lines = []
    for text in texts():
        fixed = ftfy.fix_text(text)
        case = {"text": text, "ids": reference.encode(text)}
        if fixed != text:
            case["fixed"] = fixed
        lines.append(json.dumps(case))
    out.bytes(
        GOLDENS,
        packed("\n".join(lines) + "\n"),
        tolerance={"ids": 0},
        holds=f"{len(lines)} texts, one a line: what ftfy.fix_text makes of it, if that is another text, and its ids without start and end",
        note="ids: open_clip's SimpleTokenizer (OpenAI's), its cleaning that of transformers' slow CLIPTokenizer: ftfy.fix_text, white "
        "space, lower case; special tokens are cut out first, as there. transformers 4.30.2's class gives the same ids for all of them",
    )


def packed(text):
    # No time in the header, so that the same text gives the same bytes.
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


class Reference:
    """OpenAI's loop, with the spelling of special tokens and the cleaning that transformers' slow class has."""

    def __init__(self, vocab=None, merges=None, added=None):
        spec = importlib.util.spec_from_file_location("open_clip_tokenizer", clip_vocab.open_clip_folder() / "tokenizer.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.inner = module.SimpleTokenizer()
        for theirs, ours in [("<start_of_text>", START), ("<end_of_text>", END)]:
            self.inner.encoder[ours] = self.inner.encoder.pop(theirs)
            self.inner.cache[ours] = ours
        if vocab:
            self.inner.encoder = vocab
            self.inner.bpe_ranks = {tuple(merge.split(" ")): i for i, merge in enumerate(merges)}
        # Of those that begin at one place the longest.
        self.added = {START: self.inner.encoder[START], END: self.inner.encoder[END]} | (added or {})
        longest = sorted(self.added, key=len, reverse=True)
        self.special = regex.compile(f"({'|'.join(map(regex.escape, longest))})")
        self.inner.pat = regex.compile(
            regex.escape(START) + "|" + regex.escape(END) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
            regex.IGNORECASE,
        )
        self.inner.clean_fn = lambda text: regex.sub(r"\s+", " ", ftfy.fix_text(text)).strip().lower()

    def encode(self, text):
        ids = []
        for piece in self.special.split(text):
            ids += [self.added[piece]] if piece in self.added else self.inner.encode(piece)
        return ids


# --- tables


def tables():
    entities = {name[1:-1]: char for name, char in chardata.HTML_ENTITIES.items()}
    clues = chardata.UTF8_CLUES
    return {
        "encodings": [
            {"name": name, "upper": bytes(range(128, 256)).decode(name), "sloppy": name.startswith("sloppy")}
            for name in chardata.CHARMAP_ENCODINGS
        ],
        "unlikely": patterns(badness.BADNESS_RE),
        "altered": patterns(chardata.ALTERED_UTF8_RE),
        "lossy": patterns(chardata.LOSSY_UTF8_RE),
        "leads": [members(clues[f"utf8_first_of_{n}"]) for n in (2, 3, 4)],
        "continuation": members(clues["utf8_continuation"]),
        "continuation_strict": members(clues["utf8_continuation_strict"]),
        "ligatures": {chr(c): text for c, text in chardata.LIGATURES.items()},
        "widths": {chr(c): text for c, text in chardata.WIDTH_MAP.items()},
        "entities": entities,
    }


def members(characters):
    (tree,) = patterns(parser_pattern(f"[{characters}]"))
    return tree["sets"][0]


def parser_pattern(text):
    class Pattern:
        pattern, flags = text, 0

    return Pattern


def patterns(compiled):
    """The alternatives of a regular expression, each a sequence of sets; what may be left out makes two alternatives."""
    tree = parser.parse(compiled.pattern, compiled.flags)
    found = []
    for alternative in alternatives(tree):
        found += sequences(alternative)
    return [{"start": True, "sets": sets} if start else {"sets": sets} for start, sets in found]


def alternatives(tree):
    if len(tree) == 1 and tree[0][0] is code.BRANCH:
        return [list(items) for items in tree[0][1][1]]
    return [list(tree)]


def sequences(items):
    done = [(False, [])]
    for op, value in items:
        if op is code.AT:
            assert value is code.AT_BEGINNING
            done = [(True, sets) for _, sets in done]
        elif op is code.MAX_REPEAT:
            low, high, (inner,) = value
            assert (low, high) == (0, 1)
            done = [(start, sets + more) for start, sets in done for more in ([one(*inner)], [])]
        elif op is code.BRANCH:
            # A shared beginning of all alternatives was taken out.
            done = [(start, sets + more) for start, sets in done for tail in value[1] for _, more in sequences(tail)]
        else:
            done = [(start, [*sets, one(op, value)]) for start, sets in done]
    return done


def one(op, value):
    """A set as a string: the first and the last character of each range."""
    if op is code.LITERAL:
        ranges = [(value, value)]
    elif op is code.NOT_LITERAL:
        ranges = without([(value, value)])
    elif op is code.ANY:
        ranges = without([(10, 10)])
    else:
        assert op is code.IN, op
        ranges, negated = [], False
        for kind, inner in value:
            if kind is code.NEGATE:
                negated = True
            elif kind is code.LITERAL:
                ranges.append((inner, inner))
            elif kind is code.RANGE:
                ranges.append(inner)
            else:
                assert kind is code.CATEGORY, kind
                ranges += category(inner)
        ranges = merged(ranges)
        ranges = without(ranges) if negated else ranges
    # No surrogates: texts have none.
    assert all(not 0xD800 <= c <= 0xDFFF for r in ranges for c in r)
    return "".join(chr(c) for r in ranges for c in r)


def category(name):
    test = {code.CATEGORY_SPACE: str.isspace, code.CATEGORY_WORD: lambda c: c.isalnum() or c == "_"}[name]
    return [(c, c) for c in range(LAST + 1) if test(chr(c))]


def merged(ranges):
    done = []
    for low, high in sorted(ranges):
        if done and low <= done[-1][1] + 1:
            done[-1] = (done[-1][0], max(high, done[-1][1]))
        else:
            done.append((low, high))
    return done


def without(ranges):
    done, at = [], 0
    for low, high in merged(ranges):
        if at < low:
            done.append((at, low - 1))
        at = high + 1
    return done + ([(at, LAST)] if at <= LAST else [])


# --- texts

SENTENCES = [
    "a caf\u00e9 in S\u00e3o Paulo, \u201cgolden hour\u201d", "it\u2019ll rain \u2014 the knight\u2019s sword\u2026", "na\u00efve r\u00e9sum\u00e9 \u00e0 la carte, cr\u00e8me br\u00fbl\u00e9e", "d\u00e9j\u00e0 vu \u2022 \u20ac5 \u00a9 2020",
    "Stra\u00dfe in M\u00fcnchen, \u00dcbergr\u00f6\u00dfe \u201eZitat\u201c", "\u0160koda \u017elut\u00fd k\u016f\u0148 \u0159\u00edjen", "za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144", "\u041a\u0440\u0430\u0441\u043d\u0430\u044f \u043f\u043b\u043e\u0449\u0430\u0434\u044c, \u0437\u0438\u043c\u0430",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03cc\u03c2 \u03bd\u03b1\u03cc\u03c2", "\u0130stanbul'da g\u00fcne\u015f do\u011fuyor", "\u0101b\u0113c\u0113, \u010desk\u00fd \u0137ir\u0161u d\u0101rzs", "\u732b\u304c\u5ea7\u3063\u3066\u3044\u308b", "\U0001f431 cat and \U0001f680 rocket", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd",
    "50\u00b0 north, \u00bd cup, 3\u00d74 \u00b1 2", "\u00bfqu\u00e9 pasa, ma\u00f1ana? \u00a1s\u00ed!", "\u00c0 bient\u00f4t, \u00c9lys\u00e9e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u2122 \u2260 \u2248 \u221a \u222b", "fa\u00e7ade na \u00c3 \u00c2\u00e9", "plain words only", "\xa0nbsp\xa0",
]
WORDS = ["a", "portrait", "cat", "it", "the", "of", "HDR", "8k", "masterpiece", "(soft light:1.2)", "girl", "1", "4k,", "style", "oil", "und", "voil\u00e0"]
QUOTES = ["\u2018", "\u2019", "\u201a", "\u201b", "\u201c", "\u201d", "\u201e", "\u201f", "\u02bc", "\u2032", "\u2033", "\u00b4", "`", "'", '"', "\u00ab", "\u00bb", "\u2039", "\u203a", "\u300c", "\uff02", "\uff07"]
ENDINGS = ["s", "ll", "t", "re", "ve", "m", "d", "S", "LL", ""]
CONTROLS = ["\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\x0e", "\x1a", "\x1b", "\x1b[0m", "\x1b[1;31m", "\x1b[", "\x1f", "\x7f", "\x80", "\x85", "\x92", "\x9f", "\ufeff", "\u206a", "\ufff9", "\ufffc", "\ufffd", "\u200b", "\u2028", "\u2029", "\r", "\n", "\r\n", "\t", "\u3000"]
NAMED = [
    "a &amp; b", "&lt;b&gt;", "<b> &amp; c", "x &amp;\ny < z\n&amp;", "&quot;quoted&quot;", "it&#39;s", "it&#x27;s", "&eacute;t&eacute;", "&EACUTE;", "&NTILDE;&nTILDE;", "&SZLIG;", "&amp;amp;amp; deep", "&#59;", "&#0;", "&#128;", "&#129;",
    "&#xD800;", "&#x110000;", "&#99999999999999999999;", "&#8;", "&#xFFFE;", "&#12ab;", "&#;", "&#x;", "&#xZ;", "&amp", "&ampx;", "&nosuch;", "&hearts; &hellip;", "&nbsp;a", "&CounterClockwiseContourIntegral;", "&NotEqualTilde;", "&#x1F431;", "&#13;", "&;", "&&amp;;",
]


def texts():
    """Plain and awkward texts, texts in wrong encodings, and random sequences of the characters that such texts are made of."""
    random.seed(15)
    yield from awkward.STRINGS
    yield from NAMED
    yield from ["it\u2019ll", "Twitter\u2019s slow end", "\ufeffa red circle", "A\ufb03x \ufb02ow", "\uff26\uff55\uff4c\uff4c \uff57\uff49\uff44\uff54\uff48", "\uff76\uff9e\uff77\uff9e", "\u01c4\u01c6\u0149\u0132", "\u039f\u0394\u039f\u03a3 \u03a3 \u03a3\u03b1\u03c2"]
    yield from [f"'{END.upper()}' {END.upper()} x{START}y {START.upper()}", "'\u017f don'\u017ft", "!'s '!s"]
    for name in random.sample(sorted(html.entities.html5), 120):
        yield f"{random.choice(WORDS)}&{name} {random.choice(WORDS)}"
    for _ in range(150):
        quote = random.choice(QUOTES)
        yield f"{random.choice(WORDS)} {random.choice(QUOTES)}{random.choice(WORDS)}{quote}{random.choice(ENDINGS)} {random.choice(WORDS)}"
    for _ in range(150):
        yield "".join(random.choice([*WORDS, *CONTROLS, " "]) for _ in range(random.randint(2, 7)))
    for _ in range(60):
        yield "".join(chr(random.choice([random.randint(0xFF01, 0xFFEF), random.randint(0x21, 0x7E)])) for _ in range(random.randint(2, 9)))
    for _ in range(60):
        letter = random.choice("aeionuAEc\u00e9\u0131q\u0391\u0438\u1100")
        yield letter + "".join(chr(random.choice([random.randint(0x300, 0x345), 0x1161, 0x11A8, 0x308])) for _ in range(random.randint(1, 3))) + "x"
    for _ in range(550):
        yield wrong(random.choice(SENTENCES))
    for _ in range(150):
        yield f"{random.choice(SENTENCES)} {wrong(random.choice(SENTENCES))}{random.choice(['', ' ', chr(10)])}{random.choice(SENTENCES + WORDS)}"
    clues = [c for part in badness.MOJIBAKE_CATEGORIES.values() for c in expanded(part)]
    for _ in range(850):
        pool = random.choice([clues, clues + list("aZ .?!'\u2122\u00b0"), mixed(random.choice(chardata.CHARMAP_ENCODINGS))])
        yield "".join(random.choice(pool) for _ in range(random.randint(2, 9)))


def wrong(text):
    """As it looks after it was read in a wrong encoding, once or twice, sometimes with losses."""
    for _ in range(random.choice([1, 1, 1, 2])):
        data = text.encode()
        if random.random() < 0.1:
            data = text.encode("utf-16-le", "surrogatepass")
            units = [data[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(data), 2)]
            data = b"".join(u.encode("utf-8", "surrogatepass") for u in units)
        encoding = random.choice(chardata.CHARMAP_ENCODINGS[:2] * 3 + chardata.CHARMAP_ENCODINGS)
        text = data.decode(encoding, "replace")
        if random.random() < 0.25:
            text = text.replace("\xa0", " ")
        if random.random() < 0.2:
            text = "".join(random.choice(["?", "\ufffd", c]) if 0x80 <= ord(c) < 0xA0 else c for c in text)
        if random.random() < 0.1:
            text = text[: len(text) - 1 - random.randint(0, len(text) // 2)]
    return text


def expanded(part):
    return [chr(c) for low, high in zip(*[iter(members(part))] * 2) for c in range(ord(low), ord(high) + 1)]


def mixed(encoding):
    """Characters that bytes of UTF-8 look like, so that some sequences of them are valid."""
    leads = bytes([*range(0xC2, 0xF4), *range(0xC2, 0xC6)] + list(b"abz ?")).decode(encoding, "replace")
    return list(leads) + list(bytes(range(0x80, 0xC0)).decode(encoding, "replace"))
