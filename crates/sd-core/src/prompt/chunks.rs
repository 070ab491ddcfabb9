//! Tokens in chunks of the encoder's length.

use std::{collections::HashMap, ops::Range};

use super::Fragment;
use crate::{ClipTokenizer, Error, Result, error::shown};

/// The cutting of a prompt into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Tokens of a chunk, start and end token excepted: 75.
    pub length: usize,
    /// The tokens that the last comma may lie back for a chunk to be cut after it; 0 never does so. The WebUI's default is 20.
    pub comma_backtrack: usize,
    /// Whether texts are taken as they are, and not repaired.
    pub text_as_is: bool,
}

/// One input of a text encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Start token, tokens, end token and padding: the encoder's length. 0 where an embedding stands.
    pub tokens: Vec<u32>,
    /// A factor for each token's output.
    pub weights: Vec<f32>,
    /// The place of each token in the prompt, in bytes; none for start, end and padding.
    pub spans: Vec<Option<Range<usize>>>,
    /// Embeddings in place of tokens.
    pub embeddings: Vec<Placed>,
}

/// A textual inversion's vectors in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Placed {
    /// The first of the tokens that it stands for.
    pub at: usize,
    /// Their number.
    pub vectors: usize,
    /// The embedding, by the number it was added under.
    pub index: usize,
}

impl Chunk {
    /// Number of tokens that are the prompt's.
    pub fn used(&self) -> usize {
        self.spans.iter().flatten().count()
    }
}

/// Names' tokens, numbers and vectors by the first token; longest names first.
type ByToken = HashMap<u32, Vec<(Vec<u32>, usize, usize)>>;

/// Textual inversions by the tokens of their names.
#[derive(Debug, Clone, Default)]
pub struct EmbeddingNames {
    by_token: ByToken,
    /// The same, names taken as they are.
    as_is: ByToken,
    names: Vec<(String, usize)>,
}

impl EmbeddingNames {
    /// Adds one, which gets the next number from 0. A name without tokens is never found.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer fails.
    pub fn add(&mut self, name: &str, vectors: usize, tokenizer: &ClipTokenizer) -> Result<()> {
        let repaired = tokenizer.encode_repaired(name)?;
        let as_is = tokenizer.encode(name)?;
        let index = self.names.len();
        self.names.push((name.to_owned(), vectors));
        let repaired: Vec<u32> = repaired.into_iter().map(|(id, _)| id).collect();
        for (by_token, ids) in [(&mut self.by_token, repaired), (&mut self.as_is, as_is)] {
            let Some(&first) = ids.first() else { continue };
            let list = by_token.entry(first).or_default();
            let at = list.partition_point(|(other, ..)| other.len() >= ids.len());
            list.insert(at, (ids, index, vectors));
        }
        Ok(())
    }

    /// The name of a number.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(|(name, _)| name.as_str())
    }

    /// Whether a name was added.
    pub fn contains(&self, name: &str) -> bool {
        self.named(name).is_some()
    }

    /// The number and the vectors of a name, spelt exactly so.
    pub(super) fn named(&self, name: &str) -> Option<(usize, usize)> {
        let index = self.names.iter().rposition(|(other, _)| other == name)?;
        Some((index, self.names[index].1))
    }

    /// The longest whose name begins here: its number, its vectors, and the tokens of its name.
    fn find(&self, tokens: &[Token], as_is: bool) -> Option<(usize, usize, usize)> {
        let by_token = if as_is { &self.as_is } else { &self.by_token };
        let candidates = by_token.get(&tokens.first()?.id)?;
        let begins = |ids: &[u32]| {
            tokens.len() >= ids.len() && ids.iter().zip(tokens).all(|(id, token)| *id == token.id)
        };
        let found = candidates.iter().find(|(ids, ..)| begins(ids));
        found.map(|(ids, index, vectors)| (*index, *vectors, ids.len()))
    }
}

/// A token of the prompt, with the place it has there.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub id: u32,
    pub span: Range<usize>,
}

/// Chunks while they are filled.
pub(super) struct Filler<'a> {
    tokenizer: &'a ClipTokenizer,
    length: usize,
    done: Vec<Chunk>,
    chunk: Chunk,
}

impl<'a> Filler<'a> {
    pub fn new(tokenizer: &'a ClipTokenizer, length: usize) -> Self {
        Self {
            tokenizer,
            length,
            done: Vec::new(),
            chunk: begun(tokenizer.start()),
        }
    }

    /// Tokens of the chunk so far, the start token excepted.
    pub fn filled(&self) -> usize {
        self.chunk.tokens.len() - 1
    }

    pub fn push(&mut self, id: u32, weight: f64, span: Range<usize>) {
        self.chunk.tokens.push(id);
        self.chunk.weights.push(weight as f32);
        self.chunk.spans.push(Some(span));
    }

    pub fn place(&mut self, index: usize, vectors: usize, weight: f64, span: Range<usize>) {
        let at = self.chunk.tokens.len();
        self.chunk.embeddings.push(Placed { at, vectors, index });
        (0..vectors).for_each(|_| self.push(0, weight, span.clone()));
    }

    /// Ends the chunk, and pads it; its tokens from `keep` on begin the next.
    pub fn next(&mut self, keep: usize) {
        let mut next = begun(self.tokenizer.start());
        let (chunk, keep) = (&mut self.chunk, keep + 1);
        if keep < chunk.tokens.len() {
            next.tokens.extend(chunk.tokens.drain(keep..));
            next.weights.extend(chunk.weights.drain(keep..));
            next.spans.extend(chunk.spans.drain(keep..));
            let moved = chunk.embeddings.iter().filter(|e| e.at >= keep);
            next.embeddings = moved
                .map(|e| Placed {
                    at: e.at - keep + 1,
                    ..*e
                })
                .collect();
            chunk.embeddings.retain(|e| e.at < keep);
        }
        let (length, end) = (self.length + 2, self.tokenizer.end());
        chunk.tokens.resize(length, end);
        chunk.weights.resize(length, 1.0);
        chunk.spans.resize(length, None);
        // Encoders that pad with another token have it after the first end token.
        let first = chunk.tokens.iter().position(|&id| id == end).unwrap_or(length);
        chunk
            .tokens
            .iter_mut()
            .skip(first + 1)
            .for_each(|id| *id = self.tokenizer.pad());
        self.done.push(std::mem::replace(chunk, next));
    }

    /// All chunks, at least one.
    pub fn finish(mut self) -> Vec<Chunk> {
        if self.filled() > 0 || self.done.is_empty() {
            self.next(usize::MAX - 1);
        }
        self.done
    }
}

fn begun(start: u32) -> Chunk {
    Chunk {
        tokens: vec![start],
        weights: vec![1.0],
        spans: vec![None],
        embeddings: Vec::new(),
    }
}

/// The chunk of an empty prompt, which shorter prompts are padded with.
pub fn empty_chunk(tokenizer: &ClipTokenizer, length: usize) -> Chunk {
    let mut filler = Filler::new(tokenizer, length);
    filler.next(0);
    filler.done.swap_remove(0)
}

/// Packs fragments into chunks as the WebUI does: each fragment is tokenised on its own; a full chunk is cut after its last comma
/// if that is near; BREAK ends a chunk; an embedding is kept whole.
///
/// # Errors
/// [`Error::Tokenizer`] if the tokenizer fails, [`Error::Malformed`] if an embedding has more vectors than a chunk has places.
pub fn chunks(
    fragments: &[Fragment],
    tokenizer: &ClipTokenizer,
    embeddings: &EmbeddingNames,
    options: &ChunkOptions,
) -> Result<Vec<Chunk>> {
    let comma = tokenizer.comma();
    let length = options.length;
    let mut filler = Filler::new(tokenizer, length);
    let mut last_comma = None;
    for fragment in fragments {
        if fragment.is_break() {
            filler.next(length);
            last_comma = None;
            continue;
        }
        let text = fragment.text.as_str();
        let spans = match options.text_as_is {
            true => tokenizer.encode_spans(text)?,
            false => tokenizer.encode_repaired(text)?,
        };
        let token = |(id, span)| Token {
            id,
            span: fragment.text.span(span),
        };
        let tokens: Vec<Token> = spans.into_iter().map(token).collect();
        let mut rest = &tokens[..];
        while let Some(token) = rest.first() {
            if Some(token.id) == comma {
                last_comma = Some(filler.filled());
            } else if let Some(at) = last_comma
                && filler.filled() == length
                && options.comma_backtrack != 0
                && length - at <= options.comma_backtrack
            {
                filler.next(at + 1);
                last_comma = None;
            }
            if filler.filled() == length {
                filler.next(length);
                last_comma = None;
            }
            let Some((index, vectors, named)) = embeddings.find(rest, options.text_as_is) else {
                filler.push(token.id, fragment.weight, token.span.clone());
                rest = &rest[1..];
                continue;
            };
            if vectors > length {
                return Err(too_long(&embeddings.names[index].0, vectors, length));
            }
            if filler.filled() + vectors > length {
                filler.next(length);
                last_comma = None;
            }
            let span = token.span.start..rest[named - 1].span.end;
            filler.place(index, vectors, fragment.weight, span);
            rest = &rest[named..];
        }
    }
    Ok(filler.finish())
}

pub(super) fn too_long(name: &str, vectors: usize, length: usize) -> Error {
    let reason =
        format!("its {vectors} vectors don't fit into the {length} places of a text encoder's input");
    Error::malformed(format!("embedding '{}'", shown(name)), reason)
}
