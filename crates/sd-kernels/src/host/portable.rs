//! Tiles in plain Rust, which compilers turn into what vector instructions they may use.

use super::tile::{COLUMNS, Element, PANEL, Tile};

/// Rows of a tile: few, since its sums should stay in sixteen registers of eight numbers.
pub(crate) const ROWS: usize = 2;

/// # Safety
/// As [`Element::tile`].
pub(crate) unsafe fn tile<T: Element>(t: &Tile<T>) {
    // SAFETY: the caller's promise.
    unsafe { body::<T, false>(t) }
}

/// # Safety
/// As [`Element::tile`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn tile_avx2<T: Element>(t: &Tile<T>) {
    // SAFETY: the caller's promise.
    unsafe { body::<T, true>(t) }
}

#[inline(always)]
unsafe fn body<T: Element, const FMA: bool>(t: &Tile<T>) {
    let mut sums = [[0f32; COLUMNS]; ROWS];
    // SAFETY: every address is within the rows and panels that the caller promised.
    unsafe {
        if t.accumulate {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = t.c.add(r * t.c_stride).cast::<[f32; COLUMNS]>().read();
            }
        }
        let mut b = t.b;
        for &tap in t.taps {
            let a = t.a.add(tap);
            for k in (0..t.k).step_by(T::GROUP) {
                for g in 0..T::GROUP {
                    let halves = [T::lanes(b, g), T::lanes(b.add(t.panel), g)];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = a.add(r * t.stride + k + g).read().to_f32();
                        for (sums, right) in sums.chunks_exact_mut(PANEL).zip(&halves) {
                            for (sum, &right) in sums.iter_mut().zip(right) {
                                *sum = if FMA {
                                    x.mul_add(right, *sum)
                                } else {
                                    *sum + x * right
                                };
                            }
                        }
                    }
                }
                b = b.add(T::GROUP * PANEL);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            t.c.add(r * t.c_stride).cast::<[f32; COLUMNS]>().write(*sums);
        }
    }
}
