//! Tiles and loops through NEON, with dot products of bytes and of `bf16` where a processor has them.
//!
//! Intrinsics for dot products aren't stable in Rust: these are instructions by name.

use std::arch::{aarch64::*, asm};

use half::bf16;

use super::{
    math::EXP2,
    tile::{COLUMNS, PANEL, Tile},
};

/// Rows of a tile. One panel is gone through after the other: 24 sums stay in registers, which leaves eight for what is multiplied.
pub(crate) const ROWS: usize = 6;

/// Numbers of four bytes in a vector.
const LANES: usize = 4;

/// Vectors of a panel's row.
const VECTORS: usize = PANEL / LANES;

/// A sum for each row and column of a panel: `f32`, or `i32` in the same bits.
type Sums = [[float32x4_t; VECTORS]; ROWS];

/// The loop of all types: `$step` values of `k` at a time, which are four bytes on the left, in `$parts` parts. `$left` and `$right` make
/// of them what `$add` multiplies for vector `n` of a row; `$first` is added to what sums begin with.
macro_rules! tile {
    ($t:expr, $step:expr, $parts:expr, $first:expr, $left:expr, $right:expr, $add:expr) => {{
        let t = $t;
        for panel in 0..COLUMNS / PANEL {
            let mut sums: Sums = [[vdupq_n_f32(0.0); VECTORS]; ROWS];
            let places = |r: usize, n: usize| t.c.add(r * COLUMNS + panel * PANEL + n * LANES);
            if t.accumulate {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = vld1q_f32(places(r, n));
                    }
                }
            }
            let mut b = t.b.add(panel * t.panel);
            $first(b, &mut sums);
            for &tap in t.taps {
                let mut a = t.a.add(tap);
                for _ in 0..t.k / $step {
                    let right: [_; VECTORS] =
                        std::array::from_fn(|n| vld1q_f32(b.wrapping_add(n * $step * LANES).cast()));
                    for part in 0..$parts {
                        let right = $right(right, part);
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let x = $left(a.wrapping_add(r * t.stride), part);
                            for (n, sum) in sums.iter_mut().enumerate() {
                                *sum = $add(*sum, x, right[n], n);
                            }
                        }
                    }
                    a = a.wrapping_add($step);
                    b = b.wrapping_add($step * PANEL);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    vst1q_f32(places(r, n), *sum);
                }
            }
        }
    }};
}

/// An instruction that adds products of numbers on the left, at the start of a register, and of a vector to sums. Compilers would copy
/// the former to all of a vector first, which on many processors takes the place of a product.
macro_rules! add {
    ($instruction:literal, $sum:expr, $x:expr, $b:expr) => {{
        let (mut sum, x, b): (float32x4_t, _, float32x4_t) = ($sum, $x, $b);
        asm!($instruction, sum = inout(vreg) sum, x = in(vreg_low16) x, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
        sum
    }};
}

/// Nothing to add before the first product.
fn nothing<T>(_: *const T, _: &mut Sums) {}

/// Right sides as they lie.
fn all(right: [float32x4_t; VECTORS], _: usize) -> [float32x4_t; VECTORS] {
    right
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn tile_f32(t: &Tile<f32>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(
            t,
            1,
            1,
            nothing,
            |a: *const f32, _| a.read(),
            all,
            |sum, x: f32, b, _| add!("fmla {sum:v}.4s, {b:v}.4s, {x:v}.s[0]", sum, x, b)
        );
    }
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn tile_bf16(t: &Tile<bf16>) {
    let upper = vdupq_n_u32(0xffff_0000);
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(
            t,
            2,
            2,
            nothing,
            |a: *const bf16, part| f32::from_bits(u32::from(a.add(part).read().to_bits()) << 16),
            |right: [float32x4_t; VECTORS], part| right.map(|pairs| {
                let pairs = vreinterpretq_u32_f32(pairs);
                vreinterpretq_f32_u32(match part {
                    0 => vshlq_n_u32::<16>(pairs),
                    _ => vandq_u32(pairs, upper),
                })
            }),
            |sum, x, b, _| vfmaq_n_f32(sum, b, x)
        );
    }
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon,bf16")]
pub(crate) unsafe fn tile_bf16_dot(t: &Tile<bf16>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(
            t,
            2,
            1,
            nothing,
            |a: *const bf16, _| a.cast::<f32>().read_unaligned(),
            all,
            |sum, x: f32, b, _| add!("bfdot {sum:v}.4s, {b:v}.8h, {x:v}.2h[0]", sum, x, b)
        );
    }
}

/// Sums are `i32`. The values of the first and those of the second `k` are multiplied apart.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon")]
pub(crate) unsafe fn tile_i16(t: &Tile<i16>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(
            t,
            2,
            2,
            nothing,
            |a: *const i16, part| a.add(part).read(),
            |right: [float32x4_t; VECTORS], part| {
                let [a, b, c, d] = right.map(|pairs| vreinterpretq_s16_f32(pairs));
                let both = match part {
                    0 => [vuzp1q_s16(a, b), vuzp1q_s16(c, d)],
                    _ => [vuzp2q_s16(a, b), vuzp2q_s16(c, d)],
                };
                let [ab, cd] = both.map(|both| vreinterpretq_f32_s16(both));
                [ab, ab, cd, cd]
            },
            |sum, x: i16, b, n| {
                let x = f32::from_bits(u32::from(x as u16));
                match n % 2 {
                    0 => add!("smlal {sum:v}.4s, {b:v}.4h, {x:v}.h[0]", sum, x, b),
                    _ => add!("smlal2 {sum:v}.4s, {b:v}.8h, {x:v}.h[0]", sum, x, b),
                }
            }
        );
    }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon,i8mm")]
pub(crate) unsafe fn tile_u8_mixed(t: &Tile<u8>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(
            t,
            4,
            1,
            nothing,
            |a: *const u8, _| a.cast::<f32>().read_unaligned(),
            all,
            |sum, x: f32, b, _| add!("sudot {sum:v}.4s, {b:v}.16b, {x:v}.4b[0]", sum, x, b)
        );
    }
}

/// Sums are `i32`. Both sides of the instruction have a sign: the left side is taken with 128 less, and 128 times each column's sum of
/// the right side is added.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn tile_u8(t: &Tile<u8>) {
    // -128 of each byte, and what makes bytes that are 128 less.
    let less = vdup_n_u32(0x8080_8080);
    let whole = t.k * t.taps.len();
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        let first = |mut b: *const u8, sums: &mut Sums| {
            let mut products = [vdupq_n_f32(0.0); VECTORS];
            for _ in 0..whole / 4 {
                for (n, sum) in products.iter_mut().enumerate() {
                    let right = vld1q_f32(b.add(n * 4 * LANES).cast());
                    *sum = add!("sdot {sum:v}.4s, {b:v}.16b, {x:v}.4b[0]", *sum, less, right);
                }
                b = b.add(4 * PANEL);
            }
            let products = products.map(|sums| vreinterpretq_s32_f32(sums));
            for sums in sums.iter_mut() {
                for (sum, product) in sums.iter_mut().zip(products) {
                    *sum = vreinterpretq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(*sum), product));
                }
            }
        };
        tile!(
            t,
            4,
            1,
            first,
            |a: *const u8, _| {
                let mut x = a.cast::<f32>().read_unaligned();
                // Compilers would do this outside of vectors, and move the result.
                asm!("eor {x:v}.8b, {x:v}.8b, {less:v}.8b", x = inout(vreg) x, less = in(vreg) less,
                    options(pure, nomem, nostack, preserves_flags));
                x
            },
            all,
            |sum, x: f32, b, _| add!("sdot {sum:v}.4s, {b:v}.16b, {x:v}.4b[0]", sum, x, b)
        );
    }
}

/// `f16` values as `f32`: rows of panels, which are whole vectors.
#[target_feature(enable = "neon")]
pub(crate) fn halves(values: &[u16], out: &mut [f32]) {
    let (values, out) = (values.as_chunks::<LANES>().0, out.as_chunks_mut::<LANES>().0);
    for (values, out) in values.iter().zip(out) {
        // SAFETY: four values of each.
        unsafe {
            let values = vreinterpret_f16_u16(vld1_u16(values.as_ptr()));
            vst1q_f32(out.as_mut_ptr(), vcvt_f32_f16(values));
        }
    }
}

/// `2^x` for `x` up to 125, by its series around the nearest whole number (1e-7).
#[inline]
#[target_feature(enable = "neon")]
fn exp2(x: float32x4_t) -> float32x4_t {
    // NaN stays. Results that aren't normal numbers would be slow.
    let x = vmaxq_f32(vdupq_n_f32(-125.0), x);
    let whole = vrndnq_f32(x);
    let rest = vsubq_f32(x, whole);
    let mut power = vdupq_n_f32(EXP2[6]);
    for term in EXP2[..6].iter().rev() {
        power = vfmaq_f32(vdupq_n_f32(*term), power, rest);
    }
    let exponent = vshlq_n_s32::<23>(vcvtq_s32_f32(whole));
    vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(power), exponent))
}

/// As [`super::portable::exponentials`].
#[target_feature(enable = "neon")]
pub(crate) fn exponentials_f32(
    scores: &[f32],
    scale: f32,
    base: &[f32; COLUMNS],
    weights: &mut [f32],
    panel: usize,
) -> [f32; COLUMNS] {
    let scale = vdupq_n_f32(scale * std::f32::consts::LOG2_E);
    let mut sums = [0.0; COLUMNS];
    let (sums_of, _) = sums.as_chunks_mut::<PANEL>();
    let halves = weights
        .chunks_mut(panel)
        .zip(base.as_chunks::<PANEL>().0)
        .zip(sums_of);
    for (half, ((weights, base), sums)) in halves.enumerate() {
        let mut sum = [vdupq_n_f32(0.0); VECTORS];
        let rows = scores
            .as_chunks::<PANEL>()
            .0
            .iter()
            .skip(half)
            .step_by(COLUMNS / PANEL);
        for (row, to) in rows.zip(weights.as_chunks_mut::<PANEL>().0) {
            for (n, sum) in sum.iter_mut().enumerate() {
                let at = n * LANES;
                // SAFETY: four of sixteen values, of each.
                unsafe {
                    let difference =
                        vsubq_f32(vld1q_f32(row.as_ptr().add(at)), vld1q_f32(base.as_ptr().add(at)));
                    let power = exp2(vmulq_f32(difference, scale));
                    *sum = vaddq_f32(*sum, power);
                    vst1q_f32(to.as_mut_ptr().add(at), power);
                }
            }
        }
        for (n, sum) in sum.into_iter().enumerate() {
            // SAFETY: as before.
            unsafe { vst1q_f32(sums.as_mut_ptr().add(n * LANES), sum) };
        }
    }
    sums
}
