use sd_core::prompt::{PromptOptions, Steps};

use super::{ClipSkipRule, GenerateParams};

/// The settings by which a run's prompts are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub options: PromptOptions,
    /// Calls of the denoiser that prompts are scheduled over.
    pub steps: Steps,
    /// The layer of the text encoder, from the end: 1 is the last.
    pub clip_skip: usize,
    /// Whether the shorter of cond and uncond is padded, so that one call of the U-Net does for both.
    pub pad: bool,
}

impl GenerateParams {
    /// The settings for reading its prompts; its values have been validated.
    pub(crate) fn reading(&self) -> Reading {
        let text = &self.text;
        let mut options = PromptOptions::default();
        options.dialect = text.prompt_dialect;
        options.emphasis = text.emphasis;
        options.time_rule = text.time_rule;
        options.comma_backtrack = text.comma_backtrack;
        options.text_as_is = text.text_as_is;
        let calls = if self.sampling.sampler.is_second_order() {
            2
        } else {
            1
        };
        Reading {
            options,
            steps: Steps {
                base: self.sampling.steps * calls,
                hires: None,
                rule: text.time_rule,
            },
            clip_skip: match text.clip_skip_rule {
                ClipSkipRule::WebUi => text.clip_skip,
                ClipSkipRule::Diffusers => text.clip_skip + 1,
            },
            pad: text.pad_prompts,
        }
    }
}
