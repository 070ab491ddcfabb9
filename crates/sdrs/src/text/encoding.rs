//! Texts through the text encoder: chunk by chunk, cached for later runs, weighted.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use sd_core::{
    ClipTokenizer,
    prompt::{Chunk, Emphasis, Excerpt, Placed, PromptDialect, PromptOptions, empty_chunk, encoder_inputs},
};

use super::Embeddings;
use crate::{
    Error, Result,
    model::{Model, Runtime, values},
    params::Reading,
};

/// Values of encoded inputs that a pipeline caches: 128 of SD1's 77 tokens of 768.
const CACHED_VALUES: usize = 128 * 77 * 768;

/// An input of a text encoder: these values alone decide its output, which is cached from run to run.
#[derive(PartialEq, Eq, Hash)]
struct RowKey {
    encoder: usize,
    tokens: Vec<u32>,
    embeddings: Vec<Placed>,
    clip_skip: usize,
}

/// An encoded input.
#[derive(Clone)]
pub(crate) struct Row {
    /// `[n, width]`.
    pub states: Arc<[f32]>,
    /// The pooled text, if the encoder has a projection for it.
    pub pooled: Option<Arc<[f32]>>,
}

/// Encoded inputs, the most recently used.
pub(crate) struct RowCache(Mutex<LruCache<RowKey, Row>>);

impl RowCache {
    /// A cache for one model's text encoders.
    pub fn new(model: &Model) -> Self {
        let values = model.text_encoders.iter().map(|encoder| {
            let text = encoder.network.config();
            text.max_position_embeddings * text.hidden_size
        });
        let row: usize = values.max().unwrap_or(1);
        let rows = NonZeroUsize::new(CACHED_VALUES / row.max(1)).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(rows)))
    }
}

/// Encodes the texts of one run, with each encoder of the stack by itself. Encoders are named by their place in it.
pub(crate) struct Encoder<'a> {
    pub model: &'a Model,
    pub embeddings: &'a Embeddings,
    pub rows: &'a RowCache,
    pub runtime: &'a Runtime,
    pub reading: &'a Reading,
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Encoder<'_> {
    fn tokenizer(&self, encoder: usize) -> &ClipTokenizer {
        &self.model.text_encoders[encoder].tokenizer
    }

    /// Values of an encoder's state for each token.
    pub fn width(&self, encoder: usize) -> usize {
        self.model.text_encoders[encoder].network.config().hidden_size
    }

    /// A text as inputs of an encoder.
    pub fn inputs(&self, encoder: usize, text: &Excerpt) -> Result<Vec<Chunk>> {
        let (names, options) = (&self.embeddings.names, &self.reading.options);
        Ok(encoder_inputs(
            text,
            self.tokenizer(encoder),
            names,
            self.model.chunk_length(),
            options,
        )?)
    }

    /// The empty text as an input of an encoder.
    pub fn empty(&self, encoder: usize) -> Chunk {
        empty_chunk(self.tokenizer(encoder), self.model.chunk_length())
    }

    /// One input encoded. Encoded alone, so that no other text can touch its last bits.
    pub fn row(&self, encoder: usize, chunk: &Chunk) -> Result<Row> {
        let key = RowKey {
            encoder,
            tokens: chunk.tokens.clone(),
            embeddings: chunk.embeddings.clone(),
            clip_skip: self.reading.clip_skip,
        };
        let cache = || self.rows.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = cache().get(&key) {
            return Ok(row.clone());
        }
        if (self.cancelled)() {
            return Err(Error::Cancelled);
        }
        let network = self.model.text_encoders[encoder].network.get(self.runtime)?;
        let vectors = |placed: &Placed| (placed.at, &self.embeddings.vectors[placed.index][encoder][..]);
        let embedded: Vec<(usize, &[f32])> = chunk.embeddings.iter().map(vectors).collect();
        let row = self.runtime.compute(|| {
            let tokens = std::slice::from_ref(&chunk.tokens);
            let encoded = network.encode(tokens, &[embedded], self.reading.clip_skip)?;
            let states = values(encoded.context)?;
            if !states.iter().all(|value| value.is_finite()) {
                return Err(Error::NotFinite {
                    what: match encoder {
                        0 => "the text encoder's output",
                        _ => "the second text encoder's output",
                    },
                    advice: "compute in a wider dtype (f32), or check its weights, and the LoRAs and embeddings of the prompt",
                });
            }
            Ok::<_, Error>(Row {
                states: states.into(),
                pooled: encoded.pooled.map(values).transpose()?.map(Into::into),
            })
        })?;
        cache().put(key, row.clone());
        Ok(row)
    }

    /// The states of one input each of several texts, encoded as `rows`, with their weights applied. `counts` says how many steps' texts
    /// each stands for, `name` the parameter that errors name.
    pub fn weighted(
        &self,
        encoder: usize,
        (name, chunks, counts): (&'static str, &[&Chunk], &[usize]),
        rows: &[Row],
    ) -> Result<Vec<Vec<f32>>> {
        let width = self.width(encoder);
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row.states[..]).collect();
        let plain = |chunk: &&Chunk| chunk.weights.iter().all(|&w| w == 1.0);
        let PromptOptions {
            dialect, emphasis, ..
        } = self.reading.options;
        let unweighted =
            dialect == PromptDialect::WebUi && matches!(emphasis, Emphasis::Ignore | Emphasis::None);
        if unweighted || chunks.iter().all(plain) {
            return Ok(rows.iter().map(|row| row.to_vec()).collect());
        }
        let empty = match dialect {
            PromptDialect::Comfy => Some(self.row(encoder, &self.empty(encoder))?.states),
            _ => None,
        };
        let weigh = |(chunk, row): (&&Chunk, &&[f32])| {
            let mut row = row.to_vec();
            for (token, (values, &weight)) in row.chunks_exact_mut(width).zip(&chunk.weights).enumerate() {
                match &empty {
                    Some(_) if weight == 1.0 => {}
                    Some(empty) => {
                        let from = &empty[token * width..][..width];
                        values
                            .iter_mut()
                            .zip(from)
                            .for_each(|(v, e)| *v = (*v - e) * weight + e);
                    }
                    None => values.iter_mut().for_each(|v| *v *= weight),
                }
            }
            row
        };
        let mut weighted: Vec<Vec<f32>> = chunks.iter().zip(&rows).map(weigh).collect();
        if dialect == PromptDialect::WebUi && emphasis == Emphasis::Original {
            let sum =
                |row: &[f32], count: usize| row.iter().map(|&v| f64::from(v)).sum::<f64>() * count as f64;
            let before: f64 = rows.iter().zip(counts).map(|(row, &n)| sum(row, n)).sum();
            let after: f64 = weighted.iter().zip(counts).map(|(row, &n)| sum(row, n)).sum();
            let factor = (before / after) as f32;
            weighted.iter_mut().flatten().for_each(|v| *v *= factor);
        }
        if weighted.iter().flatten().all(|v| v.is_finite()) {
            return Ok(weighted);
        }
        let reason = "its weights are too large, or cancel each other out; use smaller ones";
        Err(Error::parameter(name, reason))
    }
}
