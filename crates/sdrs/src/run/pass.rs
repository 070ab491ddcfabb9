//! A pass: one way through the sampler.

use std::{cell::RefCell, sync::Arc};

use sd_sched::{
    Dialect, Latent, ModelSampling, Plan, Progress, Request, Stepper, StepperState, rng::BatchNoise,
};

use super::{
    Components,
    call_state::CallState,
    guide::{Guidance, GuidanceState},
    predict::{Batch, Changes, Predictor},
    refiner::{Refiner, Refining},
    region::Region,
};
use crate::{Error, Result, lora::ScheduledUnet, params::Tiles, text::Conditioning};

/// A size, the noise levels that are gone through at it, and what is drawn with there.
pub(crate) struct Pass {
    pub plan: Plan,
    /// The model's noise levels, as the plan has them.
    pub sampling: ModelSampling,
    pub changes: Changes,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// `[1, channels, height, width]` of one picture's latents.
    pub shape: [usize; 4],
    /// Components that draw in place of the pipeline's, with the LoRAs that the prompt's tags name.
    pub tagged: Option<Arc<Components>>,
    pub conditioning: Conditioning,
    pub guidance: Guidance,
    pub unets: ScheduledUnet,
    /// Channels behind those of the latents, for a U-Net that has them.
    pub concat: Option<Vec<f32>>,
    /// The tiles that the U-Net sees one by one.
    pub tiles: Option<Tiles>,
    /// What the components' refiner takes over with.
    pub refiner: Option<Refiner>,
}

/// The latents that a pass begins at.
pub(crate) struct Beginning {
    pub latents: Vec<f32>,
    /// A factor of the first noise.
    pub noise_multiplier: f64,
    /// Noise beyond the first noise level's.
    pub extra_noise: f64,
    /// The part that is drawn anew.
    pub region: Option<Region>,
}

/// A pass under way: what its rest depends on.
#[derive(Debug, Clone)]
pub(crate) struct PassState {
    pub stepper: StepperState<Vec<f32>>,
    /// Draws from the noise's generator, the first one not counted.
    pub draws: usize,
    pub own: CallState,
    /// The refiner's, once it has taken over.
    pub refiner: Option<CallState>,
}

/// What is seen of a pass.
pub(crate) enum Seen<'a> {
    /// The first noise, of unit variance.
    Noise(&'a Vec<f32>),
    /// The latents that sampling begins at.
    Beginning(&'a Vec<f32>),
    /// A step that is done, whether it is the pass's last, and the state after it.
    Step(Progress<'a, Vec<f32>>, bool, &'a dyn Fn() -> Result<PassState>),
}

/// Everything besides a pass that latents are sampled with. Around the network stands prediction, around that guidance.
pub(crate) struct Denoiser<'a> {
    pub components: &'a Components,
}

/// A picture that a pass draws: the latents that it begins at, if not at noise alone; the state that it goes on from; its noise.
pub(crate) struct Drawn {
    pub from: Option<Beginning>,
    pub resumed: Option<PassState>,
    pub noise: BatchNoise,
}

impl Denoiser<'_> {
    /// Samples pictures' latents, all of them together: from an image's latents, or those of the pass before, or from noise alone; a single one
    /// may go on from a state, whose pass began so. `seen` is told which picture it is, from 0.
    pub fn run(
        &self,
        pass: &mut Pass,
        pictures: Vec<Drawn>,
        cancelled: impl Fn() -> bool,
        mut seen: impl FnMut(usize, Seen<'_>) -> Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let Pass {
            plan,
            sampling,
            changes,
            shape,
            conditioning,
            guidance,
            unets,
            concat,
            tiles,
            refiner,
            ..
        } = pass;
        let Components {
            model,
            loras,
            runtime,
            ..
        } = self.components;
        let range = (plan.sampler().uses_brownian_noise()).then(|| plan.brownian_range());
        // Grown when noise is first asked for: a single step asks for none, and has no range for a tree.
        let count = pictures.len();
        let mut trees: Vec<_> = (0..count).map(|_| None).collect();
        let over_timesteps = plan.sampler().is_timestep_based(Dialect::WebUi);
        let (mut froms, mut states, mut noises) = (Vec::new(), Vec::new(), Vec::new());
        let mut firsts = Vec::with_capacity(count);
        for (number, mut picture) in pictures.into_iter().enumerate() {
            let first = picture.noise.first().swap_remove(0);
            seen(number, Seen::Noise(&first))?;
            firsts.push(first);
            froms.push(picture.from);
            states.push(picture.resumed);
            noises.push(picture.noise);
        }
        let regions = froms.iter().zip(&firsts).map(|(from, first)| {
            let region = from.as_ref().and_then(|from| from.region.as_ref());
            region.map(|region| region.held(plan, first, over_timesteps, sampling))
        });
        let regions: Vec<_> = regions.collect();
        let refiner = refiner.as_ref().zip(self.components.refiner.as_deref());
        let mut calls = Calls {
            predictor: Predictor {
                model,
                runtime,
                conditioning,
                changes: *changes,
                guidance: model.guidance_embedding(guidance.cfg_scale),
                shape: *shape,
                concat: concat.as_deref(),
                tiles: tiles.as_ref(),
                cancelled: &cancelled,
                cache: Default::default(),
                steady: Default::default(),
            },
            guidance: vec![GuidanceState::default(); count],
            refining: refiner.map(|(refiner, by)| {
                let latents = (*shape, tiles.as_ref());
                refiner.pictures(count, by, *changes, latents, &cancelled)
            }),
            unets,
            draws: vec![0; count],
        };
        let mut steppers = Vec::with_capacity(count);
        for (number, state) in states.into_iter().enumerate() {
            let stepper = match state {
                None => {
                    let from = froms[number].as_ref();
                    let beginning = beginning(plan, from, &firsts[number], over_timesteps);
                    Stepper::new(plan.clone(), beginning)
                }
                Some(state) => {
                    (0..state.draws).for_each(|_| drop(noises[number].next()));
                    let stepper = Stepper::resume(plan.clone(), state.stepper)?;
                    calls.resume((state.draws, state.own, state.refiner));
                    stepper
                }
            };
            if let (0, Request::Denoise { x, .. }) = (stepper.calls_done(), stepper.request()) {
                seen(number, Seen::Beginning(x))?;
            }
            steppers.push(stepper);
        }
        // The loop's closures take turns with it.
        let calls = RefCell::new(calls);
        let sampled = sd_sched::drive_together(
            steppers,
            |latents, call| {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                let Calls {
                    predictor,
                    guidance: states,
                    refining,
                    unets,
                    ..
                } = &mut *calls.borrow_mut();
                let mut refining = refining.as_mut().and_then(|it| it.at(&call, sampling));
                let unet = match &refining {
                    Some(_) => model.unet.clone(),
                    None => unets.at(call.step, model, loras, runtime)?,
                };
                predictor.cache.belongs_to(&unet);
                let given = latents.iter().map(|(number, x)| {
                    let region = regions[*number].as_ref();
                    region.and_then(|region| region.given(x, &call))
                });
                let given: Vec<Option<Vec<f32>>> = given.collect();
                let seen = latents.iter().zip(&given);
                let seen = seen.map(|(&(number, x), given)| (number, given.as_ref().unwrap_or(x)));
                let seen: Vec<(usize, &Vec<f32>)> = seen.collect();
                let batch = Batch {
                    latents: &seen,
                    call: &call,
                };
                let denoised = match &mut refining {
                    Some(refining) => refining.denoise(batch),
                    None => guidance.denoise(predictor, states, batch, &unet),
                }?;
                let each = latents.iter().zip(&given).zip(denoised);
                let denoised = each.map(|((&(number, x), given), denoised)| match &regions[number] {
                    Some(region) => region.denoised(x, given.as_ref(), &call, denoised),
                    None => denoised,
                });
                Ok(denoised.collect())
            },
            |number, way| {
                let (noise, trees) = (&mut noises[number], &mut trees[number]);
                if let (Some(range), None) = (range, &trees) {
                    *trees = Some(noise.brownian(range)?);
                }
                let drawn = match trees {
                    Some(trees) => trees.noise(way.sigma_from, way.sigma_to),
                    None => {
                        calls.borrow_mut().draws[number] += 1;
                        noise.next()
                    }
                };
                Ok(drawn.into_iter().next().unwrap_or_default())
            },
            |number, stepper, step| {
                let stepper = &*stepper;
                let state = || calls.borrow().state(number, stepper);
                match stepper.progress(step) {
                    Some(progress) => seen(number, Seen::Step(progress, stepper.is_done(), &state)),
                    None => Ok(()),
                }
            },
        )?;
        let kept = sampled.into_iter().zip(&regions);
        let kept = kept.map(|(sampled, region)| match region {
            Some(region) => region.kept(sampled),
            None => sampled,
        });
        Ok(kept.collect())
    }
}

/// The latents that sampling begins at: noise, on an image's latents if there are some.
fn beginning(plan: &Plan, from: Option<&Beginning>, first: &Vec<f32>, over_timesteps: bool) -> Vec<f32> {
    let mut terms = Vec::new();
    let mut noise_scale = plan.noise_scale();
    if let Some(from) = from {
        // Latents of samplers over timesteps are variance preserving in the WebUI, so that extra noise is more of ours.
        let unit = match over_timesteps {
            true => (1.0 + plan.sigmas()[0].powi(2)).sqrt(),
            false => 1.0,
        };
        noise_scale = from.noise_multiplier * (noise_scale + from.extra_noise * unit);
        terms.push((plan.image_scale(), &from.latents));
    }
    terms.push((noise_scale, first));
    Vec::lincomb(&terms)
}

/// What the calls of a pass hand on to each other.
struct Calls<'a> {
    predictor: Predictor<'a>,
    /// For each picture.
    guidance: Vec<GuidanceState>,
    refining: Option<Refining<'a>>,
    unets: &'a mut ScheduledUnet,
    /// Draws of noise from each picture's generator.
    draws: Vec<usize>,
}

impl Calls<'_> {
    /// The state in which the rest of the pass finds them, for one picture.
    fn state(&self, picture: usize, stepper: &Stepper<Vec<f32>>) -> Result<PassState> {
        let next = stepper.steps_done();
        let same_unet = !self.unets.changes_at(next);
        let refiner = self.refining.as_ref();
        let refiner = refiner.map(|it| it.call_state(picture, next)).transpose()?;
        Ok(PassState {
            stepper: stepper.state(),
            draws: self.draws[picture],
            own: CallState::new(
                &self.predictor,
                (picture, &self.guidance[picture]),
                (next, same_unet),
            )?,
            refiner: refiner.flatten(),
        })
    }

    /// Goes on from a state, which is the only picture's.
    fn resume(&mut self, (draws, own, refiner): (usize, CallState, Option<CallState>)) {
        self.draws = vec![draws];
        self.predictor.restore(&own.cache);
        self.guidance = vec![own.guidance];
        if let (Some(refining), Some(state)) = (&mut self.refining, refiner) {
            refining.resume(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use goldens::Refs;
    use sd_sched::{
        Dialect, PlanOptions, Prediction, Sampler, Schedule, Start, plan,
        rng::{NoiseOptions, Shape},
    };

    use super::{
        super::guide::{Methods, UncondRule},
        *,
    };
    use crate::{GenerateParams, Pipeline, TiledDiffusion, text::Timeline};

    fn pipeline(prediction: Prediction) -> Pipeline {
        let builder = Pipeline::builder()
            .checkpoint(goldens::root().join("tiny-sd1"))
            .device("cpu")
            .dtype(sd_core::Dtype::F32);
        builder.prediction(prediction).build().unwrap()
    }

    /// Latents of a pass over `plan`, from a seed.
    fn latents(
        pipeline: &Pipeline,
        conditioning: Conditioning,
        cfg_scale: f64,
        (plan, shape): (Plan, [usize; 4]),
        (start, seed): (Option<&Vec<f32>>, u64),
        on_step: impl FnMut(Progress<'_, Vec<f32>>) -> Result<()>,
    ) -> Vec<f32> {
        tiled(
            pipeline,
            conditioning,
            cfg_scale,
            (plan, shape, None),
            (start, seed),
            on_step,
        )
    }

    /// The same over tiles.
    fn tiled(
        pipeline: &Pipeline,
        conditioning: Conditioning,
        cfg_scale: f64,
        (plan, shape, tiles): (Plan, [usize; 4], Option<Tiles>),
        (start, seed): (Option<&Vec<f32>>, u64),
        on_step: impl FnMut(Progress<'_, Vec<f32>>) -> Result<()>,
    ) -> Vec<f32> {
        let components = pipeline.components();
        let denoiser = Denoiser { components };
        let mut pass = Pass {
            plan,
            sampling: components.model.sampling.clone(),
            changes: Changes::default(),
            size: [shape[3] as u32 * 8, shape[2] as u32 * 8],
            shape,
            tagged: None,
            conditioning,
            guidance: Guidance {
                weights: vec![1.0],
                cfg_scale,
                rule: UncondRule::default(),
                methods: Methods::default(),
            },
            unets: ScheduledUnet::default(),
            concat: None,
            tiles,
            refiner: None,
        };
        let from = start.map(|latents| Beginning {
            latents: latents.clone(),
            noise_multiplier: 1.0,
            extra_noise: 0.0,
            region: None,
        });
        let mut on_step = on_step;
        let seen = |_, seen: Seen<'_>| match seen {
            Seen::Step(progress, ..) => on_step(progress),
            Seen::Noise(_) | Seen::Beginning(_) => Ok(()),
        };
        let drawn = Drawn {
            from,
            resumed: None,
            noise: noise_of(seed, shape),
        };
        let latents = denoiser.run(&mut pass, vec![drawn], || false, seen);
        latents.unwrap().swap_remove(0)
    }

    fn noise_of(seed: u64, [_, channels, height, width]: [usize; 4]) -> BatchNoise {
        let shape = Shape {
            channels,
            height,
            width,
        };
        BatchNoise::new(NoiseOptions::new(seed, shape)).unwrap()
    }

    fn conditioning(refs: &Refs) -> Conditioning {
        Conditioning {
            conds: vec![(1.0, Timeline::fixed(refs.f32s("cond")))],
            uncond: Timeline::fixed(refs.f32s("uncond")),
            empty: None,
            width: refs.shape("cond")[2],
            padding: None,
            sizes: None,
        }
    }

    /// A pass from latents, noise added, is the rest of a longer one that comes to the same latents.
    #[test]
    fn a_pass_begins_at_latents() {
        let pipeline = pipeline(Prediction::Epsilon);
        let refs = Refs::open("tiny-sd1/refs/samplers.safetensors");
        let planned = |start| {
            let options = PlanOptions {
                start,
                ..PlanOptions::default()
            };
            let sampling = &pipeline.model().sampling;
            let plan = plan(Sampler::Euler, Schedule::Karras, 10, sampling, &options).unwrap();
            (plan, [1, 4, 16, 16])
        };
        let rest = planned(Start::Image {
            strength: 0.5,
            exact_steps: false,
        });
        let (image, noise) = (rest.0.image_scale() as f32, rest.0.noise_scale() as f32);
        let before = 10 - rest.0.steps();
        assert!(image == 1.0 && before > 2);
        // The latents of the longer pass at that noise level, less the noise that the other one adds.
        let mut start = Vec::new();
        let whole = latents(
            &pipeline,
            conditioning(&refs),
            7.0,
            planned(Start::Noise),
            (None, 42),
            |step| {
                if step.step + 1 == before {
                    start.clone_from(step.x);
                }
                Ok(())
            },
        );
        let added = noise_of(42, rest.1).first().swap_remove(0);
        start.iter_mut().zip(&added).for_each(|(x, n)| *x -= noise * n);
        let continued = latents(
            &pipeline,
            conditioning(&refs),
            7.0,
            rest,
            (Some(&start), 42),
            |_| Ok(()),
        );
        goldens::assert_close("latents", &continued, &whole, 1e-4);
    }

    /// A whole run in f32 against k-diffusion's or diffusers', from the same seed: own noise, own contexts, own sigmas.
    fn run(name: &str, sampler: Sampler, schedule: Schedule, prediction: Prediction, dialect: Dialect) {
        let pipeline = pipeline(prediction);
        let refs = Refs::open("tiny-sd1/refs/samplers.safetensors");
        let shape = [1, 4, 16, 16];
        let options = PlanOptions {
            dialect,
            ..PlanOptions::default()
        };
        let plan = plan(sampler, schedule, 10, &pipeline.model().sampling, &options).unwrap();
        if !name.starts_with("ddim") {
            let sigmas: Vec<f32> = plan.sigmas().iter().map(|&s| s as f32).collect();
            refs.assert_close(&format!("{name}.sigmas"), &sigmas, 1e-6);
        }
        let mut steps = 0;
        let count = |step: Progress<'_, Vec<f32>>| {
            steps = step.step + 1;
            Ok(())
        };
        let latents = latents(
            &pipeline,
            conditioning(&refs),
            7.0,
            (plan, shape),
            (None, 42),
            count,
        );
        let all = refs.f32s(&format!("{name}.latents"));
        assert_eq!(steps, all.len() / latents.len() - 1);
        goldens::assert_close(name, &latents, &all[all.len() - latents.len()..], 1e-4);
    }

    #[test]
    fn euler() {
        run(
            "euler.uniform",
            Sampler::Euler,
            Schedule::Uniform,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
        run(
            "euler.karras",
            Sampler::Euler,
            Schedule::Karras,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
    }

    #[test]
    fn euler_v_prediction() {
        run(
            "euler.uniform.v",
            Sampler::Euler,
            Schedule::Uniform,
            Prediction::V,
            Dialect::WebUi,
        );
        run(
            "euler.karras.v",
            Sampler::Euler,
            Schedule::Karras,
            Prediction::V,
            Dialect::WebUi,
        );
    }

    #[test]
    fn euler_ancestral() {
        let sampler = Sampler::EulerAncestral;
        run(
            "euler_ancestral.uniform",
            sampler,
            Schedule::Uniform,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
        run(
            "euler_ancestral.karras",
            sampler,
            Schedule::Karras,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
    }

    #[test]
    fn dpmpp_2m() {
        run(
            "dpmpp_2m.uniform",
            Sampler::DpmPp2m,
            Schedule::Uniform,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
        run(
            "dpmpp_2m.karras",
            Sampler::DpmPp2m,
            Schedule::Karras,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
    }

    #[test]
    fn ddim() {
        run(
            "ddim.webui",
            Sampler::Ddim,
            Schedule::Automatic,
            Prediction::Epsilon,
            Dialect::WebUi,
        );
        run(
            "ddim.diffusers",
            Sampler::Ddim,
            Schedule::Automatic,
            Prediction::Epsilon,
            Dialect::Diffusers,
        );
    }

    /// MultiDiffusion as diffusers' panoramas have it, once around too: the tiles lie as theirs do.
    #[test]
    fn panoramas_are_diffusers() {
        let pipeline = pipeline(Prediction::Epsilon);
        let samplers = Refs::open("tiny-sd1/refs/samplers.safetensors");
        let refs = Refs::open("tiny-sd1/refs/tiled.safetensors");
        for (name, circular) in [("panorama", false), ("panorama.circular", true)] {
            let mut params = GenerateParams::default();
            params.tiles.tiled_diffusion = TiledDiffusion::MultiDiffusion;
            (params.tiles.tile_width, params.tiles.tile_height) = (16, 16);
            params.tiles.tile_overlap = 8;
            params.network.tile_x = circular;
            let shape: [usize; 4] = refs.shape(name).try_into().unwrap();
            let tiles = Tiles::new(&params, [shape[2], shape[3]]);
            assert_eq!(tiles.as_ref().unwrap().count(), if circular { 4 } else { 3 });
            let options = PlanOptions {
                dialect: Dialect::Diffusers,
                ..PlanOptions::default()
            };
            let sampling = &pipeline.model().sampling;
            let plan = plan(Sampler::Ddim, Schedule::Automatic, 5, sampling, &options).unwrap();
            let from_noise = (None, 42);
            let conditioning = conditioning(&samplers);
            let drawn = tiled(
                &pipeline,
                conditioning,
                7.0,
                (plan, shape, tiles),
                from_noise,
                |_| Ok(()),
            );
            refs.assert_close(name, &drawn, 1e-4);
        }
    }

    /// diffusers' own pipeline with its DDIM on the demo model: prompts, latents and picture.
    #[cfg(feature = "demo")]
    #[test]
    fn demo_ddim_is_diffusers() {
        let builder = Pipeline::builder().demo().device("cpu");
        let pipeline = builder.dtype(sd_core::Dtype::F32).build().unwrap();
        let refs = Refs::open("demo/pictures.safetensors");
        let prompts = [
            "a red circle above a blue square",
            "a yellow star left of a purple heart on a night sky",
        ];
        for (seed, prompt) in (1..).zip(prompts) {
            let params = GenerateParams::default();
            let conditioning = pipeline
                .components()
                .condition(prompt, "", &params.reading(), &|| false)
                .unwrap();
            let name = format!("ddim.{seed}.latents");
            let shape: [usize; 4] = refs.shape(&name).try_into().unwrap();
            let options = PlanOptions {
                dialect: Dialect::Diffusers,
                ..PlanOptions::default()
            };
            let plan = plan(
                Sampler::Ddim,
                Schedule::Automatic,
                20,
                &pipeline.model().sampling,
                &options,
            )
            .unwrap();
            let latents = latents(&pipeline, conditioning, 5.0, (plan, shape), (None, seed), |_| {
                Ok(())
            });
            refs.assert_close(&name, &latents, 1e-4);
            let runtime = &pipeline.components().runtime;
            let picture = pipeline.model().decode(latents, shape, runtime).unwrap();
            refs.assert_close(&format!("ddim.{seed}.image"), &picture, 1e-4);
        }
    }
}
