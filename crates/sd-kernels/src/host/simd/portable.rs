//! Tiles and loops in plain Rust, which compilers turn into what vector instructions they may use.

use super::{
    math,
    number::{Number, Operand},
    tile::{COLUMNS, PANEL, Tile},
};

/// Rows of a tile: few, since its sums should stay in sixteen registers of eight numbers.
pub(crate) const ROWS: usize = 2;

/// # Safety
/// As [`Product::tile`](super::Product::tile).
pub(crate) unsafe fn tile<T: Number>(t: &Tile<T>) {
    let mut sums = [[0f32; COLUMNS]; ROWS];
    // SAFETY: every address is within the rows and panels that the caller promised.
    unsafe {
        if t.accumulate {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = t.c.add(r * COLUMNS).cast::<[f32; COLUMNS]>().read();
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
                                *sum += x * right;
                            }
                        }
                    }
                }
                b = b.add(T::GROUP * PANEL);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            t.c.add(r * COLUMNS).cast::<[f32; COLUMNS]>().write(*sums);
        }
    }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
pub(crate) unsafe fn tile_u8(t: &Tile<u8>) {
    // SAFETY: the caller's promise.
    unsafe { whole(t, i32::from, |right| i32::from(right as i8)) }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
pub(crate) unsafe fn tile_i16(t: &Tile<i16>) {
    // SAFETY: the caller's promise.
    unsafe { whole(t, i32::from, i32::from) }
}

#[inline(always)]
unsafe fn whole<T: Operand>(t: &Tile<T>, left: impl Fn(T) -> i32, right: impl Fn(T) -> i32) {
    let mut sums = [[0i32; COLUMNS]; ROWS];
    // SAFETY: every address is within the rows and panels that the caller promised.
    unsafe {
        if t.accumulate {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = t.c.add(r * COLUMNS).cast::<[i32; COLUMNS]>().read();
            }
        }
        let mut b = t.b;
        for &tap in t.taps {
            let a = t.a.add(tap);
            for k in (0..t.k).step_by(T::GROUP) {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = a.add(r * t.stride + k);
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let b = b.add(n / PANEL * t.panel + n % PANEL * T::GROUP);
                        for g in 0..T::GROUP {
                            let product = left(a.add(g).read()).wrapping_mul(right(b.add(g).read()));
                            *sum = sum.wrapping_add(product);
                        }
                    }
                }
                b = b.add(T::GROUP * PANEL);
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            t.c.add(r * COLUMNS).cast::<[i32; COLUMNS]>().write(*sums);
        }
    }
}

/// `x factor + term`, with SiLU if wanted.
#[inline(always)]
pub(crate) fn affine<T: Number>(x: &[T], factors: &[f32], terms: &[f32], silu: bool, out: &mut [T]) {
    let values = out.iter_mut().zip(x).zip(factors).zip(terms);
    if silu {
        for (((out, x), factor), term) in values {
            *out = T::from_f32(math::silu(x.to_f32() * factor + term));
        }
    } else {
        for (((out, x), factor), term) in values {
            *out = T::from_f32(x.to_f32() * factor + term);
        }
    }
}

/// The largest of each column, in plain Rust.
#[inline(always)]
pub(crate) fn maximum(scores: &[f32]) -> [f32; COLUMNS] {
    let mut max = [f32::NEG_INFINITY; COLUMNS];
    for row in scores.chunks_exact(COLUMNS) {
        for (max, v) in max.iter_mut().zip(row) {
            *max = if *v > *max { *v } else { *max };
        }
    }
    max
}

/// `e^((score - base) scale)` into two panels `panel` apart, and the sums of the columns, in plain Rust.
#[inline(always)]
pub(crate) fn exponentials<T: Number>(
    scores: &[f32],
    scale: f32,
    base: &[f32; COLUMNS],
    weights: &mut [T],
    panel: usize,
) -> [f32; COLUMNS] {
    let mut sums = [0.0; COLUMNS];
    for (key, row) in scores.chunks_exact(COLUMNS).enumerate() {
        let mut values = [0.0; COLUMNS];
        for (((value, score), base), sum) in values.iter_mut().zip(row).zip(base).zip(&mut sums) {
            *value = math::exp((score - base) * scale);
            *sum += *value;
        }
        for (query, value) in values.iter().enumerate() {
            let place = (key / T::GROUP * PANEL + query % PANEL) * T::GROUP + key % T::GROUP;
            weights[query / PANEL * panel + place] = T::from_f32(*value);
        }
    }
    sums
}
