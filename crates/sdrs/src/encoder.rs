//! Texts through the text encoder: chunk by chunk, kept for later runs, weighted.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use sd_core::prompt::{
    Chunk, Emphasis, Placed, PromptDialect, PromptOptions, Tree, empty_chunk, encoder_inputs,
};

use crate::{Error, Pipeline, Result, conditioning::Timeline, params::Reading, pipeline::values};

/// Texts that one prompt may take over the steps; each is encoded and kept.
const MOST_TEXTS: usize = 1000;

/// Encoded inputs that a pipeline keeps: at most 128 of SD1's 77 tokens of 768 values.
const CACHED_VALUES: usize = 128 * 77 * 768;

/// What the text encoder gave for one input: its values alone decide it, so it is kept from run to run.
#[derive(PartialEq, Eq, Hash)]
struct RowKey {
    tokens: Vec<u32>,
    embeddings: Vec<Placed>,
    clip_skip: usize,
}

/// Encoded inputs, the most recently used.
pub(crate) struct RowCache(Mutex<LruCache<RowKey, Arc<[f32]>>>);

impl RowCache {
    /// `row` is how many values an encoded input has.
    pub fn new(row: usize) -> Self {
        let rows = NonZeroUsize::new(CACHED_VALUES / row.max(1)).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(rows)))
    }
}

/// Encodes the texts of one run.
pub(crate) struct Encoder<'a> {
    pub pipeline: &'a Pipeline,
    pub reading: &'a Reading,
    pub cancelled: &'a dyn Fn() -> bool,
}

/// A text, as inputs, and for how many of a prompt's steps' texts it stands.
struct Text {
    chunks: Vec<Chunk>,
    count: usize,
}

impl Encoder<'_> {
    pub fn empty(&self) -> Chunk {
        empty_chunk(&self.pipeline.tokenizer, self.pipeline.chunk_length())
    }

    /// A prompt's texts, and when each holds.
    pub fn timeline(&self, name: &'static str, tree: &Tree) -> Result<Timeline> {
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut texts: Vec<Text> = Vec::new();
        let mut entries = Vec::new();
        let Pipeline {
            tokenizer,
            embeddings,
            ..
        } = self.pipeline;
        for variant in tree.variants(&self.reading.steps) {
            let at = match index.get(variant.text.as_str()) {
                Some(&at) => at,
                None => {
                    if texts.len() == MOST_TEXTS {
                        let reason =
                            format!("it says more than {MOST_TEXTS} different things over the steps");
                        return Err(Error::parameter(name, reason));
                    }
                    let options = &self.reading.options;
                    let chunks = encoder_inputs(
                        &variant.text,
                        tokenizer,
                        &embeddings.names,
                        self.pipeline.chunk_length(),
                        options,
                    )?;
                    texts.push(Text { chunks, count: 0 });
                    index.insert(variant.text.as_str().to_owned(), texts.len() - 1);
                    texts.len() - 1
                }
            };
            texts[at].count += 1;
            entries.push((variant.end, at));
        }
        let longest = texts.iter().map(|text| text.chunks.len()).max().unwrap_or(1);
        let empty = self.empty();
        let mut contexts = vec![Vec::new(); texts.len()];
        for i in 0..longest {
            // The WebUI encodes the texts of all steps together, input by input, and restores the mean of all of them.
            let chunks: Vec<&Chunk> = texts
                .iter()
                .map(|text| text.chunks.get(i).unwrap_or(&empty))
                .collect();
            let rows: Vec<Arc<[f32]>> = chunks
                .iter()
                .map(|chunk| self.row(chunk))
                .collect::<Result<_>>()?;
            let counts: Vec<usize> = texts.iter().map(|text| text.count).collect();
            for (context, row) in contexts
                .iter_mut()
                .zip(self.weighted(name, &chunks, &rows, &counts)?)
            {
                context.extend(row);
            }
        }
        Ok(Timeline { entries, contexts })
    }

    /// What the encoder gives for one input, `[n, width]`. Encoded alone, so that no other text can touch its last bits.
    pub fn row(&self, chunk: &Chunk) -> Result<Arc<[f32]>> {
        let key = RowKey {
            tokens: chunk.tokens.clone(),
            embeddings: chunk.embeddings.clone(),
            clip_skip: self.reading.clip_skip,
        };
        let cache = || {
            self.pipeline
                .rows
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(row) = cache().get(&key) {
            return Ok(row.clone());
        }
        if (self.cancelled)() {
            return Err(Error::Cancelled);
        }
        let encoder = &self.pipeline.text_encoder;
        let vectors = |placed: &Placed| (placed.at, &self.pipeline.embeddings.vectors[placed.index][..]);
        let embedded: Vec<(usize, &[f32])> = chunk.embeddings.iter().map(vectors).collect();
        let row: Arc<[f32]> = self
            .pipeline
            .runtime
            .compute(|| {
                let tokens = std::slice::from_ref(&chunk.tokens);
                let mut states = encoder.forward_with(tokens, &[embedded])?.hidden_states;
                let state = states.swap_remove(states.len() - self.reading.clip_skip);
                values(encoder.final_norm(state))
            })?
            .into();
        cache().put(key, row.clone());
        Ok(row)
    }

    /// Applies the weights of one input each of several texts.
    fn weighted(
        &self,
        name: &'static str,
        chunks: &[&Chunk],
        rows: &[Arc<[f32]>],
        counts: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let width = self.pipeline.text_encoder.config().hidden_size;
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
