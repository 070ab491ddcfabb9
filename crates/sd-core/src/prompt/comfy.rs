//! ComfyUI's prompts: its weights, and its way of filling chunks.

use std::ops::Range;

use super::{
    Chunk, EmbeddingNames, Excerpt, Fragment,
    chars::is_space,
    chunks::{Filler, too_long},
};
use crate::{ClipTokenizer, Result};

/// Words of at least this many tokens may be cut at the end of a chunk.
const LARGE_WORD: usize = 8;

/// The word before an embedding's name.
const EMBEDDING: &str = "embedding:";

/// Parentheses deeper than this are text; ComfyUI itself fails some way beyond.
const MOST_NESTED: usize = 256;

/// A task that [`comfy_weights`] has yet to do.
enum Work {
    Read {
        range: Range<usize>,
        weight: f64,
        depth: usize,
    },
    Write {
        range: Range<usize>,
        weight: f64,
    },
}

/// Splits a text where its weight changes: `(a)` multiplies by 1.1, `(a:1.3)` is 1.3 whatever stands around it; square brackets are
/// text, and parentheses after a backslash are.
pub fn comfy_weights(text: &Excerpt) -> Vec<Fragment> {
    let source = text.as_str();
    let mut out = Vec::new();
    // The next is the last.
    let mut todo = vec![Work::Read {
        range: 0..source.len(),
        weight: 1.0,
        depth: 0,
    }];
    while let Some(work) = todo.pop() {
        match work {
            Work::Write { range, weight } => out.push(Fragment {
                text: unescaped(text, range),
                weight,
            }),
            Work::Read { range, weight, depth } => {
                let work = items(source, range).into_iter().rev();
                todo.extend(work.map(|item| match group(source, item.clone(), weight) {
                    Some((range, weight)) if depth < MOST_NESTED => Work::Read {
                        range,
                        weight,
                        depth: depth + 1,
                    },
                    _ => Work::Write { range: item, weight },
                }));
            }
        }
    }
    out
}

/// The inside of a parenthesis, and its weight. The last item of a text may be one that is never closed; if it ends with a closing
/// one all the same, it counts.
fn group(source: &str, item: Range<usize>, around: f64) -> Option<(Range<usize>, f64)> {
    let text = &source[item.clone()];
    if text.len() < 2 || !text.starts_with('(') || !text.ends_with(')') || text.ends_with("\\)") {
        return None;
    }
    let inner = item.start + 1..item.end - 1;
    let text = &source[inner.clone()];
    let colon = text.rfind(':').filter(|&colon| colon > 0);
    let given = colon.and_then(|colon| Some((colon, number(&text[colon + 1..])?)));
    Some(match given {
        Some((colon, weight)) => (inner.start..inner.start + colon, weight),
        None => (inner, around * 1.1),
    })
}

/// The parts of a text at the top level: parentheses with all that is in them, and what lies between. One that closes nothing
/// makes the next that opens be text.
fn items(source: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let (mut out, mut begin, mut level, mut escaped) = (Vec::new(), range.start, 0i64, false);
    for (at, c) in source[range.clone()].char_indices() {
        let at = range.start + at;
        let parenthesis = !std::mem::replace(&mut escaped, c == '\\');
        match c {
            '(' if parenthesis => {
                if level == 0 && at > begin {
                    out.push(begin..at);
                    begin = at;
                }
                level += 1;
            }
            ')' if parenthesis => {
                level -= 1;
                if level == 0 {
                    out.push(begin..at + 1);
                    begin = at + 1;
                }
            }
            _ => {}
        }
    }
    if begin < range.end {
        out.push(begin..range.end);
    }
    out
}

fn number(text: &str) -> Option<f64> {
    text.trim_matches(is_space)
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

fn unescaped(text: &Excerpt, range: Range<usize>) -> Excerpt {
    let mut out = Excerpt::default();
    let mut from = range.start;
    for (at, two) in text.as_str()[range.clone()].as_bytes().windows(2).enumerate() {
        if matches!(two, b"\\(" | b"\\)") {
            out.push(text, from..range.start + at);
            from = range.start + at + 1;
        }
    }
    out.push(text, from..range.end);
    out
}

/// Packs fragments into chunks of `length` tokens as ComfyUI does: word by word; a word that doesn't fit begins the next chunk,
/// unless it is a large one. `embedding:name` stands for a textual inversion; one that is not there is dropped.
///
/// # Errors
/// [`Error::Tokenizer`](crate::Error::Tokenizer) if the tokenizer fails.
pub fn comfy_chunks(
    fragments: &[Fragment],
    tokenizer: &ClipTokenizer,
    embeddings: &EmbeddingNames,
    length: usize,
) -> Result<Vec<Chunk>> {
    let mut filler = Filler::new(tokenizer, length);
    for fragment in fragments {
        for mut word in words(fragment.text.as_str()) {
            if let Some(name) = fragment.text.as_str()[word.clone()].strip_prefix(EMBEDDING) {
                let found = embeddings.named(name).map(|e| (e, name.len()));
                let bare = name.trim_end_matches(',');
                let found = found.or(embeddings.named(bare).map(|e| (e, bare.len())));
                let end = word.start + EMBEDDING.len() + found.map_or(name.len(), |(_, read)| read);
                if let Some(((index, vectors), _)) = found {
                    if vectors > length {
                        return Err(too_long(name, vectors, length));
                    }
                    if filler.filled() + vectors > length {
                        filler.next(length);
                    }
                    filler.place(
                        index,
                        vectors,
                        fragment.weight,
                        fragment.text.span(word.start..end),
                    );
                }
                word.start = end;
            }
            let tokens = tokenizer.encode_spans(&fragment.text.as_str()[word.clone()])?;
            let large = tokens.len() >= LARGE_WORD;
            if !large && filler.filled() + tokens.len() > length {
                filler.next(length);
            }
            for (id, span) in tokens {
                if filler.filled() == length {
                    filler.next(length);
                }
                let span = word.start + span.start..word.start + span.end;
                filler.push(id, fragment.weight, fragment.text.span(span));
            }
        }
    }
    Ok(filler.finish())
}

/// The words of a text, which spaces and ends of lines part.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    text.split([' ', '\n']).filter_map(move |word| {
        let begin = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some(begin..begin + word.len())
    })
}
