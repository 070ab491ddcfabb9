//! Pseudo linear multistep (Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", arXiv:2202.09778,
//! eq. 12): Adams-Bashforth on the predicted noise, the first step by the improved Euler method with a second call.

use super::{TimestepPlan, derivative};
use crate::program::{Builder, Reg};
use crate::{ModelSampling, PlanOptions, Result, Schedule};

pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    // Predicted noises, newest first.
    let mut past: Vec<Reg> = Vec::new();
    let step = |b: &mut Builder<'_>, x: Reg, (t, alpha): (usize, f64), (to, alpha_to): (usize, f64)| {
        let sigma = |a: f64| ((1.0 - a) / a).max(0.0).sqrt();
        let (s, next) = (sigma(alpha), sigma(alpha_to));
        let denoised = b.eval_at(x, s, t as f64);
        let eps = derivative(b, x, denoised, s);
        let dt = next - s;
        let mut terms = vec![(1.0, x)];
        match past[..] {
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
        past.insert(0, eps);
        past.truncate(3);
        x
    };
    TimestepPlan::walk(steps, schedule, model, o, step)
}
