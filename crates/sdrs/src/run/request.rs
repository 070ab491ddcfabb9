mod devices;
mod memory;
mod prepare;
mod sampling;
mod together;

use std::path::PathBuf;

use prepare::Run;

use super::{Components, Replica, components::Tagged, start::Inputs, state::RunState};
use crate::{
    Array, CancelToken, Error, GenerateParams, Given, Image, Picture, Preview, PreviewMethod, Result,
    picture::{
        corrected,
        infotext::{Seeds, infotext},
    },
    trace::Tracer,
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
    /// On each device of the pipeline.
    replicas: &'a [Replica],
    /// Of the device that draws; the first, unless pictures are dealt out.
    pub(super) components: &'a Components,
    pub(super) tagged: &'a Tagged,
    pub(super) params: GenerateParams,
    /// The settings that the caller has given.
    pub(super) given: Given,
    pub(super) inputs: Inputs,
    pub(super) cancel: CancelToken,
    progress: Option<Box<dyn FnMut(Progress) + 'a>>,
    on_image: Option<OnImage<'a>>,
    pub(super) previews: Option<(PreviewMethod, usize)>,
    /// After how many steps states are handed out, and to whom.
    pub(super) states: Option<(usize, OnState<'a>)>,
    /// The folder that states are written into.
    pub(super) state_folder: Option<PathBuf>,
    /// The state that the run goes on from.
    pub(super) resumed: Option<Box<RunState>>,
    pub(super) trace: Option<PathBuf>,
}

/// A function that takes pictures and their indices.
type OnImage<'a> = Box<dyn FnMut(usize, &Image) + 'a>;

/// A function that takes states.
type OnState<'a> = Box<dyn FnMut(RunState) -> Result<()> + 'a>;

impl<'a> Request<'a> {
    /// A request to a pipeline of one copy at least.
    pub(crate) fn new(replicas: &'a [Replica]) -> Self {
        let first = &replicas[0];
        Self {
            replicas,
            components: &first.components,
            tagged: &first.tagged,
            params: GenerateParams::default(),
            given: Given::default(),
            inputs: Inputs::default(),
            cancel: CancelToken::new(),
            progress: None,
            on_image: None,
            previews: None,
            states: None,
            state_folder: None,
            resumed: None,
            trace: None,
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

    /// Called with each picture of the batch as soon as it is done, and its index from 0: what is cancelled or fails later can't take those
    /// away. [`Output`] has them all. A run that is cancelled in this call ends as such, also with its last picture.
    pub fn on_image(mut self, callback: impl FnMut(usize, &Image) + 'a) -> Self {
        self.on_image = Some(Box::new(callback));
        self
    }

    /// Gives the progress callback a picture after every `every` steps, 1 or more. It doesn't change the result.
    pub fn previews(mut self, method: PreviewMethod, every: usize) -> Self {
        self.previews = Some((method, every));
        self
    }

    /// Hands out the state of the run after every `every` steps of a picture, 1 or more, and after the last step of each pass. The run ends with
    /// the callback's error, if it gives one; states don't change the result.
    pub fn on_state(mut self, every: usize, callback: impl FnMut(RunState) -> Result<()> + 'a) -> Self {
        self.states = Some((every, Box::new(callback)));
        self
    }

    /// Writes the state of the run into a folder after every `every` steps, as [`on_state`](Self::on_state) hands it out: as
    /// `picture-1-step-00012.safetensors` and so on. The folder is made if it is not there; files of these names are replaced.
    pub fn save_states(self, folder: impl Into<PathBuf>, every: usize) -> Self {
        let folder = folder.into();
        let within = folder.clone();
        let mut request = self.on_state(every, move |state| state.save(within.join(state.file_name())));
        request.state_folder = Some(folder);
        request
    }

    /// Goes on from a state, with its settings and inputs: to the same picture, to the bit, if nothing is changed. Settings that decide only
    /// what is to come may be changed after this call (prompts, guidance, shortcuts, tiles, a later pass, the pipeline's LoRAs); a run with one
    /// that decided what is behind (size, seed, sampler, schedule, steps, the picture that it began at) is refused, as is one of another
    /// model.
    pub fn resume(mut self, state: RunState) -> Self {
        self.params = state.params.clone();
        self.given = state.given();
        self.resumed = Some(Box::new(state));
        self
    }

    /// Records what each stage of the run computes in a file, so that it can be compared with other runs: [`trace`](crate::trace). It
    /// doesn't change the result. A file that is there is replaced. Of several devices the first draws alone then, so that stages have one order.
    pub fn trace(mut self, path: impl Into<PathBuf>) -> Self {
        self.trace = Some(path.into());
        self
    }

    /// A token that stops the run.
    pub fn cancel_token(mut self, token: &CancelToken) -> Self {
        self.cancel = token.clone();
        self
    }

    /// Draws the pictures: on the CPU one after the other, so that a batch gives exactly what single runs give; on a GPU several at once, as
    /// [`batch_per_call`](crate::SpeedParams::batch_per_call) says, each with its own noise, so that a picture differs from a single run's by
    /// rounding alone.
    ///
    /// Where the pipeline has several devices, each draws its share, the first the first pictures, all at the same time. Callbacks are called in
    /// this thread all the same, in the order in which devices get on; an error of one stops all.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) before any work, and [`Error::Core`](crate::Error::Core) if the VAE has
    /// no decoder; [`Error::Cancelled`](crate::Error::Cancelled), [`Error::NotFinite`](crate::Error::NotFinite).
    pub fn run(self) -> Result<Output> {
        self.components.model.vae.can_decode()?;
        let images = self.each(|request, run, tracer, image, drawn| {
            let drawn = request.decoded(run, tracer, image, drawn)?;
            if let Some(callback) = &mut request.on_image {
                callback(image, &drawn);
                if request.cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
            }
            Ok(drawn)
        })?;
        Ok(Output { images })
    }

    /// The same without decoding: the latents that [`Request::run`] would decode.
    ///
    /// # Errors
    /// As [`Request::run`].
    pub fn latents(self) -> Result<Latents> {
        let made = self.each(|request, run, _, _, (latents, seeds)| {
            let [_, shape @ ..] = run.result().shape;
            Ok((latents, shape, seeds.seed, request.infotext(run, seeds)))
        })?;
        let [c, h, w] = made.first().map_or([0; 3], |(_, shape, ..)| *shape);
        let mut all = Latents {
            latents: Array {
                shape: vec![made.len(), c, h, w],
                values: Vec::with_capacity(made.len() * c * h * w),
            },
            seeds: Vec::with_capacity(made.len()),
            infotexts: Vec::with_capacity(made.len()),
        };
        for (latents, _, seed, infotext) in made {
            all.latents.values.extend(latents);
            all.seeds.push(seed);
            all.infotexts.push(infotext);
        }
        Ok(all)
    }

    /// The picture of these latents.
    fn decoded(
        &self,
        run: &Run<'_>,
        tracer: &mut Option<Tracer>,
        image: usize,
        (latents, seeds): (Vec<f32>, Seeds),
    ) -> Result<Image> {
        let pass = run.result();
        let Components { model, runtime, .. } = pass.components(run.own);
        let wrap = self.params.wrap();
        let decode = || model.decode_wrapped(latents, pass.shape, wrap, runtime);
        let pixels = runtime.timed("decoded the picture", decode)?;
        let infotext = self.infotext(run, seeds);
        let [width, height] = pass.size;
        if let Some(tracer) = tracer {
            let shape = [1, 3, height as usize, width as usize];
            tracer.record(&format!("picture.{}.image", image + 1), &shape, &pixels)?;
        }
        let mut drawn = Image::from_planes(&pixels, width, height, seeds.seed, infotext)?;
        let canvas = run.start.as_ref().and_then(|start| start.canvas.as_ref());
        if let Some(canvas) = canvas.filter(|_| self.params.image.color_correction) {
            drawn.rgb = corrected(&drawn.rgb, &canvas.picture);
        }
        match canvas {
            Some(canvas) if run.enlargement.is_none() => canvas.restored(drawn),
            _ => Ok(drawn),
        }
    }

    fn infotext(&self, run: &Run<'_>, seeds: Seeds) -> String {
        infotext_of(&self.params, run, self.components, seeds)
    }

    /// A trace with all that is the same for every picture.
    fn begin_trace(&self, run: &Run<'_>) -> Result<Option<Tracer>> {
        let Some(path) = &self.trace else {
            return Ok(None);
        };
        let seeds = Seeds {
            seed: run.seed,
            variation_seed: Some(run.variation_seed),
        };
        let mut tracer = Tracer::begin(path, &self.infotext(run, seeds))?;
        let plan = self.components.plan_prompts(&self.params)?;
        for (name, parts) in [
            ("prompt", &plan.prompt[..]),
            ("negative_prompt", std::slice::from_ref(&plan.negative_prompt)),
        ] {
            let texts = parts.iter().flat_map(|part| &part.texts);
            let tokens = texts.flat_map(|text| text.chunks.iter().flatten());
            let ids: Vec<f32> = tokens.map(|token| token.id as f32).collect();
            tracer.record(&format!("{name}.tokens"), &[ids.len()], &ids)?;
        }
        for (i, pass) in run.passes.iter().enumerate() {
            let number = i + 1;
            let conditioning = &pass.conditioning;
            let indices = conditioning.indices(0);
            let texts = conditioning.timelines().zip(indices).enumerate();
            for (part, (timeline, index)) in texts {
                let context = &timeline.texts[index].context;
                let name = match part.checked_sub(conditioning.conds.len()) {
                    None => format!("cond.{part}"),
                    Some(0) => "uncond".to_owned(),
                    Some(_) => "empty".to_owned(),
                };
                let shape = [context.len() / conditioning.width, conditioning.width];
                tracer.record(&format!("pass.{number}.{name}"), &shape, context)?;
            }
            let sigmas: Vec<f32> = pass.plan.sigmas().iter().map(|sigma| *sigma as f32).collect();
            tracer.record(&format!("pass.{number}.sigmas"), &[sigmas.len()], &sigmas)?;
        }
        Ok(Some(tracer))
    }
}

fn infotext_of(params: &GenerateParams, run: &Run<'_>, components: &Components, seeds: Seeds) -> String {
    let refiner = components.refiner.as_ref();
    let (size, model) = (run.first().size, &components.model.name);
    let models = (&**model, refiner.map(|refiner| &*refiner.model.name));
    infotext(params, seeds, size, models, &run.hashes)
}
