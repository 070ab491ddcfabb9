//! Tiles through AVX-512.

/// Rows of a tile: with two panels that is 24 sums, which leaves registers for what is multiplied.
pub(crate) const ROWS: usize = 12;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{tile_bf16, tile_f32};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::ROWS;
    use crate::host::tile::{PANEL, Tile};

    /// The loop that both types share: `$step` values of `k` at a time, `$load` for `A`, `$fma` to multiply and add.
    macro_rules! tile {
        ($t:expr, $step:expr, $zero:expr, $load:expr, $fma:expr) => {{
            let t = $t;
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if t.accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    sums[0] = _mm512_loadu_ps(t.c.add(r * t.c_stride));
                    sums[1] = _mm512_loadu_ps(t.c.add(r * t.c_stride + PANEL));
                }
            }
            let mut b = t.b;
            for &tap in t.taps {
                // Three bases for twelve rows: each reaches four with a scaled index.
                let (mut a0, s) = (t.a.add(tap), t.stride);
                let (mut a1, mut a2) = (a0.wrapping_add(4 * s), a0.wrapping_add(8 * s));
                for _ in 0..t.k / $step {
                    let b0 = _mm512_loadu_ps(b.cast());
                    let b1 = _mm512_loadu_ps(b.wrapping_add(t.panel).cast());
                    macro_rules! rows {
                        ($base:ident, $first:expr) => {
                            for r in 0..4 {
                                let x = $load($base.wrapping_add(r * s));
                                sums[$first + r][0] = $fma(sums[$first + r][0], x, b0);
                                sums[$first + r][1] = $fma(sums[$first + r][1], x, b1);
                            }
                        };
                    }
                    rows!(a0, 0);
                    rows!(a1, 4);
                    rows!(a2, 8);
                    a0 = a0.wrapping_add($step);
                    a1 = a1.wrapping_add($step);
                    a2 = a2.wrapping_add($step);
                    b = b.wrapping_add($step * PANEL);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                _mm512_storeu_ps(t.c.add(r * t.c_stride), sums[0]);
                _mm512_storeu_ps(t.c.add(r * t.c_stride + PANEL), sums[1]);
            }
        }};
    }

    /// # Safety
    /// As [`crate::host::tile::Element::tile`].
    #[target_feature(enable = "avx512f")]
    pub(crate) unsafe fn tile_f32(t: &Tile<f32>) {
        // SAFETY: all addresses are within what the caller promised.
        unsafe {
            tile!(t, 1, 0, |a: *const f32| _mm512_set1_ps(a.read()), |sum, x, b| {
                _mm512_fmadd_ps(x, b, sum)
            });
        }
    }

    /// # Safety
    /// As [`crate::host::tile::Element::tile`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(crate) unsafe fn tile_bf16(t: &Tile<bf16>) {
        // SAFETY: all addresses are within what the caller promised; a `__m512bh` is 512 bits like a `__m512`.
        unsafe {
            tile!(
                t,
                2,
                0,
                |a: *const bf16| _mm512_set1_epi32(a.cast::<i32>().read_unaligned()),
                |sum, x: __m512i, b: __m512| _mm512_dpbf16_ps(
                    sum,
                    std::mem::transmute::<__m512i, __m512bh>(x),
                    std::mem::transmute::<__m512, __m512bh>(b)
                )
            );
        }
    }
}
