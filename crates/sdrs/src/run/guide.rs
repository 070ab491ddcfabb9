//! Guidance: one denoised latent made of one for each prompt.

use sd_sched::{DenoiseCall, Denoised, Dialect, Latent};

use crate::GenerateParams;

/// Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) over the prompts that AND joins:
/// `uncond + cfg_scale * sum(weight * (cond - uncond))`.
pub(crate) struct Guidance {
    /// The weight of each cond.
    pub weights: Vec<f64>,
    pub cfg_scale: f64,
    pub rule: UncondRule,
}

/// The denoised latents that a call is guided by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guide {
    /// One cond at scale 1: uncond would cancel out.
    Cond,
    /// Conds without uncond: the first cond stands for it, and the scale is 1, as in the WebUI.
    Conds,
    /// Conds and uncond.
    Full,
}

impl Guidance {
    /// The guidance of a call.
    pub fn guide(&self, call: &DenoiseCall) -> Guide {
        let plain = self.weights.len() == 1 && self.weights[0] * self.cfg_scale == 1.0;
        match plain && !call.needs_uncond {
            true => Guide::Cond,
            false if self.rule.skips(call.call, call.sigma, call.timestep) => Guide::Conds,
            false => Guide::Full,
        }
    }

    /// The number of latents that it takes: the conds, then uncond.
    pub fn count(&self, guide: Guide) -> usize {
        self.weights.len() + usize::from(guide == Guide::Full)
    }

    /// The guided latent made of `denoised`, one latent for each text that `guide` asks for.
    pub fn apply(&self, guide: Guide, mut denoised: Vec<Vec<f32>>) -> Denoised<Vec<f32>> {
        let (uncond, scale) = match guide {
            Guide::Cond => return denoised.swap_remove(0).into(),
            Guide::Conds => (denoised[0].clone(), 1.0),
            Guide::Full => (denoised.pop().unwrap_or_default(), self.cfg_scale),
        };
        if guide == Guide::Conds && denoised.len() == 1 {
            return Denoised {
                denoised: denoised.swap_remove(0),
                uncond: Some(uncond),
            };
        }
        let scales: Vec<f64> = self.weights.iter().map(|weight| weight * scale).collect();
        let mut terms = vec![(1.0 - scales.iter().sum::<f64>(), &uncond)];
        terms.extend(scales.iter().copied().zip(&denoised));
        Denoised {
            denoised: Vec::lincomb(&terms),
            uncond: Some(uncond),
        }
    }
}

/// The calls that go without the negative prompt. By default none does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UncondRule {
    /// No call has a negative prompt.
    never: bool,
    ngms: f64,
    ngms_all_steps: bool,
    /// Whether `ngms` is a timestep.
    over_timesteps: bool,
    skip_early_cfg: f64,
    /// Calls of the denoiser that the WebUI expects.
    calls: usize,
    /// Guidance acts above the first noise level and up to the second.
    interval: Option<[f64; 2]>,
}

impl UncondRule {
    /// No call has one, as the U-Net itself was taught guidance.
    pub fn never() -> Self {
        Self {
            never: true,
            ..Self::default()
        }
    }

    pub fn new(params: &GenerateParams) -> Self {
        Self {
            never: false,
            ngms: params.guidance.ngms,
            ngms_all_steps: params.guidance.ngms_all_steps,
            over_timesteps: params.sampling.sampler.is_timestep_based(Dialect::WebUi),
            skip_early_cfg: params.guidance.skip_early_cfg,
            calls: params.reading().steps.base,
            interval: Some([
                params.guidance.guidance_sigma_min,
                params.guidance.guidance_sigma_max.unwrap_or(f64::INFINITY),
            ]),
        }
    }

    /// Whether a call, counted from 0, goes without the negative prompt.
    fn skips(&self, call: usize, sigma: f64, timestep: f64) -> bool {
        // The WebUI's samplers over timesteps compare those.
        let level = if self.over_timesteps { timestep } else { sigma };
        let early = self.skip_early_cfg > 0.0 && call as f64 / self.calls as f64 <= self.skip_early_cfg;
        let late = (call % 2 == 1 || self.ngms_all_steps) && level < self.ngms;
        let outside = self
            .interval
            .is_some_and(|[min, max]| !(sigma > min && sigma <= max));
        self.never || early || late || outside
    }
}

#[cfg(test)]
mod tests {
    use sd_sched::Sampler;

    use super::*;

    /// The calls, of 20 at sigmas 20, 19, .., 1, that go without the negative prompt.
    fn skipped(change: impl Fn(&mut GenerateParams)) -> Vec<usize> {
        let mut params = GenerateParams::default();
        change(&mut params);
        let rule = UncondRule::new(&params);
        let skips = |call: &usize| {
            let sigma = 20.0 - *call as f64;
            rule.skips(*call, sigma, 50.0 * sigma)
        };
        (0..20).filter(skips).collect()
    }

    #[test]
    fn calls_without_guidance() {
        assert_eq!(skipped(|_| {}), [0; 0]);
        // Below the threshold, every second call, or all.
        assert_eq!(skipped(|p| p.guidance.ngms = 5.0), [17, 19]);
        let all = |p: &mut GenerateParams| (p.guidance.ngms, p.guidance.ngms_all_steps) = (5.0, true);
        assert_eq!(skipped(all), [16, 17, 18, 19]);
        // A sampler over timesteps compares timesteps.
        let ddim = |p: &mut GenerateParams| (p.guidance.ngms, p.sampling.sampler) = (150.0, Sampler::Ddim);
        assert_eq!(skipped(ddim), [19]);
        // The first call is number 0 of 20, the third is at a tenth.
        assert_eq!(skipped(|p| p.guidance.skip_early_cfg = 0.1), [0, 1, 2]);
        // Samplers of two calls a step have twice as many.
        let heun =
            |p: &mut GenerateParams| (p.guidance.skip_early_cfg, p.sampling.sampler) = (0.1, Sampler::Heun);
        assert_eq!(skipped(heun), [0, 1, 2, 3, 4]);
        let interval = |p: &mut GenerateParams| {
            (p.guidance.guidance_sigma_min, p.guidance.guidance_sigma_max) = (3.0, Some(18.0));
        };
        assert_eq!(skipped(interval), [0, 1, 17, 18, 19]);
    }
}
