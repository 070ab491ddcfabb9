//! The loop: from noise to latents.

use sd_core::models::{UNet, UnetInput};
use sd_sched::{Latent, Plan, Request, Stepper, rng::BatchNoise};

use crate::{
    Error, Pipeline, Result,
    conditioning::Conditioning,
    lora_phases::Phases,
    pipeline::values,
    remembered::{Remembered, Text},
    shortcuts::Shortcuts,
};

/// One picture's way through the sampler.
pub(crate) struct Denoiser<'a> {
    pub pipeline: &'a Pipeline,
    pub conditioning: &'a Conditioning,
    pub phases: &'a Phases,
    pub cfg_scale: f64,
    /// `[1, channels, height, width]` of the latents.
    pub shape: [usize; 4],
    pub shortcuts: Shortcuts,
}

/// A finished step: which, from 0, the noise level that it began at, and the latent as far as it is known.
pub(crate) struct Step<'a> {
    pub index: usize,
    pub sigma: f64,
    pub denoised: &'a [f32],
}

/// What a sampler asks for.
struct Wanted<'a> {
    x: &'a Vec<f32>,
    sigma: f64,
    timestep: f64,
    step: usize,
    unet: &'a UNet,
    /// Which call of the denoiser, from 0.
    call: usize,
    needs_uncond: bool,
}

impl Denoiser<'_> {
    /// Samples one picture's latents, with noise for one picture. All arithmetic outside the network is on the host, so it is the
    /// same on every device.
    pub fn run(
        &self,
        plan: Plan,
        mut noise: BatchNoise,
        mut cancelled: impl FnMut() -> bool,
        mut told: impl FnMut(Step<'_>) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let range = (plan.sampler().uses_brownian_noise()).then(|| plan.brownian_range());
        // Grown when noise is first asked for: a single step asks for none, and has no range for a tree.
        let mut trees = None;
        let x = Vec::lincomb(&[(plan.noise_scale(), &noise.first().swap_remove(0))]);
        let mut stepper = Stepper::new(plan, x);
        let (mut done, mut calls) = (0, 0);
        let mut memory = Remembered::default();
        loop {
            match stepper.request() {
                Request::Done(_) => return Ok(stepper.finish()?),
                Request::Noise {
                    sigma_from, sigma_to, ..
                } => {
                    if let (Some(range), None) = (range, &trees) {
                        trees = Some(noise.brownian(range)?);
                    }
                    let drawn = match &mut trees {
                        Some(trees) => trees.noise(sigma_from, sigma_to),
                        None => noise.next(),
                    };
                    stepper.provide_noise(drawn.into_iter().next().unwrap_or_default())?;
                }
                Request::Denoise {
                    x,
                    sigma,
                    timestep,
                    step,
                    needs_uncond,
                    ..
                } => {
                    if cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let unet = self.phases.unet(self.pipeline, stepper.steps_done())?;
                    memory.belongs_to(&unet);
                    let wanted = Wanted {
                        unet: &unet,
                        x,
                        sigma,
                        timestep,
                        step,
                        call: calls,
                        needs_uncond,
                    };
                    calls += 1;
                    let (denoised, uncond) = self.denoise(wanted, &mut memory)?;
                    match uncond {
                        Some(uncond) if needs_uncond => {
                            stepper.provide_denoised_with_uncond(denoised, uncond)?
                        }
                        _ => stepper.provide_denoised(denoised)?,
                    }
                }
                other => unreachable!("the stepper asks for nothing else: {other:?}"),
            }
            while done < stepper.steps_done() {
                if let Some((_, denoised, sigma)) = stepper.last_step() {
                    told(Step {
                        index: done,
                        sigma,
                        denoised,
                    })?;
                }
                done += 1;
            }
        }
    }

    /// Guidance: `uncond + cfg_scale * sum(weight * (cond - uncond))`. Where uncond is skipped the first cond stands for it, and the
    /// scale is 1, as in the WebUI: of one cond, that is cond.
    fn denoise(&self, wanted: Wanted<'_>, memory: &mut Remembered) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let Wanted { x, sigma, .. } = wanted;
        let scalings = self.pipeline.sampling.scalings(sigma);
        let input = Vec::lincomb(&[(scalings.c_in, x)]);
        let weights: Vec<f64> = self
            .conditioning
            .conds
            .iter()
            .map(|(weight, _)| *weight)
            .collect();
        let scales: Vec<f64> = weights.iter().map(|weight| weight * self.cfg_scale).collect();
        let guided = scales != [1.0] || wanted.needs_uncond;
        let skipped = guided && self.shortcuts.skips_uncond(wanted.call, sigma, wanted.timestep);
        let indices = self.conditioning.indices(wanted.call);
        let lengths = memory.texts(&indices, || self.conditioning.contexts(&indices, self.pipeline));
        let count = weights.len() + usize::from(guided && !skipped);
        let texts: Vec<Text> = (0..count)
            .map(|part| Text {
                part,
                index: indices[part],
            })
            .collect();
        // Contexts of one length go through the network together: two at a time, so that AND takes no more memory.
        let same_length = |a: &Text, b: &Text| lengths[a.part] == lengths[b.part];
        let mut outputs = Vec::with_capacity(texts.len());
        for pair in texts.chunk_by(same_length).flat_map(|run| run.chunks(2)) {
            outputs.extend(self.predict(&input, &wanted, pair, memory)?);
        }
        if !outputs.iter().flatten().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "the U-Net's output",
                advice: "compute in a wider dtype (f32), or check the checkpoint and its prediction type",
            });
        }
        let denoised = |output: &Vec<f32>| Vec::lincomb(&[(scalings.c_skip, x), (scalings.c_out, output)]);
        let mut denoised: Vec<Vec<f32>> = outputs.iter().map(denoised).collect();
        if !guided {
            return Ok((denoised.swap_remove(0), None));
        }
        let (uncond, scales) = match skipped {
            true => (denoised[0].clone(), weights),
            false => (denoised.pop().unwrap_or_default(), scales),
        };
        if skipped && denoised.len() == 1 {
            return Ok((denoised.swap_remove(0), Some(uncond)));
        }
        let mut terms = vec![(1.0 - scales.iter().sum::<f64>(), &uncond)];
        terms.extend(scales.iter().copied().zip(&denoised));
        Ok((Vec::lincomb(&terms), Some(uncond)))
    }

    /// The network's output for each of some texts of one length.
    fn predict(
        &self,
        input: &[f32],
        wanted: &Wanted<'_>,
        texts: &[Text],
        memory: &mut Remembered,
    ) -> Result<Vec<Vec<f32>>> {
        let batch = texts.len();
        let [_, channels, height, width] = self.shape;
        let pipeline = self.pipeline;
        let deep_cache = self.shortcuts.deep_cache(memory, wanted.step, texts);
        let token_merging = self.shortcuts.token_merging;
        let (output, deep) = pipeline.runtime.compute(|| {
            let input = pipeline.tensor(input.repeat(batch), [batch, channels, height, width]);
            let timesteps = vec![wanted.timestep; batch];
            let call = memory.with_text(texts, wanted.unet, |text| {
                let input = UnetInput {
                    token_merging,
                    ..UnetInput::new(input, &timesteps, text)
                };
                Ok(wanted.unet.forward_cached(&input, &deep_cache)?)
            })?;
            Ok::<_, Error>((values(call.prediction)?, call.deep))
        })?;
        if let Some(deep) = deep {
            memory.keep(wanted.step, texts, &deep);
        }
        Ok(output
            .chunks_exact(output.len() / batch)
            .map(<[f32]>::to_vec)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use goldens::Refs;
    use sd_sched::{
        Dialect, PlanOptions, Prediction, Sampler, Schedule, plan,
        rng::{NoiseOptions, Shape},
    };

    use super::*;
    #[cfg(feature = "demo")]
    use crate::GenerateParams;
    use crate::conditioning::Timeline;

    fn pipeline(prediction: Prediction) -> Pipeline {
        let builder = Pipeline::builder()
            .checkpoint(goldens::root().join("tiny-sd1"))
            .device("cpu");
        builder.prediction(prediction).build().unwrap()
    }

    /// A whole run in f32 against k-diffusion's or diffusers', from the same seed: own noise, own contexts, own sigmas.
    fn run(name: &str, sampler: Sampler, schedule: Schedule, prediction: Prediction, dialect: Dialect) {
        let pipeline = pipeline(prediction);
        let refs = Refs::open("tiny-sd1/refs/samplers.safetensors");
        let conditioning = Conditioning {
            conds: vec![(1.0, Timeline::fixed(refs.f32s("cond")))],
            uncond: Timeline::fixed(refs.f32s("uncond")),
            width: refs.shape("cond")[2],
            padding: None,
        };
        let shape = [1, 4, 16, 16];
        let denoiser = Denoiser {
            pipeline: &pipeline,
            conditioning: &conditioning,
            phases: &Phases::default(),
            cfg_scale: 7.0,
            shape,
            shortcuts: Shortcuts::default(),
        };
        let options = PlanOptions {
            dialect,
            ..PlanOptions::default()
        };
        let plan = plan(sampler, schedule, 10, &pipeline.sampling, &options).unwrap();
        if !name.starts_with("ddim") {
            let sigmas: Vec<f32> = plan.sigmas().iter().map(|&s| s as f32).collect();
            refs.assert_close(&format!("{name}.sigmas"), &sigmas, 1e-6);
        }
        let mut steps = 0;
        let noise = NoiseOptions::new(
            42,
            Shape {
                channels: 4,
                height: 16,
                width: 16,
            },
        );
        let noise = BatchNoise::new(noise).unwrap();
        let latents = denoiser
            .run(
                plan,
                noise,
                || false,
                |step| {
                    steps = step.index + 1;
                    Ok(())
                },
            )
            .unwrap();
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
                .condition(prompt, "", &params.reading(), &|| false)
                .unwrap();
            let name = format!("ddim.{seed}.latents");
            let shape: [usize; 4] = refs.shape(&name).try_into().unwrap();
            let denoiser = Denoiser {
                pipeline: &pipeline,
                conditioning: &conditioning,
                phases: &Phases::default(),
                cfg_scale: 5.0,
                shape,
                shortcuts: Shortcuts::default(),
            };
            let options = PlanOptions {
                dialect: Dialect::Diffusers,
                ..PlanOptions::default()
            };
            let plan = plan(
                Sampler::Ddim,
                Schedule::Automatic,
                20,
                &pipeline.sampling,
                &options,
            )
            .unwrap();
            let noise = NoiseOptions::new(
                seed,
                Shape {
                    channels: shape[1],
                    height: shape[2],
                    width: shape[3],
                },
            );
            let noise = BatchNoise::new(noise).unwrap();
            let latents = denoiser.run(plan, noise, || false, |_| Ok(())).unwrap();
            refs.assert_close(&name, &latents, 1e-4);
            let picture = pipeline.decode(latents, shape).unwrap();
            refs.assert_close(&format!("ddim.{seed}.image"), &picture, 1e-4);
        }
    }
}
