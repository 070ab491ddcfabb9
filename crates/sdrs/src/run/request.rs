use std::sync::Arc;

use sd_sched::{
    Plan, PlanOptions, plan,
    rng::{BatchNoise, NoiseOptions, Shape},
};

use super::{
    Components, Tagged,
    guide::{Guidance, UncondRule},
    pass::{Denoiser, Pass},
    predict::Savings,
};
use crate::{
    Array, CancelToken, Error, GenerateParams, Given, Image, Preview, PreviewMethod, Result,
    lora::ScheduledUnet,
    params::resolve_seed,
    picture::infotext::{Seeds, infotext},
    text::{Conditioning, Prompts},
};

/// The state of a run after a step, for a progress callback.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The index of the picture in its batch, from 0.
    pub image: usize,
    /// Pictures in the batch.
    pub images: usize,
    /// Steps of this picture that are done.
    pub step: usize,
    /// Steps of each picture; 0 if known only at the end (DPM adaptive).
    pub steps: usize,
    /// The noise level that the step began at.
    pub sigma: f64,
    /// The picture as far as it is known, if [`Txt2Img::previews`] asked for it at this step.
    pub preview: Option<Preview>,
}

/// The pictures of a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Output {
    /// In the order of their seeds.
    pub images: Vec<Image>,
}

/// The latents of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Latents {
    /// As the U-Net has them, `[batch_size, latent_channels, h, w]`, in the order of their seeds: what
    /// [`Pipeline::vae_decode`](crate::Pipeline::vae_decode) takes.
    pub latents: Array,
    /// For each picture the seed that gives it alone.
    pub seeds: Vec<u64>,
    /// For each picture its settings in the WebUI's text form.
    pub infotexts: Vec<String>,
}

/// A picture being described. Every setter has the name of a field of [`GenerateParams`].
#[must_use = "a request does nothing until `run`"]
pub struct Txt2Img<'a> {
    components: &'a Components,
    tagged: &'a Tagged,
    pub(super) params: GenerateParams,
    /// The settings that the caller has given.
    pub(super) given: Given,
    cancel: CancelToken,
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    previews: Option<(PreviewMethod, usize)>,
}

impl<'a> Txt2Img<'a> {
    pub(crate) fn new(components: &'a Components, tagged: &'a Tagged) -> Self {
        Self {
            components,
            tagged,
            params: GenerateParams::default(),
            given: Given::default(),
            cancel: CancelToken::new(),
            progress: None,
            previews: None,
        }
    }

    /// All parameters at once: nothing that the checkpoint recommends is taken.
    pub fn params(mut self, params: GenerateParams) -> Self {
        self.given = Given::all();
        self.params = params;
        self
    }

    /// All parameters at once. Those that are not `given` may be as the checkpoint recommends.
    pub fn params_and_given(mut self, params: GenerateParams, given: Given) -> Self {
        self.given = given;
        self.params = params;
        self
    }

    /// Called after each step.
    pub fn on_progress(mut self, callback: impl FnMut(Progress) + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Gives the progress callback a picture after every `every` steps, 1 or more. It doesn't change the result.
    pub fn previews(mut self, method: PreviewMethod, every: usize) -> Self {
        self.previews = Some((method, every));
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
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) before any work, and [`Error::Core`](crate::Error::Core) if the VAE has
    /// no decoder; [`Error::Cancelled`](crate::Error::Cancelled), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn run(mut self) -> Result<Output> {
        let _memory = self.components.runtime.run();
        self.components.model.vae.can_decode()?;
        let mut run = self.prepare()?;
        let mut images = Vec::with_capacity(self.params.size.batch_size);
        for image in 0..self.params.size.batch_size {
            let (latents, seeds) = self.sample(&mut run, image)?;
            let Components { model, runtime, .. } = run.components();
            let Pass { size, shape, .. } = *run.result();
            let decode = || model.decode(latents, shape, runtime);
            let pixels = runtime.timed("decoded the picture", decode)?;
            let infotext = self.infotext(&run, seeds);
            let [width, height] = size;
            images.push(Image::from_planes(&pixels, width, height, seeds.seed, infotext)?);
        }
        Ok(Output { images })
    }

    /// The same without decoding: the latents that [`Txt2Img::run`] would decode.
    ///
    /// # Errors
    /// As [`Txt2Img::run`].
    pub fn latents(mut self) -> Result<Latents> {
        let _memory = self.components.runtime.run();
        let mut run = self.prepare()?;
        let n = self.params.size.batch_size;
        let mut made = Latents {
            latents: Array {
                shape: [&[n], &run.result().shape[1..]].concat(),
                values: Vec::new(),
            },
            seeds: Vec::with_capacity(n),
            infotexts: Vec::with_capacity(n),
        };
        for image in 0..n {
            let (latents, seeds) = self.sample(&mut run, image)?;
            made.latents.values.extend(latents);
            made.seeds.push(seeds.seed);
            made.infotexts.push(self.infotext(&run, seeds));
        }
        Ok(made)
    }

    /// Everything that is the same for all pictures.
    fn prepare(&mut self) -> Result<Run<'a>> {
        let own = self.components;
        let taken = own.model.recommended.settle(&self.given, &mut self.params);
        if !taken.is_empty() {
            own.runtime
                .info(|| format!("as the checkpoint recommends: {taken}"));
        }
        let (params, limits) = (&self.params, own.model.limits());
        let size = params.validate(&limits)?;
        if let Some(limit) = own.runtime.memory_limit() {
            limit.check(own.model.checkpoint.configs(), &own.model.target, size)?;
        }
        match self.previews {
            Some((_, 0)) => return Err(Error::parameter("preview_every", "must be 1 or more, not 0")),
            Some((PreviewMethod::Full, _)) => own.model.vae.can_decode()?,
            Some((PreviewMethod::Taesd, _)) => own.model.tiny_vae().map(drop)?,
            _ => {}
        }
        let mut reading = params.reading();
        if reading.clip_skip > 1 && !own.model.heeds_clip_skip() {
            own.runtime
                .warn("clip_skip is not used: with OpenCLIP's text encoders the WebUI skips no layers");
            reading.clip_skip = 1;
        }
        let prompts = Prompts::read(&params.text.prompt, &params.text.negative_prompt, &reading);
        let tagged = self.tagged.components(own, &prompts.positive)?;
        let components = tagged.as_deref().unwrap_or(own);
        let Components {
            model,
            loras,
            runtime,
            ..
        } = components;
        let options = PlanOptions {
            eta: params.sampling.eta,
            ..PlanOptions::default()
        };
        let (sampler, schedule) = (params.sampling.sampler, params.sampling.schedule);
        let plan = plan(
            sampler,
            schedule,
            params.sampling.steps,
            &model.sampling,
            &options,
        )?;
        for oddity in oddities(&plan) {
            runtime.warn(oddity);
        }
        let unets = ScheduledUnet::new(loras, &plan)?;
        let cancelled = || self.cancel.is_cancelled();
        let conditioning = runtime.timed("encoded the prompts", || {
            let encoder = components.encoder(&reading, &cancelled);
            Conditioning::new(&prompts, &encoder, model.size_embedding(size))
        })?;
        let [width, height] = size.map(|side| (side / limits.downscale) as usize);
        let pass = Pass {
            plan,
            size,
            shape: [1, model.vae.config().latent_channels, height, width],
        };
        Ok(Run {
            passes: vec![pass],
            unets,
            guidance: Guidance {
                weights: conditioning.conds.iter().map(|(weight, _)| *weight).collect(),
                cfg_scale: params.guidance.cfg_scale * sampler.cfg_scale_multiplier(),
                rule: UncondRule::new(params),
            },
            conditioning,
            hashes: loras.hashes(),
            own,
            tagged,
            seed: resolve_seed(params.noise.seed),
            variation_seed: resolve_seed(params.noise.variation_seed),
        })
    }

    fn infotext(&self, run: &Run<'_>, seeds: Seeds) -> String {
        let (size, model) = (run.result().size, &self.components.model.name);
        infotext(&self.params, seeds, size, model, &run.hashes)
    }

    /// Samples one picture's latents.
    fn sample(&mut self, run: &mut Run<'a>, image: usize) -> Result<(Vec<f32>, Seeds)> {
        let params = &self.params;
        let nth = |first: u64| first.wrapping_add(image as u64);
        let varied = params.noise.variation_strength > 0.0;
        // Variations keep the seed and differ in the other one (WebUI).
        let seed = if varied { run.seed } else { nth(run.seed) };
        let seeds = Seeds {
            seed,
            variation_seed: varied.then(|| nth(run.variation_seed)),
        };
        let images = params.size.batch_size;
        let components = run.tagged.as_deref().unwrap_or(run.own);
        let Components {
            model,
            loras,
            runtime,
            ..
        } = components;
        let denoiser = Denoiser {
            model,
            loras,
            runtime,
            conditioning: &run.conditioning,
            guidance: &run.guidance,
            savings: Savings::new(params),
        };
        let (previews, progress) = (self.previews, &mut self.progress);
        let cancelled = || self.cancel.is_cancelled();
        let mut latents = None;
        for pass in &run.passes {
            let [_, channels, height, width] = pass.shape;
            let shape = Shape {
                channels,
                height,
                width,
            };
            let noise = BatchNoise::new(NoiseOptions {
                source: params.noise.rng.source(),
                variation_seed: nth(run.variation_seed),
                variation_strength: params.noise.variation_strength,
                ensd: params.noise.ensd,
                ..NoiseOptions::new(seed, shape)
            })?;
            let on_step = |step: sd_sched::Progress<'_, Vec<f32>>| {
                let Some(callback) = progress.as_mut() else {
                    return Ok(());
                };
                let done = step.step + 1;
                let preview = match previews {
                    Some((method, every)) if done.is_multiple_of(every) => {
                        Some(model.preview(step.denoised, pass.shape, method, runtime)?)
                    }
                    _ => None,
                };
                callback(Progress {
                    image,
                    images,
                    step: done,
                    steps: step.steps,
                    sigma: step.sigma,
                    preview,
                });
                Ok(())
            };
            let what = format_args!("sampled picture {} of {images}", image + 1);
            let start = latents.as_ref();
            latents = Some(runtime.timed(what, || {
                denoiser.run(pass, start, noise, &mut run.unets, cancelled, on_step)
            })?);
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok((latents.unwrap_or_default(), seeds))
    }
}

/// Warnings of plans that give no picture, as in the WebUI.
fn oddities(plan: &Plan) -> impl Iterator<Item = String> {
    let (sampler, schedule, start) = (plan.sampler(), plan.schedule(), plan.sigmas()[0]);
    let without_calls = (!plan.is_adaptive() && plan.calls() == 0).then(|| {
        format!(
            "{sampler} makes one step less than it is asked for, as in the WebUI: here none, and the picture is noise; take more steps"
        )
    });
    let late = (without_calls.is_none() && start < 1.0).then(|| {
        format!(
            "{schedule} with so few steps starts at sigma {start:.3}, as in the WebUI, where there is hardly any noise to remove: \
             the picture hardly forms; take more steps or another schedule"
        )
    });
    without_calls.into_iter().chain(late)
}

/// Everything that the pictures of a run share.
struct Run<'a> {
    /// The components of the pipeline that was asked to draw.
    own: &'a Components,
    /// Those that draw in their place, with the LoRAs that the prompt's tags name.
    tagged: Option<Arc<Components>>,
    /// One after the other, each from the latents of the one before: one at least.
    passes: Vec<Pass>,
    unets: ScheduledUnet,
    conditioning: Conditioning,
    guidance: Guidance,
    /// Names and hashes of the LoRAs.
    hashes: Vec<(String, String)>,
    seed: u64,
    variation_seed: u64,
}

impl Run<'_> {
    fn components(&self) -> &Components {
        self.tagged.as_deref().unwrap_or(self.own)
    }

    /// The pass whose latents are the result.
    fn result(&self) -> &Pass {
        self.passes.last().expect("a run has a pass")
    }
}
