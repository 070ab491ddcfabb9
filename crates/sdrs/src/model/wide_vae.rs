//! An autoencoder in f32 beside one in narrower numbers, for pictures whose values go beyond these.
//!
//! SDXL's own autoencoder has activations over f16's largest number, 65504, in nearly every picture, and SD1's in some; what comes of
//! them is not a number. Each picture is tried in the narrow numbers first, so that it doesn't depend on those before it.

use std::sync::{Arc, Mutex, PoisonError};

use sd_core::{Dtype, models::Vae, weights::Loaded};

use super::{Model, Runtime};
use crate::Result;

/// The autoencoder in f32, loaded when it is first needed and kept from then on.
#[derive(Default)]
pub(super) struct WideVae(Mutex<Option<Arc<Loaded<Vae>>>>);

impl Model {
    /// The values that `work` makes of `input` on the autoencoder, or, if not all of them are finite, on the one in f32.
    pub(super) fn on_vae(
        &self,
        vae: &Arc<Loaded<Vae>>,
        input: &[f32],
        runtime: &Runtime,
        work: impl Fn(&Vae) -> Result<Vec<f32>> + Sync,
    ) -> Result<Vec<f32>> {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let made = runtime.compute(|| work(vae))?;
        let narrow = self.target.dtype;
        // A wider type doesn't help what isn't finite before. Memory is limited in bf16 alone, whose numbers go as far as f32's.
        if narrow == Dtype::F32 || finite(&made) || !finite(input) || runtime.limits_memory() {
            return Ok(made);
        }
        runtime.warn(format_args!(
            "the VAE's values are too large for {narrow}: it works on this picture in f32"
        ));
        let vae = self.wide_vae(vae, runtime)?;
        runtime.compute(|| work(&vae))
    }

    fn wide_vae(&self, narrow: &Loaded<Vae>, runtime: &Runtime) -> Result<Arc<Loaded<Vae>>> {
        let mut kept = self.wide_vae.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vae) = &*kept {
            return Ok(vae.clone());
        }
        let vae = runtime.timed("loaded the VAE in f32", || Ok(narrow.in_type(Dtype::F32)?))?;
        Ok(kept.insert(vae.into()).clone())
    }
}

#[cfg(test)]
mod tests;
