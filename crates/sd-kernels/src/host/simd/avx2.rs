//! Tiles of whole numbers through AVX2. Of `f32` and `bf16` compilers make what is wanted.

use std::arch::x86_64::*;

use super::tile::{COLUMNS, PANEL, Tile};

/// Rows of a tile: with two panels that is eight sums, which leaves half of the registers for what is multiplied.
pub(crate) const ROWS: usize = 2;

/// Whole numbers in a vector.
const LANES: usize = 8;

/// The loop of all types: `$step` values of `k` at a time, which are four bytes on the left, and `$add` to add products to sums.
macro_rules! tile {
    ($t:expr, $step:expr, $add:expr) => {{
        let t = $t;
        let mut sums = [[_mm256_setzero_si256(); COLUMNS / LANES]; ROWS];
        let places = |r: usize, n: usize| t.c.add(r * COLUMNS + n * LANES).cast::<__m256i>();
        if t.accumulate {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_si256(places(r, n));
                }
            }
        }
        let mut b = t.b;
        for &tap in t.taps {
            let mut a = t.a.add(tap);
            for _ in 0..t.k / $step {
                let right = [b, b.wrapping_add(t.panel)]
                    .map(|b| [b, b.wrapping_add($step * LANES)].map(|b| _mm256_loadu_si256(b.cast())));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = a.wrapping_add(r * t.stride).cast::<i32>().read_unaligned();
                    let x = _mm256_set1_epi32(x);
                    for (sum, right) in sums.iter_mut().zip(right.as_flattened()) {
                        *sum = $add(*sum, x, *right);
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
    }};
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

/// The same through AVX-512's form of the instruction, by which the loop is tested where AVX-VNNI is missing.
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
