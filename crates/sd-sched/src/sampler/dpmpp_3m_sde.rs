//! DPM-Solver++(3M) for the stochastic differential equation (k-diffusion, after Lu et al. 2022, arXiv:2211.01095).

use super::Ctx;
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    // Denoised latents and steps in lambda = -ln(sigma), newest first.
    let mut past: Vec<(Reg, f64)> = Vec::new();
    for w in ctx.sigmas.windows(2) {
        let (sigma, next) = (w[0], w[1]);
        let denoised = b.eval(x, sigma);
        if next == 0.0 {
            x = b.lin(&[(1.0, denoised)]);
            b.end_step(x, denoised, sigma);
            continue;
        }
        let h = (sigma / next).ln();
        let total = h * (1.0 + ctx.eta);
        let phi_2 = (-total).exp_m1() / total + 1.0;
        // Coefficients of the newest denoised latent and those before it.
        let mut c = [-(-total).exp_m1(), 0.0, 0.0];
        match past[..] {
            [] => {}
            [(_, h_1)] => {
                let k = phi_2 * h / h_1;
                c = [c[0] + k, -k, 0.0];
            }
            [(_, h_1), (_, h_2), ..] => {
                let (r0, r1) = (h_1 / h, h_2 / h);
                let phi_3 = phi_2 / total - 0.5;
                // Of the first differences (newest, older): d1 = a * new + (1 - a) * old, d2 = (new - old) / (r0 + r1).
                let a = 1.0 + r0 / (r0 + r1);
                let new = (phi_2 * a - phi_3 / (r0 + r1)) / r0;
                let old = (phi_2 * (1.0 - a) + phi_3 / (r0 + r1)) / r1;
                c = [c[0] + new, old - new, -old];
            }
        }
        let mut terms = vec![((-total).exp(), x), (c[0], denoised)];
        terms.extend(past.iter().zip(&c[1..]).map(|(p, c)| (*c, p.0)));
        if ctx.eta > 0.0 {
            let spread = next * (-(-2.0 * ctx.eta * h).exp_m1()).sqrt();
            terms.push((ctx.options.s_noise * spread, b.noise(sigma, next)));
        }
        x = b.lin(&terms);
        past.insert(0, (denoised, h));
        past.truncate(2);
        b.end_step(x, denoised, sigma);
    }
    x
}
