//! The layouts of CLIP as a whole: transformers' names, which are the canonical ones, and OpenAI's, which open_clip has too.

use super::{
    Names, Spelling,
    table::{self, Table},
};
use crate::config::ClipConfig;

/// The names of CLIP's parameters in a file.
pub struct ClipNames {
    /// What stands before all of them.
    prefix: &'static str,
    /// `None`: transformers' own.
    table: Option<Table>,
}

/// Numbers that OpenAI's archives hold beside the weights, and buffers.
const NEEDLESS: [&str; 5] = [
    "input_resolution",
    "context_length",
    "vocab_size",
    "position_ids",
    "attn_mask",
];

/// What stands before the names in files of training.
const PREFIXES: [&str; 3] = ["", "module.", "model."];

impl ClipNames {
    /// transformers' names, as in folders.
    pub fn transformers() -> Self {
        Self {
            prefix: "",
            table: None,
        }
    }

    /// OpenAI's and open_clip's names.
    pub fn open_clip(config: &ClipConfig, prefix: &'static str) -> Self {
        let text = &config.text;
        Self {
            prefix,
            table: Some(table::clip(text, config.vision.num_hidden_layers)),
        }
    }

    /// What stands before OpenAI's names in a file that has them.
    pub fn open_clip_prefix<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
        let mark = |name: &str| name.strip_suffix("visual.class_embedding").map(str::to_owned);
        let found = names.filter_map(mark).min()?;
        PREFIXES.into_iter().find(|prefix| *prefix == found)
    }
}

impl Names for ClipNames {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        let spelling = self.table.as_ref().and_then(|table| table.spell(canonical));
        let Spelling { name, view } = spelling.unwrap_or_else(|| canonical.to_owned().into());
        let name = format!("{}{name}", self.prefix);
        vec![Spelling { name, view }]
    }

    fn claims(&self, stored: &str) -> bool {
        let leaf = stored.rsplit('.').next().unwrap_or(stored);
        stored.starts_with(self.prefix) && !NEEDLESS.contains(&leaf)
    }
}
