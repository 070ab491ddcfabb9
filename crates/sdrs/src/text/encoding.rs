//! Texts through the text encoder: chunk by chunk, cached for later runs, weighted.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use sd_core::prompt::{
    Chunk, Emphasis, Excerpt, Placed, PromptDialect, PromptOptions, empty_chunk, encoder_inputs,
};

use super::Embeddings;
use crate::{
    Error, Result,
    model::{Model, Runtime, values},
    params::Reading,
};

/// Values of encoded inputs that a pipeline caches: 128 of SD1's 77 tokens of 768.
const CACHED_VALUES: usize = 128 * 77 * 768;

/// An input of the text encoder: these values alone decide its output, which is cached from run to run.
#[derive(PartialEq, Eq, Hash)]
struct RowKey {
    tokens: Vec<u32>,
    embeddings: Vec<Placed>,
    clip_skip: usize,
}

/// Encoded inputs, the most recently used.
pub(crate) struct RowCache(Mutex<LruCache<RowKey, Arc<[f32]>>>);

impl RowCache {
    /// A cache for one model's text encoder.
    pub fn new(model: &Model) -> Self {
        let text = model.text_encoder.config();
        let row = text.max_position_embeddings * text.hidden_size;
        let rows = NonZeroUsize::new(CACHED_VALUES / row.max(1)).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(rows)))
    }
}

/// Encodes the texts of one run.
pub(crate) struct Encoder<'a> {
    pub model: &'a Model,
    pub embeddings: &'a Embeddings,
    pub rows: &'a RowCache,
    pub runtime: &'a Runtime,
    pub reading: &'a Reading,
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Encoder<'_> {
    /// A text as inputs of the text encoder.
    pub fn inputs(&self, text: &Excerpt) -> Result<Vec<Chunk>> {
        let Model { tokenizer, .. } = self.model;
        let (names, options) = (&self.embeddings.names, &self.reading.options);
        Ok(encoder_inputs(
            text,
            tokenizer,
            names,
            self.model.chunk_length(),
            options,
        )?)
    }

    pub fn empty(&self) -> Chunk {
        empty_chunk(&self.model.tokenizer, self.model.chunk_length())
    }

    /// One input encoded, `[n, width]`. Encoded alone, so that no other text can touch its last bits.
    pub fn row(&self, chunk: &Chunk) -> Result<Arc<[f32]>> {
        let key = RowKey {
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
        let encoder = &self.model.text_encoder;
        let vectors = |placed: &Placed| (placed.at, &self.embeddings.vectors[placed.index][..]);
        let embedded: Vec<(usize, &[f32])> = chunk.embeddings.iter().map(vectors).collect();
        let row: Arc<[f32]> = self
            .runtime
            .compute(|| {
                let tokens = std::slice::from_ref(&chunk.tokens);
                let encoded = encoder.encode(tokens, &[embedded], self.reading.clip_skip)?;
                values(encoded.context)
            })?
            .into();
        cache().put(key, row.clone());
        Ok(row)
    }

    /// Applies the weights of one input each of several texts.
    pub fn weighted(
        &self,
        name: &'static str,
        chunks: &[&Chunk],
        rows: &[Arc<[f32]>],
        counts: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let width = self.model.text_encoder.config().hidden_size;
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
            PromptDialect::Comfy => Some(self.row(&self.empty())?),
            _ => None,
        };
        let weigh = |(chunk, row): (&&Chunk, &Arc<[f32]>)| {
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
        let mut weighted: Vec<Vec<f32>> = chunks.iter().zip(rows).map(weigh).collect();
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
