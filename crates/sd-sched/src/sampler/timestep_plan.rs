//! The common part of samplers over timesteps: the choice of timesteps, the beginning, and the end.

use crate::options::Start;
use crate::program::{Builder, Program, Reg, START};
use crate::schedule::timesteps;
use crate::strength::{diffusers_strength_steps, left, strength_steps};
use crate::{Dialect, Error, ModelSampling, PlanOptions, Result, Schedule};

/// A timestep-based sampler's program, and how to begin.
pub(crate) struct TimestepPlan {
    pub program: Program,
    pub sigmas: Vec<f64>,
    pub image_scale: f64,
    pub noise_scale: f64,
}

impl TimestepPlan {
    /// Runs `step(builder, x, (timestep, alpha) from, the same to)` down the timesteps of the WebUI or of diffusers.
    ///
    /// The WebUI makes one step fewer than there are timesteps: the last is only a destination. diffusers makes as many, the
    /// last of them to the first alpha of the table, or to 1.
    pub fn walk(
        steps: usize,
        schedule: Schedule,
        model: &ModelSampling,
        o: &PlanOptions,
        mut step: impl FnMut(&mut Builder<'_>, Reg, (usize, f64), (usize, f64)) -> Reg,
    ) -> Result<Self> {
        let timestep = |_: f64| 0.0;
        let mut b = Builder::new(&timestep);
        let alphas = model.alphas_cumprod();
        let mut x = START;
        if o.dialect != Dialect::Diffusers {
            let start = TimestepStart::webui(steps, model, o)?;
            for w in start.timesteps.windows(2).rev() {
                x = step(&mut b, x, (w[1], alphas[w[1]]), (w[0], alphas[w[0]]));
            }
            return Ok(start.finish(b, x, model));
        }
        let start = TimestepStart::diffusers(steps, schedule, model, o)?;
        let stride = model.train_steps() / steps;
        let last = if o.set_alpha_to_one { 1.0 } else { alphas[0] };
        let mut end = last;
        for (i, &t) in start.timesteps.iter().enumerate().rev() {
            if i + 1 < start.timesteps.len() && end != alphas[t] {
                // Spacings other than leading don't arrive where they go on from; the variance-preserving latent is kept.
                x = b.lin(&[((end / alphas[t]).sqrt(), x)]);
            }
            end = if t >= stride { alphas[t - stride] } else { last };
            x = step(&mut b, x, (t, alphas[t]), (t.saturating_sub(stride), end));
        }
        Ok(start.finish_at(b, x, model, end))
    }
}

/// The beginning of one: begin at `image_scale * image + noise_scale * noise`, both variance exploding.
pub(crate) struct TimestepStart {
    /// Rising.
    pub timesteps: Vec<usize>,
    pub image_scale: f64,
    pub noise_scale: f64,
}

impl TimestepStart {
    /// The WebUI's timesteps. An image is noised for the timestep *after* the first that is evaluated; in the latents that
    /// the denoiser sees, both scales are divided by the root of the first evaluated alpha.
    pub fn webui(steps: usize, model: &ModelSampling, o: &PlanOptions) -> Result<Self> {
        let entry = strength_steps(steps, o)?;
        let mut all = timesteps::webui(entry.steps, model.train_steps())?;
        let alpha = |t: usize| model.alphas_cumprod()[t];
        let enc = match entry.t_enc {
            Some(t_enc) if t_enc < all.len() => {
                let a = alpha(all[t_enc]);
                all.truncate(t_enc);
                Some(a)
            }
            Some(_) => {
                return Err(Error::param(
                    "steps",
                    "and strength leave no timestep to start at",
                ));
            }
            None => None,
        };
        // With an empty schedule the noised picture is returned as it is.
        let first = all.last().map_or(1.0, |&t| alpha(t));
        let (image_scale, noise_scale) = match enc {
            Some(a) => ((a / first).sqrt(), ((1.0 - a) / first).sqrt()),
            None => (0.0, first.sqrt().recip()),
        };
        Ok(Self {
            timesteps: all,
            image_scale,
            noise_scale,
        })
    }

    /// diffusers' timesteps and its rule for strength.
    pub fn diffusers(
        steps: usize,
        schedule: Schedule,
        model: &ModelSampling,
        o: &PlanOptions,
    ) -> Result<Self> {
        let mut all: Vec<usize> =
            timesteps::diffusers(schedule, timesteps::Style::Whole, steps, model.train_steps())?
                .into_iter()
                .rev()
                .map(|t| t as usize)
                .collect();
        let image = match o.start {
            Start::Noise => false,
            Start::Image { strength, .. } => {
                all.truncate(diffusers_strength_steps(steps, strength)?);
                true
            }
            Start::Later { skipped } => {
                all.truncate(left(steps, skipped)?);
                true
            }
        };
        let first = model.alphas_cumprod()[all[all.len() - 1]];
        let noise = if image {
            ((1.0 - first) / first).sqrt()
        } else {
            first.sqrt().recip()
        };
        Ok(Self {
            timesteps: all,
            image_scale: if image { 1.0 } else { 0.0 },
            noise_scale: noise,
        })
    }

    /// diffusers' timesteps for distilled models: evenly picked from the 50 of distillation (19, 39, ... of 1000); under the
    /// WebUI's and ComfyUI's rules for strength the last of them are run.
    pub fn distilled(steps: usize, model: &ModelSampling, o: &PlanOptions) -> Result<Self> {
        const ORIGINAL: usize = 50;
        let stride = model.train_steps() / ORIGINAL;
        if steps > ORIGINAL || stride == 0 {
            return Err(Error::param(
                "steps",
                format!("must be at most {ORIGINAL} for this sampler, not {steps}"),
            ));
        }
        let strength = match o.start {
            Start::Noise | Start::Later { .. } => 1.0,
            Start::Image { strength, .. } => strength,
        };
        // diffusers shortens the list of originals before it picks.
        let originals = ((ORIGINAL as f64 * strength) as usize).min(ORIGINAL);
        if originals < steps {
            return Err(Error::param(
                "strength",
                format!("{strength} leaves {originals} timesteps for {steps} steps"),
            ));
        }
        let picked = (0..steps).map(|i| (i as f64 * originals as f64 / steps as f64).floor() as usize);
        let mut timesteps: Vec<usize> = picked.map(|i| (originals - i) * stride - 1).rev().collect();
        if let Start::Later { skipped } = o.start {
            timesteps.truncate(left(steps, skipped)?);
        }
        let first = model.alphas_cumprod()[timesteps[timesteps.len() - 1]];
        let image = !matches!(o.start, Start::Noise);
        let noise = if image {
            ((1.0 - first) / first).sqrt()
        } else {
            first.sqrt().recip()
        };
        Ok(Self {
            timesteps,
            image_scale: if image { 1.0 } else { 0.0 },
            noise_scale: noise,
        })
    }

    /// Ends at the first timestep, in the variance-preserving form, as these loops do.
    pub fn finish(self, b: Builder<'_>, x: Reg, model: &ModelSampling) -> TimestepPlan {
        let end = self.timesteps.first().map_or(1.0, |&t| model.alphas_cumprod()[t]);
        let mut plan = self.finish_at(b, x, model, end);
        plan.sigmas.pop();
        if plan.sigmas.is_empty() {
            plan.sigmas.push(0.0);
        }
        plan
    }

    /// The same, ending at another alpha than the first timestep's.
    pub fn finish_at(self, mut b: Builder<'_>, x: Reg, model: &ModelSampling, end: f64) -> TimestepPlan {
        let sigma = |a: f64| ((1.0 - a) / a).max(0.0).sqrt();
        let visited = self
            .timesteps
            .iter()
            .rev()
            .map(|&t| sigma(model.alphas_cumprod()[t]));
        let sigmas = visited.chain([sigma(end)]).collect();
        let result = b.lin(&[(end.sqrt(), x)]);
        let (image_scale, noise_scale) = (self.image_scale, self.noise_scale);
        TimestepPlan {
            program: b.finish(result),
            sigmas,
            image_scale,
            noise_scale,
        }
    }
}
