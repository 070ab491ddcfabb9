//! Products of bytes: weights are whole numbers from -127 to 127 times a scale for each column. What they are multiplied with has a
//! scale and a zero for each row or each picture, which are found when the values are there (dynamic quantisation, asymmetric: behind
//! SiLU and GELU there is little below zero, and half of the numbers would be left without a use).
//!
//! Instructions multiply unsigned bytes with signed ones, so bytes on the left are stored with 128 added. Where there are none, both
//! sides are multiplied as words, which need nothing added. Each column's sum of weights times what is stored for zero is taken away
//! from its sums.

use rayon::prelude::*;

use crate::{
    host::simd::{COLUMNS, Isa, Number, Whole, Work, vectorised},
    memory::buffer::Buffer,
};

/// The largest whole number.
const MOST: f32 = 127.0;

/// Steps from the least value to the largest: one less than there is room for, since the zero between them is rounded.
const STEPS: f32 = 253.0;

/// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
const SHIFT: f32 = 12_582_912.0;

/// Scales that make numbers of a product's sums.
#[derive(Clone, Copy)]
pub(crate) struct ProductScales<'a> {
    /// One for so many rows of the output.
    pub rows: &'a [Scale],
    pub each: usize,
    pub columns: &'a ColumnScales,
}

/// What whole numbers on the left stand for: a value is `step * (stored - zero)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scale {
    pub step: f32,
    /// What is stored for zero.
    pub zero: i32,
}

/// A scale for each column of a packed right-hand side.
pub(crate) struct ColumnScales {
    scales: Vec<f32>,
    /// Each column's sum of weights.
    sums: Vec<i32>,
}

/// The part of [`ProductScales`] that a tile needs.
pub(crate) struct TileScales<'a> {
    rows: &'a [Scale],
    each: usize,
    scales: [f32; COLUMNS],
    sums: [i32; COLUMNS],
}

impl<'a> ProductScales<'a> {
    #[inline(always)]
    pub fn columns(self, first: usize) -> TileScales<'a> {
        let mut tile = TileScales {
            rows: self.rows,
            each: self.each,
            scales: [0.0; COLUMNS],
            sums: [0; COLUMNS],
        };
        tile.scales
            .copy_from_slice(&self.columns.scales[first..][..COLUMNS]);
        tile.sums.copy_from_slice(&self.columns.sums[first..][..COLUMNS]);
        tile
    }
}

impl TileScales<'_> {
    /// From the bits of whole sums to numbers, for a row of the output.
    #[inline(always)]
    pub fn scale(&self, row: usize, sums: &mut [f32; COLUMNS]) {
        let Scale { step, zero } = self.rows[row / self.each];
        for ((sum, scale), weights) in sums.iter_mut().zip(&self.scales).zip(&self.sums) {
            let whole = (sum.to_bits() as i32).wrapping_sub(weights.wrapping_mul(zero));
            *sum = whole as f32 * (step * scale);
        }
    }
}

impl ColumnScales {
    /// The whole numbers of `[n, k]` weights as bytes, and the columns' scales; `column` says which of `n` each of `columns` packed ones
    /// is, if any.
    pub fn new<T: Number>(
        isa: Isa,
        weights: &[T],
        k: usize,
        columns: usize,
        column: impl Fn(usize) -> Option<usize>,
    ) -> (Buffer<u8>, Self) {
        let mut bytes = Buffer::<u8>::dirty(weights.len());
        let rows = weights.par_chunks(k.max(1)).zip(bytes.par_chunks_mut(k.max(1)));
        let of: Vec<(f32, i32)> = rows
            .map(|(from, to)| {
                let scale = vectorised(isa, Column { from, to: &mut *to });
                (scale, to.iter().map(|byte| i32::from(*byte as i8)).sum())
            })
            .collect();
        let of = |n| column(n).and_then(|n| of.get(n)).copied().unwrap_or_default();
        let (scales, sums) = (0..columns).map(of).unzip();
        (bytes, Self { scales, sums })
    }
}

/// A step and its inverse, for so many of them in a range. Nothing good comes of values that aren't finite: so that it shows, their step
/// is NaN.
#[inline(always)]
fn step(range: f32, steps: f32) -> (f32, f32) {
    let (step, inverse) = (range / steps, steps / range);
    match (range.is_finite(), inverse.is_finite()) {
        (true, true) => (step, inverse),
        (true, false) => (0.0, 0.0),
        (false, _) => (f32::NAN, 0.0),
    }
}

/// The nearest whole numbers to values in units of a step, with `zero` added.
#[inline(always)]
fn whole<T: Number, W: Whole>(from: &[T], inverse: f32, zero: i32, to: &mut [W]) {
    let shift = SHIFT + zero as f32;
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to = W::of_bits((from.to_f32() * inverse + shift).to_bits()));
}

/// A column's whole numbers; its scale is returned.
struct Column<'a, T> {
    from: &'a [T],
    to: &'a mut [u8],
}

impl<T: Number> Work for Column<'_, T> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        // By bits: NaN is the largest.
        let magnitudes = self.from.iter().map(|v| v.to_f32().to_bits() & 0x7fff_ffff);
        let largest = f32::from_bits(magnitudes.fold(0, u32::max));
        let (step, inverse) = step(largest, MOST);
        whole(self.from, inverse, 0, self.to);
        step
    }
}

/// The least and the largest of zero and some values, by their bits: NaN lies beyond infinity.
#[derive(Clone, Copy)]
struct Range {
    /// As an unsigned number, whose size grows with what is below zero.
    least: u32,
    /// As a signed number, which is below zero for what is.
    most: i32,
}

impl Range {
    const ZERO: Self = Self {
        least: 1 << 31,
        most: 0,
    };

    #[inline(always)]
    fn of<T: Number>(values: &[T]) -> Self {
        values.iter().fold(Self::ZERO, |range, value| {
            let bits = value.to_f32().to_bits();
            Self {
                least: range.least.max(bits),
                most: range.most.max(bits as i32),
            }
        })
    }

    fn with(self, other: Self) -> Self {
        Self {
            least: self.least.max(other.least),
            most: self.most.max(other.most),
        }
    }

    /// What whole numbers stand for, and the inverse of a step.
    #[inline(always)]
    fn scale<W: Whole>(self) -> (Scale, f32) {
        let (least, most) = (f32::from_bits(self.least), f32::from_bits(self.most as u32));
        let (step, inverse) = step(most - least, STEPS);
        let zero = match inverse {
            0.0 => 0,
            _ => -MOST as i32 - (least * inverse).round_ties_even() as i32,
        };
        let zero = zero + W::ZERO.value();
        (Scale { step, zero }, inverse)
    }
}

/// A row's whole numbers, and what they stand for.
struct Row<'a, T, W> {
    from: &'a [T],
    to: &'a mut [W],
}

impl<T: Number, W: Whole> Work for Row<'_, T, W> {
    type Output = Scale;

    #[inline(always)]
    fn run(self) -> Scale {
        let (scale, inverse) = Range::of(self.from).scale::<W>();
        let (to, rest) = self.to.split_at_mut(self.from.len());
        whole(self.from, inverse, scale.zero, to);
        // There are no weights for it.
        rest.fill(W::ZERO);
        scale
    }
}

/// Rows of `width` values as rows of whole numbers, as long as products want them, and what each row's stand for.
pub(crate) fn rows<T: Number, W: Whole>(isa: Isa, values: &[T], width: usize) -> (Buffer<W>, Vec<Scale>) {
    /// Rows that a thread takes at a time.
    const SHARE: usize = 64;
    let (count, k) = (values.len() / width, width.next_multiple_of(W::K));
    let (mut wholes, mut scales) = (Buffer::<W>::dirty(count * k), vec![Scale::default(); count]);
    values
        .par_chunks(SHARE * width)
        .zip(wholes.par_chunks_mut(SHARE * k))
        .zip(scales.par_chunks_mut(SHARE))
        .for_each(|((from, to), scales)| {
            let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(k));
            for ((from, to), scale) in rows.zip(scales) {
                *scale = vectorised(isa, Row { from, to });
            }
        });
    (wholes, scales)
}

/// What each picture's whole numbers stand for, and the inverse of a step.
pub(crate) struct PictureScales {
    pub scales: Vec<Scale>,
    inverses: Vec<f32>,
}

impl PictureScales {
    /// The scales of `batch` pictures.
    pub fn new<T: Number, W: Whole>(isa: Isa, values: &[T], batch: usize) -> Self {
        struct RangeOf<'a, T>(&'a [T]);
        impl<T: Number> Work for RangeOf<'_, T> {
            type Output = Range;

            #[inline(always)]
            fn run(self) -> Range {
                Range::of(self.0)
            }
        }
        /// Values that a thread takes at a time.
        const SHARE: usize = 1 << 16;
        let range = |picture: &[T]| {
            let shares = picture
                .par_chunks(SHARE)
                .map(|share| vectorised(isa, RangeOf(share)));
            shares.reduce(|| Range::ZERO, Range::with)
        };
        let pictures = values.chunks_exact((values.len() / batch.max(1)).max(1));
        let (scales, inverses) = pictures.map(|picture| range(picture).scale::<W>()).unzip();
        Self { scales, inverses }
    }

    /// What is stored for zero in a picture.
    pub fn zero<W: Whole>(&self, picture: usize) -> W {
        W::of_bits(self.scales[picture].zero as u32)
    }

    /// A picture's values as whole numbers.
    pub fn whole<T: Number, W: Whole>(&self, isa: Isa, picture: usize, from: &[T], to: &mut [W]) {
        struct Values<'a, T, W>(&'a [T], f32, i32, &'a mut [W]);
        impl<T: Number, W: Whole> Work for Values<'_, T, W> {
            type Output = ();

            #[inline(always)]
            fn run(self) {
                whole(self.0, self.1, self.2, self.3);
            }
        }
        let (zero, inverse) = (self.scales[picture].zero, self.inverses[picture]);
        vectorised(isa, Values(from, inverse, zero, to));
    }
}
