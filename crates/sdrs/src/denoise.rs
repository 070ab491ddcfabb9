//! The loop: from noise to latents.

use burn::tensor::Tensor;
use sd_sched::{Latent, Plan, Request, Sampler, Stepper, rng::TorchCpuRng};

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
    /// Samples one picture's latents. All arithmetic outside the network is on the host, so it is the same on every device.
    pub fn run(
        &self,
        plan: Plan,
        seed: u64,
        mut cancelled: impl FnMut() -> bool,
        mut told: impl FnMut(Step),
    ) -> Result<Vec<f32>> {
        if plan.sampler().uses_brownian_noise() {
            return Err(brownian(plan.sampler()));
        }
        let n = self.shape.iter().product();
        let mut rng = TorchCpuRng::new(seed);
        let noise = rng.normal_f32(n);
        let x = Vec::lincomb(&[(plan.noise_scale(), &noise)]);
        let mut stepper = Stepper::new(plan, x);
        let mut done = 0;
        loop {
            match stepper.request() {
                Request::Done(_) => return Ok(stepper.finish()?),
                Request::Noise { .. } => stepper.provide_noise(rng.normal_f32(n))?,
                Request::Denoise { x, sigma, timestep, needs_uncond, .. } => {
                    if cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let (denoised, uncond) = self.denoise(x, sigma, timestep, needs_uncond)?;
                    match uncond {
                        Some(uncond) if needs_uncond => stepper.provide_denoised_with_uncond(denoised, uncond)?,
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
            unet.forward(Tensor::cat(vec![input.clone(), input], 0), &[timestep; 2], context, None)?
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

fn brownian(sampler: Sampler) -> Error {
    Error::parameter("sampler", format!("{sampler} needs Brownian noise, which is not there yet"))
}
