//! Beta schedules (Lee et al. 2024, "Beta Sampling is All You Need", arXiv:2407.12173), and the quantiles they need.

use super::{Range, linspace};

/// The WebUI's: quantiles spread over sigma itself, then 0.
pub(super) fn over_sigma(r: &Range<'_>, a: f64, b: f64) -> Vec<f64> {
    let point = |p: f64| r.min + quantile(1.0 - p, a, b) * (r.max - r.min);
    linspace(0.0, 1.0, r.n).map(point).chain([0.0]).collect()
}

/// ComfyUI's: quantiles spread over the table's indices, rounded, duplicates dropped, then 0.
pub(super) fn over_indices(r: &Range<'_>, a: f64, b: f64) -> Vec<f64> {
    let table = r.model.sigmas();
    let last = (table.len() - 1) as f64;
    let index = |i: usize| (quantile(1.0 - i as f64 / r.n as f64, a, b) * last).round_ties_even() as usize;
    let mut indices: Vec<usize> = (0..r.n).map(index).collect();
    indices.dedup();
    indices.into_iter().map(|i| table[i]).chain([0.0]).collect()
}

/// The quantile `p` of the beta distribution: where its distribution function is `p`.
fn quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return p.clamp(0.0, 1.0);
    }
    // The half that lies nearer to 0, so that small quantiles keep their digits; the other by symmetry.
    if regularised(0.5, a, b) < p {
        return 1.0 - quantile_below_half(1.0 - p, b, a);
    }
    quantile_below_half(p, a, b)
}

/// Bisection in `ln(x)`.
fn quantile_below_half(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (-700.0, 0.5f64.ln());
    for _ in 0..200 {
        let mid = 0.5 * (low + high);
        if regularised(mid.exp(), a, b) < p {
            low = mid
        } else {
            high = mid
        }
    }
    (0.5 * (low + high)).exp()
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.8) with Lentz's method.
fn regularised(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularised(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let tiny = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / tiny(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / tiny(1.0 + term * d);
            c = tiny(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-16 * fraction.abs() {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function for `x > 0`: Stirling's series after shifting to `x >= 16`.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 16.0 {
        shift += x.ln();
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series =
        (1.0 / 12.0 + r * (-1.0 / 360.0 + r * (1.0 / 1260.0 + r * (-1.0 / 1680.0 + r / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_of_known_points() {
        // ln(9!) and ln(sqrt(pi)).
        assert!((ln_gamma(10.0) - 362_880f64.ln()).abs() < 1e-13);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-14);
    }

    #[test]
    fn closed_forms() {
        // Beta(1, 1) is uniform; Beta(2, 1) has x^2; Beta(1/2, 1/2) is the arcsine law.
        for p in [1e-9, 0.01, 0.3, 0.5, 0.77, 0.999] {
            assert!((quantile(p, 1.0, 1.0) - p).abs() < 1e-14);
            assert!((quantile(p, 2.0, 1.0) / p.sqrt() - 1.0).abs() < 1e-13);
            let arcsine = (p * std::f64::consts::FRAC_PI_2).sin().powi(2);
            assert!((quantile(p, 0.5, 0.5) / arcsine - 1.0).abs() < 1e-12, "{p}");
        }
    }
}
