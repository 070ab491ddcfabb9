//! Pseudo linear multistep (Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", arXiv:2202.09778,
//! eq. 12): Adams-Bashforth on the predicted noise, the first step by the improved Euler method with a second call.

use super::{TimestepPlan, derivative};
use crate::program::{Builder, Reg};
use crate::{Dialect, ModelSampling, PlanOptions, Prediction, Result, Schedule};

pub(super) fn plan(
    steps: usize,
    schedule: Schedule,
    model: &ModelSampling,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    // diffusers' rule is for the network's prediction, which becomes noise with the latent that the step begins at.
    let velocity = o.dialect == Dialect::Diffusers && model.prediction() == Prediction::V;
    // Predictions, newest first.
    let mut past: Vec<Reg> = Vec::new();
    let step = |b: &mut Builder<'_>, x: Reg, (t, alpha): (usize, f64), (to, alpha_to): (usize, f64)| {
        let sigma = |a: f64| ((1.0 - a) / a).max(0.0).sqrt();
        let (s, next) = (sigma(alpha), sigma(alpha_to));
        let predicted = |b: &mut Builder<'_>, x, denoised, s: f64| match velocity {
            // v = a * eps - b * x0, of which eps = (x - x0) / s and b = a * s.
            true => {
                let a = 1.0 / (1.0 + s * s).sqrt();
                b.lin(&[(a / s, x), (-a / s - a * s, denoised)])
            }
            false => derivative(b, x, denoised, s),
        };
        let dt = next - s;
        // Along the mean of predictions, whose weights sum to 1.
        let along = |b: &mut Builder<'_>, predictions: &[(f64, Reg)]| {
            // eps = a * v + b * (a * x)
            let (factor, own) = match velocity {
                true => (alpha.sqrt(), (alpha * (1.0 - alpha)).sqrt()),
                false => (1.0, 0.0),
            };
            let terms = predictions.iter().map(|(w, p)| (w * dt * factor, *p));
            let terms: Vec<(f64, Reg)> = [(1.0 + dt * own, x)].into_iter().chain(terms).collect();
            b.lin(&terms)
        };
        let denoised = b.eval_at(x, s, t as f64);
        let newest = predicted(b, x, denoised, s);
        let x = match past[..] {
            [] if next > 0.0 => {
                let trial = along(b, &[(1.0, newest)]);
                let second = b.eval_at(trial, next, to as f64);
                let second = predicted(b, trial, second, next);
                along(b, &[(0.5, newest), (0.5, second)])
            }
            [] => along(b, &[(1.0, newest)]),
            [a] => along(b, &[(1.5, newest), (-0.5, a)]),
            [a, c] => along(b, &[(23.0 / 12.0, newest), (-16.0 / 12.0, a), (5.0 / 12.0, c)]),
            [a, c, d, ..] => {
                let weights = [55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0];
                let four = [newest, a, c, d];
                along(b, &[0, 1, 2, 3].map(|i| (weights[i], four[i])))
            }
        };
        b.end_step(x, denoised, s);
        past.insert(0, newest);
        past.truncate(3);
        x
    };
    TimestepPlan::walk(steps, schedule, model, o, step)
}
