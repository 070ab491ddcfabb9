//! What the calls of one model hand on to each other in a pass, and a state keeps.

use super::{cache::SavedCache, guide::GuidanceState, predict::Predictor};
use crate::Result;

/// Guidance's values, and the cache's.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallState {
    pub guidance: GuidanceState,
    pub cache: SavedCache,
}

impl CallState {
    /// What there is of a picture before step `next`; the cache's only if that step's U-Net is the one that made them.
    pub fn new(
        predictor: &Predictor<'_>,
        (picture, guidance): (usize, &GuidanceState),
        (next, same_unet): (usize, bool),
    ) -> Result<Self> {
        let cache = match same_unet {
            true => predictor.saved_cache(picture, next)?,
            false => SavedCache::default(),
        };
        Ok(Self {
            guidance: guidance.clone(),
            cache,
        })
    }
}
