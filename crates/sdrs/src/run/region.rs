//! The part of a picture that is drawn anew, while the rest stays.

use std::borrow::Cow;

use sd_sched::{DenoiseCall, Denoised, Latent, ModelSampling, Plan};

/// A mask over latents, and the latents that stay where it doesn't cover them.
pub(crate) struct Region {
    /// For each value of the latents how much of it is drawn anew, 0 to 1.
    pub mask: Vec<f32>,
    pub latents: Vec<f32>,
    /// Whether the mask says for how much of the run its places are drawn anew, and not how much of them.
    pub soft: bool,
}

/// A region during a pass.
pub(crate) struct Held<'a> {
    region: &'a Region,
    rule: Rule<'a>,
}

enum Rule<'a> {
    /// The kept latents are put into what the network gives (WebUI, samplers over sigmas).
    After,
    /// They are put, without noise, into what it is given (WebUI, samplers over timesteps).
    Before,
    /// With their noise into what it is given, and without into what it gives, under a mask that shrinks: differential diffusion as ComfyUI
    /// has it.
    Soft {
        noise: &'a [f32],
        model: &'a ModelSampling,
        /// The timesteps of the first and the last noise level.
        between: [f64; 2],
    },
}

impl Region {
    /// The region in a pass that begins at `noise`.
    pub fn held<'a>(
        &'a self,
        plan: &Plan,
        noise: &'a [f32],
        over_timesteps: bool,
        model: &'a ModelSampling,
    ) -> Held<'a> {
        let rule = match (self.soft, over_timesteps) {
            (true, _) => {
                let sigmas = plan.sigmas();
                let last = sigmas[sigmas.len() - 1].max(model.sigma_min());
                Rule::Soft {
                    noise,
                    model,
                    between: [sigmas[0], last].map(|sigma| model.timestep(sigma)),
                }
            }
            (false, true) => Rule::Before,
            (false, false) => Rule::After,
        };
        Held { region: self, rule }
    }
}

impl Held<'_> {
    /// What the network is given in the place of `x`, if not `x`.
    pub fn given(&self, x: &[f32], call: &DenoiseCall) -> Option<Vec<f32>> {
        let Region { mask, latents, .. } = self.region;
        match self.rule {
            Rule::After => None,
            Rule::Before => {
                // The sampler's latents are variance preserving there.
                let scale = (1.0 + call.sigma.powi(2)).sqrt();
                let kept = Vec::lincomb(&[(scale, latents)]);
                Some(blend(x, mask, &kept))
            }
            Rule::Soft { noise, .. } => {
                let noisy = Vec::lincomb(&[(1.0, latents), (call.sigma, &noise.to_vec())]);
                Some(blend(x, &self.mask(call), &noisy))
            }
        }
    }

    /// The denoised latents of `x`, those that stay put in their place. `denoised` is what the network with its guidance makes of what it was
    /// [given](Self::given).
    pub fn denoised(
        &self,
        x: &Vec<f32>,
        given: Option<&Vec<f32>>,
        call: &DenoiseCall,
        denoised: Denoised<Vec<f32>>,
    ) -> Denoised<Vec<f32>> {
        let latents = &self.region.latents;
        match (&self.rule, given) {
            (Rule::Before, Some(given)) => {
                // It takes the noise that the network found for its own.
                let shift = |denoised: Vec<f32>| Vec::lincomb(&[(1.0, &denoised), (1.0, x), (-1.0, given)]);
                Denoised {
                    denoised: shift(denoised.denoised),
                    uncond: denoised.uncond.map(shift),
                }
            }
            _ => over(denoised, &self.mask(call), latents),
        }
    }

    /// The part that is drawn anew at a call.
    fn mask(&self, call: &DenoiseCall) -> Cow<'_, [f32]> {
        let Rule::Soft {
            model,
            between: [from, to],
            ..
        } = self.rule
        else {
            return Cow::Borrowed(&self.region.mask);
        };
        let threshold = (model.timestep(call.sigma) - to) / (from - to);
        // One level alone draws everything anew that the mask covers at all.
        let threshold = if threshold.is_nan() { 1.0 } else { threshold } as f32;
        let shares = self.region.mask.iter();
        shares
            .map(|&share| f32::from(u8::from(share >= threshold)))
            .collect()
    }

    /// The latents of a finished pass, those that stay put in their place.
    pub fn kept(&self, sampled: Vec<f32>) -> Vec<f32> {
        match self.rule {
            Rule::Soft { .. } => sampled,
            _ => blend(&sampled, &self.region.mask, &self.region.latents),
        }
    }
}

fn over(denoised: Denoised<Vec<f32>>, mask: &[f32], latents: &[f32]) -> Denoised<Vec<f32>> {
    Denoised {
        denoised: blend(&denoised.denoised, mask, latents),
        uncond: denoised.uncond.map(|uncond| blend(&uncond, mask, latents)),
    }
}

/// `new` where the mask is 1, `old` where it is 0.
pub(crate) fn blend(new: &[f32], mask: &[f32], old: &[f32]) -> Vec<f32> {
    let values = new.iter().zip(mask).zip(old);
    values
        .map(|((new, mask), old)| new * mask + old * (1.0 - mask))
        .collect()
}
