//! The weights of an adapter on networks, blocks and layers.

use crate::{
    Error, Result,
    blocks::BlockWeights,
    names::{Network, Place},
};

/// The weights of an adapter: 1 is as trained, 0 is no effect, negative the opposite.
#[derive(Debug, Clone, PartialEq)]
pub struct Strengths {
    /// On the U-Net.
    pub unet: f64,
    /// On the text encoders.
    pub text_encoder: f64,
    /// Factors for single blocks, with which the others are multiplied.
    pub blocks: Option<BlockWeights>,
    /// Of a LoRA's ranks, only the first so many (the WebUI's `dyn`); `alpha` is still divided by all. Other kinds have no order among
    /// their ranks and are not cut.
    pub ranks: Option<usize>,
    /// Whether modules without a place in the model are passed over; they are an error otherwise.
    pub allow_unmatched: bool,
}

impl Strengths {
    /// The same everywhere.
    pub fn both(weight: f64) -> Self {
        Self {
            unet: weight,
            text_encoder: weight,
            blocks: None,
            ranks: None,
            allow_unmatched: false,
        }
    }

    /// Refuses strengths that give no picture, as [`AdapterFile::bind`](crate::AdapterFile::bind) does.
    ///
    /// # Errors
    /// [`Error::Strength`] for a weight that is no number from -1000 to 1000, or 0 ranks.
    pub fn check(&self) -> Result<()> {
        /// Far beyond any use.
        const MAX: f64 = 1000.0;
        let blocks = self.blocks.iter().flat_map(BlockWeights::factors);
        let named = [("unet", self.unet), ("text_encoder", self.text_encoder)].into_iter();
        for (name, value) in named.chain(blocks.map(|factor| ("blocks", factor))) {
            if !(value.is_finite() && value.abs() <= MAX) {
                return Err(Error::Strength(format!(
                    "{name} must be a number from -{MAX} to {MAX}, not {value}"
                )));
            }
        }
        match self.ranks {
            Some(0) => Err(Error::Strength("ranks must be at least 1".into())),
            _ => Ok(()),
        }
    }

    /// On one layer.
    pub(crate) fn at(&self, place: &Place) -> f32 {
        let whole = match place.network {
            Network::Unet => self.unet,
            Network::TextEncoder | Network::TextEncoder2 => self.text_encoder,
        };
        let block = self.blocks.as_ref().map_or(1.0, |blocks| blocks.at(place));
        (whole * block) as f32
    }
}

impl Default for Strengths {
    fn default() -> Self {
        Self::both(1.0)
    }
}
