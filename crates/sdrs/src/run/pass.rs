//! A pass: one way through the sampler.

use sd_sched::{Latent, Plan, Progress, rng::BatchNoise};

use super::{
    guide::{Guidance, GuidanceState},
    predict::{Changes, Predictor},
    refiner::Refiner,
};
use crate::{
    Error, Result,
    lora::{Loras, ScheduledUnet},
    model::{Model, Runtime},
    text::Conditioning,
};

/// A size and the noise levels that are gone through at it.
pub(crate) struct Pass {
    pub plan: Plan,
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// `[1, channels, height, width]` of one picture's latents.
    pub shape: [usize; 4],
}

/// Everything that passes draw with. Around the network stands prediction, around that guidance.
pub(crate) struct Denoiser<'a> {
    pub model: &'a Model,
    pub loras: &'a Loras,
    pub runtime: &'a Runtime,
    pub conditioning: &'a Conditioning,
    pub guidance: &'a Guidance,
    pub changes: Changes,
    /// The model that takes over on the way.
    pub refiner: Option<Refiner<'a>>,
}

impl Denoiser<'_> {
    /// Samples one picture's latents, from `start` (an image's latents, or those of the pass before) or from noise alone.
    pub fn run(
        &self,
        pass: &Pass,
        start: Option<&Vec<f32>>,
        mut noise: BatchNoise,
        unets: &mut ScheduledUnet,
        cancelled: impl Fn() -> bool,
        on_step: impl FnMut(Progress<'_, Vec<f32>>) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let plan = &pass.plan;
        let range = (plan.sampler().uses_brownian_noise()).then(|| plan.brownian_range());
        // Grown when noise is first asked for: a single step asks for none, and has no range for a tree.
        let mut trees = None;
        let first = noise.first().swap_remove(0);
        let image = start.map(|latents| (plan.image_scale(), latents));
        let terms: Vec<_> = image.into_iter().chain([(plan.noise_scale(), &first)]).collect();
        let mut predictor = Predictor {
            model: self.model,
            runtime: self.runtime,
            conditioning: self.conditioning,
            changes: self.changes,
            guidance: self.model.guidance_embedding(self.guidance.cfg_scale),
            shape: pass.shape,
            cache: Default::default(),
        };
        let mut state = GuidanceState::default();
        let refiner = self.refiner;
        let mut refining = refiner.map(|refiner| refiner.picture(self.changes, pass.shape));
        sd_sched::sample(
            plan.clone(),
            Vec::lincomb(&terms),
            |x, call| {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                if let Some(refining) = refining
                    .as_mut()
                    .and_then(|it| it.at(&call, &self.model.sampling))
                {
                    return refining.denoise((x, &call));
                }
                let unet = unets.at(call.step, self.model, self.loras, self.runtime)?;
                predictor.cache.belongs_to(&unet);
                self.guidance
                    .denoise(&mut predictor, &mut state, (x, &call), &unet)
            },
            |way| {
                if let (Some(range), None) = (range, &trees) {
                    trees = Some(noise.brownian(range)?);
                }
                let drawn = match &mut trees {
                    Some(trees) => trees.noise(way.sigma_from, way.sigma_to),
                    None => noise.next(),
                };
                Ok(drawn.into_iter().next().unwrap_or_default())
            },
            on_step,
        )
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
    #[cfg(feature = "demo")]
    use crate::GenerateParams;
    use crate::{Pipeline, text::Timeline};

    fn pipeline(prediction: Prediction) -> Pipeline {
        let builder = Pipeline::builder()
            .checkpoint(goldens::root().join("tiny-sd1"))
            .device("cpu");
        builder.prediction(prediction).build().unwrap()
    }

    /// Latents of a pass over `plan`, from a seed.
    fn latents(
        pipeline: &Pipeline,
        conditioning: &Conditioning,
        cfg_scale: f64,
        (plan, shape): (Plan, [usize; 4]),
        (start, seed): (Option<&Vec<f32>>, u64),
        on_step: impl FnMut(Progress<'_, Vec<f32>>) -> Result<()>,
    ) -> Vec<f32> {
        let components = pipeline.components();
        let denoiser = Denoiser {
            model: &components.model,
            loras: &components.loras,
            runtime: &components.runtime,
            conditioning,
            guidance: &Guidance {
                weights: vec![1.0],
                cfg_scale,
                rule: UncondRule::default(),
                methods: Methods::default(),
            },
            changes: Changes::default(),
            refiner: None,
        };
        let size = [shape[3] as u32 * 8, shape[2] as u32 * 8];
        let (pass, noise) = (Pass { plan, size, shape }, noise_of(seed, shape));
        let mut unets = ScheduledUnet::default();
        let latents = denoiser.run(&pass, start, noise, &mut unets, || false, on_step);
        latents.unwrap()
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
        let conditioning = conditioning(&refs);
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
            &conditioning,
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
            &conditioning,
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
        let conditioning = conditioning(&refs);
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
        let latents = latents(&pipeline, &conditioning, 7.0, (plan, shape), (None, 42), count);
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

    /// diffusers' own pipeline with its DDIM on the demo model: prompts, latents and picture.
    #[cfg(feature = "demo")]
    #[test]
    fn demo_ddim_is_diffusers() {
        let pipeline = Pipeline::builder().demo().device("cpu").build().unwrap();
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
            let latents = latents(&pipeline, &conditioning, 5.0, (plan, shape), (None, seed), |_| {
                Ok(())
            });
            refs.assert_close(&name, &latents, 1e-4);
            let runtime = &pipeline.components().runtime;
            let picture = pipeline.model().decode(latents, shape, runtime).unwrap();
            refs.assert_close(&format!("ddim.{seed}.image"), &picture, 1e-4);
        }
    }
}
