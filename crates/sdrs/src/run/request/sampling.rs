//! The latents of pictures, from pass to pass.

use std::ops::Range;

use sd_sched::{
    Stepper,
    rng::{BatchNoise, NoiseOptions, Shape},
};

use super::{Progress, Request, infotext_of, prepare::Run};
use crate::{
    Error, GenerateParams, Result,
    picture::infotext::Seeds,
    run::{
        Components,
        pass::{Beginning, Denoiser, Drawn, Pass, Seen},
        state::{DrawnWith, Place, RunState},
    },
    trace::Tracer,
};

/// A picture under way.
struct Picture {
    /// Its number in the batch, from 0.
    number: usize,
    seeds: Seeds,
    /// Steps that are done, in all passes.
    steps: usize,
    infotext: String,
    /// The latents of the last pass, and their shape.
    last: Option<(Vec<f32>, [usize; 4])>,
}

impl<'a> Request<'a> {
    /// Samples the latents of pictures that are drawn together, in their order.
    pub(super) fn sample(
        &mut self,
        run: &mut Run<'a>,
        tracer: &mut Option<Tracer>,
        group: Range<usize>,
    ) -> Result<Vec<(Vec<f32>, Seeds)>> {
        let mut resumed = self.resumed.take();
        let mut pictures: Vec<Picture> = group.map(|number| self.picture(run, number)).collect();
        let all_known = run.passes.iter().all(|pass| !pass.plan.is_adaptive());
        let steps: usize = run.passes.iter().map(|pass| pass.plan.steps()).sum();
        let steps = if all_known { steps } else { 0 };
        for index in 0..run.passes.len() {
            if resumed.as_ref().is_some_and(|state| index < state.place.pass) {
                continue;
            }
            self.pass_of(run, tracer, (index, steps), &mut pictures, resumed.take())?;
        }
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let latents = pictures.into_iter().map(|picture| {
            let latents = picture.last.map(|(latents, _)| latents);
            (latents.unwrap_or_default(), picture.seeds)
        });
        Ok(latents.collect())
    }

    /// The picture of this number before its first pass.
    fn picture(&self, run: &Run<'a>, number: usize) -> Picture {
        let seeds = self.seeds(run, number);
        Picture {
            number,
            seeds,
            steps: 0,
            infotext: match self.states.is_some() {
                true => infotext_of(&self.params, run, self.components, seeds),
                false => String::new(),
            },
            last: None,
        }
    }

    fn seeds(&self, run: &Run<'a>, number: usize) -> Seeds {
        let varied = self.params.noise.variation_strength > 0.0;
        // Variations keep the seed and differ in the other one (WebUI).
        Seeds {
            seed: if varied { run.seed } else { nth(run.seed, number) },
            variation_seed: varied.then(|| nth(run.variation_seed, number)),
        }
    }

    /// Takes pictures through a pass.
    fn pass_of(
        &mut self,
        run: &mut Run<'a>,
        tracer: &mut Option<Tracer>,
        (index, steps): (usize, usize),
        pictures: &mut [Picture],
        mut resumed: Option<Box<RunState>>,
    ) -> Result<()> {
        let components = run.passes[index].tagged.clone();
        let components = components.as_deref().unwrap_or(run.own);
        let (model, runtime) = (&components.model, &components.runtime);
        let drawn_with =
            (self.states.is_some() || resumed.is_some()).then(|| DrawnWith::new(run.own, components));
        let prepared = pictures.iter_mut().map(|picture| {
            let state = resumed.take().zip(drawn_with.as_ref());
            self.prepared(run, (index, components), picture, state)
        });
        let prepared: Vec<(Drawn, usize)> = prepared.collect::<Result<_>>()?;
        let (drawn, before): (Vec<Drawn>, Vec<usize>) = prepared.into_iter().unzip();
        let params = &self.params;
        let images = params.size.batch_size;
        let first = pictures[0].number + 1;
        let what = match drawn.len() {
            1 => format!("sampled picture {first} of {images}"),
            n => format!(
                "sampled pictures {first} to {} of {images}, together",
                first + n - 1
            ),
        };
        let (previews, progress) = (self.previews, &mut self.progress);
        let (given, inputs, run_size) = (&self.given, &self.inputs, run.first().size);
        let mut states = self.states.as_mut();
        let shape = run.passes[index].shape;
        let seen = |which: usize, seen: Seen<'_>| {
            let picture = &mut pictures[which];
            let image = picture.number;
            let mut record = |name: &str, values: &[f32]| match tracer {
                Some(tracer) => {
                    let stage = format!("picture.{}.pass.{}.{name}", image + 1, index + 1);
                    tracer.record(&stage, &shape, values)
                }
                None => Ok(()),
            };
            let (step, is_last, state) = match seen {
                Seen::Noise(noise) => return record("noise", noise),
                Seen::Beginning(x) => return record("step.0.latents", x),
                Seen::Step(step, is_last, state) => (step, is_last, state),
            };
            picture.steps = before[which] + step.step + 1;
            record(&format!("step.{}.latents", step.step + 1), step.x)?;
            record(&format!("step.{}.denoised", step.step + 1), step.denoised)?;
            if let (Some((every, callback)), Some(drawn_with)) = (&mut states, &drawn_with)
                && (picture.steps.is_multiple_of(*every) || is_last)
            {
                callback(RunState {
                    origin: "state".into(),
                    params: single(params, picture.seeds, run_size),
                    negative_given: given.contains("negative_prompt"),
                    drawn_with: drawn_with.clone(),
                    inputs: inputs.clone(),
                    infotext: picture.infotext.clone(),
                    place: Place {
                        image,
                        pass: index,
                        step: picture.steps,
                        steps,
                    },
                    pass: state()?,
                })?;
            }
            let Some(callback) = progress.as_mut() else {
                return Ok(());
            };
            let preview = match previews {
                Some((method, every)) if picture.steps.is_multiple_of(every) => {
                    Some(model.preview(step.denoised, (shape, params.wrap()), method, runtime)?)
                }
                _ => None,
            };
            callback(Progress {
                image,
                images,
                step: picture.steps,
                steps,
                sigma: step.sigma,
                preview,
            });
            Ok(())
        };
        let denoiser = Denoiser { components };
        let cancelled = || self.cancel.is_cancelled();
        let pass: &mut Pass = &mut run.passes[index];
        let sampled = runtime.timed(what, || denoiser.run(pass, drawn, cancelled, seen))?;
        for (picture, sampled) in pictures.iter_mut().zip(sampled) {
            picture.last = Some((sampled, shape));
        }
        Ok(())
    }

    /// What a picture begins a pass with, or goes on with from a state; and the steps before the pass.
    fn prepared(
        &self,
        run: &Run<'a>,
        (index, components): (usize, &Components),
        picture: &mut Picture,
        state: Option<(Box<RunState>, &DrawnWith)>,
    ) -> Result<(Drawn, usize)> {
        let params = &self.params;
        let (model, runtime) = (&components.model, &components.runtime);
        let pass = &run.passes[index];
        let mut before = picture.steps;
        let mut resumed = None;
        if let Some((mut state, drawn_with)) = state {
            state.check_size(pass.shape.iter().product())?;
            state.forget_others(drawn_with);
            picture.steps = state.place.step;
            // Steps are counted from the pass's beginning.
            let done = Stepper::resume(pass.plan.clone(), state.pass.stepper.clone())?.steps_done();
            before = picture.steps.saturating_sub(done);
            resumed = Some(state.pass);
        }
        let [_, channels, height, width] = pass.shape;
        let options = NoiseOptions {
            source: params.noise.rng.source(),
            ensd: params.noise.ensd,
            ..NoiseOptions::new(
                picture.seeds.seed,
                Shape {
                    channels,
                    height,
                    width,
                },
            )
        };
        let mut noise = BatchNoise::new(NoiseOptions {
            variation_seed: nth(run.variation_seed, picture.number),
            variation_strength: params.noise.variation_strength,
            seed_resize_from: params.seed_resize(model.limits().downscale),
            ..options.clone()
        })?;
        let plain = || Ok(BatchNoise::new(options)?.first().swap_remove(0));
        let (from, region) = match (picture.last.take(), &run.start, &run.enlargement) {
            (None, Some(start), _) if index == 0 => {
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
        let from = from.map(|latents| Beginning {
            latents,
            // The WebUI's hires pass has none.
            noise_multiplier: match index == 0 {
                true => params.image.noise_multiplier,
                false => 1.0,
            },
            extra_noise: params.image.extra_noise,
            region,
        });
        let drawn = Drawn { from, resumed, noise };
        Ok((drawn, before))
    }
}

/// The seed of a picture, by the first one's.
fn nth(first: u64, number: usize) -> u64 {
    first.wrapping_add(number as u64)
}

/// The parameters with which a picture of a batch is drawn alone.
fn single(params: &GenerateParams, seeds: Seeds, [width, height]: [u32; 2]) -> GenerateParams {
    let mut params = params.clone();
    (params.size.width, params.size.height, params.size.batch_size) = (Some(width), Some(height), 1);
    params.noise.seed = seeds.seed.into();
    // Without a share it decides nothing.
    params.noise.variation_seed = seeds.variation_seed.map_or(0, i128::from);
    params
}
