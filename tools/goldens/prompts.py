"""What prompts mean: sub-prompts, schedules and attention of many prompts.

The WebUI is no package. What it does is written down anew here from its documented behaviour: schedules through an Earley parser
(lark), which tries every reading as the original does; the rest through Python's `re` and `float`, whose idea of a space, a digit
and a word is part of that behaviour.
"""

import random
import re

import lark

SEED = 11
FILE = "goldens/prompts/language.json"

# Fewest stray brackets win; where the original hesitates between a group and brackets that are text, it leaves that to chance.
GRAMMAR = lark.Lark(
    r"""
    start: (words | round | square | edit | alternation | stray)*
    stray.-1: /[][():]/
    words: /(?:[^\\\[\]():|]|\\.)+/
    part: (words | round | square | edit | alternation)*
    round: "(" part [colon part] ")"
    colon: ":"
    square: "[" part "]"
    edit: "[" [part ":"] part ":" [/\s+/] NUMBER [/\s+/] "]"
    alternation: "[" part ("|" part)+ "]"
    NUMBER: /[+-]?(?:[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+)/
    """,
    parser="earley",
)


def when(number, base, hires, old):
    """The last step, from 1, of the text before the change; at most the steps there are."""
    value, steps = float(number), base
    if old:
        value = value * steps if value < 1 else value
    elif hires is None:
        value = value * steps if "." in number else value
    else:
        steps = hires
        value = (value - 1) * steps if "." in number else value - base
    return min(steps, int(value))


def variants(prompt, base, hires=None, old=False):
    steps = base if old or hires is None else hires
    try:
        tree = GRAMMAR.parse(prompt)
    except lark.exceptions.LarkError:
        return [[steps, prompt]]
    ends = {steps}
    for node in tree.iter_subtrees():
        if node.data == "alternation":
            ends.update(range(1, steps + 1))
        if node.data == "edit":
            ends.add(when(node.children[3], base, hires, old))

    def text(node, step):
        if isinstance(node, lark.Token):
            return str(node)
        children = node.children
        if node.data == "edit":
            before, after, _, number, _ = children
            chosen = before if step <= when(number, base, hires, old) else after
            return text(chosen, step) if chosen is not None else ""
        if node.data == "alternation":
            return text(children[(step - 1) % len(children)], step)
        inner = "".join(text(child, step) for child in children if child is not None)
        return {"round": f"({inner})", "square": f"[{inner}]", "colon": ":"}.get(node.data, inner)

    return [[end, text(tree, end)] for end in sorted(ends) if end >= 1]


PIECES = re.compile(r"\\[][()\\]|\\|:\s*[+-]?[.\d]+\s*\)|[][():]|[^][()\\:]+")


def attention(text):
    pieces, open_round, open_square = [], [], []

    def scale(begin, factor):
        for piece in pieces[begin:]:
            piece[1] *= factor

    for piece in PIECES.findall(text):
        if piece[0] == "\\":
            pieces.append([piece[1:], 1.0])
        elif piece == "(":
            open_round.append(len(pieces))
        elif piece == "[":
            open_square.append(len(pieces))
        elif piece == "]" and open_square:
            scale(open_square.pop(), 1 / 1.1)
        elif piece == ")" and open_round:
            scale(open_round.pop(), 1.1)
        elif piece[0] == ":" and piece != ":" and open_round:
            scale(open_round.pop(), float(piece[1:-1]))
        else:
            for i, part in enumerate(re.split(r"\s*\bBREAK\b\s*", piece)):
                pieces += [["BREAK", -1.0]] * (i > 0) + [[part, 1.0]]
    for begin in open_round:
        scale(begin, 1.1)
    for begin in open_square:
        scale(begin, 1 / 1.1)
    merged = []
    for piece, weight in pieces or [["", 1.0]]:
        if merged and merged[-1][1] == weight:
            merged[-1][0] += piece
        else:
            merged.append([piece, weight])
    return merged


def tags(prompt):
    found = [[kind, inside] for kind, inside in re.findall(r"<(\w+):([^>]+)>", prompt)]
    return found, re.sub(r"<\w+:[^>]+>", "", prompt)


def sub_prompts(prompt):
    out = []
    for part in re.split(r"\bAND\b", prompt):
        found = re.search(r"\s*:\s*([+-]?(?:\d+\.?|\d*\.\d+))\s*\Z", part)
        text = part[: found.start()] if found else part
        out.append([text.rstrip(), float(found[1]) if found else 1.0])
    return out


REALISTIC = [
    "a red circle above a blue square", "masterpiece, best quality, 1girl, solo, (looking at viewer:1.2), [blurry]",
    "portrait of a woman by Greg Rutkowski and Alphonse Mucha, ((sharp focus)), (detailed eyes:1.35)",
    "a [fantasy:cyberpunk:16] landscape", "[mountain|lake|] in fog", "a [[[b]]:2] c", "fantasy landscape with a [mountain:lake:0.25]",
    "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]",
    "<lora:detail:0.8> a cat, <lora:style:0.5:0.7> sitting", "a cat :1.2 AND a dog AND a penguin :2.2", "a cat AND a dog", "[cow|horse] in a field",
    "(((masterpiece))), ((best quality)), (ultra-detailed)", "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))).", "sunset BREAK portrait, BREAK detailed",
    "photo of \\(a cat\\) in a box", "1girl, arms up, (smile:0.8), [[sad]], holding sword, (fire, ice:1.1)", "smiling face :)", "sad :( very", ":-) (: :3",
    "time 12:30, aspect 16:9", "ratio 3:2", "http://example.com/a", "a|b", "(red|blue) dress", "{a|b|c}", "__wildcard__, a", "a, (b, (c, (d:0.5), e:0.7), f:1.2)",
    "best quality, (a:1.4), (b:0.9), negative space", "cat:1.5", "cat : 1.5 ", "cat :-0.5 AND dog:+.5", "AND", " AND ", "a AND", "AND b", "a ANDb AND c", "sand AND sandAND",
    "[from:to:10]", "[to:10]", "[from::10]", "[:to:10]", "[::10]", "[from:to:0.5]", "[from:to:.5]", "[from:to:5.]", "[from:to:1.0]", "[from:to:1]", "[from:to:0]", "[from:to:-3]",
    "[from:to:99]", "[from:to:1.5]", "[from:to: 3 ]", "[from:to:\t3\n]", "[from:to:+3]", "[from:to:3e0]", "[from:to:1e-1]", "[from:to:0.29]", "[from:to:0x3]", "[from:to:3,5]",
    "[from:to:]", "[from:to:a]", "[a:b:c:3]", "[a:b:3:4]", "[a|b:3]", "[a:b|c:3]", "[[a|b]:c:3]", "[a:[b|c]:3]", "[a|[b:c:3]]", "[(a:1.2):(b:0.8):3]", "([a:b:3]:1.3)",
    "[a:b:3] [c:d:5] [e|f]", "[a:[b:[c:d:6]:4]:2]", "[[[[a:b:3]:c:4]:d:5]:e:6]", "x [a|b] y [c|d|e] z", "[fe|]male", "[fe|||]male", "[|a]", "[|]", "[||]", "[a|a|b]",
]
ODD = [
    "", " ", "\n", "(", ")", "[", "]", ":", "|", "\\", "()", "[]", "(())", "[[]]", "([)]", "[(])", ")(", "][", "((a]", "[[a)", "a)", "a]", "(a", "[a", "(a:1.2", "[a:b:3", "a:1.2)",
    "(a:)", "(:1.2)", "(:)", "(a:1.2:1.3)", "((a:1.2):1.3)", "(a:b:1.3)", "(a:1.3 )", "(a: 1.3)", "(a :1.3)", "(a:1.3]", "(a:-1)", "(a:+1.5)", "(a:.5)", "(a:5.)", "(a:0)", "(a:1e1)", "(a:1,3)",
    "(a:\uff11.5)", "(a:\u0663)", "[a:b:\uff13]", "(a:1\u00b2)", "\\(a\\)", "\\[a\\]", "\\\\(a)", "\\\\\\(a\\)", "\\a", "a\\", "\\\n", "a\\:b", "[a\\:b:3]", "[a\\|b|c]", "[a:b\\]:3]", "\\<lora:a:1>",
    "(a\\)", "(a\\):1.3)", "[a\\]", "((a][:b:c [d:3]", "a [{b|d{:.5] c", "a [unbalanced", "a [b:.5] c", "a[b:[c:d:2]:1]e", "[(a:2):3]", "a [b : c : 1] d", "[a|(b:1.1)]", "(a [b:c:3]", "[a (b:c:3]",
    "[a] [b:c:3]", "[a]:3]", "[a:b]:3]", "[a:b:3]]", "[[a:b:3]", "[a:(b:3]", "[a:b):3]", "[(a|b)|c]", "[a||b", "a|b [c:d:3]", "[a:b:3] |", "[a:b:3] \\", "(a|b:1.2)", "[a:b:3]:3]", "[:3]", "[3:5]", "[3:4:5]",
    "BREAK", " BREAK ", "a BREAK", "BREAK a", "aBREAK b", "a BREAKb", "a BREAK BREAK b", "a\nBREAK\nb", "(a BREAK b)", "(BREAK:1.0)", "(BREAK:-1)", "BREAK:", "_BREAK", "break", "(BRE\\AK:-1)", "[BREAK]", "(a) BREAK (b:1.2)",
    "<lora:a>", "<lora:a:b:c:d>", "<lora:a", "lora:a>", "<:a>", "<lora:>", "<lora a:1>", "<a:b><c:d>", "<a<b:c>>", "<lora:a\nb:1>", "<l\u00f6ra:a:1>", "<lora:a:te=0.5:unet=1:dyn=8>", "<hypernet:x:1>", "x<lora:a:1>y AND <lora:b:1>z",
    "a AND b AND c :0.3 AND d:x", "[a AND b:3]", "(a AND b:1.2)", "a AND b:", "a :1.", "a :.5", "a :.", "a :1e3", "a:1:2", "a::1", "a : : 1", "a:\uff12", "a\u3000AND\u3000b", "\u00e9AND b", "a AND\u0301 b", "a:1\n", "a\x1f",
    "\u732b\u3001[\u72ac:\u9ce5:3]", "(\u732b:1.2)", "\U0001f431 (\U0001f436:1.1) [\U0001f426|\U0001f41f]", "a\u00a0BREAK\u00a0b", "\x00(a)\x00", "\u202e(a:1.2)", "((((((((a))))))))", "[[[[[[[[a]]]]]]]]", "(a) (b) [c] [d] ((e)) [[f]]", "(a)(b)", "((a))((b))", "(((a)))(((b)))",
    "([a])", "[(a)]", "(a [b) c]", "(a:1.1)(b:1.1)", "(a:1)b", "(((a):0.5):2)c", ": (a)", "(a::1.2)", "(a: :1.2)", "a(b)c[d]e", "(a,)(b,)", "a:1.2)(b)", "(a))b)c", "[a]]b]c", "( a )", "(\n)", "(a)\n(b)",
]
WORDS = ["a", "red ", " cat", "b c", ",", " x, y ", "3", "", "\\(e", "\u732b", "d\n", ".5"]
NUMBERS = ["3", " 3", ".5 ", "0.7", "12", "-1", "x", "1.5", "0", "6.", "2e0"]
CHARS = ["a", "b", " ", "[", "]", "[", "]", "(", ")", ":", ":", "|", "3", "0.5", "\\", "AND", " BREAK ", "<lora:a:1>", ":1.2)", "\n"]


def random_prompt(rng, depth):
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(WORDS)
    inner = lambda: random_prompt(rng, depth - 1)
    kind = rng.random()
    if kind < 0.2:
        return f"[{inner()}:{inner()}:{rng.choice(NUMBERS)}]"
    if kind < 0.3:
        return f"[{inner()}:{rng.choice(NUMBERS)}]"
    if kind < 0.45:
        return "[" + "|".join(inner() for _ in range(rng.randint(2, 4))) + "]"
    if kind < 0.55:
        return f"({inner()})"
    if kind < 0.7:
        return f"({inner()}:{rng.choice(['1.3', '0.5', ' 1.1 ', '-1'])})"
    if kind < 0.8:
        return f"[{inner()}]"
    return inner() + inner()


def prompts():
    rng = random.Random(SEED)
    made = list(dict.fromkeys(REALISTIC + ODD))
    while len(made) < 700:
        if rng.random() < 0.3:
            text = "".join(rng.choice(CHARS) for _ in range(rng.randint(2, 14)))
        else:
            text = random_prompt(rng, rng.choice([2, 3, 3]))
            if text and rng.random() < 0.3:
                at = rng.randrange(len(text))
                text = text[:at] + rng.choice("[]():|") + text[at + rng.choice([0, 1]) :]
        if len(text) <= 70 and text not in made:
            made.append(text)
    return made


def spelt(pairs):
    """Weights as text: some readers of JSON round them once more."""
    return [[text, repr(weight)] for text, weight in pairs]


def make(out):
    rng = random.Random(SEED + 1)
    cases = []
    for prompt in prompts():
        hires, old = rng.choice([None, None, 7]), rng.random() < 0.25
        found, rest = tags(prompt)
        parts = sub_prompts(rest)
        cases.append({
            "prompt": prompt, "tags": found, "parts": spelt(parts), "steps": 10, "hires": hires, "old": old,
            "variants": [variants(text, 10, hires, old) for text, _ in parts],
            "attention": spelt(attention(prompt)),
        })
    out.json(
        FILE, cases, seed=SEED,
        note="tags and parts of a positive prompt, the variants [last step, text] of each part, and the attention of the prompt "
        "itself, unscheduled. Schedules by lark's Earley parser, the rest by Python's re and float",
    )
