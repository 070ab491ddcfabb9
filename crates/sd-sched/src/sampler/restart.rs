//! Restart sampling (Xu et al. 2023, arXiv:2306.14878): Heun steps, with one stretch run again from fresh noise. The stretch
//! and its lengths are those of the WebUI.

use super::{Ctx, heun};
use crate::program::{Builder, Reg, START};
use crate::schedule::karras_between;

/// The stretch: from about this sigma ...
const FROM: f64 = 2.0;
/// ... to about this one.
const TO: f64 = 0.1;

pub(super) fn emit(b: &mut Builder<'_>, ctx: &Ctx<'_>) -> Reg {
    let mut x = START;
    let mut last: Option<f64> = None;
    for (sigma, next) in steps(ctx.sigmas) {
        if let Some(last) = last.filter(|l| sigma > l * (1.0 + 1e-6)) {
            let noise = b.noise(last, sigma);
            let up = (sigma * sigma - last * last).sqrt();
            x = b.lin(&[(1.0, x), (ctx.options.s_noise * up, noise)]);
        }
        let (to, denoised) = heun::step(b, x, sigma, next);
        x = to;
        b.end_step(x, denoised, sigma);
        last = Some(next);
    }
    x
}

/// From 20 steps on, the schedule is laid anew (Karras, between its first sigma and its last but one) with 9 steps fewer, and
/// 9 are spent on the stretch; from 36 on, a quarter of them, twice.
fn steps(sigmas: &[f64]) -> Vec<(f64, f64)> {
    let n = sigmas.len() - 1;
    let pairs = |s: &[f64]| s.windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>();
    if n < 20 {
        return pairs(sigmas);
    }
    let (length, times) = if n >= 36 { (n / 4, 2) } else { (9, 1) };
    let mut main = karras_between(n - length * times, sigmas[n - 1], sigmas[0]);
    main.push(0.0);
    let nearest = |v: f64| {
        let off = |i: usize| (main[i] - v).abs();
        (0..main.len()).fold(0, |best, i| if off(i) < off(best) { i } else { best })
    };
    let (low, high) = (nearest(TO), nearest(FROM));
    let mut out = Vec::new();
    for (i, pair) in pairs(&main).into_iter().enumerate() {
        out.push(pair);
        if i + 1 == low && high < low {
            let again = pairs(&karras_between(length + 1, main[low], main[high]));
            (0..times).for_each(|_| out.extend_from_slice(&again));
        }
    }
    out
}
