//! Copies.

use rayon::prelude::*;

use super::tile::Element;

/// Rows of `a` and of `b` next to each other: `[n, ca]` and `[n, cb]` to `[n, ca + cb]`.
pub(crate) fn concatenate<T: Element>((a, ca): (&[T], usize), (b, cb): (&[T], usize), out: &mut [T]) {
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
