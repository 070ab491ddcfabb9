//! Pseudo linear multistep (Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", arXiv:2202.09778,
//! eq. 12): Adams-Bashforth on the predicted noise, the first step by the improved Euler method with a second call.

use super::{TimestepPlan, TimestepStart, derivative};
use crate::program::{Builder, Reg, START};
use crate::{Dialect, ModelSampling, PlanOptions, Result, Schedule};

/// The WebUI makes one step fewer than there are timesteps; diffusers goes on to the first alpha of the table.
pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    let timestep = |_: f64| 0.0;
    let mut plms = Plms {
        builder: Builder::new(&timestep),
        past: Vec::new(),
    };
    let alphas = model.alphas_cumprod();
    let mut x = START;
    if o.dialect != Dialect::Diffusers {
        let start = TimestepStart::webui(steps, model, o)?;
        for w in start.timesteps.windows(2).rev() {
            x = plms.step(x, (w[1], alphas[w[1]]), (w[0], alphas[w[0]]));
        }
        return Ok(start.finish(plms.builder, x, model));
    }
    let start = TimestepStart::diffusers(steps, schedule, model, o)?;
    let stride = model.train_steps() / steps;
    let last = if o.set_alpha_to_one { 1.0 } else { alphas[0] };
    let mut end = last;
    for (i, &t) in start.timesteps.iter().enumerate().rev() {
        if i + 1 < start.timesteps.len() && end != alphas[t] {
            // Spacings other than leading don't arrive where they go on from; the variance-preserving latent is kept.
            x = plms.builder.lin(&[((end / alphas[t]).sqrt(), x)]);
        }
        end = if t >= stride { alphas[t - stride] } else { last };
        x = plms.step(x, (t, alphas[t]), (t.saturating_sub(stride), end));
    }
    Ok(start.finish_at(plms.builder, x, model, end))
}

struct Plms<'a> {
    builder: Builder<'a>,
    /// Predicted noises, newest first.
    past: Vec<Reg>,
}

impl Plms<'_> {
    /// From one timestep and its alpha to another.
    fn step(&mut self, x: Reg, (t, alpha): (usize, f64), (to, alpha_to): (usize, f64)) -> Reg {
        let b = &mut self.builder;
        let sigma = |a: f64| ((1.0 - a) / a).max(0.0).sqrt();
        let (s, next) = (sigma(alpha), sigma(alpha_to));
        let denoised = b.eval_at(x, s, t as f64);
        let eps = derivative(b, x, denoised, s);
        let dt = next - s;
        let mut terms = vec![(1.0, x)];
        match self.past[..] {
            [] if next > 0.0 => {
                let trial = b.lin(&[(1.0, x), (dt, eps)]);
                let second = b.eval_at(trial, next, to as f64);
                let eps_2 = derivative(b, trial, second, next);
                terms.extend([(dt / 2.0, eps), (dt / 2.0, eps_2)]);
            }
            [] => terms.push((dt, eps)),
            [a] => terms.extend([(1.5 * dt, eps), (-0.5 * dt, a)]),
            [a, c] => terms.extend([
                (23.0 / 12.0 * dt, eps),
                (-16.0 / 12.0 * dt, a),
                (5.0 / 12.0 * dt, c),
            ]),
            [a, c, d, ..] => terms.extend([
                (55.0 / 24.0 * dt, eps),
                (-59.0 / 24.0 * dt, a),
                (37.0 / 24.0 * dt, c),
                (-9.0 / 24.0 * dt, d),
            ]),
        }
        let x = b.lin(&terms);
        b.end_step(x, denoised, s);
        self.past.insert(0, eps);
        self.past.truncate(3);
        x
    }
}
