use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sd_core::prompt::{Emphasis, Prompt, PromptDialect, Side, TimeRule};
use sd_sched::{
    PlanOptions, Sampler, Schedule, plan,
    rng::{BatchNoise, NoiseOptions, Shape},
};

use crate::{
    Error, GenerateParams, Image, Pipeline, Result,
    denoise::Denoiser,
    infotext::{Seeds, infotext},
    params::{ClipSkipRule, Rng, resolve_seed},
};

/// Stops a run from anywhere: keep a clone, and the run returns [`Error::Cancelled`](crate::Error::Cancelled) within one step.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the runs that hold this token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a progress callback is told after each step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Which picture of the batch, from 0.
    pub image: usize,
    /// Pictures in the batch.
    pub images: usize,
    /// Steps of this picture that are done.
    pub step: usize,
    /// Steps of each picture; 0 if known only at the end (DPM adaptive).
    pub steps: usize,
    /// The noise level that the step began at.
    pub sigma: f64,
}

/// The pictures of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Output {
    /// In the order of their seeds.
    pub images: Vec<Image>,
}

/// A picture being described. Every setter has the name of a field of [`GenerateParams`].
#[must_use = "a request does nothing until `run`"]
pub struct Txt2Img<'a> {
    pipeline: &'a Pipeline,
    params: GenerateParams,
    cancel: CancelToken,
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.params.$name = $value;
            self
        }
    )*};
}

impl<'a> Txt2Img<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, params: GenerateParams) -> Self {
        Self {
            pipeline,
            params,
            cancel: CancelToken::new(),
            progress: None,
        }
    }

    setters! {
        /// What the picture should not show.
        negative_prompt: impl Into<String> => negative_prompt.into();
        /// Width in pixels, a multiple of 8.
        width: u32 => Some(width);
        /// Height in pixels, a multiple of 8.
        height: u32 => Some(height);
        /// Sampling steps.
        steps: usize => steps;
        /// Strength of classifier-free guidance.
        cfg_scale: f64 => cfg_scale;
        /// The sampler.
        sampler: Sampler => sampler;
        /// The noise schedule.
        schedule: Schedule => schedule;
        /// Seed of the first picture; -1 draws one at random.
        seed: i64 => seed;
        /// Number of pictures.
        batch_size: usize => batch_size;
        /// Which of the text encoder's layers is used, from the end.
        clip_skip: usize => clip_skip;
        /// How `clip_skip` counts.
        clip_skip_rule: ClipSkipRule => clip_skip_rule;
        /// Whose prompt language is meant.
        prompt_dialect: PromptDialect => prompt_dialect;
        /// What weights in prompts do.
        emphasis: Emphasis => emphasis;
        /// Which numbers of prompt edits are fractions.
        time_rule: TimeRule => time_rule;
        /// How many tokens back the last comma may lie for a prompt to be cut after it.
        comma_backtrack: usize => comma_backtrack;
        /// Whether the shorter of both prompts is padded with the empty one.
        pad_prompts: bool => pad_prompts;
        /// How much fresh noise replaces old.
        eta: f64 => Some(eta);
        /// Eta noise seed delta.
        ensd: i64 => ensd;
        /// Seed of the noise that the first noise is mixed with.
        variation_seed: i64 => variation_seed;
        /// How far to go towards that noise, 0 to 1.
        variation_strength: f64 => variation_strength;
        /// Whose random numbers the noise is made of.
        rng: Rng => rng;
    }

    /// All parameters at once.
    pub fn params(mut self, params: GenerateParams) -> Self {
        self.params = params;
        self
    }

    /// Called after each step.
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// A token that stops the run.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// Draws the pictures, one after the other, so that a batch gives exactly what single runs give.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) before any work,
    /// [`Error::Cancelled`](crate::Error::Cancelled), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn run(mut self) -> Result<Output> {
        let params = &self.params;
        let [width, height] = params.validate(&self.pipeline.limits())?;
        let prompt = Prompt::parse(&params.prompt, Side::Positive, &params.reading().options);
        let tagged = self.pipeline.for_tags(&prompt)?;
        let pipeline = tagged.as_deref().unwrap_or(self.pipeline);
        let options = PlanOptions {
            eta: params.eta,
            ..PlanOptions::default()
        };
        let plan = plan(
            params.sampler,
            params.schedule,
            params.steps,
            &pipeline.sampling,
            &options,
        )?;

        let cancelled = || self.cancel.is_cancelled();
        let conditioning = pipeline.condition(
            &params.prompt,
            &params.negative_prompt,
            &params.reading(),
            &cancelled,
        )?;
        let f = pipeline.limits().downscale;
        let config = pipeline.vae.config();
        let shape = [
            1,
            config.latent_channels,
            (height / f) as usize,
            (width / f) as usize,
        ];
        let denoiser = Denoiser {
            pipeline,
            conditioning: &conditioning,
            cfg_scale: params.cfg_scale * params.sampler.cfg_scale_multiplier(),
            shape,
        };

        let (seed, variation_seed) = (resolve_seed(params.seed), resolve_seed(params.variation_seed));
        let hashes = pipeline.lora_hashes();
        let varied = params.variation_strength > 0.0;
        let mut images = Vec::with_capacity(params.batch_size);
        for image in 0..params.batch_size {
            let nth = |first: u64| first.wrapping_add(image as u64);
            // Variations keep the seed and differ in the other one (WebUI).
            let seed = if varied { seed } else { nth(seed) };
            let seeds = Seeds {
                seed,
                variation_seed: varied.then(|| nth(variation_seed)),
            };
            let noise = BatchNoise::new(NoiseOptions {
                source: params.rng.source(),
                variation_seed: nth(variation_seed),
                variation_strength: params.variation_strength,
                ensd: params.ensd,
                ..NoiseOptions::new(
                    seed,
                    Shape {
                        channels: shape[1],
                        height: shape[2],
                        width: shape[3],
                    },
                )
            })?;
            let steps = plan.steps();
            let latents = denoiser.run(plan.clone(), noise, cancelled, |step| {
                if let Some(callback) = &mut self.progress {
                    let (images, step, sigma) = (params.batch_size, step.index + 1, step.sigma);
                    callback(Progress {
                        image,
                        images,
                        step,
                        steps,
                        sigma,
                    });
                }
            })?;
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let pixels = pipeline.decode(latents, shape)?;
            let infotext = infotext(params, seeds, [width, height], pipeline.name(), &hashes);
            images.push(Image::from_planes(&pixels, width, height, seed, infotext)?);
        }
        Ok(Output { images })
    }
}
