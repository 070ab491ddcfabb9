//! Kinds of files and folders.

use std::fmt;

use serde::Serialize;

use crate::config::Part;

/// The kind of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Everything that a pipeline needs.
    Checkpoint,
    /// A U-Net alone.
    Unet,
    /// An autoencoder alone.
    Vae,
    /// A text encoder alone.
    TextEncoder,
    /// SDXL's second text encoder alone.
    #[serde(rename = "text_encoder_2")]
    TextEncoder2,
    /// A LoRA or a relative of it.
    Lora,
    /// Vectors for a word of the prompt.
    TextualInversion,
    /// A ControlNet.
    ControlNet,
    /// None of these.
    Unknown,
}

impl Kind {
    /// The part that a file of this kind is alone.
    pub(super) fn part(self) -> Option<Part> {
        match self {
            Self::Unet => Some(Part::Unet),
            Self::Vae => Some(Part::Vae),
            Self::TextEncoder => Some(Part::TextEncoder),
            Self::TextEncoder2 => Some(Part::TextEncoder2),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "a checkpoint",
            Self::Unet => "a U-Net alone",
            Self::Vae => "a VAE alone",
            Self::TextEncoder => "a text encoder alone",
            Self::TextEncoder2 => "a second text encoder alone",
            Self::Lora => "a LoRA",
            Self::TextualInversion => "a textual inversion embedding",
            Self::ControlNet => "a ControlNet",
            Self::Unknown => "a file of unknown kind",
        })
    }
}
