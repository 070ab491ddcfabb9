//! The calls that go without the negative prompt.

use sd_sched::Dialect;

use crate::GenerateParams;

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
    /// The similarity of cond and uncond at which guidance ends for good; 0 is none.
    adaptive: f64,
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
            adaptive: params.guidance.adaptive_guidance,
            interval: Some([
                params.guidance.guidance_sigma_min,
                params.guidance.guidance_sigma_max.unwrap_or(f64::INFINITY),
            ]),
        }
    }

    /// The similarity of cond and uncond at which guidance ends for good.
    pub fn similarity(&self) -> Option<f64> {
        (self.adaptive > 0.0).then_some(self.adaptive)
    }

    /// Whether a call, counted from 0, goes without the negative prompt.
    pub fn skips(&self, call: usize, sigma: f64, timestep: f64) -> bool {
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
