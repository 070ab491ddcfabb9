//! Encoded prompts, and the text of each call of the U-Net.

use std::collections::HashMap;

use burn_tensor::Tensor;
use sd_core::prompt::{Chunk, Excerpt, Tree};

use super::{Encoder, Prompts, encoding::Row};
use crate::{Error, Result, model::Model};

/// Prompts that AND may join; each is another call of the U-Net at every step.
const MOST_PARTS: usize = 100;

/// Texts that one prompt may take over the steps; each is encoded and kept.
const MOST_TEXTS: usize = 1000;

/// A text as the U-Net is conditioned on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EncodedText {
    /// `[n, width]`: the states of all encoders side by side.
    pub context: Vec<f32>,
    /// Of the last encoder that has one.
    pub pooled: Option<Vec<f32>>,
}

/// A prompt's encoded texts, and the text of each call.
pub(crate) struct Timeline {
    /// `(end, index)`: rising ends.
    pub entries: Vec<(usize, usize)>,
    /// All of one length.
    pub texts: Vec<EncodedText>,
}

impl Timeline {
    /// Encodes a prompt's texts. `name` is the parameter that errors name.
    fn new(name: &'static str, tree: &Tree, encoder: &Encoder<'_>) -> Result<Self> {
        let mut index: HashMap<String, usize> = HashMap::new();
        let (mut texts, mut counts): (Vec<Excerpt>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut entries = Vec::new();
        for variant in tree.variants(&encoder.reading.steps) {
            let at = *index
                .entry(variant.text.as_str().to_owned())
                .or_insert(texts.len());
            if at == texts.len() {
                if texts.len() == MOST_TEXTS {
                    let reason = format!("it says more than {MOST_TEXTS} different things over the steps");
                    return Err(Error::parameter(name, reason));
                }
                texts.push(variant.text);
                counts.push(0);
            }
            counts[at] += 1;
            entries.push((variant.end, at));
        }
        let texts = encode(name, &texts, &counts, encoder)?;
        Ok(Self { entries, texts })
    }

    /// One text for all calls.
    #[cfg(test)]
    pub fn fixed(context: Vec<f32>) -> Self {
        let pooled = None;
        Self {
            entries: vec![(0, 0)],
            texts: vec![EncodedText { context, pooled }],
        }
    }

    /// The text of the first call.
    pub fn first(mut self) -> EncodedText {
        let at = self.at(0);
        self.texts.swap_remove(at)
    }

    /// The text of a call, counted from 0. One that ends at step n is used in call n as well, and calls beyond the last end get the
    /// first text: so the WebUI has it.
    pub(super) fn at(&self, call: usize) -> usize {
        let entry = self.entries.iter().find(|(end, _)| call <= *end);
        entry.or(self.entries.first()).map_or(0, |(_, index)| *index)
    }
}

/// More inputs of 75 tokens than any prompt that somebody wrote. Each takes memory six times its states (measured with the demo model; with
/// SD1 that would be 1.4 MB), though five letters, BREAK, make one.
const MOST_INPUTS: usize = 1000;

/// Encodes texts, of which each stands for a number of steps' texts.
fn encode(
    name: &'static str,
    texts: &[Excerpt],
    counts: &[usize],
    encoder: &Encoder<'_>,
) -> Result<Vec<EncodedText>> {
    let stack = 0..encoder.model.text_encoders.len();
    let inputs = |at| texts.iter().map(move |text| encoder.inputs(at, text)).collect();
    let inputs: Vec<Vec<Vec<Chunk>>> = stack.clone().map(inputs).collect::<Result<_>>()?;
    let longest = inputs.iter().flatten().map(Vec::len).max().unwrap_or(1);
    if longest > MOST_INPUTS {
        let reason =
            format!("takes {longest} inputs of the text encoder, and {MOST_INPUTS} are the most: shorten it");
        return Err(Error::parameter(name, reason));
    }
    let mut encoded = vec![EncodedText::default(); texts.len()];
    for (at, texts) in stack.zip(&inputs) {
        let empty = encoder.empty(at);
        let mut columns = vec![Vec::new(); texts.len()];
        for i in 0..longest {
            // The WebUI encodes the texts of all steps together, input by input, and restores the mean of all of them.
            let chunks: Vec<&Chunk> = texts.iter().map(|text| text.get(i).unwrap_or(&empty)).collect();
            let rows = chunks.iter().map(|chunk| encoder.row(at, chunk));
            let rows: Vec<Row> = rows.collect::<Result<_>>()?;
            if i == 0 {
                for (text, row) in encoded.iter_mut().zip(&rows) {
                    let pooled = row.pooled.as_ref().map(|pooled| pooled.to_vec());
                    text.pooled = pooled.or(text.pooled.take());
                }
            }
            let weighted = encoder.weighted(at, (name, &chunks, counts), &rows)?;
            for (column, states) in columns.iter_mut().zip(weighted) {
                column.extend(states);
            }
        }
        for (text, column) in encoded.iter_mut().zip(columns) {
            text.context = match at {
                0 => column,
                _ => side_by_side(&text.context, &column, encoder.width(at)),
            };
        }
    }
    Ok(encoded)
}

/// Rows of two matrices, the second `width` wide, one behind the other.
pub(crate) fn side_by_side(left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
    let rows = right.len() / width;
    let left = left.chunks_exact(left.len() / rows);
    let rows = left.zip(right.chunks_exact(width));
    rows.flat_map(|(left, right)| [left, right].concat()).collect()
}

/// The encoded prompts of a run.
pub(crate) struct Conditioning {
    /// The prompts that AND joins, each with its weight.
    pub conds: Vec<(f64, Timeline)>,
    pub uncond: Timeline,
    /// The empty prompt, where guidance sees both from there.
    pub empty: Option<Timeline>,
    /// The width of a context.
    pub width: usize,
    /// The context of the empty prompt, if shorter ones are padded with it.
    pub padding: Option<Vec<f32>>,
    /// The rest of the U-Net's additional vector, behind the pooled text: for the conds, and for uncond.
    pub sizes: Option<[Vec<f32>; 2]>,
}

/// A text of one call as tensors.
#[derive(Clone)]
pub(crate) struct Context {
    /// `[1, n, width]`.
    pub text: Tensor<3>,
    /// `[1, added_width]`, for a U-Net that has an additional vector.
    pub added: Option<Tensor<2>>,
}

impl Conditioning {
    /// Encodes both prompts. `sizes` is the part of the U-Net's additional vector that says them, for the prompt and the negative one;
    /// `zeros` says whether an empty negative prompt is zeros.
    pub fn new(
        prompts: &Prompts,
        encoder: &Encoder<'_>,
        sizes: Option<[Vec<f32>; 2]>,
        zeros: bool,
    ) -> Result<Self> {
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
        let conds = conds.collect::<Result<_>>()?;
        let negative = &negative.parts[0].tree;
        let mut uncond = Timeline::new("negative_prompt", negative, encoder)?;
        let mut texts = negative.variants(&encoder.reading.steps);
        if zeros && texts.all(|variant| variant.text.as_str().is_empty()) {
            for text in &mut uncond.texts {
                text.context.fill(0.0);
                text.pooled.iter_mut().flatten().for_each(|value| *value = 0.0);
            }
        }
        let empty = || encode("prompt", &[Excerpt::default()], &[1], encoder);
        let padding = encoder.reading.pad.then(empty).transpose()?;
        Ok(Self {
            conds,
            uncond,
            empty: None,
            width: encoder.model.unet.config().cross_attention_dim,
            padding: padding.map(|mut texts| texts.swap_remove(0).context),
            sizes,
        })
    }

    /// The same with the empty prompt behind the others.
    pub fn with_empty(self, encoder: &Encoder<'_>) -> Result<Self> {
        let texts = encode("prompt", &[Excerpt::default()], &[1], encoder)?;
        let empty = Some(Timeline {
            entries: vec![(0, 0)],
            texts,
        });
        Ok(Self { empty, ..self })
    }

    /// The conds', uncond's, and the empty prompt's.
    pub fn timelines(&self) -> impl Iterator<Item = &Timeline> {
        let conds = self.conds.iter().map(|(_, timeline)| timeline);
        conds.chain([&self.uncond]).chain(&self.empty)
    }

    /// The indices of the texts that hold for a call: the same for two calls, if their contexts are.
    pub fn indices(&self, call: usize) -> Vec<usize> {
        self.timelines().map(|timeline| timeline.at(call)).collect()
    }

    /// The contexts for `indices`, in their order; those that AND joins are of one length.
    pub fn contexts(&self, indices: &[usize], model: &Model) -> Vec<Context> {
        let texts = self.timelines().zip(indices);
        let mut texts: Vec<EncodedText> = texts.map(|(timeline, &i)| timeline.texts[i].clone()).collect();
        let uncond = self.conds.len();
        let longest = |texts: &[EncodedText]| texts.iter().map(|text| text.context.len()).max().unwrap_or(0);
        // Prompts joined by AND go through the U-Net together: the shorter repeat their last vector.
        let most = longest(&texts[..uncond]);
        for EncodedText { context, .. } in &mut texts[..uncond] {
            while context.len() < most {
                context.extend_from_within(context.len() - self.width..);
            }
        }
        if let Some(empty) = &self.padding {
            let most = longest(&texts);
            for EncodedText { context, .. } in &mut texts {
                while context.len() < most {
                    context.extend_from_slice(empty);
                }
            }
        }
        let tensors = |(part, EncodedText { context, pooled }): (usize, EncodedText)| {
            let shape = [1, context.len() / self.width, self.width];
            let added = self.sizes.as_ref().map(|sizes| {
                let sizes = &sizes[usize::from(part == uncond)];
                let added = [pooled.as_deref().unwrap_or_default(), sizes].concat();
                let shape = [1, added.len()];
                model.tensor(added, shape)
            });
            Context {
                text: model.tensor(context, shape),
                added,
            }
        };
        texts.into_iter().enumerate().map(tensors).collect()
    }
}
