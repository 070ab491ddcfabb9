//! Copies.

use std::ops::Range;

use rayon::prelude::*;

use super::norm::{Affine, ChannelScales};
use crate::host::simd::{Isa, Simd, vectorised};

/// Rows of `a` and of `b` next to each other: `[n, ca]` and `[n, cb]` to `[n, ca + cb]`.
pub(crate) fn concatenate<T: Copy + Send + Sync>(
    (a, ca): (&[T], usize),
    (b, cb): (&[T], usize),
    out: &mut [T],
) {
    assert!(ca > 0 && cb > 0 && a.len() / ca == b.len() / cb && out.len() == a.len() + b.len());
    /// Rows that are one task.
    const ROWS: usize = 64;
    let parts = out.par_chunks_mut(ROWS * (ca + cb));
    let parts = parts.zip(a.par_chunks(ROWS * ca)).zip(b.par_chunks(ROWS * cb));
    parts.for_each(|((out, a), b)| {
        let rows = out.chunks_exact_mut(ca + cb);
        for ((out, a), b) in rows.zip(a.chunks_exact(ca)).zip(b.chunks_exact(cb)) {
            out[..ca].copy_from_slice(a);
            out[ca..].copy_from_slice(b);
        }
    });
}

/// A picture `[h, w, c]` in pieces of whole rows, one below the other.
pub(crate) struct Pieces<'a, T> {
    /// Each with its first row.
    pub rows: Vec<(usize, &'a [T])>,
    /// Rows of the whole picture.
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// Rows of a picture to `out`. They may reach beyond it, where there are zeros. With `scales` they are normalised, with SiLU; with
/// `upsample` they are rows of the picture with each pixel repeated twice in both directions.
pub(crate) fn window<T: Simd>(
    isa: Isa,
    x: &Pieces<T>,
    rows: Range<isize>,
    scales: Option<&ChannelScales>,
    upsample: bool,
    out: &mut [T],
) {
    let (shift, c) = (usize::from(upsample), x.channels);
    let (from, within) = (x.width * c, x.height << shift);
    let len = from << shift;
    assert!(out.len() == rows.len() * len && len > 0);
    out.par_chunks_mut(len).zip(rows).for_each(|(out, row)| {
        let row = usize::try_from(row).ok().filter(|&row| row < within);
        let Some(row) = row.map(|row| row >> shift) else {
            return out.fill(T::default());
        };
        let piece = x.rows.partition_point(|&(first, _)| first <= row);
        let (first, piece) = x.rows[piece - 1];
        let x = &piece[(row - first) * from..][..from];
        match scales {
            Some(scales) => vectorised(
                isa,
                Affine {
                    isa,
                    out,
                    x,
                    scales,
                    silu: true,
                },
            ),
            None if upsample => {
                for (out, x) in out.chunks_exact_mut(2 * c).zip(x.chunks_exact(c)) {
                    out[..c].copy_from_slice(x);
                    out[c..].copy_from_slice(x);
                }
            }
            None => out.copy_from_slice(x),
        }
    });
}
