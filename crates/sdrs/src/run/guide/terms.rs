//! What the methods that evaluate the network once more add to a guided latent.

use sd_core::models::UNet;
use sd_sched::Latent;

use super::{Guidance, GuidanceState, Guide};
use crate::{
    Result,
    run::{
        answers::Predicted,
        predict::{Batch, Predictor, Variant},
    },
};

/// Terms that are added to a guided latent.
#[derive(Default)]
struct Terms<'a> {
    /// Of latents that are there.
    kept: Vec<(f64, &'a Vec<f32>)>,
    /// Of latents that were made for it.
    made: Vec<(f64, Vec<f32>)>,
}

impl Terms<'_> {
    fn sum(self) -> Option<Vec<f32>> {
        if self.kept.is_empty() {
            return None;
        }
        let made = self.made.iter().map(|(factor, latent)| (*factor, latent));
        let terms: Vec<_> = self.kept.iter().copied().chain(made).collect();
        Some(Vec::lincomb(&terms))
    }
}

impl Guidance {
    /// The terms of the methods that evaluate the network once more, summed for each picture.
    pub(super) fn added(
        &self,
        predictor: &mut Predictor<'_>,
        states: &mut [GuidanceState],
        (batch, unet): (Batch<'_>, &UNet),
        guide: Guide,
        predicted: &[Vec<Predicted>],
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let conds = self.weights.len();
        let mut terms: Vec<Terms> = predicted.iter().map(|_| Terms::default()).collect();
        for (i, method) in self.methods.perturbed.iter().enumerate() {
            let variant = Variant {
                number: 1 + i,
                perturbed: Some((method.perturbation, &method.layers)),
                ..Variant::default()
            };
            let worse = predictor.predict(batch, unet, 0..conds, variant)?;
            for ((terms, own), worse) in terms.iter_mut().zip(predicted).zip(worse) {
                for ((weight, own), worse) in self.weights.iter().zip(own).zip(worse) {
                    terms.kept.push((method.scale * weight, &own.denoised));
                    terms.made.push((-method.scale * weight, worse.denoised));
                }
            }
        }
        if self.methods.image_scale != 0.0 && guide == Guide::Full {
            // InstructPix2Pix (Brooks et al. 2023, arXiv:2211.09800), equation 3: from neither text nor picture to the picture alone.
            let variant = Variant {
                number: 2 + self.methods.perturbed.len(),
                blank: true,
                ..Variant::default()
            };
            let neither = predictor.predict(batch, unet, conds..conds + 1, variant)?;
            let scale = self.methods.image_scale;
            for ((terms, own), mut neither) in terms.iter_mut().zip(predicted).zip(neither) {
                terms.kept.push((scale, &own[conds].denoised));
                terms.made.push((-scale, neither.swap_remove(0).denoised));
            }
        }
        if let Some(method) = &self.methods.self_attention {
            // Of uncond, or in its place the first cond.
            let part = if guide == Guide::Full { conds } else { 0 };
            let [.., height, width] = predictor.shape;
            let mut degraded = Vec::new();
            for (place, ((picture, x), own)) in batch.latents.iter().zip(predicted).enumerate() {
                let (own, state) = (&own[part], &mut states[*picture]);
                // Between whole calls of the network the last one's serve.
                if let Some(received) = &own.received {
                    state.received = Some(received.clone());
                }
                if let Some(received) = &state.received {
                    let made = method.degraded(x, &own.denoised, received, [height, width]);
                    degraded.push((place, made));
                }
            }
            if !degraded.is_empty() {
                let latents = degraded
                    .iter()
                    .map(|(place, made)| (batch.latents[*place].0, made));
                let latents: Vec<_> = latents.collect();
                let worse = Batch {
                    latents: &latents,
                    ..batch
                };
                let variant = Variant {
                    number: 1 + self.methods.perturbed.len(),
                    ..Variant::default()
                };
                let worse = predictor.predict(worse, unet, part..part + 1, variant)?;
                let c_skip = predictor.model.sampling.scalings(batch.call.sigma).c_skip;
                for ((place, degraded), mut worse) in degraded.into_iter().zip(worse) {
                    let (terms, (_, x)) = (&mut terms[place], batch.latents[place]);
                    // The difference of the network's outputs, as a denoised latent has it.
                    terms.kept.push((method.scale, &predicted[place][part].denoised));
                    terms.kept.push((-method.scale * c_skip, x));
                    terms.made.push((-method.scale, worse.swap_remove(0).denoised));
                    terms.made.push((method.scale * c_skip, degraded));
                }
            }
        }
        Ok(terms.into_iter().map(Terms::sum).collect())
    }
}
