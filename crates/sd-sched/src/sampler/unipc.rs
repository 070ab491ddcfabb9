//! UniPC: a predictor and a corrector of the same form, the corrector free of calls (Zhao et al. 2023, arXiv:2302.04867), in
//! the data prediction.

use super::{Ctx, TimestepPlan, TimestepStart, linear};
use crate::program::{Builder, Reg, START};
use crate::{Dialect, Error, ModelSampling, PlanOptions, Result};

/// The function B(h) of the paper.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Variant {
    /// `B(h) = h`.
    Bh1,
    /// `B(h) = e^h - 1`.
    Bh2,
}

/// A noise level to visit and its timestep.
type Point = (f64, f64);

/// ComfyUI's and diffusers': over sigmas.
pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>, variant: Variant) -> Reg {
    let steps = ctx.sigmas.len() - 1;
    let mut sigmas = ctx.sigmas.to_vec();
    let order = match ctx.options.dialect {
        Dialect::Diffusers => ctx.options.order.unwrap_or(2),
        // ComfyUI has no logarithm of 0 and goes to 0.001 instead.
        _ => {
            sigmas
                .iter_mut()
                .for_each(|s| *s = if *s == 0.0 { 0.001 } else { *s });
            ctx.options.order.unwrap_or(3).min(steps.saturating_sub(1).max(1))
        }
    };
    let points: Vec<Point> = sigmas.iter().map(|&s| (s, b.timestep(s))).collect();
    solve(b, &points, order, variant)
}

/// The WebUI's: evenly in time over as many calls as it has timesteps, alpha interpolated between the table's by logarithm.
pub(super) fn webui(
    steps: usize,
    model: &ModelSampling,
    variant: Variant,
    o: &PlanOptions,
) -> Result<TimestepPlan> {
    let start = TimestepStart::webui(steps, model, o)?;
    let alphas = model.alphas_cumprod();
    let alpha = |position: f64| {
        let low = (position.floor() as usize).min(alphas.len() - 2);
        let w = position - low as f64;
        ((1.0 - w) * alphas[low].ln() + w * alphas[low + 1].ln()).exp()
    };
    let Some(&last) = start.timesteps.last() else {
        return Err(Error::param("strength", "leaves UniPC no timestep to start at"));
    };
    let from_noise = start.image_scale == 0.0;
    let top = if from_noise { alphas.len() - 1 } else { last } as f64;
    let calls = start.timesteps.len();
    let positions = crate::schedule::linspace(top, 0.0, calls + 1);
    let points: Vec<Point> = positions
        .map(|p| (((1.0 - alpha(p)) / alpha(p)).sqrt(), p))
        .collect();
    let timestep = |_: f64| 0.0;
    let mut b = Builder::new(&timestep);
    let x = solve(&mut b, &points, o.order.unwrap_or(3).min(calls), variant);
    let result = b.lin(&[(alphas[0].sqrt(), x)]);
    let first = alphas[top as usize];
    let noise_scale = if from_noise {
        first.sqrt().recip()
    } else {
        start.noise_scale
    };
    Ok(TimestepPlan {
        program: b.finish(result),
        sigmas: points.iter().map(|p| p.0).collect(),
        image_scale: start.image_scale,
        noise_scale,
    })
}

/// `points.len() - 1` steps and as many calls; the order rises from 1 and falls again at the end.
fn solve(b: &mut Builder<'_>, points: &[Point], order: usize, variant: Variant) -> Reg {
    let steps = points.len() - 1;
    let mut x = START;
    // Denoised latents, newest first.
    let mut past = vec![b.eval_at(x, points[0].0, points[0].1)];
    for step in 1..=steps {
        let (sigma, t) = points[step];
        let from = points[step - 1].0;
        let order = order.min(step).min(steps + 1 - step);
        if sigma == 0.0 {
            x = b.lin(&[(1.0, past[0])]);
            b.end_step(x, past[0], from);
            continue;
        }
        let nodes: Vec<f64> = (1..order).map(|k| points[step - 1 - k].0).collect();
        let c = Coefficients::new(from, sigma, &nodes, variant);
        let predicted = c.combine(b, x, &past, &c.predictor(), None);
        let newest = past[0];
        x = if step < steps {
            let denoised = b.eval_at(predicted, sigma, t);
            let corrected = c.combine(b, x, &past, &c.corrector(), Some(denoised));
            past.insert(0, denoised);
            past.truncate(order.max(3));
            corrected
        } else {
            predicted
        };
        b.end_step(x, newest, from);
    }
    x
}

/// The numbers of one step.
struct Coefficients {
    ratio: f64,
    /// `e^-h - 1`.
    phi_1: f64,
    b_h: f64,
    /// Places of the older points, in steps from the newest, and 1 for the step's end.
    r: Vec<f64>,
    /// Right sides of the order conditions.
    rhs: Vec<f64>,
}

impl Coefficients {
    fn new(from: f64, to: f64, older: &[f64], variant: Variant) -> Self {
        let h = (from / to).ln();
        let mut r: Vec<f64> = older.iter().map(|s| (from / s).ln() / h).collect();
        r.push(1.0);
        let phi_1 = (-h).exp_m1();
        let b_h = if variant == Variant::Bh1 { -h } else { phi_1 };
        let mut phi_k = phi_1 / -h - 1.0;
        let mut factorial = 1.0;
        let rhs = (1..=r.len())
            .map(|k| {
                let v = phi_k * factorial / b_h;
                factorial *= (k + 1) as f64;
                phi_k = phi_k / -h - 1.0 / factorial;
                v
            })
            .collect();
        Self {
            ratio: to / from,
            phi_1,
            b_h,
            r,
            rhs,
        }
    }

    fn conditions(&self, n: usize) -> Vec<f64> {
        let rows = (0..n)
            .map(|k| self.r[..n].iter().map(|r| r.powi(k as i32)).collect())
            .collect();
        linear::solve(rows, self.rhs[..n].to_vec())
    }

    /// Weights of the older differences; order 2 is simplified, as in the reference.
    fn predictor(&self) -> Vec<f64> {
        match self.r.len() - 1 {
            0 => Vec::new(),
            1 => vec![0.5],
            n => self.conditions(n),
        }
    }

    /// The same with the difference to the step's end; order 1 is simplified.
    fn corrector(&self) -> Vec<f64> {
        if self.r.len() == 1 {
            vec![0.5]
        } else {
            self.conditions(self.r.len())
        }
    }

    /// `ratio * x - phi_1 * m0 - B * sum rho_k (m_k - m0) / r_k`
    fn combine(&self, b: &mut Builder<'_>, x: Reg, past: &[Reg], rho: &[f64], end: Option<Reg>) -> Reg {
        let others = past[1..].iter().copied().take(self.r.len() - 1).chain(end);
        let mut own = -self.phi_1;
        let mut terms = vec![(self.ratio, x)];
        for ((m, rho), r) in others.zip(rho).zip(&self.r) {
            let c = self.b_h * rho / r;
            own += c;
            terms.push((-c, m));
        }
        terms.push((own, past[0]));
        b.lin(&terms)
    }
}
