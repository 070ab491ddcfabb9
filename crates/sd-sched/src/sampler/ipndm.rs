//! Improved pseudo numerical methods (Zhang & Chen 2022, arXiv:2204.13902): Adams-Bashforth on the slope in sigma, with the
//! coefficients of even steps, or with those of uneven ones (iPNDM-v; diff-sampler's form).

use super::{Ctx, derivative};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>, variable: bool) -> Reg {
    let sigmas = ctx.sigmas;
    let mut x = START;
    let mut slopes: Vec<Reg> = Vec::new();
    for i in 0..sigmas.len() - 1 {
        let (sigma, next) = (sigmas[i], sigmas[i + 1]);
        let denoised = b.eval(x, sigma);
        slopes.insert(0, derivative(b, x, denoised, sigma));
        slopes.truncate(4);
        x = if next == 0.0 {
            b.lin(&[(1.0, denoised)])
        } else {
            let c = if variable {
                uneven(sigmas, i, slopes.len())
            } else {
                even(slopes.len())
            };
            let terms = slopes.iter().zip(c).map(|(&d, c)| (c * (next - sigma), d));
            b.lin(&[(1.0, x)].into_iter().chain(terms).collect::<Vec<_>>())
        };
        b.end_step(x, denoised, sigma);
    }
    x
}

fn even(order: usize) -> Vec<f64> {
    match order {
        1 => vec![1.0],
        2 => vec![1.5, -0.5],
        3 => vec![23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
        _ => vec![55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
    }
}

/// The reference's formulas, kept as they are: orders 3 and 4 are not quite the interpolating polynomial's.
fn uneven(sigmas: &[f64], i: usize, order: usize) -> Vec<f64> {
    if order == 1 {
        return vec![1.0];
    }
    let step = |k: usize| sigmas[i + 1 - k] - sigmas[i - k];
    let (h, h1) = (step(0), step(1));
    let (c1, c2) = ((2.0 + h / h1) / 2.0, -(h / h1) / 2.0);
    if order == 2 {
        return vec![c1, c2];
    }
    let h2 = step(2);
    let temp = (1.0 - h / (3.0 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2.0;
    if order == 3 {
        return vec![c1 + temp, c2 - (1.0 + h1 / h2) * temp, temp * h1 / h2];
    }
    let h3 = step(3);
    let scale = (h * (h + h1) * (h + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3));
    let inner = (1.0 - h / (3.0 * (h + h1))) / 2.0 + (1.0 - h / (2.0 * (h + h1))) * h / (6.0 * (h + h1 + h2));
    let temp2 = inner * scale;
    let q = h1 * (h1 + h2) / (h2 * (h2 + h3));
    vec![
        c1 + temp + temp2,
        c2 - (1.0 + h1 / h2) * temp - (1.0 + h1 / h2 + q) * temp2,
        temp * h1 / h2 + (h1 / h2 + q * (1.0 + h2 / h3)) * temp2,
        -temp2 * q * h1 / h2,
    ]
}
