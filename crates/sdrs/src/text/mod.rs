//! Prompts on their way to the U-Net: read, encoded, and laid out over the calls.

mod embeddings;
mod encoding;
mod plan;
#[cfg(test)]
mod tests;
mod timeline;

use sd_core::prompt::{Prompt, Side};

use crate::params::Reading;

pub(crate) use embeddings::Embeddings;
pub(crate) use encoding::{Encoder, Row, RowCache};
pub(crate) use plan::Planner;
pub use plan::{
    PlannedLora, PlannedPart, PlannedTag, PlannedText, PlannedToken, PromptPlan, plan_prompts,
    plan_prompts_with,
};
#[cfg(test)]
pub(crate) use timeline::Timeline;
pub(crate) use timeline::{Conditioning, Context, EncodedText, side_by_side};

/// Both prompts of a picture, read.
pub(crate) struct Prompts {
    pub positive: Prompt,
    pub negative: Prompt,
}

impl Prompts {
    pub fn read(prompt: &str, negative_prompt: &str, reading: &Reading) -> Self {
        Self {
            positive: Prompt::parse(prompt, Side::Positive, &reading.options),
            negative: Prompt::parse(negative_prompt, Side::Negative, &reading.options),
        }
    }
}
