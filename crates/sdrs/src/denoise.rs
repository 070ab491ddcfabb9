//! The loop: from noise to latents.

use burn::tensor::Tensor;
use sd_sched::{Latent, Plan, Request, Stepper, rng::BatchNoise};

use crate::{Error, Pipeline, Result, pipeline::values};

/// The texts' contexts for one run: `[1, n, width]` each.
pub(crate) struct Contexts {
    pub cond: Tensor<3>,
    pub uncond: Tensor<3>,
}

/// One picture's way through the sampler.
pub(crate) struct Denoiser<'a> {
    pub pipeline: &'a Pipeline,
    pub contexts: &'a Contexts,
    pub cfg_scale: f64,
    /// `[1, channels, height, width]` of the latents.
    pub shape: [usize; 4],
}

/// A finished step: which, from 0, and the noise level that it began at.
pub(crate) struct Step {
    pub index: usize,
    pub sigma: f64,
}

impl Denoiser<'_> {
    /// Samples one picture's latents, with noise for one picture. All arithmetic outside the network is on the host, so it is the
    /// same on every device.
    pub fn run(
        &self,
        plan: Plan,
        mut noise: BatchNoise,
        mut cancelled: impl FnMut() -> bool,
        mut told: impl FnMut(Step),
    ) -> Result<Vec<f32>> {
        let mut brownian = match plan.sampler().uses_brownian_noise() {
            true => Some(noise.brownian(plan.brownian_range())?),
            false => None,
        };
        let x = Vec::lincomb(&[(plan.noise_scale(), &noise.first().swap_remove(0))]);
        let mut stepper = Stepper::new(plan, x);
        let mut done = 0;
        loop {
            match stepper.request() {
                Request::Done(_) => return Ok(stepper.finish()?),
                Request::Noise {
                    sigma_from, sigma_to, ..
                } => {
                    let drawn = match &mut brownian {
                        Some(trees) => trees.noise(sigma_from, sigma_to),
                        None => noise.next(),
                    };
                    stepper.provide_noise(drawn.into_iter().next().unwrap_or_default())?;
                }
                Request::Denoise {
                    x,
                    sigma,
                    timestep,
                    needs_uncond,
                    ..
                } => {
                    if cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let (denoised, uncond) = self.denoise(x, sigma, timestep, needs_uncond)?;
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
                if let Some((_, _, sigma)) = stepper.last_step() {
                    told(Step { index: done, sigma });
                }
                done += 1;
            }
        }
    }

    /// Both halves of guidance in one call of the network, then `uncond + cfg_scale * (cond - uncond)`.
    fn denoise(
        &self,
        x: &Vec<f32>,
        sigma: f64,
        timestep: f64,
        needs_uncond: bool,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let scalings = self.pipeline.sampling.scalings(sigma);
        let input = Vec::lincomb(&[(scalings.c_in, x)]);
        let input = self.pipeline.tensor(input, self.shape);
        let guided = self.cfg_scale != 1.0 || needs_uncond;
        let unet = &self.pipeline.unet;
        let output = if guided {
            let context = Tensor::cat(vec![self.contexts.cond.clone(), self.contexts.uncond.clone()], 0);
            unet.forward(
                Tensor::cat(vec![input.clone(), input], 0),
                &[timestep; 2],
                context,
                None,
            )?
        } else {
            unet.forward(input, &[timestep], self.contexts.cond.clone(), None)?
        };
        let mut output = values(output)?;
        if !output.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "the U-Net's output",
                advice: "compute in a wider dtype (f32), or check the checkpoint and its prediction type",
            });
        }
        let denoised = |output: &Vec<f32>| Vec::lincomb(&[(scalings.c_skip, x), (scalings.c_out, output)]);
        if !guided {
            return Ok((denoised(&output), None));
        }
        let uncond = denoised(&output.split_off(x.len()));
        let cond = denoised(&output);
        let guided = Vec::lincomb(&[(1.0 - self.cfg_scale, &uncond), (self.cfg_scale, &cond)]);
        Ok((guided, Some(uncond)))
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
        let context = |name: &str| {
            let [one, n, width]: [usize; 3] = refs.shape(name).try_into().unwrap();
            pipeline.tensor(refs.f32s(name), [one, n, width])
        };
        let contexts = Contexts {
            cond: context("cond"),
            uncond: context("uncond"),
        };
        let shape = [1, 4, 16, 16];
        let denoiser = Denoiser {
            pipeline: &pipeline,
            contexts: &contexts,
            cfg_scale: 7.0,
            shape,
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
            .run(plan, noise, || false, |step| steps = step.index + 1)
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
            let context = pipeline
                .encode(&[("prompt", prompt), ("negative_prompt", "")], 1)
                .unwrap();
            let contexts = Contexts {
                cond: context.clone().narrow(0, 0, 1),
                uncond: context.narrow(0, 1, 1),
            };
            let name = format!("ddim.{seed}.latents");
            let shape: [usize; 4] = refs.shape(&name).try_into().unwrap();
            let denoiser = Denoiser {
                pipeline: &pipeline,
                contexts: &contexts,
                cfg_scale: 5.0,
                shape,
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
            let latents = denoiser.run(plan, noise, || false, |_| ()).unwrap();
            refs.assert_close(&name, &latents, 1e-4);
            let picture = pipeline.decode(latents, shape).unwrap();
            refs.assert_close(&format!("ddim.{seed}.image"), &picture, 1e-4);
        }
    }
}
