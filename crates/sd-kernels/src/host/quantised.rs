//! Products of bytes: weights are whole numbers from -127 to 127 times a scale for each column, what they are multiplied with is of
//! that kind too, with a scale for each row or each picture that is found when the values are there (dynamic quantisation).
//!
//! Instructions multiply unsigned bytes with signed ones. So the left side is stored with 128 added, and each column's sum of weights
//! times 128 is taken away from its sums.

use rayon::prelude::*;

use super::{
    isa::Isa,
    math::{Work, vectorised},
    memory::Buffer,
    tile::{COLUMNS, Element, Factor, Tile},
};

/// The largest whole number.
const MOST: f32 = 127.0;

/// What is added to a whole number on the left, and so what zero is there.
pub(crate) const ZERO: u8 = 128;

/// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
const SHIFT: f32 = 12_582_912.0;

impl Factor for u8 {
    const K: usize = 64;
    const GROUP: usize = 4;

    fn rows(isa: Isa) -> usize {
        match isa {
            Isa::Portable | Isa::Avx2 | Isa::Avx512 => super::portable::ROWS,
            Isa::Avx512Vnni | Isa::Avx512Bf16 => super::avx512::ROWS,
            Isa::Amx => 32,
        }
    }

    #[inline(always)]
    unsafe fn tile(isa: Isa, tile: &Tile<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                Isa::Portable => super::portable::tile_u8(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::Avx512 => super::portable::tile_u8_avx2(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni | Isa::Avx512Bf16 => super::avx512::tile_u8(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Amx => super::amx::tile_u8(tile),
                #[cfg(not(target_arch = "x86_64"))]
                _ => super::portable::tile_u8(tile),
            }
        }
    }
}

/// What makes numbers of a product's sums.
#[derive(Clone, Copy)]
pub(crate) struct Scales<'a> {
    /// One for so many rows of the output.
    pub rows: &'a [f32],
    pub each: usize,
    pub columns: &'a Columns,
}

/// What each column of a packed right-hand side is scaled with.
pub(crate) struct Columns {
    scales: Vec<f32>,
    /// What the offset of the left side adds to a column's sums.
    offsets: Vec<i32>,
}

/// A tile's part of [`Scales`].
pub(crate) struct TileScales<'a> {
    rows: &'a [f32],
    each: usize,
    scales: [f32; COLUMNS],
    offsets: [i32; COLUMNS],
}

impl<'a> Scales<'a> {
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

impl Columns {
    /// Of `[n, k]` weights: whole numbers as bytes, and what columns are scaled with; `column` says which of `n` each of `columns`
    /// packed ones is, if any.
    pub fn new<T: Element>(
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
                (scale, sum * i32::from(ZERO))
            })
            .collect();
        let of = |n| column(n).and_then(|n| of.get(n)).copied().unwrap_or_default();
        let (scales, offsets) = (0..columns).map(of).unzip();
        (bytes, Self { scales, offsets })
    }
}

/// The largest magnitude; infinite or NaN if a value is.
#[inline(always)]
fn largest<T: Element>(values: &[T]) -> f32 {
    let magnitudes = values.iter().map(|v| v.to_f32().to_bits() & 0x7fff_ffff);
    f32::from_bits(magnitudes.fold(0, u32::max))
}

/// What one whole number stands for, and its inverse. Nothing good comes of values that aren't finite: so that it shows, their scale
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
fn whole<T: Element>(from: &[T], inverse: f32, zero: u8, to: &mut [u8]) {
    let shift = SHIFT + f32::from(zero);
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to = (from.to_f32() * inverse + shift).to_bits() as u8);
}

/// A row's whole numbers, padded with zeros, and its scale.
struct Row<'a, T> {
    from: &'a [T],
    to: &'a mut [u8],
    zero: u8,
}

impl<T: Element> Work for Row<'_, T> {
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
pub(crate) fn rows<T: Element>(isa: Isa, values: &[T], width: usize) -> (Buffer<u8>, Buffer<f32>) {
    /// Rows that a thread takes at a time.
    const SHARE: usize = 64;
    let (count, k) = (values.len() / width, width.next_multiple_of(u8::K));
    let (mut bytes, mut scales) = (Buffer::<u8>::dirty(count * k), Buffer::<f32>::dirty(count));
    values
        .par_chunks(SHARE * width)
        .zip(bytes.par_chunks_mut(SHARE * k))
        .zip(scales.par_chunks_mut(SHARE))
        .for_each(|((from, to), scales)| {
            let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(k));
            for ((from, to), scale) in rows.zip(scales) {
                let row = Row { from, to, zero: ZERO };
                *scale = vectorised(isa, row);
            }
        });
    (bytes, scales)
}

/// How pictures become whole numbers: a scale for each, and its inverse.
pub(crate) struct PictureScales {
    pub scales: Vec<f32>,
    inverses: Vec<f32>,
}

impl PictureScales {
    /// Of `batch` pictures.
    pub fn new<T: Element>(isa: Isa, values: &[T], batch: usize) -> Self {
        struct Largest<'a, T>(&'a [T]);
        impl<T: Element> Work for Largest<'_, T> {
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
    pub fn whole<T: Element>(&self, isa: Isa, picture: usize, from: &[T], to: &mut [u8]) {
        struct Whole<'a, T>(&'a [T], f32, &'a mut [u8]);
        impl<T: Element> Work for Whole<'_, T> {
            type Output = ();

            #[inline(always)]
            fn run(self) {
                whole(self.0, self.1, ZERO, self.2);
            }
        }
        vectorised(isa, Whole(from, self.inverses[picture], to));
    }
}
