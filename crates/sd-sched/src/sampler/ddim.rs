//! Denoising diffusion implicit models (Song, Meng & Ermon 2020, arXiv:2010.02502, eq. 12 and 16), over timesteps.
//!
//! Written in the variance-exploding form: the variance-preserving latent of the paper is `sqrt(alpha) * x`, and its `eps` is
//! `(x - denoised) / sigma`.

use super::TimestepPlan;
use crate::plan::{Start, diffusers_strength_steps, strength_steps};
use crate::program::{Builder, START};
use crate::schedule::timesteps;
use crate::{Dialect, Error, ModelSampling, PlanOptions, Result, Schedule};

pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    if o.dialect == Dialect::Diffusers {
        diffusers(steps, schedule, model, eta, o)
    } else {
        webui(steps, model, eta, o)
    }
}

/// sigma of a variance-preserving alpha_cumprod.
fn sigma(alpha: f64) -> f64 {
    ((1.0 - alpha) / alpha).sqrt()
}

/// One step from `alpha` to `alpha_to`: coefficients of the latent, the denoised latent and the noise.
fn step(alpha: f64, alpha_to: f64, eta: f64) -> (f64, f64, f64) {
    let noise = eta
        * ((1.0 - alpha_to) / (1.0 - alpha) * (1.0 - alpha / alpha_to))
            .max(0.0)
            .sqrt();
    let direction = (1.0 - alpha_to - noise * noise).max(0.0).sqrt() / alpha_to.sqrt() / sigma(alpha);
    (direction, 1.0 - direction, noise / alpha_to.sqrt())
}

/// One call fewer than timesteps: the last timestep is only a destination.
fn webui(steps: usize, model: &ModelSampling, eta: f64, o: &PlanOptions) -> Result<TimestepPlan> {
    let entry = strength_steps(steps, o)?;
    let all = timesteps::webui(entry.steps, model.train_steps())?;
    let alpha = |t: usize| model.alphas_cumprod()[t];
    let (sched, start) = match entry.t_enc {
        Some(t_enc) if t_enc < all.len() => (&all[..t_enc], Some(alpha(all[t_enc]))),
        Some(_) => {
            return Err(Error::param(
                "steps",
                "and strength leave no timestep to start at",
            ));
        }
        None => (&all[..], None),
    };
    // With an empty schedule the noised picture is returned as it is.
    let first = sched.last().map_or(1.0, |&t| alpha(t));
    let (image_scale, noise_scale) = match start {
        Some(a) => ((a / first).sqrt(), ((1.0 - a) / first).sqrt()),
        None => (0.0, first.sqrt().recip()),
    };
    let timestep = |_: f64| 0.0;
    let mut b = Builder::new(&timestep);
    let mut x = START;
    let mut sigmas = Vec::new();
    for w in sched.windows(2).rev() {
        let (t, to) = (w[1], w[0]);
        let (a, a_to) = (alpha(t), alpha(to));
        let denoised = b.eval_at(x, sigma(a), t as f64);
        let (cx, cd, cn) = step(a, a_to, eta);
        let mut terms = vec![(cx, x), (cd, denoised)];
        if cn > 0.0 {
            terms.push((cn * o.s_noise, b.noise(sigma(a), sigma(a_to))));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma(a));
        sigmas.push(sigma(a));
    }
    let last = sched.first().map_or(1.0, |&t| alpha(t));
    sigmas.push(sigma(last));
    // The loop ends in the variance-preserving form.
    let result = b.lin(&[(last.sqrt(), x)]);
    Ok(TimestepPlan {
        program: b.finish(result),
        sigmas,
        image_scale,
        noise_scale,
    })
}

/// As many calls as timesteps; the last step goes to `final_alpha`: the first of the table, or 1.
fn diffusers(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    eta: f64,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    let stride = model.train_steps() / steps;
    let all = timesteps::diffusers(schedule, steps, model.train_steps())?;
    let sched = match o.start {
        Start::Noise => &all[..],
        Start::Image { strength, .. } => {
            let keep = diffusers_strength_steps(steps, strength)?;
            &all[all.len() - keep..]
        }
    };
    let alphas = model.alphas_cumprod();
    let final_alpha = if o.set_alpha_to_one { 1.0 } else { alphas[0] };
    let first = alphas[sched[0] as usize];
    let image_scale = if matches!(o.start, Start::Noise) { 0.0 } else { 1.0 };
    let noise_scale = if matches!(o.start, Start::Noise) {
        first.sqrt().recip()
    } else {
        sigma(first)
    };
    let timestep = |_: f64| 0.0;
    let mut b = Builder::new(&timestep);
    let mut x = START;
    let mut sigmas = Vec::new();
    let mut last = first;
    for &t in sched {
        let a = alphas[t as usize];
        let to = t - stride as f64;
        let a_to = if to >= 0.0 {
            alphas[to as usize]
        } else {
            final_alpha
        };
        let denoised = b.eval_at(x, sigma(a), t);
        let (cx, cd, cn) = step(a, a_to, eta);
        let mut terms = vec![(cx, x), (cd, denoised)];
        if cn > 0.0 {
            terms.push((cn * o.s_noise, b.noise(sigma(a), sigma(a_to))));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigma(a));
        sigmas.push(sigma(a));
        last = a_to;
    }
    sigmas.push(sigma(last));
    let result = b.lin(&[(last.sqrt(), x)]);
    Ok(TimestepPlan {
        program: b.finish(result),
        sigmas,
        image_scale,
        noise_scale,
    })
}
