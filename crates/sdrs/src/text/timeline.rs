//! Encoded prompts, and the text of each call of the U-Net.

use std::{collections::HashMap, sync::Arc};

use burn_tensor::Tensor;
use sd_core::prompt::{Chunk, Tree};

use super::{Encoder, Prompts};
use crate::{Error, Result, model::Model};

/// Prompts that AND may join; each is another call of the U-Net at every step.
const MOST_PARTS: usize = 100;

/// Texts that one prompt may take over the steps; each is encoded and kept.
const MOST_TEXTS: usize = 1000;

/// A prompt's encoded texts, and the text of each call.
pub(crate) struct Timeline {
    /// `(end, index)`: rising ends.
    pub entries: Vec<(usize, usize)>,
    /// `[n, width]` each, all of one length.
    pub contexts: Vec<Vec<f32>>,
}

/// A text as inputs of the text encoder, with the number of steps that have it.
struct Text {
    chunks: Vec<Chunk>,
    count: usize,
}

impl Timeline {
    /// Encodes a prompt's texts. `name` is the parameter that errors name.
    fn new(name: &'static str, tree: &Tree, encoder: &Encoder<'_>) -> Result<Self> {
        let mut index: HashMap<String, usize> = HashMap::new();
        let mut texts: Vec<Text> = Vec::new();
        let mut entries = Vec::new();
        for variant in tree.variants(&encoder.reading.steps) {
            let at = match index.get(variant.text.as_str()) {
                Some(&at) => at,
                None => {
                    if texts.len() == MOST_TEXTS {
                        let reason =
                            format!("it says more than {MOST_TEXTS} different things over the steps");
                        return Err(Error::parameter(name, reason));
                    }
                    let chunks = encoder.inputs(&variant.text)?;
                    texts.push(Text { chunks, count: 0 });
                    index.insert(variant.text.as_str().to_owned(), texts.len() - 1);
                    texts.len() - 1
                }
            };
            texts[at].count += 1;
            entries.push((variant.end, at));
        }
        let longest = texts.iter().map(|text| text.chunks.len()).max().unwrap_or(1);
        let empty = encoder.empty();
        let mut contexts = vec![Vec::new(); texts.len()];
        for i in 0..longest {
            // The WebUI encodes the texts of all steps together, input by input, and restores the mean of all of them.
            let chunks: Vec<&Chunk> = texts
                .iter()
                .map(|text| text.chunks.get(i).unwrap_or(&empty))
                .collect();
            let rows: Vec<Arc<[f32]>> = chunks
                .iter()
                .map(|chunk| encoder.row(chunk))
                .collect::<Result<_>>()?;
            let counts: Vec<usize> = texts.iter().map(|text| text.count).collect();
            for (context, row) in contexts
                .iter_mut()
                .zip(encoder.weighted(name, &chunks, &rows, &counts)?)
            {
                context.extend(row);
            }
        }
        Ok(Self { entries, contexts })
    }

    /// One text for all calls.
    #[cfg(test)]
    pub fn fixed(context: Vec<f32>) -> Self {
        Self {
            entries: vec![(0, 0)],
            contexts: vec![context],
        }
    }

    /// The context of the first call.
    pub fn first(mut self) -> Vec<f32> {
        let at = self.at(0);
        self.contexts.swap_remove(at)
    }

    /// The text of a call, counted from 0. One that ends at step n is used in call n as well, and calls beyond the last end get the
    /// first text: so the WebUI has it.
    pub(super) fn at(&self, call: usize) -> usize {
        let entry = self.entries.iter().find(|(end, _)| call <= *end);
        entry.or(self.entries.first()).map_or(0, |(_, index)| *index)
    }
}

/// The encoded prompts of a run.
pub(crate) struct Conditioning {
    /// The prompts that AND joins, each with its weight.
    pub conds: Vec<(f64, Timeline)>,
    pub uncond: Timeline,
    /// The width of a context.
    pub width: usize,
    /// The empty prompt, if shorter contexts are padded with it.
    pub padding: Option<Arc<[f32]>>,
}

/// The contexts of one call, `[1, n, width]`, in the order of [`Conditioning::indices`]; the contexts of prompts that AND joins are of one
/// length.
#[derive(Clone)]
pub(crate) struct Contexts(Vec<Tensor<3>>);

impl Contexts {
    /// The context of one part: the prompts that AND joins come first, then the negative prompt.
    pub fn part(&self, part: usize) -> &Tensor<3> {
        &self.0[part]
    }
}

impl Conditioning {
    /// Encodes both prompts.
    pub fn new(prompts: &Prompts, encoder: &Encoder<'_>) -> Result<Self> {
        let Prompts { positive, negative } = prompts;
        if positive.parts.len() > MOST_PARTS {
            let reason = format!(
                "AND joins {} prompts; {MOST_PARTS} are the most",
                positive.parts.len()
            );
            return Err(Error::parameter("prompt", reason));
        }
        let conds = positive.parts.iter().map(|part| {
            if part.weight.abs() > 1000.0 {
                let reason = format!(
                    "the weight of a part must be from -1000 to 1000, not {}",
                    part.weight
                );
                return Err(Error::parameter("prompt", reason));
            }
            Ok((part.weight, Timeline::new("prompt", &part.tree, encoder)?))
        });
        Ok(Self {
            conds: conds.collect::<Result<_>>()?,
            uncond: Timeline::new("negative_prompt", &negative.parts[0].tree, encoder)?,
            width: encoder.model.text_encoder.config().hidden_size,
            padding: (encoder.reading.pad)
                .then(|| encoder.row(&encoder.empty()))
                .transpose()?,
        })
    }

    /// The indices of the texts that hold for a call: the same for two calls, if their contexts are.
    pub fn indices(&self, call: usize) -> Vec<usize> {
        let all = self
            .conds
            .iter()
            .map(|(_, timeline)| timeline)
            .chain([&self.uncond]);
        all.map(|timeline| timeline.at(call)).collect()
    }

    /// The contexts for `indices`.
    pub fn contexts(&self, indices: &[usize], model: &Model) -> Contexts {
        let timelines = self
            .conds
            .iter()
            .map(|(_, timeline)| timeline)
            .chain([&self.uncond]);
        let mut texts: Vec<Vec<f32>> = timelines
            .zip(indices)
            .map(|(t, &i)| t.contexts[i].clone())
            .collect();
        let uncond = texts.len() - 1;
        // Prompts joined by AND go through the U-Net together: the shorter repeat their last vector.
        let longest = texts[..uncond].iter().map(Vec::len).max().unwrap_or(0);
        for text in &mut texts[..uncond] {
            while text.len() < longest {
                text.extend_from_within(text.len() - self.width..);
            }
        }
        if let Some(empty) = &self.padding {
            let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
            for text in &mut texts {
                while text.len() < longest {
                    text.extend_from_slice(empty);
                }
            }
        }
        let tensor = |text: Vec<f32>| {
            let shape = [1, text.len() / self.width, self.width];
            model.tensor(text, shape)
        };
        Contexts(texts.into_iter().map(tensor).collect())
    }
}
