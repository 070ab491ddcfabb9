//! Packed weights: the right-hand sides of products.

use std::{cell::Cell, marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::quantised::ColumnScales;
use crate::{
    host::simd::{COLUMNS, Form, Isa, Operand, PANEL, PIECE, Widen},
    memory::region::{self, Line, Region},
};

/// A packed right-hand side: an even number of panels, one after another. They may be stored in narrower numbers than products take, and
/// are widened then where they are used.
pub(crate) struct Panels<T> {
    data: Region<u8>,
    form: Option<Form>,
    count: usize,
    /// Values of a panel.
    len: usize,
    of: PhantomData<T>,
}

impl<T: Operand> Panels<T> {
    pub fn right(&self) -> Right<'_, T> {
        let data = match self.form {
            None => Data::Ready(bytemuck::cast_slice(&self.data)),
            Some(form) => Data::Narrow(&self.data, form),
        };
        Right {
            data,
            panels: self.count,
            len: self.len,
        }
    }
}

/// The right-hand side of a product, as [`Panels`] has it.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, T> {
    data: Data<'a, T>,
    pub panels: usize,
    /// Values of a panel.
    pub len: usize,
}

#[derive(Clone, Copy)]
enum Data<'a, T> {
    Ready(&'a [T]),
    Narrow(&'a [u8], Form),
}

impl<'a, T: Widen> Right<'a, T> {
    /// Room for so many panels as products take them, if there are none.
    #[inline(always)]
    pub fn room(&self, panels: usize) -> Room {
        match self.data {
            Data::Ready(_) => Room::default(),
            Data::Narrow(..) => Room::new(panels * self.len * size_of::<T>()),
        }
    }

    /// Some panels, as many as there is room for.
    #[inline(always)]
    pub fn panels<'b>(&self, isa: Isa, first: usize, count: usize, room: &'b mut Room) -> &'b [T]
    where
        'a: 'b,
    {
        match self.data {
            Data::Ready(all) => &all[first * self.len..][..count * self.len],
            Data::Narrow(bytes, form) => {
                let each = form.bytes(self.len);
                let out = &mut bytemuck::cast_slice_mut(&mut room.0)[..count * self.len];
                T::widen(isa, form, &bytes[first * each..][..count * each], out);
                out
            }
        }
    }

    /// Some values of one panel, not of blocks; there is as much room as there are values.
    #[inline(always)]
    pub fn part<'b>(&self, isa: Isa, panel: usize, values: Range<usize>, room: &'b mut [T]) -> &'b [T]
    where
        'a: 'b,
    {
        match self.data {
            Data::Ready(all) => &all[panel * self.len..][values],
            Data::Narrow(bytes, form) => {
                let panel = &bytes[panel * form.bytes(self.len)..];
                let bytes = &panel[form.bytes(values.start)..form.bytes(values.end)];
                T::widen(isa, form, bytes, room);
                room
            }
        }
    }
}

/// A thread's room for widened panels, which the thread keeps for the next product.
#[derive(Default)]
pub(crate) struct Room(Vec<Line>);

thread_local! {
    static ROOM: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

impl Room {
    fn new(bytes: usize) -> Self {
        let mut lines = ROOM.take();
        let count = bytes.div_ceil(size_of::<Line>());
        if lines.len() < count {
            lines = region::lines(count);
        }
        Self(lines)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        /// More than panels of known models take: 2.9 MB.
        const MOST: usize = (4 << 20) / size_of::<Line>();
        if (1..=MOST).contains(&self.0.len()) {
            ROOM.set(std::mem::take(&mut self.0));
        }
    }
}

/// Weights of a layer whose results are of type `T`.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, T> {
    Plain(Right<'a, T>),
    /// Whole numbers, with the scales that make numbers of products with them; for products of bytes or of words, as an instruction set
    /// has them.
    Bytes(Right<'a, u8>, &'a ColumnScales),
    Words(Right<'a, i16>, &'a ColumnScales),
}

/// Packs a right-hand side of `n` columns (made a multiple of two panels): `column` has its values `[k, taps]`, `k` made a multiple of
/// [`Operand::K`]. Places beyond these, and columns without values, are zero.
pub(crate) fn pack<'a, T: Operand>(
    n: usize,
    taps: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [T]> + Sync,
) -> Panels<T> {
    panels(None, arrange::<T, T>(n, taps, k, column), [n, taps, k])
}

/// The same of values that are stored in another form, one by one.
pub(crate) fn pack_narrow<'a, S: bytemuck::Pod + Default + Send + Sync, T: Operand>(
    form: Form,
    n: usize,
    taps: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [S]> + Sync,
) -> Panels<T> {
    debug_assert_eq!(form.bytes(1), size_of::<S>());
    panels(Some(form), arrange::<S, T>(n, taps, k, column), [n, taps, k])
}

/// The same of values in blocks: `column` has ggml's blocks of `k` values.
pub(crate) fn pack_blocks<'a, T: Operand>(
    form: Form,
    n: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [u8]> + Sync,
) -> Panels<T> {
    const BLOCK: usize = PIECE / PANEL;
    assert!(k.is_multiple_of(BLOCK) && k.is_multiple_of(T::K));
    let count = n.div_ceil(COLUMNS) * 2;
    let [panel, piece] = [k * PANEL, PIECE].map(|values| form.bytes(values));
    let from = piece / PANEL;
    let mut packed = Region::<u8>::zeroed(count * panel);
    let pack = |(p, panel): (usize, &mut [u8])| {
        for (lane, n) in (p * PANEL..n.min((p + 1) * PANEL)).enumerate() {
            let Some(column) = column(n) else { continue };
            for (block, out) in column.chunks_exact(from).zip(panel.chunks_exact_mut(piece)) {
                let (scales, out) = out.split_at_mut(2 * PANEL);
                scales[2 * lane..][..2].copy_from_slice(&block[..2]);
                let block = &block[2..];
                // The place of value `i` of the column in its piece.
                let place = |i: usize| (i / T::GROUP * PANEL + lane) * T::GROUP + i % T::GROUP;
                // Of four bits, ggml too has the first half of the values in the lower bits.
                block
                    .iter()
                    .enumerate()
                    .for_each(|(i, byte)| out[place(i)] = *byte);
            }
        }
    };
    packed.par_chunks_mut(panel.max(1)).enumerate().for_each(pack);
    Panels {
        data: packed,
        form: Some(form),
        count,
        len: k * PANEL,
        of: PhantomData,
    }
}

fn panels<S: bytemuck::Pod, T: Operand>(
    form: Option<Form>,
    data: Region<S>,
    [n, taps, k]: [usize; 3],
) -> Panels<T> {
    Panels {
        data: data.into_bytes(),
        form,
        count: n.div_ceil(COLUMNS) * 2,
        len: taps * k.next_multiple_of(T::K) * PANEL,
        of: PhantomData,
    }
}

/// Values in the order of products of type `T`.
fn arrange<'a, S: bytemuck::Pod + Default + Send + Sync, T: Operand>(
    n: usize,
    taps: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [S]> + Sync,
) -> Region<S> {
    /// Values of each column at a time, so that what is written stays in the nearest cache.
    const BLOCK: usize = 64;
    let (panels, padded) = (n.div_ceil(COLUMNS) * 2, k.next_multiple_of(T::K));
    let len = taps * padded * PANEL;
    let mut packed = Region::zeroed(panels * len);
    let panel = |(p, panel): (usize, &mut [S])| {
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
    packed
}
