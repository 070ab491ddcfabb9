//! Tiles through AVX2.

use half::bf16;
use std::arch::x86_64::*;

use super::{
    math::EXP2,
    tile::{COLUMNS, PANEL, Tile},
};

/// Rows of a tile. One panel is gone through after the other: twelve sums stay in registers, enough to hide an addition's latency, and
/// of the right side, which comes from the second-level cache, little is read for each product.
pub(crate) const ROWS: usize = 6;

/// Numbers of four bytes in a vector.
const LANES: usize = 8;

/// The loop of all types: `$step` values of `k` at a time, which are four bytes on the left, and `$add` to add products to sums.
macro_rules! tile {
    ($t:expr, $step:expr, $add:expr) => {{
        let t = $t;
        for panel in 0..COLUMNS / PANEL {
            let mut sums = [[_mm256_setzero_si256(); PANEL / LANES]; ROWS];
            let places =
                |r: usize, n: usize| t.c.add(r * COLUMNS + panel * PANEL + n * LANES).cast::<__m256i>();
            if t.accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm256_loadu_si256(places(r, n));
                    }
                }
            }
            let mut b = t.b.add(panel * t.panel);
            for &tap in t.taps {
                let mut a = t.a.add(tap);
                for _ in 0..t.k / $step {
                    let right = [b, b.wrapping_add($step * LANES)].map(|b| _mm256_loadu_si256(b.cast()));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = a.wrapping_add(r * t.stride).cast::<i32>().read_unaligned();
                        let x = _mm256_set1_epi32(x);
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = $add(*sum, x, right);
                        }
                    }
                    a = a.wrapping_add($step);
                    b = b.wrapping_add($step * PANEL);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    _mm256_storeu_si256(places(r, n), *sum);
                }
            }
        }
    }};
}

/// `sum + x b`, of numbers in the bits of vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product(sum: __m256i, x: __m256i, b: __m256i) -> __m256i {
    let [x, b, sum] = [x, b, sum].map(|bits| _mm256_castsi256_ps(bits));
    _mm256_castps_si256(_mm256_fmadd_ps(x, b, sum))
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn tile_f32(t: &Tile<f32>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 1, |sum, x, b| add_product(sum, x, b));
    }
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn tile_bf16(t: &Tile<bf16>) {
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 2, |sum, x, b| {
            let sum = add_product(sum, _mm256_slli_epi32::<16>(x), _mm256_slli_epi32::<16>(b));
            add_product(sum, _mm256_and_si256(x, upper), _mm256_and_si256(b, upper))
        });
    }
}

/// Sums are `i32`. Products of bytes (`vpmaddubsw`) would be cut off at 16 bits: words are multiplied instead, half as many at once.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn tile_i16(t: &Tile<i16>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 2, |sum, x, b| _mm256_add_epi32(sum, _mm256_madd_epi16(x, b)));
    }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx2,avxvnni")]
pub(crate) unsafe fn tile_u8(t: &Tile<u8>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 4, |sum, x, b| _mm256_dpbusd_avx_epi32(sum, x, b));
    }
}

/// `2^x` for `x` up to 125, by its series around the nearest whole number (1e-7).
#[inline]
#[target_feature(enable = "avx2,fma")]
fn exp2(x: __m256) -> __m256 {
    // In this order NaN stays. Results that aren't normal numbers would be slow.
    let x = _mm256_max_ps(_mm256_set1_ps(-125.0), x);
    let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let rest = _mm256_sub_ps(x, whole);
    let mut power = _mm256_set1_ps(EXP2[6]);
    for term in EXP2[..6].iter().rev() {
        power = _mm256_fmadd_ps(power, rest, _mm256_set1_ps(*term));
    }
    let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(whole));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(power), exponent))
}

/// As [`super::portable::exponentials`].
#[target_feature(enable = "avx2,fma")]
pub(crate) fn exponentials_f32(
    scores: &[f32],
    scale: f32,
    base: &[f32; COLUMNS],
    weights: &mut [f32],
    panel: usize,
) -> [f32; COLUMNS] {
    let scale = _mm256_set1_ps(scale * std::f32::consts::LOG2_E);
    let mut sums = [0.0; COLUMNS];
    let rows = scores.as_chunks::<COLUMNS>().0;
    for (half, weights) in weights.chunks_mut(panel).take(COLUMNS / PANEL).enumerate() {
        let at = half * PANEL;
        // SAFETY: sixteen values each.
        let load = |values: &[f32; PANEL]| unsafe {
            let from = values.as_ptr();
            [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(LANES))]
        };
        let part = |row: &[f32; COLUMNS]| {
            let mut part = [0.0; PANEL];
            part.copy_from_slice(&row[at..at + PANEL]);
            load(&part)
        };
        let base = part(base);
        let mut sum = [_mm256_setzero_ps(); 2];
        for (row, to) in rows.iter().zip(weights.as_chunks_mut::<PANEL>().0) {
            for (i, score) in part(row).into_iter().enumerate() {
                let power = exp2(_mm256_mul_ps(_mm256_sub_ps(score, base[i]), scale));
                sum[i] = _mm256_add_ps(sum[i], power);
                // SAFETY: eight of sixteen values.
                unsafe { _mm256_storeu_ps(to.as_mut_ptr().add(i * LANES), power) };
            }
        }
        for (i, sum) in sum.into_iter().enumerate() {
            // SAFETY: eight of the columns.
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr().add(at + i * LANES), sum) };
        }
    }
    sums
}

/// The same as [`tile_u8`] through AVX-512's form of the instruction, by which the loop is tested where AVX-VNNI is missing.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[cfg(test)]
#[target_feature(enable = "avx2,avx512vnni,avx512vl")]
pub(crate) unsafe fn tile_u8_vl(t: &Tile<u8>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 4, |sum, x, b| _mm256_dpbusd_epi32(sum, x, b));
    }
}
