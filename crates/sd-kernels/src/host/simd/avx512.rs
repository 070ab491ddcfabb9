//! Tiles and loops through AVX-512.

use std::arch::x86_64::*;

use half::bf16;

use super::{
    math::EXP2,
    tile::{COLUMNS, PANEL, Tile},
};

/// Rows of a tile: with two panels that is 24 sums, which leaves registers for what is multiplied.
pub(crate) const ROWS: usize = 12;

/// The loop that both types share: `$step` values of `k` at a time, `$load` for `A`, `$fma` to multiply and add.
macro_rules! tile {
    ($t:expr, $step:expr, $load:expr, $fma:expr) => {{
        let t = $t;
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        if t.accumulate {
            for (r, sums) in sums.iter_mut().enumerate() {
                sums[0] = _mm512_loadu_ps(t.c.add(r * COLUMNS));
                sums[1] = _mm512_loadu_ps(t.c.add(r * COLUMNS + PANEL));
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
            _mm512_storeu_ps(t.c.add(r * COLUMNS), sums[0]);
            _mm512_storeu_ps(t.c.add(r * COLUMNS + PANEL), sums[1]);
        }
    }};
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn tile_f32(t: &Tile<f32>) {
    // SAFETY: all addresses are within what the caller promised.
    unsafe {
        tile!(t, 1, |a: *const f32| _mm512_set1_ps(a.read()), |sum, x, b| {
            _mm512_fmadd_ps(x, b, sum)
        });
    }
}

/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) unsafe fn tile_bf16(t: &Tile<bf16>) {
    // SAFETY: all addresses are within what the caller promised; a `__m512bh` is 512 bits like a `__m512`.
    unsafe {
        tile!(
            t,
            2,
            |a: *const bf16| _mm512_set1_epi32(a.cast::<i32>().read_unaligned()),
            |sum, x: __m512i, b: __m512| _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(x),
                std::mem::transmute::<__m512, __m512bh>(b)
            )
        );
    }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn tile_u8(t: &Tile<u8>) {
    // SAFETY: all addresses are within what the caller promised; all vectors are 512 bits.
    unsafe {
        tile!(
            t,
            4,
            |a: *const u8| _mm512_set1_epi32(a.cast::<i32>().read_unaligned()),
            |sum: __m512, x: __m512i, b: __m512| _mm512_castsi512_ps(_mm512_dpbusd_epi32(
                _mm512_castps_si512(sum),
                x,
                _mm512_castps_si512(b)
            ))
        );
    }
}

/// Sums are `i32`.
///
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn tile_i16(t: &Tile<i16>) {
    // SAFETY: all addresses are within what the caller promised; all vectors are 512 bits.
    unsafe {
        tile!(
            t,
            2,
            |a: *const i16| _mm512_set1_epi32(a.cast::<i32>().read_unaligned()),
            |sum: __m512, x: __m512i, b: __m512| _mm512_castsi512_ps(_mm512_add_epi32(
                _mm512_castps_si512(sum),
                _mm512_madd_epi16(x, _mm512_castps_si512(b))
            ))
        );
    }
}

/// To the nearest `bf16`, ties to even.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn narrow(values: &[f32; COLUMNS], out: &mut [bf16; COLUMNS]) {
    let [low, high] = load(values);
    // SAFETY: both are 512 bits; there is room for thirty-two values of two bytes.
    unsafe {
        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(out.as_mut_ptr().cast(), both);
    }
}

/// The two halves of a row.
type Row = [__m512; 2];

#[inline]
#[target_feature(enable = "avx512f")]
fn load(row: &[f32; COLUMNS]) -> Row {
    // SAFETY: two times sixteen values are there.
    unsafe {
        [
            _mm512_loadu_ps(row.as_ptr()),
            _mm512_loadu_ps(row.as_ptr().add(PANEL)),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(row: Row) -> [f32; COLUMNS] {
    let mut values = [0.0; COLUMNS];
    // SAFETY: there is room for two times sixteen values.
    unsafe {
        _mm512_storeu_ps(values.as_mut_ptr(), row[0]);
        _mm512_storeu_ps(values.as_mut_ptr().add(PANEL), row[1]);
    }
    values
}

/// The largest of each column. NaN is passed over here; it shows in the sums.
#[target_feature(enable = "avx512f")]
pub(crate) fn maximum(scores: &[f32]) -> [f32; COLUMNS] {
    let mut max = [[_mm512_set1_ps(f32::NEG_INFINITY); 2]; 2];
    let (rows, _) = scores.as_chunks::<COLUMNS>();
    // Two of each, so that one needn't wait for the other.
    for (i, row) in rows.iter().enumerate() {
        let row = load(row);
        let max = &mut max[i % 2];
        *max = [_mm512_max_ps(row[0], max[0]), _mm512_max_ps(row[1], max[1])];
    }
    store([
        _mm512_max_ps(max[0][0], max[1][0]),
        _mm512_max_ps(max[0][1], max[1][1]),
    ])
}

/// `2^x` for `x` up to 125, by its series around the nearest whole number, to `TERMS` terms: five for `bf16` (4e-5), seven for `f32` (1e-7).
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2<const TERMS: usize>(x: __m512) -> __m512 {
    // In this order NaN stays. Results that aren't normal numbers would be slow.
    let x = _mm512_max_ps(_mm512_set1_ps(-125.0), x);
    let whole = _mm512_roundscale_ps::<0>(x);
    let rest = _mm512_sub_ps(x, whole);
    let mut power = _mm512_set1_ps(EXP2[TERMS - 1]);
    for term in EXP2[..TERMS - 1].iter().rev() {
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(*term));
    }
    _mm512_scalef_ps(power, whole)
}

/// `x sigmoid(x)`, to two units in the last place. Instead of a division, which takes as long as all the rest, an estimate of the
/// inverse and a step of Newton's.
#[inline]
#[target_feature(enable = "avx512f")]
fn silu(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let exponent = _mm512_mul_ps(x, _mm512_set1_ps(-std::f32::consts::LOG2_E));
    // So that there is an inverse. In this order NaN stays.
    let exponent = _mm512_min_ps(_mm512_set1_ps(125.0), exponent);
    let sum = _mm512_add_ps(one, exp2::<7>(exponent));
    let estimate = _mm512_rcp14_ps(sum);
    let error = _mm512_fnmadd_ps(sum, estimate, one);
    _mm512_mul_ps(x, _mm512_fmadd_ps(estimate, error, estimate))
}

/// The loop of both types: `$load` and `$store` for each thirty-two values.
macro_rules! affine {
    ($x:expr, $factors:expr, $terms:expr, $silu:expr, $out:expr, $load:expr, $store:expr) => {{
        for (((x, factors), terms), out) in $x.iter().zip($factors).zip($terms).zip($out) {
            let (factors, terms) = (load(factors), load(terms));
            let x: Row = $load(x);
            let mut y = [
                _mm512_fmadd_ps(x[0], factors[0], terms[0]),
                _mm512_fmadd_ps(x[1], factors[1], terms[1]),
            ];
            if $silu {
                y = [silu(y[0]), silu(y[1])];
            }
            $store(out, y);
        }
    }};
}

/// As [`super::portable::affine`].
#[target_feature(enable = "avx512f")]
pub(crate) fn affine_f32(
    x: &[[f32; COLUMNS]],
    factors: &[[f32; COLUMNS]],
    terms: &[[f32; COLUMNS]],
    with_silu: bool,
    out: &mut [[f32; COLUMNS]],
) {
    affine!(
        x,
        factors,
        terms,
        with_silu,
        out,
        load,
        |out: &mut [f32; COLUMNS], y| *out = store(y)
    );
}

/// The same.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) fn affine_bf16(
    x: &[[bf16; COLUMNS]],
    factors: &[[f32; COLUMNS]],
    terms: &[[f32; COLUMNS]],
    with_silu: bool,
    out: &mut [[bf16; COLUMNS]],
) {
    affine!(
        x,
        factors,
        terms,
        with_silu,
        out,
        |x: &[bf16; COLUMNS]| {
            // SAFETY: two times sixteen values of two bytes are there.
            let (left, right) = unsafe {
                (
                    _mm256_loadu_si256(x.as_ptr().cast()),
                    _mm256_loadu_si256(x.as_ptr().add(PANEL).cast()),
                )
            };
            [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(left))),
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(right))),
            ]
        },
        |out: &mut [bf16; COLUMNS], y: Row| {
            // SAFETY: both are 512 bits; there is room for thirty-two values of two bytes.
            unsafe {
                let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(y[1], y[0]));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), both);
            }
        }
    );
}

/// As [`super::portable::exponentials`].
#[target_feature(enable = "avx512f")]
pub(crate) fn exponentials_f32(
    scores: &[f32],
    scale: f32,
    base: &[f32; COLUMNS],
    weights: &mut [f32],
    panel: usize,
) -> [f32; COLUMNS] {
    let (rows, _) = scores.as_chunks::<COLUMNS>();
    let (left, right) = weights.split_at_mut(panel);
    let (left, right) = (left.as_chunks_mut::<PANEL>().0, right.as_chunks_mut::<PANEL>().0);
    let (scale, base) = (_mm512_set1_ps(scale * std::f32::consts::LOG2_E), load(base));
    let mut sums = [_mm512_setzero_ps(); 2];
    for ((row, left), right) in rows.iter().zip(left).zip(right) {
        let row = load(row);
        let row = [
            exp2::<7>(_mm512_mul_ps(_mm512_sub_ps(row[0], base[0]), scale)),
            exp2::<7>(_mm512_mul_ps(_mm512_sub_ps(row[1], base[1]), scale)),
        ];
        sums = [_mm512_add_ps(sums[0], row[0]), _mm512_add_ps(sums[1], row[1])];
        // SAFETY: sixteen values each.
        unsafe {
            _mm512_storeu_ps(left.as_mut_ptr(), row[0]);
            _mm512_storeu_ps(right.as_mut_ptr(), row[1]);
        }
    }
    store(sums)
}

/// As [`super::portable::exponentials`]; the number of rows is even.
#[target_feature(enable = "avx512f")]
pub(crate) fn exponentials_bf16(
    scores: &[f32],
    scale: f32,
    base: &[f32; COLUMNS],
    weights: &mut [bf16],
    panel: usize,
) -> [f32; COLUMNS] {
    let (rows, _) = scores.as_chunks::<COLUMNS>();
    let (left, right) = weights.split_at_mut(panel);
    let (left, right) = (
        left.as_chunks_mut::<{ 2 * PANEL }>().0,
        right.as_chunks_mut::<{ 2 * PANEL }>().0,
    );
    let (scale, base) = (_mm512_set1_ps(scale * std::f32::consts::LOG2_E), load(base));
    let mut sums = [_mm512_setzero_ps(); 2];
    for ((pair, left), right) in rows.as_chunks::<2>().0.iter().zip(left).zip(right) {
        let (one, two) = (load(&pair[0]), load(&pair[1]));
        for (half, to) in [left, right].into_iter().enumerate() {
            let one = exp2::<5>(_mm512_mul_ps(_mm512_sub_ps(one[half], base[half]), scale));
            let two = exp2::<5>(_mm512_mul_ps(_mm512_sub_ps(two[half], base[half]), scale));
            sums[half] = _mm512_add_ps(sums[half], _mm512_add_ps(one, two));
            // To the nearest, in the upper halves; then the first key's into the lower halves, the second's beside them.
            let round = _mm512_set1_epi32(0x8000);
            let one = _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_castps_si512(one), round));
            let two = _mm512_add_epi32(_mm512_castps_si512(two), round);
            let mask = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let both = _mm512_or_si512(one, _mm512_and_si512(two, mask));
            // SAFETY: thirty-two values of two bytes.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), both) };
        }
    }
    store(sums)
}
