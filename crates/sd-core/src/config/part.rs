//! The parts of a pipeline, and the families of models that have them.

use std::fmt;

use serde::Serialize;

/// A part of a pipeline that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The text encoder; SDXL's first.
    TextEncoder,
    /// SDXL's second text encoder.
    #[serde(rename = "text_encoder_2")]
    TextEncoder2,
    /// The U-Net.
    Unet,
    /// The autoencoder.
    Vae,
}

impl Part {
    /// All parts that any pipeline has, in the order in which they are loaded.
    pub const ALL: &[Self] = &[Self::TextEncoder, Self::TextEncoder2, Self::Unet, Self::Vae];

    /// Whether it is a text encoder.
    pub fn is_text_encoder(self) -> bool {
        matches!(self, Self::TextEncoder | Self::TextEncoder2)
    }

    /// Its folder's name in diffusers' layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Unet => "unet",
            Self::Vae => "vae",
        }
    }

    /// Its name in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::TextEncoder => "text encoder",
            Self::TextEncoder2 => "second text encoder",
            Self::Unet => "U-Net",
            Self::Vae => "VAE",
        }
    }

    /// The stem of its weight files in diffusers' layout.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::TextEncoder | Self::TextEncoder2 => "model",
            Self::Unet | Self::Vae => "diffusion_pytorch_model",
        }
    }
}

/// The family of models that a checkpoint belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Family {
    /// Stable Diffusion 1.x.
    Sd1,
    /// Stable Diffusion 2.x.
    Sd2,
    /// SD1 distilled to fewer layers (BK-SDM, small-sd).
    Sd1Small,
    /// The same without the deepest level (tiny-sd).
    Sd1Tiny,
    /// Stable Diffusion XL.
    Sdxl,
    /// The second model of SDXL, for the last steps.
    SdxlRefiner,
    /// SDXL distilled to half its size.
    Ssd1b,
    /// SDXL distilled further.
    Vega,
    /// SDXL distilled to fewer layers and no middle (Lee et al. 2023, arXiv:2312.04005).
    Koala700m,
    /// The same with a middle.
    Koala1b,
    /// The structure of these with other widths, or one that names and shapes don't show.
    #[default]
    Other,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sd1 => "SD1",
            Self::Sd2 => "SD2",
            Self::Sd1Small => "SD1, distilled (small)",
            Self::Sd1Tiny => "SD1, distilled (tiny)",
            Self::Sdxl => "SDXL",
            Self::SdxlRefiner => "SDXL refiner",
            Self::Ssd1b => "SSD-1B",
            Self::Vega => "Segmind Vega",
            Self::Koala700m => "KOALA-700M",
            Self::Koala1b => "KOALA-1B",
            Self::Other => "other",
        })
    }
}

impl Family {
    /// The family that it was distilled from, whose text encoders and autoencoder it has: itself, if it was not distilled.
    pub fn base(self) -> Self {
        match self {
            Self::Sd1Small | Self::Sd1Tiny => Self::Sd1,
            Self::Ssd1b | Self::Vega | Self::Koala700m | Self::Koala1b => Self::Sdxl,
            other => other,
        }
    }

    /// The parts of its pipeline, in the order in which they are loaded.
    pub fn parts(self) -> &'static [Part] {
        match self.base() {
            Self::Sdxl => Part::ALL,
            Self::SdxlRefiner => &[Part::TextEncoder2, Part::Unet, Part::Vae],
            _ => &[Part::TextEncoder, Part::Unet, Part::Vae],
        }
    }
}
