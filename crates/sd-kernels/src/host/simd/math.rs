//! Functions of one number, without branches, so that loops over them become vector code.

/// The series of `2^x` around zero: `ln(2)^k / k!`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) const EXP2: [f32; 7] = [
    1.0,
    std::f32::consts::LN_2,
    0.240_226_5,
    0.055_504_11,
    0.009_618_129,
    0.001_333_355_8,
    0.000_154_035_3,
];

/// `e^x` to two units in the last place: `2^n` for the nearest whole `n`, times a polynomial (Cephes' `expf`). NaN stays NaN; below
/// -87.3 it stays at the smallest normal number.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let p = 1.987_569_15e-4;
    let p = p * r + 1.398_199_950_7e-3;
    let p = p * r + 8.333_451_907_3e-3;
    let p = p * r + 4.166_579_589_4e-2;
    let p = p * r + 1.666_666_545_9e-1;
    let p = p * r + 5.000_000_120_1e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x sigmoid(1.702 x)`.
#[inline(always)]
pub(crate) fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

/// The exact GELU; erf by formula 7.1.26 of Abramowitz and Stegun, 1.5e-7 at worst.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    // Half of erfc(|x| / sqrt 2): what is missing from one on the right, what there is on the left.
    // Beyond 80 nothing is left of it but numbers that are too small to be normal, which are slow.
    let tail = 0.5 * p * exp((-z * z).max(-80.0));
    x * if x < 0.0 { tail } else { 1.0 - tail }
}
