//! Published tables of sigmas.

/// Align Your Steps, 10 steps (Sabour et al. 2024, arXiv:2404.14507; the quick start's rounded values, as in the WebUI).
pub(super) const AYS_SD1: [f64; 11] = [
    14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029,
];
/// The same for SDXL.
pub(super) const AYS_SDXL: [f64; 11] = [
    14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029,
];

/// The same with more digits, as in ComfyUI.
#[rustfmt::skip]
pub(super) const AYS_SD1_LONG: [f64; 11] = [
    14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904, 0.6523686016,
    0.3977456272, 0.1515232662, 0.0291671582,
];
#[rustfmt::skip]
pub(super) const AYS_SDXL_LONG: [f64; 11] = [
    14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289, 0.3798540708,
    0.2332364134, 0.1114188177, 0.0291671582,
];

/// Geometry-inspired time scheduling (Chen et al. 2024, arXiv:2405.11326), 10 steps, as in Forge.
pub(super) const GITS_SD1: [f64; 11] = [
    14.615, 4.617, 2.507, 1.236, 0.702, 0.402, 0.240, 0.156, 0.104, 0.094, 0.029,
];
/// The same for SDXL.
pub(super) const GITS_SDXL: [f64; 11] = [
    14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029,
];

/// Align Your Steps interpolated to 31 steps by hand, as in Forge.
#[rustfmt::skip]
pub(super) const AYS32_SD1: [f64; 32] = [
    14.615, 11.23951352, 8.64363081, 6.64729424, 5.57250862, 4.71648546, 3.99196065, 3.5195609, 3.13490466, 2.79228788,
    2.48773628, 2.21663865, 1.97508351, 1.7793172, 1.61475335, 1.46540953, 1.314849, 1.16642497, 1.03475547, 0.91573744,
    0.80748169, 0.71202361, 0.621739, 0.53065202, 0.4529096, 0.37491455, 0.27461819, 0.2011529, 0.14105873, 0.06682881,
    0.03166121, 0.015,
];
/// The same for SDXL.
#[rustfmt::skip]
pub(super) const AYS32_SDXL: [f64; 32] = [
    14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457, 2.74396527, 2.29968659,
    1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443, 0.80290886, 0.69660121, 0.60436903, 0.52852552,
    0.46773344, 0.41393379, 0.36258186, 0.31008517, 0.26518925, 0.22326461, 0.17653877, 0.13959192, 0.10587381, 0.05519369,
    0.02877334, 0.015,
];

/// `n` points of a falling table, linear in `ln(sigma)` over its index; the first alone if `n` is 1.
pub(super) fn stretch(table: &[f64], n: usize) -> Vec<f64> {
    if n == table.len() {
        return table.to_vec();
    }
    let last = table.len() - 1;
    let at = |i: usize| {
        // From the low end, as the reference counts: a single point is the last of the table.
        let p = if n > 1 {
            i as f64 / (n - 1) as f64 * last as f64
        } else {
            0.0
        };
        let low = (p.floor() as usize).min(last - 1);
        let (a, b) = (table[last - low].ln(), table[last - low - 1].ln());
        (a + (b - a) * (p - low as f64)).exp()
    };
    (0..n).rev().map(at).collect()
}

/// The tables under their names.
pub(super) fn align_your_steps(schedule: super::Schedule, n: usize, sdxl: bool, comfy: bool) -> Vec<f64> {
    use super::Schedule as S;
    let table: &[f64] = match (schedule, sdxl) {
        (S::AlignYourSteps32, false) => &AYS32_SD1,
        (S::AlignYourSteps32, true) => &AYS32_SDXL,
        (S::AlignYourStepsGits, false) => &GITS_SD1,
        (S::AlignYourStepsGits, true) => &GITS_SDXL,
        (_, false) if comfy => &AYS_SD1_LONG,
        (_, true) if comfy => &AYS_SDXL_LONG,
        (_, false) => &AYS_SD1,
        (_, true) => &AYS_SDXL,
    };
    if comfy && schedule == S::AlignYourSteps {
        let mut sigmas = stretch(table, n + 1);
        sigmas[n] = 0.0;
        return sigmas;
    }
    stretch(table, n).into_iter().chain([0.0]).collect()
}
