//! Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416): the step from uncond to cond, of a bounded length, with less of the part
//! that is parallel to cond, which saturates colours, and with momentum against the steps of the calls before. As in the paper, and in
//! ComfyUI, it acts on denoised latents.

use sd_sched::Latent;

use super::{Pair, dot};
use crate::GenerateParams;

/// The method's settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdaptiveProjected {
    /// The factor on the part that is parallel to cond.
    eta: f64,
    /// The longest step, 0 for any.
    norm_threshold: f64,
    /// The factor on the running sum of the steps before.
    momentum: f64,
}

impl AdaptiveProjected {
    /// The method, unless it would change nothing.
    pub fn new(params: &GenerateParams) -> Option<Self> {
        let guidance = &params.guidance;
        let method = Self {
            eta: guidance.apg_eta,
            norm_threshold: guidance.apg_norm_threshold,
            momentum: guidance.apg_momentum,
        };
        (method != Self::neutral()).then_some(method)
    }

    /// Plain classifier-free guidance.
    pub fn neutral() -> Self {
        Self {
            eta: 1.0,
            norm_threshold: 0.0,
            momentum: 0.0,
        }
    }

    /// The guided latent; `sum` is the running sum, empty at first.
    pub fn guided(&self, Pair { cond, uncond }: &Pair, scale: f64, sum: &mut Vec<f32>) -> Vec<f32> {
        let mut step = Vec::lincomb(&[(1.0, cond), (-1.0, uncond)]);
        if self.momentum != 0.0 {
            if !sum.is_empty() {
                step = Vec::lincomb(&[(1.0, &step), (self.momentum, sum)]);
            }
            sum.clone_from(&step);
        }
        let length = dot(&step, &step).sqrt();
        let shrink = match self.norm_threshold > 0.0 && length > self.norm_threshold {
            true => self.norm_threshold / length,
            false => 1.0,
        };
        let square = dot(cond, cond);
        let parallel = match square > 0.0 {
            true => shrink * dot(&step, cond) / square,
            false => 0.0,
        };
        let beyond = scale - 1.0;
        Vec::lincomb(&[
            (1.0 + beyond * (self.eta - 1.0) * parallel, cond),
            (beyond * shrink, &step),
        ])
    }
}

#[cfg(test)]
mod tests {
    use sd_sched::Prediction;

    use super::{super::tests::Case, *};

    /// Three calls of diffusers' AdaptiveProjectedGuidance in the paper's formulation, whose scale is one less.
    #[test]
    fn is_diffusers() {
        let case = Case::new(Prediction::Sample);
        let settings = [
            ("plain", 0.0, 0.0, 0.0),
            ("bounded", 0.3, 3.0, 0.0),
            ("all", 0.0, 3.0, -0.5),
        ];
        for (name, eta, norm_threshold, momentum) in settings {
            let method = AdaptiveProjected {
                eta,
                norm_threshold,
                momentum,
            };
            let mut sum = Vec::new();
            for (call, [cond, uncond]) in [["cond", "uncond"], ["uncond", "empty"], ["empty", "cond"]]
                .into_iter()
                .enumerate()
            {
                let [cond, uncond] = [cond, uncond].map(|name| case.refs.f32s(name));
                let got = method.guided(&Pair { cond, uncond }, 7.5, &mut sum);
                case.refs.assert_close(&format!("apg.{name}.{call}"), &got, 1e-6);
            }
            assert_eq!(sum.is_empty(), momentum == 0.0);
        }
    }
}
