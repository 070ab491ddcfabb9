mod prepare;

use sd_sched::rng::{BatchNoise, NoiseOptions, Shape};

use prepare::Run;

use super::{
    Components, Tagged,
    pass::{Beginning, Denoiser},
    predict::Changes,
    start::Inputs,
};
use crate::{
    Array, CancelToken, Error, GenerateParams, Given, Image, Picture, Preview, PreviewMethod, Result,
    picture::infotext::{Seeds, infotext},
};

/// The state of a run after a step, for a progress callback.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The index of the picture in its batch, from 0.
    pub image: usize,
    /// Pictures in the batch.
    pub images: usize,
    /// Steps of this picture that are done, in all passes.
    pub step: usize,
    /// Steps of each picture in all passes; 0 if known only at the end (DPM adaptive).
    pub steps: usize,
    /// The noise level that the step began at.
    pub sigma: f64,
    /// The picture as far as it is known, if [`Request::previews`] asked for it at this step.
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
pub struct Request<'a> {
    pub(super) components: &'a Components,
    pub(super) tagged: &'a Tagged,
    pub(super) params: GenerateParams,
    /// The settings that the caller has given.
    pub(super) given: Given,
    pub(super) inputs: Inputs,
    pub(super) cancel: CancelToken,
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    pub(super) previews: Option<(PreviewMethod, usize)>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(components: &'a Components, tagged: &'a Tagged) -> Self {
        Self {
            components,
            tagged,
            params: GenerateParams::default(),
            given: Given::default(),
            inputs: Inputs::default(),
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

    /// Begins at a picture, not at noise: [`strength`](Self::strength) says how much of it changes. Where no size is given, it is the
    /// picture's, as far as latents allow. `None` is no picture, here as for the other inputs.
    pub fn image(mut self, image: impl Into<Option<Picture>>) -> Self {
        self.inputs.image = image.into();
        self
    }

    /// Draws only that part of the [`image`](Self::image) anew that the mask covers, which is of the same size: its white, or of a mask with
    /// transparency what is opaque. All else stays, to the bit.
    pub fn mask(mut self, mask: impl Into<Option<Picture>>) -> Self {
        self.inputs.mask = mask.into();
        self
    }

    /// Begins at latents of the U-Net, `[1, latent_channels, h, w]`, not at noise.
    pub fn image_latents(mut self, latents: impl Into<Option<Array>>) -> Self {
        self.inputs.latents = latents.into();
        self
    }

    /// The depth of the picture, bright is near: for models that draw after it, and for no others. It may have any size.
    pub fn depth(mut self, depth: impl Into<Option<Picture>>) -> Self {
        self.inputs.depth = depth.into();
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
            let pass = run.result();
            let Components { model, runtime, .. } = pass.components(run.own);
            let wrap = self.params.wrap();
            let decode = || model.decode_wrapped(latents, pass.shape, wrap, runtime);
            let pixels = runtime.timed("decoded the picture", decode)?;
            let infotext = self.infotext(&run, seeds);
            let [width, height] = pass.size;
            let drawn = Image::from_planes(&pixels, width, height, seeds.seed, infotext)?;
            let canvas = run.start.as_ref().and_then(|start| start.canvas.as_ref());
            images.push(match canvas {
                Some(canvas) if run.enlargement.is_none() => canvas.restored(drawn)?,
                _ => drawn,
            });
        }
        Ok(Output { images })
    }

    /// The same without decoding: the latents that [`Request::run`] would decode.
    ///
    /// # Errors
    /// As [`Request::run`].
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

    fn infotext(&self, run: &Run<'_>, seeds: Seeds) -> String {
        let refiner = self.components.refiner.as_ref();
        let (size, model) = (run.first().size, &self.components.model.name);
        let models = (&**model, refiner.map(|refiner| &*refiner.model.name));
        infotext(&self.params, seeds, size, models, &run.hashes)
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
        let (previews, progress) = (self.previews, &mut self.progress);
        let cancelled = || self.cancel.is_cancelled();
        let all_known = run.passes.iter().all(|pass| !pass.plan.is_adaptive());
        let steps = run.passes.iter().map(|pass| pass.plan.steps()).sum();
        let mut before = 0;
        // The latents of the last pass, and their shape.
        let mut last: Option<(Vec<f32>, [usize; 4])> = None;
        for pass in &mut run.passes {
            let components = pass.tagged.clone();
            let components = components.as_deref().unwrap_or(run.own);
            let (model, runtime) = (&components.model, &components.runtime);
            let (shape, passes_before) = (pass.shape, before);
            let [_, channels, height, width] = shape;
            let sides = Shape {
                channels,
                height,
                width,
            };
            let options = NoiseOptions {
                source: params.noise.rng.source(),
                ensd: params.noise.ensd,
                ..NoiseOptions::new(seed, sides)
            };
            let mut noise = BatchNoise::new(NoiseOptions {
                variation_seed: nth(run.variation_seed),
                variation_strength: params.noise.variation_strength,
                seed_resize_from: params.seed_resize(model.limits().downscale),
                ..options.clone()
            })?;
            let plain = || Ok(BatchNoise::new(options)?.first().swap_remove(0));
            let is_first = last.is_none();
            let (start, region) = match (last.take(), &run.start, &run.enlargement) {
                (None, Some(start), _) => {
                    let (latents, region) = start.latents(params, &mut noise, plain)?;
                    (Some(latents), region)
                }
                (Some((latents, from)), _, Some(enlargement)) => {
                    let enlarge =
                        || enlargement.enlarge(latents, (from, params.wrap()), model, runtime, &self.cancel);
                    (Some(runtime.timed("enlarged the picture", enlarge)?), None)
                }
                (last, ..) => (last.map(|(latents, _)| latents), None),
            };
            let start = start.as_ref().map(|latents| Beginning {
                latents,
                // The WebUI's hires pass has none.
                noise_multiplier: match is_first {
                    true => params.image.noise_multiplier,
                    false => 1.0,
                },
                extra_noise: params.image.extra_noise,
                region: region.as_ref(),
            });
            let on_step = |step: sd_sched::Progress<'_, Vec<f32>>| {
                before = passes_before + step.step + 1;
                let Some(callback) = progress.as_mut() else {
                    return Ok(());
                };
                let preview = match previews {
                    Some((method, every)) if before.is_multiple_of(every) => {
                        Some(model.preview(step.denoised, (shape, params.wrap()), method, runtime)?)
                    }
                    _ => None,
                };
                callback(Progress {
                    image,
                    images,
                    step: before,
                    steps: if all_known { steps } else { 0 },
                    sigma: step.sigma,
                    preview,
                });
                Ok(())
            };
            let denoiser = Denoiser {
                components,
                changes: Changes::new(params),
            };
            let what = format_args!("sampled picture {} of {images}", image + 1);
            let sampled = runtime.timed(what, || {
                denoiser.run(pass, start.as_ref(), noise, cancelled, on_step)
            })?;
            last = Some((sampled, shape));
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let latents = last.map(|(latents, _)| latents);
        Ok((latents.unwrap_or_default(), seeds))
    }
}
