//! What the calls of one model hand on to each other in a pass, and a state keeps.

use super::{cache::SavedFeatures, guide::GuidanceState, predict::Predictor};
use crate::Result;

/// Guidance's values, and deep features.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallState {
    pub guidance: GuidanceState,
    pub features: Vec<SavedFeatures>,
}

impl CallState {
    /// What there is before step `next`; features only if that step's U-Net is the one that made them.
    pub fn new(
        predictor: &Predictor<'_>,
        guidance: &GuidanceState,
        (next, same_unet): (usize, bool),
    ) -> Result<Self> {
        let features = match same_unet {
            true => predictor.features(next)?,
            false => Vec::new(),
        };
        Ok(Self {
            guidance: guidance.clone(),
            features,
        })
    }
}
