//! Packed weights: the right-hand sides of products.

use rayon::prelude::*;

use super::quantised::ColumnScales;
use crate::{
    host::simd::{COLUMNS, Operand, PANEL},
    memory::region::Region,
};

/// A packed right-hand side: an even number of panels, one after another.
pub(crate) struct Panels<T> {
    data: Region<T>,
    count: usize,
}

impl<T: Operand> Panels<T> {
    pub fn right(&self) -> Right<'_, T> {
        Right {
            data: &self.data,
            panels: self.count,
        }
    }
}

/// The right-hand side of a product, as [`Panels`] has it.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, T> {
    pub data: &'a [T],
    pub panels: usize,
}

impl<'a, T> Right<'a, T> {
    pub fn panel(&self, index: usize) -> &'a [T] {
        let len = self.data.len() / self.panels;
        &self.data[index * len..][..len]
    }
}

/// Weights of a layer whose results are of type `T`.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, T> {
    Plain(Right<'a, T>),
    /// In bytes, with the scales that make numbers of products with them.
    Quantised(Right<'a, u8>, &'a ColumnScales),
}

/// Packs a right-hand side of `n` columns (made a multiple of two panels): `column` has its values `[k, taps]`, `k` made a multiple of
/// [`Operand::K`]. Places beyond these, and columns without values, are zero.
pub(crate) fn pack<'a, T: Operand>(
    n: usize,
    taps: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [T]> + Sync,
) -> Panels<T> {
    /// Values of each column at a time, so that what is written stays in the nearest cache.
    const BLOCK: usize = 64;
    let (panels, padded) = (n.div_ceil(COLUMNS) * 2, k.next_multiple_of(T::K));
    let len = taps * padded * PANEL;
    let mut packed = Region::zeroed(panels * len);
    let panel = |(p, panel): (usize, &mut [T])| {
        for start in (0..k).step_by(BLOCK) {
            let end = k.min(start + BLOCK);
            for (lane, n) in (p * PANEL..n.min((p + 1) * PANEL)).enumerate() {
                let Some(values) = column(n) else { continue };
                let values = &values[start * taps..end * taps];
                for tap in 0..taps {
                    let at = (tap * padded + start) * PANEL;
                    let groups = panel[at..][..(end - start).next_multiple_of(T::GROUP) * PANEL]
                        .chunks_exact_mut(PANEL * T::GROUP);
                    // Iterators in steps would divide for every group.
                    let mut from = tap;
                    for group in groups {
                        for out in &mut group[lane * T::GROUP..][..T::GROUP] {
                            *out = values.get(from).copied().unwrap_or_default();
                            from += taps;
                        }
                    }
                }
            }
        }
    };
    packed.par_chunks_mut(len.max(1)).enumerate().for_each(panel);
    Panels {
        data: packed,
        count: panels,
    }
}
