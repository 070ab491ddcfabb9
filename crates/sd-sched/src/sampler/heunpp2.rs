//! Heun++ (Carzit's sampler for the WebUI, in Forge and ComfyUI): slopes at this sigma and at the next two, weighted by sigma.

use super::euler::churn;
use super::{Ctx, derivative};
use crate::program::{Builder, Reg, START};

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let sigmas = ctx.sigmas;
    let last = sigmas.len() - 1;
    let mut x = START;
    for i in 0..last {
        let (hat, sigma) = churn(b, ctx, i, x);
        let denoised = b.eval(hat, sigma);
        let next = sigmas[i + 1];
        let dt = next - sigma;
        if i + 1 == last {
            let r = next / sigma;
            x = b.lin(&[(r, hat), (1.0 - r, denoised)]);
            b.end_step(x, denoised, sigmas[i]);
            continue;
        }
        let d = derivative(b, hat, denoised, sigma);
        let x_2 = b.lin(&[(1.0, hat), (dt, d)]);
        let second = b.eval(x_2, next);
        let d_2 = derivative(b, x_2, second, next);
        x = if i + 2 == last {
            let w_2 = next / (2.0 * sigmas[0]);
            b.lin(&[(1.0, hat), (dt * (1.0 - w_2), d), (dt * w_2, d_2)])
        } else {
            let after = sigmas[i + 2];
            let x_3 = b.lin(&[(1.0, x_2), (after - next, d_2)]);
            let third = b.eval(x_3, after);
            let d_3 = derivative(b, x_3, third, after);
            let (w_2, w_3) = (next / (3.0 * sigmas[0]), after / (3.0 * sigmas[0]));
            b.lin(&[
                (1.0, hat),
                (dt * (1.0 - w_2 - w_3), d),
                (dt * w_2, d_2),
                (dt * w_3, d_3),
            ])
        };
        b.end_step(x, denoised, sigmas[i]);
    }
    x
}
