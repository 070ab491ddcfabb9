//! A mixture of two Gaussians on the line, whose best denoiser and whose probability flow are known exactly: the flow of one
//! dimension keeps quantiles, so it takes `x` to the point with the same cumulative probability.

const WEIGHTS: [f64; 2] = [0.35, 0.65];
const MEANS: [f64; 2] = [-1.1, 0.8];
const STDS: [f64; 2] = [0.25, 0.4];

pub const MEAN: f64 = WEIGHTS[0] * MEANS[0] + WEIGHTS[1] * MEANS[1];

pub fn variance() -> f64 {
    let second = |k: usize| WEIGHTS[k] * (STDS[k] * STDS[k] + MEANS[k] * MEANS[k]);
    second(0) + second(1) - MEAN * MEAN
}

/// `E[x0 | x]` where `x = x0 + sigma * noise`.
pub fn denoise(x: f64, sigma: f64) -> f64 {
    let part = |k: usize| {
        let v = STDS[k] * STDS[k] + sigma * sigma;
        let d = x - MEANS[k];
        (
            WEIGHTS[k].ln() - 0.5 * d * d / v - 0.5 * v.ln(),
            MEANS[k] + STDS[k] * STDS[k] / v * d,
        )
    };
    let (a, b) = (part(0), part(1));
    let w = 1.0 / (1.0 + (b.0 - a.0).exp());
    w * a.1 + (1.0 - w) * b.1
}

/// Where the probability flow takes `x` from noise level `from` to `to`.
pub fn flow(x: f64, from: f64, to: f64) -> f64 {
    // The smaller tail keeps its digits.
    let upper = tail(x, from, 1.0) < 0.5;
    let sign = if upper { 1.0 } else { -1.0 };
    let p = tail(x, from, sign).ln();
    let (mut low, mut high) = (-60.0, 60.0);
    for _ in 0..200 {
        let mid = 0.5 * (low + high);
        let is_left = (tail(mid, to, sign).ln() > p) == upper;
        if is_left { low = mid } else { high = mid }
    }
    0.5 * (low + high)
}

/// The probability beyond `x`, above for sign 1 and below for sign -1.
fn tail(x: f64, sigma: f64, sign: f64) -> f64 {
    let part = |k: usize| {
        WEIGHTS[k] * normal_tail(sign * (x - MEANS[k]) / (STDS[k] * STDS[k] + sigma * sigma).sqrt())
    };
    part(0) + part(1)
}

/// `P(Z > z)`: Taylor's series around 0 for small `z` (Abramowitz & Stegun 26.2.11), else the continued fraction (26.2.14).
fn normal_tail(z: f64) -> f64 {
    if z < -3.0 {
        return 1.0 - normal_tail(-z);
    }
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for k in 1..200 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let fraction = (1..=200).rev().fold(0.0, |f, k| f64::from(k) / (z + f));
    density / (z + fraction)
}
