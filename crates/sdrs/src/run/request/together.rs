//! Pictures of a batch that go through the network together.

use std::ops::Range;

use sd_core::{Quantization, models::unet_bytes};

use super::{Request, prepare::Run};

/// The most pictures that go together unless more are asked for: with these a GPU is busy, and more would only take more memory.
const MOST: usize = 8;

/// Where nobody tells how much memory a GPU has free, so many.
const UNKNOWN: usize = 4;

/// The share of the free memory that one call may take: what it takes is an estimate, and decoding wants some too.
const SHARE: f64 = 0.5;

impl Request<'_> {
    /// The pictures that are drawn next, together, of those that are left.
    pub(super) fn next_together(&self, run: &Run<'_>, left: Range<usize>) -> Range<usize> {
        left.start..left.start + self.together(run).clamp(1, left.len().max(1))
    }

    /// How many pictures go through the network together.
    fn together(&self, run: &Run<'_>) -> usize {
        let params = &self.params;
        // A sampler that finds its steps on the way finds others for each picture.
        let adaptive = run.passes.iter().any(|pass| pass.plan.is_adaptive());
        let alone = run.passes.iter().any(|pass| !pass.changes.allows_others());
        if params.size.batch_size == 1 || adaptive || alone {
            return 1;
        }
        let device = &run.own.model.target.device;
        match params.speed.batch_per_call {
            0 if device.is_cpu() => 1,
            0 => {
                let fit = match device.memory().and_then(|memory| memory.free) {
                    Some(free) => (free as f64 * SHARE / self.picture_bytes(run) as f64) as usize,
                    None => UNKNOWN,
                };
                fit.min(MOST)
            }
            asked => asked,
        }
    }

    /// Bytes that a call of the U-Net has in use for each picture, both halves of guidance together.
    fn picture_bytes(&self, run: &Run<'_>) -> usize {
        let bytes = run.passes.iter().map(|pass| {
            let model = &pass.components(run.own).model;
            let [_, _, height, width] = pass.shape;
            let side = match &pass.tiles {
                Some(tiles) => tiles.size,
                None => [height, width],
            };
            unet_bytes(
                model.unet.config(),
                model.target.dtype,
                Quantization::None,
                2,
                side,
            )
        });
        bytes.max().unwrap_or(0).max(1)
    }
}
