//! Linear multistep (Adams-Bashforth with uneven steps in sigma; k-diffusion, after Katherine Crowson).

use super::{Ctx, derivative, polynomial};
use crate::program::{Builder, Reg, START};

/// The most steps looked back upon.
const ORDER: usize = 4;

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let sigmas = ctx.sigmas;
    let mut x = START;
    let mut slopes: Vec<Reg> = Vec::new();
    for i in 0..sigmas.len() - 1 {
        let denoised = b.eval(x, sigmas[i]);
        slopes.insert(0, derivative(b, x, denoised, sigmas[i]));
        slopes.truncate(ctx.options.order.unwrap_or(ORDER));
        let mut terms = vec![(1.0, x)];
        let past: Vec<f64> = (0..slopes.len()).map(|k| sigmas[i - k]).collect();
        for (j, &d) in slopes.iter().enumerate() {
            terms.push((polynomial::integral(&past, j, sigmas[i], sigmas[i + 1]), d));
        }
        x = b.lin(&terms);
        b.end_step(x, denoised, sigmas[i]);
    }
    x
}
