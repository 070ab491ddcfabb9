//! The other half of tools/goldens/sched/common.py: the analytic denoiser, the numbered noise, and reading of goldens.
#![allow(dead_code)]

use std::path::Path;

use serde_json::Value;

pub const START: [f64; 8] = [0.3, -1.2, 0.8, 1.9, -0.5, 0.05, -2.1, 1.1];
const MEANS: [[f64; 8]; 2] = [
    [0.9, -0.4, 0.3, 1.2, -1.1, 0.05, 0.6, -0.7],
    [-0.8, 0.5, -0.2, 0.1, 0.7, -0.9, 1.3, 0.2],
];
const STDS: [f64; 2] = [0.5, 0.3];
const WEIGHTS: [f64; 2] = [0.6, 0.4];

/// `E[x0 | x]` of a mixture of two Gaussians.
pub fn denoise(x: &[f64], sigma: f64) -> Vec<f64> {
    let mut logs = [0.0; 2];
    let mut means = [[0.0; 8]; 2];
    for k in 0..2 {
        let variance = STDS[k] * STDS[k] + sigma * sigma;
        let mut square = 0.0;
        for i in 0..8 {
            let d = x[i] - MEANS[k][i];
            square += d * d;
            means[k][i] = MEANS[k][i] + STDS[k] * STDS[k] / variance * d;
        }
        logs[k] = WEIGHTS[k].ln() - 0.5 * square / variance - 4.0 * variance.ln();
    }
    let top = logs[0].max(logs[1]);
    let e = logs.map(|l| (l - top).exp());
    let total = e[0] + e[1];
    (0..8)
        .map(|i| (e[0] * means[0][i] + e[1] * means[1][i]) / total)
        .collect()
}

/// The second denoiser of the CFG++ samplers.
pub fn denoise_uncond(x: &[f64], sigma: f64) -> Vec<f64> {
    x.iter().map(|v| v * 0.49 / (0.49 + sigma * sigma)).collect()
}

/// The numbered noise: draw `i` from 1 on.
pub fn noise(i: usize) -> Vec<f64> {
    (0..8)
        .map(|j| 2f64.sqrt() * (12.9898 * i as f64 + 78.233 * (j + 1) as f64).sin())
        .collect()
}

pub fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../goldens/sched")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn floats(v: &Value) -> Vec<f64> {
    v.as_array()
        .expect("a list")
        .iter()
        .map(|v| v.as_f64().expect("a number"))
        .collect()
}

/// Norm of the difference over norm of the reference.
pub fn relative(a: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let square = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    square(&mut a.iter().zip(reference).map(|(a, b)| a - b))
        / square(&mut reference.iter().copied()).max(1e-300)
}

/// The largest error of any value, relative to that value (to 1e-9 of the largest where it is near 0).
pub fn relative_elementwise(a: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(a.len(), reference.len());
    let top = reference.iter().fold(0f64, |m, v| m.max(v.abs()));
    a.iter()
        .zip(reference)
        .map(|(a, b)| (a - b).abs() / b.abs().max(1e-9 * top))
        .fold(0.0, f64::max)
}
