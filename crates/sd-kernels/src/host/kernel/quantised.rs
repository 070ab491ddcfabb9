//! Products of bytes: weights are whole numbers from -127 to 127 times a scale for each column, what they are multiplied with is of
//! that kind too, with a scale for each row or each picture that is found when the values are there (dynamic quantisation).
//!
//! Instructions multiply unsigned bytes with signed ones. So the left side is stored with 128 added, and each column's sum of weights
//! times 128 is taken away from its sums. Where there are none, both sides are multiplied as words, which need nothing added.

use rayon::prelude::*;

use crate::{
    host::simd::{COLUMNS, Isa, Number, Whole, Work, vectorised},
    memory::buffer::Buffer,
};

/// The largest whole number.
const MOST: f32 = 127.0;

/// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
const SHIFT: f32 = 12_582_912.0;

/// Scales that make numbers of a product's sums.
#[derive(Clone, Copy)]
pub(crate) struct ProductScales<'a> {
    /// One for so many rows of the output.
    pub rows: &'a [f32],
    pub each: usize,
    pub columns: &'a ColumnScales,
}

/// A scale for each column of a packed right-hand side.
pub(crate) struct ColumnScales {
    scales: Vec<f32>,
    /// For each column, what the offset of the left side adds to its sums.
    offsets: Vec<i32>,
}

/// The part of [`ProductScales`] that a tile needs.
pub(crate) struct TileScales<'a> {
    rows: &'a [f32],
    each: usize,
    scales: [f32; COLUMNS],
    offsets: [i32; COLUMNS],
}

impl<'a> ProductScales<'a> {
    #[inline(always)]
    pub fn columns(self, first: usize) -> TileScales<'a> {
        let mut tile = TileScales {
            rows: self.rows,
            each: self.each,
            scales: [0.0; COLUMNS],
            offsets: [0; COLUMNS],
        };
        tile.scales
            .copy_from_slice(&self.columns.scales[first..][..COLUMNS]);
        tile.offsets
            .copy_from_slice(&self.columns.offsets[first..][..COLUMNS]);
        tile
    }
}

impl TileScales<'_> {
    /// From the bits of whole sums to numbers, for a row of the output.
    #[inline(always)]
    pub fn scale(&self, row: usize, sums: &mut [f32; COLUMNS]) {
        let by = self.rows[row / self.each];
        for ((sum, scale), offset) in sums.iter_mut().zip(&self.scales).zip(&self.offsets) {
            *sum = (sum.to_bits() as i32).wrapping_sub(*offset) as f32 * (by * scale);
        }
    }
}

impl ColumnScales {
    /// The whole numbers of `[n, k]` weights as bytes, and the columns' scales for products with `W`; `column` says which of `n` each of
    /// `columns` packed ones is, if any.
    pub fn new<T: Number, W: Whole>(
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
                let row = Row {
                    from,
                    to: &mut *to,
                    zero: 0,
                };
                let scale = vectorised(isa, row);
                let sum: i32 = to.iter().map(|byte| i32::from(*byte as i8)).sum();
                (scale, sum * W::ZERO.value())
            })
            .collect();
        let of = |n| column(n).and_then(|n| of.get(n)).copied().unwrap_or_default();
        let (scales, offsets) = (0..columns).map(of).unzip();
        (bytes, Self { scales, offsets })
    }
}

/// The largest magnitude; infinite or NaN if a value is.
#[inline(always)]
fn largest<T: Number>(values: &[T]) -> f32 {
    let magnitudes = values.iter().map(|v| v.to_f32().to_bits() & 0x7fff_ffff);
    f32::from_bits(magnitudes.fold(0, u32::max))
}

/// The value of one whole number, and its inverse. Nothing good comes of values that aren't finite: so that it shows, their scale
/// is NaN.
#[inline(always)]
fn scales(largest: f32) -> (f32, f32) {
    let (scale, inverse) = (largest / MOST, MOST / largest);
    match (largest.is_finite(), inverse.is_finite()) {
        (true, true) => (scale, inverse),
        (true, false) => (0.0, 0.0),
        (false, _) => (f32::NAN, 0.0),
    }
}

/// Values as whole numbers with `zero` added.
#[inline(always)]
fn whole<T: Number, W: Whole>(from: &[T], inverse: f32, zero: W, to: &mut [W]) {
    let shift = SHIFT + zero.value() as f32;
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to = W::of_bits((from.to_f32() * inverse + shift).to_bits()));
}

/// A row's whole numbers, padded with zeros, and its scale.
struct Row<'a, T, W> {
    from: &'a [T],
    to: &'a mut [W],
    zero: W,
}

impl<T: Number, W: Whole> Work for Row<'_, T, W> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let (scale, inverse) = scales(largest(self.from));
        let (to, rest) = self.to.split_at_mut(self.from.len());
        whole(self.from, inverse, self.zero, to);
        rest.fill(self.zero);
        scale
    }
}

/// Rows of `width` values as rows of whole numbers, as long as products want them, and a scale for each.
pub(crate) fn rows<T: Number, W: Whole>(isa: Isa, values: &[T], width: usize) -> (Buffer<W>, Buffer<f32>) {
    /// Rows that a thread takes at a time.
    const SHARE: usize = 64;
    let (count, k) = (values.len() / width, width.next_multiple_of(W::K));
    let (mut bytes, mut scales) = (Buffer::<W>::dirty(count * k), Buffer::<f32>::dirty(count));
    values
        .par_chunks(SHARE * width)
        .zip(bytes.par_chunks_mut(SHARE * k))
        .zip(scales.par_chunks_mut(SHARE))
        .for_each(|((from, to), scales)| {
            let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(k));
            for ((from, to), scale) in rows.zip(scales) {
                let row = Row {
                    from,
                    to,
                    zero: W::ZERO,
                };
                *scale = vectorised(isa, row);
            }
        });
    (bytes, scales)
}

/// A scale for each picture, and its inverse.
pub(crate) struct PictureScales {
    pub scales: Vec<f32>,
    inverses: Vec<f32>,
}

impl PictureScales {
    /// The scales of `batch` pictures.
    pub fn new<T: Number>(isa: Isa, values: &[T], batch: usize) -> Self {
        struct Largest<'a, T>(&'a [T]);
        impl<T: Number> Work for Largest<'_, T> {
            type Output = f32;

            #[inline(always)]
            fn run(self) -> f32 {
                largest(self.0)
            }
        }
        /// Values that a thread takes at a time.
        const SHARE: usize = 1 << 16;
        let largest = |picture: &[T]| {
            let shares = picture
                .par_chunks(SHARE)
                .map(|share| vectorised(isa, Largest(share)));
            // By bits, as within a share: NaN is the largest.
            f32::from_bits(shares.map(f32::to_bits).reduce(|| 0, u32::max))
        };
        let pictures = values.chunks_exact((values.len() / batch.max(1)).max(1));
        let (scales, inverses) = pictures.map(|picture| scales(largest(picture))).unzip();
        Self { scales, inverses }
    }

    /// A picture's values as whole numbers.
    pub fn whole<T: Number, W: Whole>(&self, isa: Isa, picture: usize, from: &[T], to: &mut [W]) {
        struct Values<'a, T, W>(&'a [T], f32, &'a mut [W]);
        impl<T: Number, W: Whole> Work for Values<'_, T, W> {
            type Output = ();

            #[inline(always)]
            fn run(self) {
                whole(self.0, self.1, W::ZERO, self.2);
            }
        }
        vectorised(isa, Values(from, self.inverses[picture], to));
    }
}
