//! The layouts of BLIP for captions: transformers' names, and those of its authors.

use super::{
    Names, Spelling,
    table::{self, Table},
};
use crate::config::BlipConfig;

/// The names of BLIP's parameters in a file.
pub struct BlipNames {
    prefix: &'static str,
    table: Table,
    tied: bool,
}

/// What stands before the names in the authors' files.
const PREFIXES: [&str; 3] = ["", "model.", "module."];

/// Parts of BLIP that captions don't need: the encoder of texts, heads that compare, averages, and what training keeps.
const OTHER_PARTS: [&str; 13] = [
    "text_encoder.",
    "text_encoder_m.",
    "text_decoder_m.",
    "visual_encoder_m.",
    "vision_proj",
    "text_proj",
    "itm_head.",
    "image_queue",
    "text_queue",
    "queue_ptr",
    "ptr_queue",
    "idx_queue",
    "temp",
];

impl BlipNames {
    /// transformers' names.
    pub fn transformers(config: &BlipConfig) -> Self {
        Self {
            prefix: "",
            table: table::blip(config, false),
            tied: config.text.tie_word_embeddings,
        }
    }

    /// The names of the authors' `.pth` files.
    pub fn original(config: &BlipConfig, prefix: &'static str) -> Self {
        Self {
            prefix,
            table: table::blip(config, true),
            tied: config.text.tie_word_embeddings,
        }
    }

    /// What stands before the authors' names in a file that has them.
    pub fn original_prefix<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
        let mark = |name: &str| name.strip_suffix("visual_encoder.cls_token").map(str::to_owned);
        let found = names.filter_map(mark).min()?;
        PREFIXES.into_iter().find(|prefix| *prefix == found)
    }
}

/// The last layer's weights and bias, and the other places that they have.
const HEAD: [[&str; 2]; 2] = [
    [
        "text_decoder.cls.predictions.decoder.weight",
        "text_decoder.bert.embeddings.word_embeddings.weight",
    ],
    [
        "text_decoder.cls.predictions.decoder.bias",
        "text_decoder.cls.predictions.bias",
    ],
];

impl Names for BlipNames {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        let spelt = match HEAD.iter().find(|head| head[0] == canonical) {
            Some([own, shared]) if self.tied => vec![(*shared).to_owned().into(), (*own).to_owned().into()],
            Some(both) => both.iter().map(|name| (*name).to_owned().into()).collect(),
            None => vec![
                self.table
                    .spell(canonical)
                    .unwrap_or_else(|| canonical.to_owned().into()),
            ],
        };
        let prefixed = |Spelling { name, view }| Spelling {
            name: format!("{}{name}", self.prefix),
            view,
        };
        spelt.into_iter().map(prefixed).collect()
    }

    fn claims(&self, stored: &str) -> bool {
        let inner = stored.strip_prefix(self.prefix).unwrap_or(stored);
        // One of two places is enough.
        let of_head = HEAD.iter().flatten().any(|name| *name == inner);
        let other = OTHER_PARTS.iter().any(|part| inner.starts_with(part));
        !other && !of_head && !inner.ends_with("position_ids")
    }
}
