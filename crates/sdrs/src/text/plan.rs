//! The inputs of the text encoder that prompts give, without running it.

use std::{ops::Range, path::Path};

use sd_core::{
    ClipTokenizer,
    prompt::{EmbeddingNames, LoraTag, Part, encoder_inputs},
};
use serde::Serialize;

use super::Prompts;
use crate::{
    GenerateParams, Result,
    lora::lora_tags,
    params::{Limits, Reading},
};

/// The meaning of both prompts of a picture, step by step. Spans are in bytes of the prompt as it was given.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PromptPlan {
    /// Calls of the denoiser that prompts are scheduled over: the steps, doubled for samplers with two calls a step.
    pub calls: usize,
    /// `<lora:..>` tags.
    pub loras: Vec<PlannedLora>,
    /// Other tags, which are cut out and do nothing.
    pub unknown_tags: Vec<PlannedTag>,
    /// The prompts that AND joins in the prompt.
    pub prompt: Vec<PlannedPart>,
    /// The negative prompt.
    pub negative_prompt: PlannedPart,
}

/// A tag of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedTag {
    /// The tag as written.
    pub text: String,
    /// The place of the tag.
    pub span: Range<usize>,
}

/// A LoRA that the prompt asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedLora {
    /// Its name.
    pub name: String,
    /// Strength on the text encoder.
    pub text_encoder: f64,
    /// Strength on the U-Net, at the first step.
    pub unet: f64,
    /// Strengths on the U-Net in the course of the run, each with its moment, as written; empty if it stays the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub course: Vec<(f64, f64)>,
    /// The moment when it begins to act, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// The moment when it ceases to act, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<f64>,
    /// Factors for blocks, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<String>,
    /// The place of the tag.
    pub span: Range<usize>,
    /// Whether a run would have it: the pipeline has it, or one of its LoRA folders.
    pub loaded: bool,
}

/// One of the prompts that AND joins.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedPart {
    /// Its share of the guidance.
    pub weight: f64,
    /// Its texts, in the order of the steps.
    pub texts: Vec<PlannedText>,
}

/// The text of a part during some steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedText {
    /// Calls that it is used in, counted from 0; the text of a prompt's last steps is never used after its end.
    pub calls: Range<usize>,
    /// The text, with its brackets.
    pub text: String,
    /// Inputs of the text encoder.
    pub chunks: Vec<Vec<PlannedToken>>,
}

/// A token, or an embedding in place of some.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedToken {
    /// The token; for an embedding 0.
    pub id: u32,
    /// The piece of the prompt that it stands for, as written.
    pub text: String,
    /// Its place in the prompt.
    pub span: Range<usize>,
    /// The factor on its output.
    pub weight: f32,
    /// The embedding's name, if it is a vector of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
}

/// Plans prompts for a tokenizer and the textual inversions of a model.
pub(crate) struct Planner<'a> {
    pub tokenizer: &'a ClipTokenizer,
    pub names: &'a EmbeddingNames,
    /// Whether a run would have the LoRA that a tag asks for.
    pub resolves: &'a dyn Fn(&LoraTag) -> bool,
    /// Tokens of a chunk.
    pub length: usize,
    pub reading: Reading,
}

/// Plans prompts for CLIP's own tokenizer, as all checkpoints of Stable Diffusion 1 have it, without a checkpoint.
///
/// # Errors
/// [`Error::InvalidParameter`](crate::Error::InvalidParameter) if a value is out of its range, or a `<lora:..>` tag's argument is no number.
pub fn plan_prompts(params: &GenerateParams) -> Result<PromptPlan> {
    planned(params, &ClipTokenizer::embedded())
}

/// The same with another tokenizer: its folder, a pipeline's, or a `tokenizer.json`.
///
/// # Errors
/// As [`plan_prompts`]; [`Error::Core`](crate::Error::Core) if the tokenizer can't be used.
pub fn plan_prompts_with(tokenizer: impl AsRef<Path>, params: &GenerateParams) -> Result<PromptPlan> {
    planned(params, &ClipTokenizer::open(tokenizer.as_ref())?)
}

fn planned(params: &GenerateParams, tokenizer: &ClipTokenizer) -> Result<PromptPlan> {
    params.validate(&Limits {
        downscale: 8,
        default_side: 512,
        layers: 12,
        branches: 12,
    })?;
    let planner = Planner {
        tokenizer,
        names: &EmbeddingNames::default(),
        resolves: &|_| false,
        length: 75,
        reading: params.reading(),
    };
    let texts = [params.text.prompt.as_str(), &params.text.negative_prompt];
    planner.plan(texts, &Prompts::read(texts[0], texts[1], &planner.reading))
}

impl Planner<'_> {
    /// The plan of both prompts; `read` is what reading gave of them.
    pub fn plan(&self, [prompt, negative_prompt]: [&str; 2], read: &Prompts) -> Result<PromptPlan> {
        let Prompts { positive, negative } = read;
        let loras = lora_tags(positive)?.into_iter().map(|(lora, span)| PlannedLora {
            loaded: (self.resolves)(&lora),
            name: lora.name,
            text_encoder: lora.text_encoder,
            unet: lora.unet,
            course: lora.course,
            start: lora.start,
            stop: lora.stop,
            blocks: lora.blocks,
            span,
        });
        let unknown = positive.tags.iter().filter(|tag| tag.lora().is_none());
        Ok(PromptPlan {
            calls: self.reading.steps.count(),
            loras: loras.collect(),
            unknown_tags: unknown
                .map(|tag| PlannedTag {
                    text: prompt[tag.span.clone()].to_owned(),
                    span: tag.span.clone(),
                })
                .collect(),
            prompt: positive
                .parts
                .iter()
                .map(|part| self.part(prompt, part))
                .collect::<Result<_>>()?,
            negative_prompt: self.part(negative_prompt, &negative.parts[0])?,
        })
    }

    fn part(&self, source: &str, part: &Part) -> Result<PlannedPart> {
        let mut texts: Vec<PlannedText> = Vec::new();
        let mut begin = 0;
        let steps = &self.reading.steps;
        for variant in part.tree.variants(steps) {
            // A text that ends at step n is still used in call n, counted from 0.
            let end = (variant.end + 1).min(steps.count());
            let inputs = encoder_inputs(
                &variant.text,
                self.tokenizer,
                self.names,
                self.length,
                &self.reading.options,
            )?;
            let chunk = |chunk: &sd_core::prompt::Chunk| {
                let tokens = chunk
                    .tokens
                    .iter()
                    .zip(&chunk.weights)
                    .zip(&chunk.spans)
                    .enumerate();
                let token = tokens.filter_map(|(at, ((&id, &weight), span))| {
                    let span = span.clone()?;
                    let within = |e: &&sd_core::prompt::Placed| (e.at..e.at + e.vectors).contains(&at);
                    let embedding = chunk.embeddings.iter().find(within);
                    Some(PlannedToken {
                        id,
                        text: source[span.clone()].to_owned(),
                        span,
                        weight,
                        embedding: embedding
                            .and_then(|e| self.names.name(e.index))
                            .map(str::to_owned),
                    })
                });
                token.collect()
            };
            if begin < end {
                texts.push(PlannedText {
                    calls: begin..end,
                    text: variant.text.as_str().to_owned(),
                    chunks: inputs.iter().map(chunk).collect(),
                });
            }
            begin = end;
        }
        Ok(PlannedPart {
            weight: part.weight,
            texts,
        })
    }
}
