//! How strongly an adapter acts, and where.

use sd_core::weights::Part;

/// How strongly an adapter acts: 1 is as trained, 0 not at all, negative the opposite.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths {
    /// On the U-Net.
    pub unet: f64,
    /// On the text encoders.
    pub text_encoder: f64,
}

impl Strengths {
    /// The same everywhere.
    pub fn both(weight: f64) -> Self {
        Self {
            unet: weight,
            text_encoder: weight,
        }
    }

    pub(crate) fn of(&self, part: Part) -> f64 {
        match part {
            Part::TextEncoder => self.text_encoder,
            Part::Unet | Part::Vae => self.unet,
        }
    }
}

impl Default for Strengths {
    fn default() -> Self {
        Self::both(1.0)
    }
}
