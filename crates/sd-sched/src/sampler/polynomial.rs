//! Lagrange's polynomials and their integrals: the coefficients of every multistep method.

/// The polynomial that is 1 at `nodes[j]` and 0 at the other nodes.
pub(super) fn lagrange(nodes: &[f64], j: usize, t: f64) -> f64 {
    let others = nodes.iter().enumerate().filter(|(k, _)| *k != j);
    others.map(|(_, n)| (t - n) / (nodes[j] - n)).product()
}

/// The integral of `lagrange(nodes, j, .)` from `from` to `to`, by Gauss and Legendre's rule of three points: exact for up to
/// six nodes.
pub(super) fn integral(nodes: &[f64], j: usize, from: f64, to: f64) -> f64 {
    let f = |t| lagrange(nodes, j, t);
    let (half, mid) = ((to - from) / 2.0, (to + from) / 2.0);
    let reach = half * 0.6f64.sqrt();
    half * (5.0 * f(mid - reach) + 8.0 * f(mid) + 5.0 * f(mid + reach)) / 9.0
}

/// The integral of `a * exp(a * u) * lagrange(nodes, j, u)`, exactly: its antiderivative is
/// `exp(a * u) * (p - p'/a + p''/a^2 - ...)`. Over a short way the terms of that cancel; there Gauss and Legendre's rule of
/// five points is exact to the last digit.
pub(super) fn exponential_integral(nodes: &[f64], j: usize, a: f64, from: f64, to: f64) -> f64 {
    if (a * (to - from)).abs() > 0.25 {
        let antiderivative = |u: f64| (a * u).exp() * alternating_derivatives(nodes, j, a, u);
        return antiderivative(to) - antiderivative(from);
    }
    let f = |u: f64| a * (a * u).exp() * lagrange(nodes, j, u);
    let (half, mid) = ((to - from) / 2.0, (to + from) / 2.0);
    let pair = |s: f64| {
        let reach = half * (5.0 + s * 2.0 * (10f64 / 7.0).sqrt()).sqrt() / 3.0;
        (322.0 - s * 13.0 * 70f64.sqrt()) / 900.0 * (f(mid - reach) + f(mid + reach))
    };
    half * (128.0 / 225.0 * f(mid) + pair(-1.0) + pair(1.0))
}

/// `p - p'/a + p''/a^2 - ...` of the Lagrange polynomial `j` at `u`.
fn alternating_derivatives(nodes: &[f64], j: usize, a: f64, u: f64) -> f64 {
    // Coefficients in powers of (v - u), built factor by factor.
    let mut p = vec![1.0];
    for (_, n) in nodes.iter().enumerate().filter(|(k, _)| *k != j) {
        let (at_u, scale) = (u - n, 1.0 / (nodes[j] - n));
        let mut q = vec![0.0; p.len() + 1];
        for (i, c) in p.iter().enumerate() {
            q[i] += c * at_u * scale;
            q[i + 1] += c * scale;
        }
        p = q;
    }
    let (mut factor, mut sum) = (1.0, 0.0);
    for (i, c) in p.iter().enumerate() {
        sum += factor * c;
        factor *= -((i + 1) as f64) / a;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integrals_agree_with_a_fine_sum() {
        let nodes = [0.3, 1.1, 2.0, 3.7];
        for j in 0..4 {
            let n = 200_000;
            let (from, to) = if j < 2 { (0.3, -0.9) } else { (0.3, 0.2) };
            let h = (to - from) / f64::from(n);
            let mid = |i: i32| from + (f64::from(i) + 0.5) * h;
            let plain: f64 = (0..n).map(|i| lagrange(&nodes, j, mid(i)) * h).sum();
            let weighted: f64 = (0..n)
                .map(|i| 1.7 * (1.7 * mid(i)).exp() * lagrange(&nodes, j, mid(i)) * h)
                .sum();
            assert!((integral(&nodes, j, from, to) - plain).abs() < 1e-8);
            assert!((exponential_integral(&nodes, j, 1.7, from, to) - weighted).abs() < 1e-8);
        }
    }
}
