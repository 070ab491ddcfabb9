//! Guidance: one denoised latent made of one for each prompt.
//!
//! Classifier-free guidance goes from uncond through cond, and on. Methods around it act one after another: what changes the two (`perp_neg`,
//! `skimmed`, `cfg_zero_star`), what goes from one to the other (`adaptive_projected`, else the plain sum), what comes after (`dynamic_threshold`,
//! `rescale`). Some evaluate the network once more (`perturbed`, `self_attention`), and add a term before that. Each is a file, and by default
//! none acts.

mod adaptive;
mod adaptive_projected;
mod cfg_zero_star;
mod dynamic_threshold;
mod perp_neg;
mod perturbed;
mod rescale;
mod rule;
mod self_attention;
mod skimmed;
mod terms;

use sd_core::{config::UnetConfig, models::UNet};
use sd_sched::{DenoiseCall, Denoised, Latent, Scalings};

use super::{
    answers::Received,
    predict::{Batch, Predictor, Variant},
};
use crate::{GenerateParams, Result};

use adaptive_projected::AdaptiveProjected;
use dynamic_threshold::DynamicThreshold;
use perturbed::{Perturbed, perturbed};
pub(crate) use rule::UncondRule;
use self_attention::SelfAttentionGuidance;
use skimmed::Skimmed;

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
    skimmed: Option<Skimmed>,
    cfg_zero_star: bool,
    adaptive_projected: Option<AdaptiveProjected>,
    dynamic_threshold: Option<DynamicThreshold>,
    perturbed: Vec<Perturbed>,
    self_attention: Option<SelfAttentionGuidance>,
    rescale: f64,
    /// The strength of guidance by the picture that is edited, less 1; 0 without one.
    pub image_scale: f64,
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
#[derive(Debug, Clone, Default)]
pub(crate) struct GuidanceState {
    /// The running sum of [`AdaptiveProjected`].
    pub momentum: Vec<f32>,
    /// The last that the middle was computed for, for [`SelfAttentionGuidance`].
    pub received: Option<Received>,
    /// The step from which on there is no guidance by the negative prompt, once adaptive guidance has ended it.
    pub unguided_from: Option<usize>,
}

/// The latent that was denoised: a denoised one is `c_skip * x + c_out * output`.
struct Origin<'a> {
    x: &'a Vec<f32>,
    scalings: Scalings,
    /// Channels of a latent.
    channels: usize,
}

/// A guided latent, with what came before.
struct Guided {
    denoised: Vec<f32>,
    /// The conds together, at scale 1, where they are needed later.
    cond: Option<Vec<f32>>,
    uncond: Option<Vec<f32>>,
}

/// Two denoised latents. Guidance goes from `uncond` through `cond`, which are those of several prompts together, at scale 1.
struct Pair {
    cond: Vec<f32>,
    uncond: Vec<f32>,
}

impl Methods {
    /// The methods that parameters ask for, on a U-Net of this configuration.
    pub fn new(params: &GenerateParams, config: &UnetConfig) -> Result<Self> {
        let guidance = &params.guidance;
        Ok(Self {
            perp_neg_scale: guidance.perp_neg_scale,
            skimmed: Skimmed::new(params),
            cfg_zero_star: guidance.cfg_zero_star,
            adaptive_projected: AdaptiveProjected::new(params),
            dynamic_threshold: DynamicThreshold::new(params),
            perturbed: perturbed(params, config)?,
            self_attention: SelfAttentionGuidance::new(params, config)?,
            rescale: guidance.guidance_rescale,
            image_scale: 0.0,
        })
    }

    /// Whether the denoised latent of the empty prompt is needed, behind uncond.
    pub fn need_empty(&self) -> bool {
        self.perp_neg_scale != 0.0
    }
}

impl Guidance {
    /// The denoised latents that guidance makes of a batch's, each with the state of its picture.
    pub fn denoise(
        &self,
        predictor: &mut Predictor<'_>,
        states: &mut [GuidanceState],
        batch: Batch<'_>,
        unet: &UNet,
    ) -> Result<Vec<Denoised<Vec<f32>>>> {
        let guides: Vec<Guide> = batch
            .latents
            .iter()
            .map(|(picture, _)| self.guide(batch.call, &states[*picture]))
            .collect();
        let mut denoised: Vec<Option<Denoised<Vec<f32>>>> = guides.iter().map(|_| None).collect();
        // Adaptive guidance ends at another step for each picture.
        for guide in [Guide::Cond, Guide::Conds, Guide::Full] {
            let places: Vec<usize> = (0..guides.len()).filter(|&i| guides[i] == guide).collect();
            if places.is_empty() {
                continue;
            }
            let latents: Vec<_> = places.iter().map(|&place| batch.latents[place]).collect();
            let batch = Batch {
                latents: &latents,
                ..batch
            };
            let made = self.guided(predictor, states, batch, unet, guide)?;
            for (place, made) in places.into_iter().zip(made) {
                denoised[place] = Some(made);
            }
        }
        Ok(denoised.into_iter().flatten().collect())
    }

    /// The same for pictures that are guided alike.
    fn guided(
        &self,
        predictor: &mut Predictor<'_>,
        states: &mut [GuidanceState],
        batch: Batch<'_>,
        unet: &UNet,
        guide: Guide,
    ) -> Result<Vec<Denoised<Vec<f32>>>> {
        let plain = Variant {
            watched: self.methods.self_attention.is_some(),
            ..Variant::default()
        };
        let predicted = predictor.predict(batch, unet, 0..self.count(guide), plain)?;
        let added = self.added(predictor, states, (batch, unet), guide, &predicted)?;
        let scalings = predictor.model.sampling.scalings(batch.call.sigma);
        let each = batch.latents.iter().zip(predicted).zip(added);
        let denoised = each.map(|(((picture, x), predicted), added)| {
            let origin = Origin {
                x,
                scalings,
                channels: predictor.shape[1],
            };
            let denoised: Vec<_> = predicted.into_iter().map(|it| it.denoised).collect();
            let state = &mut states[*picture];
            self.end_if_similar(predictor, state, batch.call, guide, &denoised);
            self.applied(guide, denoised, added, &origin, state)
        });
        Ok(denoised.collect())
    }

    /// Ends guidance by the negative prompt where what it denoises to is like the prompt's, if that is asked for.
    fn end_if_similar(
        &self,
        predictor: &Predictor<'_>,
        state: &mut GuidanceState,
        call: &DenoiseCall,
        guide: Guide,
        denoised: &[Vec<f32>],
    ) {
        let (Guide::Full, Some(threshold)) = (guide, self.rule.similarity()) else {
            return;
        };
        let (conds, behind) = denoised.split_at(self.weights.len());
        let pair = Pair {
            cond: self.sum(conds, &behind[0], 1.0),
            uncond: behind[0].clone(),
        };
        let similarity = adaptive::similarity(&pair);
        // A step's calls are all guided or none is.
        if similarity >= threshold && state.unguided_from.is_none() {
            state.unguided_from = Some(call.step + 1);
            let told = || {
                let step = call.step + 2;
                format!(
                    "no negative prompt from step {step} on: what it denoises to is like the prompt's, {similarity:.4}"
                )
            };
            predictor.runtime.info(told);
        }
    }

    /// The denoised latent of one picture, methods applied and terms added.
    fn applied(
        &self,
        guide: Guide,
        denoised: Vec<Vec<f32>>,
        added: Option<Vec<f32>>,
        origin: &Origin,
        state: &mut GuidanceState,
    ) -> Denoised<Vec<f32>> {
        let Guided {
            mut denoised,
            cond,
            uncond,
        } = self.apply(guide, denoised, origin, state);
        if let Some(added) = added {
            denoised = Vec::lincomb(&[(1.0, &denoised), (1.0, &added)]);
        }
        if let Some(cond) = cond {
            denoised = rescale::rescaled(&denoised, &cond, self.methods.rescale, origin);
        }
        Denoised { denoised, uncond }
    }

    /// The guidance of a call.
    fn guide(&self, call: &DenoiseCall, state: &GuidanceState) -> Guide {
        let ended = state.unguided_from.is_some_and(|from| call.step >= from);
        let plain = self.weights.len() == 1 && self.weights[0] * self.cfg_scale == 1.0;
        match plain && !call.needs_uncond && !self.methods.need_empty() && self.methods.image_scale == 0.0 {
            true => Guide::Cond,
            false if ended || self.rule.skips(call.call, call.sigma, call.timestep) => Guide::Conds,
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
    ) -> Guided {
        let rescaled = self.methods.rescale != 0.0;
        match guide {
            Guide::Full if self.methods != Methods::default() => {
                let empty = self.methods.need_empty().then(|| denoised.pop()).flatten();
                let uncond = denoised.pop().unwrap_or_default();
                let (denoised, cond) = self.by_methods(&denoised, &uncond, empty, origin, state);
                Guided {
                    denoised,
                    cond: rescaled.then_some(cond),
                    uncond: Some(uncond),
                }
            }
            Guide::Full => {
                let uncond = denoised.pop().unwrap_or_default();
                Guided {
                    denoised: self.sum(&denoised, &uncond, self.cfg_scale),
                    cond: None,
                    uncond: Some(uncond),
                }
            }
            Guide::Cond | Guide::Conds => {
                let uncond = (guide == Guide::Conds).then(|| denoised[0].clone());
                let denoised = match (&uncond, denoised.len()) {
                    (Some(uncond), 2..) => self.sum(&denoised, uncond, 1.0),
                    _ => denoised.swap_remove(0),
                };
                Guided {
                    cond: rescaled.then(|| denoised.clone()),
                    denoised,
                    uncond,
                }
            }
        }
    }

    /// `uncond + scale * sum(weight * (cond - uncond))`.
    fn sum(&self, conds: &[Vec<f32>], uncond: &Vec<f32>, scale: f64) -> Vec<f32> {
        let scales: Vec<f64> = self.weights.iter().map(|weight| weight * scale).collect();
        let mut terms = vec![(1.0 - scales.iter().sum::<f64>(), uncond)];
        terms.extend(scales.iter().copied().zip(conds));
        Vec::lincomb(&terms)
    }

    /// The guided latent where methods act, and the conds together.
    fn by_methods(
        &self,
        conds: &[Vec<f32>],
        uncond: &Vec<f32>,
        empty: Option<Vec<f32>>,
        origin: &Origin,
        state: &mut GuidanceState,
    ) -> (Vec<f32>, Vec<f32>) {
        let (methods, scale) = (&self.methods, self.cfg_scale);
        let mut pair = match empty {
            Some(empty) => {
                let cond = self.sum(conds, &empty, 1.0);
                perp_neg::pair(&cond, uncond, empty, methods.perp_neg_scale)
            }
            None => Pair {
                cond: self.sum(conds, uncond, 1.0),
                uncond: uncond.clone(),
            },
        };
        if let Some(method) = &methods.skimmed {
            pair = method.skimmed(pair, scale, origin);
        }
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
        (guided, pair.cond)
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
    use sd_core::checkpoint::Checkpoint;
    use sd_sched::{Dialect, ModelSampling, PlanOptions, Prediction, Sampler, Schedule, plan};

    use super::*;
    use crate::{
        GuidanceParams, Pipeline,
        text::{Conditioning, Timeline},
    };

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
            let (origin, mut state) = (case.origin(), GuidanceState::default());
            let guided = guidance.apply(Guide::Full, denoised, &origin, &mut state);
            match guided.cond {
                Some(cond) => rescale::rescaled(&guided.denoised, &cond, guidance.methods.rescale, &origin),
                None => guided.denoised,
            }
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

    /// Latents after five steps of DDIM, as diffusers' pipelines make them.
    fn run(prediction: Prediction, cfg_scale: f64, change: impl Fn(&mut GuidanceParams)) -> Vec<f32> {
        let builder = Pipeline::builder().checkpoint(goldens::root().join("tiny-sd1"));
        let builder = builder.device("cpu").dtype(sd_core::Dtype::F32);
        let pipeline = builder.prediction(prediction).build().unwrap();
        let components = pipeline.components();
        let refs = Refs::open("tiny-sd1/refs/samplers.safetensors");
        let conditioning = Conditioning {
            conds: vec![(1.0, Timeline::fixed(refs.f32s("cond")))],
            uncond: Timeline::fixed(refs.f32s("uncond")),
            empty: None,
            width: refs.shape("cond")[2],
            padding: None,
            sizes: None,
        };
        let mut params = GenerateParams::default();
        change(&mut params.guidance);
        let unet = &components.model.unet;
        let guidance = Guidance {
            weights: vec![1.0],
            cfg_scale,
            rule: UncondRule::default(),
            methods: Methods::new(&params, unet.config()).unwrap(),
        };
        let mut predictor = Predictor {
            model: &components.model,
            runtime: &components.runtime,
            conditioning: &conditioning,
            changes: Default::default(),
            guidance: None,
            shape: [1, 4, 16, 16],
            concat: None,
            tiles: None,
            cancelled: &|| false,
            cache: Default::default(),
            steady: Default::default(),
        };
        let options = PlanOptions {
            dialect: Dialect::Diffusers,
            ..PlanOptions::default()
        };
        let model = &components.model.sampling;
        let plan = plan(Sampler::Ddim, Schedule::Automatic, 5, model, &options).unwrap();
        let start = Vec::lincomb(&[(plan.noise_scale(), &refs.f32s("noise"))]);
        let mut states = [GuidanceState::default()];
        let denoise = |x: &Vec<f32>, call| {
            let batch = Batch {
                latents: &[(0, x)],
                call: &call,
            };
            let mut denoised = guidance.denoise(&mut predictor, &mut states, batch, unet)?;
            Ok::<_, crate::Error>(denoised.swap_remove(0))
        };
        sd_sched::sample(
            plan,
            start,
            denoise,
            |_| unreachable!("DDIM draws no noise"),
            |_| Ok(()),
        )
        .unwrap()
    }

    #[test]
    fn runs_are_diffusers() {
        let refs = Refs::open("tiny-sd1/refs/guidance_runs.safetensors");
        let compare = |name: &str, scale, change: fn(&mut GuidanceParams)| {
            let prediction = match name.ends_with(".v") {
                true => Prediction::V,
                false => Prediction::Epsilon,
            };
            refs.assert_close(name, &run(prediction, scale, change), 1e-4);
        };
        compare("rescaled", 7.0, |g| g.guidance_rescale = 0.7);
        compare("pag", 7.0, |g| g.pag_scale = 3.0);
        compare("pag.rescaled", 7.0, |g| {
            (g.pag_scale, g.guidance_rescale) = (3.0, 0.7)
        });
        compare("pag.unguided", 1.0, |g| g.pag_scale = 3.0);
        compare("sag", 7.0, |g| g.sag_scale = 0.75);
        compare("sag.v", 7.0, |g| g.sag_scale = 0.75);
        compare("sag.unguided", 1.0, |g| g.sag_scale = 0.75);
    }

    #[test]
    fn by_default_no_method_acts() {
        let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
        let config = &checkpoint.configs().unet;
        let methods = Methods::new(&GenerateParams::default(), config).unwrap();
        assert_eq!(methods, Methods::default());
    }
}
