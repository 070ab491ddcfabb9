//! Guidance: one denoised latent made of one for each prompt.
//!
//! Classifier-free guidance goes from uncond through cond, and on. Methods around it act one after another: what changes the two (`perp_neg`,
//! `cfg_zero_star`), what goes from one to the other (`adaptive_projected`, else the plain sum), what comes after (`dynamic_threshold`,
//! `rescale`). Each is a file, and by default none acts.

mod adaptive_projected;
mod cfg_zero_star;
mod dynamic_threshold;
mod perp_neg;
mod rescale;
mod rule;

use sd_core::models::UNet;
use sd_sched::{DenoiseCall, Denoised, Latent, Scalings};

use super::predict::Predictor;
use crate::{GenerateParams, Result};

use adaptive_projected::AdaptiveProjected;
use dynamic_threshold::DynamicThreshold;
pub(crate) use rule::UncondRule;

/// Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) over the prompts that AND joins:
/// `uncond + cfg_scale * sum(weight * (cond - uncond))`.
pub(crate) struct Guidance {
    /// The weight of each cond.
    pub weights: Vec<f64>,
    pub cfg_scale: f64,
    pub rule: UncondRule,
    pub methods: Methods,
}

/// Methods around classifier-free guidance. By default none acts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Methods {
    perp_neg_scale: f64,
    cfg_zero_star: bool,
    adaptive_projected: Option<AdaptiveProjected>,
    dynamic_threshold: Option<DynamicThreshold>,
    rescale: f64,
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

/// Values that guidance hands on from call to call of one picture.
#[derive(Default)]
pub(crate) struct GuidanceState {
    /// The running sum of [`AdaptiveProjected`].
    momentum: Vec<f32>,
}

/// The latent that was denoised: a denoised one is `c_skip * x + c_out * output`.
struct Origin<'a> {
    x: &'a Vec<f32>,
    scalings: Scalings,
    /// Channels of a latent.
    channels: usize,
}

/// Two denoised latents. Guidance goes from `uncond` through `cond`, which are those of several prompts together, at scale 1.
struct Pair {
    cond: Vec<f32>,
    uncond: Vec<f32>,
}

impl Methods {
    pub fn new(params: &GenerateParams) -> Self {
        let guidance = &params.guidance;
        Self {
            perp_neg_scale: guidance.perp_neg_scale,
            cfg_zero_star: guidance.cfg_zero_star,
            adaptive_projected: AdaptiveProjected::new(params),
            dynamic_threshold: DynamicThreshold::new(params),
            rescale: guidance.guidance_rescale,
        }
    }

    /// Whether the denoised latent of the empty prompt is needed, behind uncond.
    pub fn need_empty(&self) -> bool {
        self.perp_neg_scale != 0.0
    }
}

impl Guidance {
    /// The denoised latent that guidance makes of `x`.
    pub fn denoise(
        &self,
        predictor: &mut Predictor<'_>,
        state: &mut GuidanceState,
        (x, call): (&Vec<f32>, &DenoiseCall),
        unet: &UNet,
    ) -> Result<Denoised<Vec<f32>>> {
        let guide = self.guide(call);
        let denoised = predictor.predict(x, call, unet, self.count(guide))?;
        let origin = Origin {
            x,
            scalings: predictor.model.sampling.scalings(call.sigma),
            channels: predictor.shape[1],
        };
        Ok(self.apply(guide, denoised, &origin, state))
    }

    /// The guidance of a call.
    fn guide(&self, call: &DenoiseCall) -> Guide {
        let plain = self.weights.len() == 1 && self.weights[0] * self.cfg_scale == 1.0;
        match plain && !call.needs_uncond && !self.methods.need_empty() {
            true => Guide::Cond,
            false if self.rule.skips(call.call, call.sigma, call.timestep) => Guide::Conds,
            false => Guide::Full,
        }
    }

    /// The number of latents that it takes: the conds, then uncond, then that of the empty prompt.
    fn count(&self, guide: Guide) -> usize {
        let behind = match guide {
            Guide::Full => 1 + usize::from(self.methods.need_empty()),
            Guide::Cond | Guide::Conds => 0,
        };
        self.weights.len() + behind
    }

    /// The guided latent made of `denoised`, one latent for each text that `guide` asks for.
    fn apply(
        &self,
        guide: Guide,
        mut denoised: Vec<Vec<f32>>,
        origin: &Origin,
        state: &mut GuidanceState,
    ) -> Denoised<Vec<f32>> {
        let empty = (guide == Guide::Full && self.methods.need_empty()).then(|| denoised.pop());
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
        let guided = match guide == Guide::Full && self.methods != Methods::default() {
            true => self.by_methods(&denoised, &uncond, empty.flatten(), origin, state),
            false => self.sum(&denoised, &uncond, scale),
        };
        Denoised {
            denoised: guided,
            uncond: Some(uncond),
        }
    }

    /// `uncond + scale * sum(weight * (cond - uncond))`.
    fn sum(&self, conds: &[Vec<f32>], uncond: &Vec<f32>, scale: f64) -> Vec<f32> {
        let scales: Vec<f64> = self.weights.iter().map(|weight| weight * scale).collect();
        let mut terms = vec![(1.0 - scales.iter().sum::<f64>(), uncond)];
        terms.extend(scales.iter().copied().zip(conds));
        Vec::lincomb(&terms)
    }

    /// The guided latent where methods act.
    fn by_methods(
        &self,
        conds: &[Vec<f32>],
        uncond: &Vec<f32>,
        empty: Option<Vec<f32>>,
        origin: &Origin,
        state: &mut GuidanceState,
    ) -> Vec<f32> {
        let (methods, scale) = (&self.methods, self.cfg_scale);
        let mut pair = match empty {
            Some(empty) => perp_neg::pair(
                &self.sum(conds, &empty, 1.0),
                uncond,
                empty,
                methods.perp_neg_scale,
            ),
            None => Pair {
                cond: self.sum(conds, uncond, 1.0),
                uncond: uncond.clone(),
            },
        };
        if methods.cfg_zero_star {
            pair.uncond = cfg_zero_star::scaled_uncond(&pair, origin);
        }
        let mut guided = match &methods.adaptive_projected {
            Some(method) => method.guided(&pair, scale, &mut state.momentum),
            None => pair.guided(scale),
        };
        if let Some(method) = &methods.dynamic_threshold {
            guided = method.limited(&guided, &pair, origin);
        }
        if methods.rescale != 0.0 {
            guided = rescale::rescaled(&guided, &pair.cond, methods.rescale, origin);
        }
        guided
    }
}

impl Pair {
    /// `uncond + scale * (cond - uncond)`.
    fn guided(&self, scale: f64) -> Vec<f32> {
        Vec::lincomb(&[(1.0 - scale, &self.uncond), (scale, &self.cond)])
    }
}

/// The sum of the products of two latents' values.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use goldens::Refs;
    use sd_sched::{ModelSampling, Prediction};

    use super::*;

    /// The arrays of a reference, as denoised latents at a noise level.
    pub(super) struct Case {
        pub refs: Refs,
        x: Vec<f32>,
        scalings: Scalings,
    }

    impl Case {
        pub fn new(prediction: Prediction) -> Self {
            let refs = Refs::open("guidance.safetensors");
            Self {
                x: refs.f32s("x"),
                scalings: ModelSampling::stable_diffusion(prediction).scalings(2.0),
                refs,
            }
        }

        pub fn origin(&self) -> Origin<'_> {
            Origin {
                x: &self.x,
                scalings: self.scalings,
                channels: 4,
            }
        }

        /// The denoised latent of a network's output.
        pub fn denoised(&self, output: &str) -> Vec<f32> {
            let Scalings { c_skip, c_out, .. } = self.scalings;
            Vec::lincomb(&[(c_skip, &self.x), (c_out, &self.refs.f32s(output))])
        }

        /// The network's output of a denoised latent.
        pub fn output(&self, denoised: &Vec<f32>) -> Vec<f32> {
            let Scalings { c_skip, c_out, .. } = self.scalings;
            Vec::lincomb(&[(1.0 / c_out, denoised), (-c_skip / c_out, &self.x)])
        }

        pub fn pair(&self) -> Pair {
            Pair {
                cond: self.denoised("cond"),
                uncond: self.denoised("uncond"),
            }
        }
    }

    fn guidance(methods: Methods) -> Guidance {
        Guidance {
            weights: vec![1.0],
            cfg_scale: 7.5,
            rule: UncondRule::default(),
            methods,
        }
    }

    /// Methods act together, in their order: on the pair, from one to the other, on what comes of it.
    #[test]
    fn methods_follow_each_other() {
        let case = Case::new(Prediction::V);
        let Pair { cond, uncond } = case.pair();
        let apply = |methods| {
            let denoised = vec![cond.clone(), uncond.clone()];
            let guidance = guidance(methods);
            guidance
                .apply(
                    Guide::Full,
                    denoised,
                    &case.origin(),
                    &mut GuidanceState::default(),
                )
                .denoised
        };
        let both = apply(Methods {
            cfg_zero_star: true,
            rescale: 0.7,
            ..Methods::default()
        });
        case.refs
            .assert_close("cfg_zero_star.rescaled", &case.output(&both), 1e-6);
        // One that is given the values that change nothing.
        let plain = apply(Methods::default());
        let neutral = apply(Methods {
            adaptive_projected: Some(AdaptiveProjected::neutral()),
            ..Methods::default()
        });
        goldens::assert_close("neutral", &neutral, &plain, 1e-6);
    }

    #[test]
    fn by_default_no_method_acts() {
        assert_eq!(Methods::new(&GenerateParams::default()), Methods::default());
    }
}
