//! SA-Solver: stochastic Adams, a multistep predictor and corrector (Xue et al. 2023, arXiv:2309.05019, algorithm 1).
//!
//! ComfyUI: predictor of order 3, corrector of order 4, noise between the sigmas at 20% and 80% of the timesteps. diffusers:
//! both of order 2 in the simplified form of the paper's appendix D, noise from timestep 200 to 800.

use super::{Ctx, polynomial};
use crate::Dialect;
use crate::program::{Builder, Reg, START};

/// One of the two Adams steps.
struct Adams {
    from: f64,
    to: f64,
    tau: f64,
    /// Order 2 has a term of order 3 added: the predictor's, or the corrector's.
    simplified: Option<Simplified>,
}

#[derive(Clone, Copy)]
enum Simplified {
    Predictor,
    Corrector,
}

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let sigmas = ctx.sigmas;
    let steps = sigmas.len() - 1;
    let diffusers = ctx.options.dialect == Dialect::Diffusers;
    let (predictor, corrector) = if diffusers { (2, 2) } else { (3, 4) };
    let predictor = ctx.options.order.unwrap_or(predictor);
    let lowered = diffusers || sigmas[steps] == 0.0;
    let simple = |s| diffusers.then_some(s);
    // The corrected latent of the last step, the predicted one of this, and the way between them.
    let (mut x, mut predicted) = (START, START);
    let mut way: Option<(f64, Option<(f64, Reg)>)> = None;
    // Denoised latents and their sigmas, newest first.
    let mut past: Vec<(f64, Reg)> = Vec::new();
    for i in 0..steps {
        let (sigma, next) = (sigmas[i], sigmas[i + 1]);
        let denoised = b.eval(predicted, sigma);
        past.insert(0, (sigma, denoised));
        past.truncate(predictor.max(corrector));
        if next == 0.0 {
            predicted = b.lin(&[(1.0, denoised)]);
            b.end_step(predicted, denoised, sigma);
            continue;
        }
        let at_most =
            |order: usize, left: usize| if lowered { order.min(left) } else { order }.min(past.len());
        x = match way {
            None => predicted,
            Some((tau, noise)) => {
                let order = at_most(corrector, steps - i + usize::from(diffusers));
                let adams = Adams {
                    from: sigmas[i - 1],
                    to: sigma,
                    tau,
                    simplified: simple(Simplified::Corrector),
                };
                adams.step(b, x, &past[..order], noise)
            }
        };
        let tau = if is_noisy(b, ctx, sigma, next) {
            ctx.eta
        } else {
            0.0
        };
        // diffusers draws in every step.
        let drawn = (tau > 0.0 || (diffusers && ctx.eta > 0.0)).then(|| b.noise(sigma, next));
        let spread = next * (1.0 - (next / sigma).powf(2.0 * tau * tau)).sqrt();
        let noise = drawn
            .filter(|_| tau > 0.0)
            .map(|n| (ctx.options.s_noise * spread, n));
        let order = at_most(predictor, steps - usize::from(!diffusers) - i);
        let adams = Adams {
            from: sigma,
            to: next,
            tau,
            simplified: simple(Simplified::Predictor),
        };
        predicted = adams.step(b, x, &past[..order], noise);
        way = Some((tau, noise));
        b.end_step(predicted, denoised, sigma);
    }
    predicted
}

/// Whether the step adds noise.
fn is_noisy(b: &Builder<'_>, ctx: &Ctx<'_>, sigma: f64, next: f64) -> bool {
    if ctx.eta == 0.0 {
        return false;
    }
    if ctx.options.dialect == Dialect::Diffusers {
        return (200.0..=800.0).contains(&b.timestep(sigma).round());
    }
    let last = (ctx.model.train_steps() - 1) as f64;
    (ctx.model.sigma_at(0.2 * last)..=ctx.model.sigma_at(0.8 * last)).contains(&next)
}

impl Adams {
    /// The exponential integrator on the polynomial through `points`, newest first.
    fn step(&self, b: &mut Builder<'_>, x: Reg, points: &[(f64, Reg)], noise: Option<(f64, Reg)>) -> Reg {
        let a = 1.0 + self.tau * self.tau;
        let h = (self.from / self.to).ln();
        // lambda = -ln(sigma), counted from the step's end.
        let nodes: Vec<f64> = points.iter().map(|p| (self.to / p.0).ln()).collect();
        let mut c: Vec<f64> = (0..nodes.len())
            .map(|j| polynomial::exponential_integral(&nodes, j, a, -h, 0.0))
            .collect();
        if let (Some(kind), 2) = (self.simplified, c.len()) {
            let exact = (a * h - 1.0 + (-a * h).exp()) / (a * a);
            let more = a * match kind {
                Simplified::Predictor => (h * h / 2.0 - exact) / (nodes[0] - nodes[1]),
                Simplified::Corrector => (h * h / 2.0 - exact) / h,
            };
            c[0] += more;
            c[1] -= more;
        }
        let mut terms = vec![((-a * h).exp(), x)];
        terms.extend(c.into_iter().zip(points).map(|(c, p)| (c, p.1)));
        terms.extend(noise);
        b.lin(&terms)
    }
}
