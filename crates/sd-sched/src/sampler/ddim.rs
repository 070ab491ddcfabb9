//! Denoising diffusion implicit models (Song, Meng & Ermon 2020, arXiv:2010.02502, eq. 12 and 16), over timesteps; and their
//! CFG++ form (Chung et al. 2024, arXiv:2406.08070), which renoises with the unconditional prediction.
//!
//! Written in the variance-exploding form: the variance-preserving latent of the paper is `sqrt(alpha) * x`, and its `eps` is
//! `(x - denoised) / sigma`.

use super::{TimestepPlan, TimestepStart};
use crate::program::{Builder, Reg, START};
use crate::{Dialect, ModelSampling, PlanOptions, Result, Schedule};

/// sigma of a variance-preserving alpha_cumprod.
fn sigma(alpha: f64) -> f64 {
    ((1.0 - alpha) / alpha).sqrt()
}

struct Ddim<'a> {
    eta: f64,
    s_noise: f64,
    /// CFG++: the direction comes from the unconditional prediction.
    plus: bool,
    builder: Builder<'a>,
}

impl Ddim<'_> {
    /// One step from `alpha` at timestep `t` to `alpha_to`.
    fn step(&mut self, x: Reg, t: f64, alpha: f64, alpha_to: f64) -> Reg {
        let b = &mut self.builder;
        let s = sigma(alpha);
        let (denoised, base) = if self.plus {
            b.eval_with_uncond_at(x, s, t)
        } else {
            let d = b.eval_at(x, s, t);
            (d, d)
        };
        let noise = self.eta
            * ((1.0 - alpha_to) / (1.0 - alpha) * (1.0 - alpha / alpha_to))
                .max(0.0)
                .sqrt();
        let direction = (1.0 - alpha_to - noise * noise).max(0.0).sqrt() / alpha_to.sqrt() / s;
        let mut terms = vec![(direction, x)];
        if self.plus {
            terms.extend([(1.0, denoised), (-direction, base)]);
        } else {
            terms.push((1.0 - direction, denoised));
        }
        if noise > 0.0 {
            terms.push((
                noise / alpha_to.sqrt() * self.s_noise,
                b.noise(s, sigma(alpha_to)),
            ));
        }
        let x = b.lin(&terms);
        b.end_step(x, denoised, s);
        x
    }
}

pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    plus: bool,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    let timestep = |_: f64| 0.0;
    let mut ddim = Ddim {
        eta,
        s_noise: o.s_noise,
        plus,
        builder: Builder::new(&timestep),
    };
    let alphas = model.alphas_cumprod();
    let mut x = START;
    if o.dialect != Dialect::Diffusers {
        // One call fewer than timesteps: the last timestep is only a destination.
        let start = TimestepStart::webui(steps, model, o)?;
        for w in start.timesteps.windows(2).rev() {
            x = ddim.step(x, w[1] as f64, alphas[w[1]], alphas[w[0]]);
        }
        return Ok(start.finish(ddim.builder, x, model));
    }
    // As many calls as timesteps; the last step goes to the first alpha of the table, or to 1.
    let start = TimestepStart::diffusers(steps, schedule, model, o)?;
    let stride = model.train_steps() / steps;
    let last = if o.set_alpha_to_one { 1.0 } else { alphas[0] };
    let mut end = last;
    for (i, &t) in start.timesteps.iter().enumerate().rev() {
        if i + 1 < start.timesteps.len() && end != alphas[t] {
            // Spacings other than leading don't arrive where they go on from; the variance-preserving latent is kept.
            x = ddim.builder.lin(&[((end / alphas[t]).sqrt(), x)]);
        }
        end = if t >= stride { alphas[t - stride] } else { last };
        x = ddim.step(x, t as f64, alphas[t], end);
    }
    Ok(start.finish_at(ddim.builder, x, model, end))
}
