//! SA-Solver: stochastic Adams, a multistep predictor and corrector (Xue et al. 2023, arXiv:2309.05019, algorithm 1), in
//! ComfyUI's form: noise between the sigmas at 20% and 80% of the timesteps, predictor of order 3, corrector of order 4.

use super::{Ctx, polynomial};
use crate::program::{Builder, Reg, START};

const CORRECTOR: usize = 4;

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let sigmas = ctx.sigmas;
    let steps = sigmas.len() - 1;
    let predictor = ctx.options.order.unwrap_or(3);
    let last = (ctx.model.train_steps() - 1) as f64;
    let (high, low) = (ctx.model.sigma_at(0.8 * last), ctx.model.sigma_at(0.2 * last));
    let to_zero = sigmas[steps] == 0.0;
    // The corrected latent of the last step, the predicted one of this, and what the way between them was.
    let (mut x, mut predicted) = (START, START);
    let mut way: Option<(f64, Option<(f64, Reg)>)> = None;
    // Denoised latents and their sigmas, newest first.
    let mut past: Vec<(f64, Reg)> = Vec::new();
    for i in 0..steps {
        let (sigma, next) = (sigmas[i], sigmas[i + 1]);
        let denoised = b.eval(predicted, sigma);
        past.insert(0, (sigma, denoised));
        past.truncate(predictor.max(CORRECTOR));
        if next == 0.0 {
            predicted = b.lin(&[(1.0, denoised)]);
            b.end_step(predicted, denoised, sigma);
            continue;
        }
        let at_most =
            |order: usize, left: usize| if to_zero { order.min(left) } else { order }.min(past.len());
        x = match way {
            None => predicted,
            Some((tau, noise)) => adams(
                b,
                x,
                sigmas[i - 1],
                sigma,
                tau,
                &past[..at_most(CORRECTOR, steps - i)],
                noise,
            ),
        };
        let tau = if ctx.eta > 0.0 && low <= next && next <= high {
            ctx.eta
        } else {
            0.0
        };
        let noise = (tau > 0.0).then(|| {
            let spread = next * (1.0 - (next / sigma).powf(2.0 * tau * tau)).sqrt();
            (ctx.options.s_noise * spread, b.noise(sigma, next))
        });
        predicted = adams(
            b,
            x,
            sigma,
            next,
            tau,
            &past[..at_most(predictor, steps - 1 - i)],
            noise,
        );
        way = Some((tau, noise));
        b.end_step(predicted, denoised, sigma);
    }
    predicted
}

/// One step of the exponential integrator from `from` to `to` on the polynomial through `points`.
fn adams(
    b: &mut Builder<'_>,
    x: Reg,
    from: f64,
    to: f64,
    tau: f64,
    points: &[(f64, Reg)],
    noise: Option<(f64, Reg)>,
) -> Reg {
    let a = 1.0 + tau * tau;
    let h = (from / to).ln();
    // lambda = -ln(sigma), counted from the step's end.
    let nodes: Vec<f64> = points.iter().map(|p| (to / p.0).ln()).collect();
    let mut terms = vec![((-a * h).exp(), x)];
    for (j, p) in points.iter().enumerate() {
        terms.push((polynomial::exponential_integral(&nodes, j, a, -h, 0.0), p.1));
    }
    terms.extend(noise);
    b.lin(&terms)
}
