//! Matrix products with packed right-hand sides, on all threads of the current pool.

use rayon::prelude::*;

use super::{
    isa::Isa,
    kept::Kept,
    math::{Work, vectorised},
    memory::{Buffer, Shared},
    quantised::Scales,
    tile::{COLUMNS, Element, Factor, MAX_ROWS, PANEL, Tile, begin},
};

/// The left-hand side: row `r` is the `k` elements from `r * stride + tap` on, for each tap in turn.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub stride: usize,
    pub taps: &'a [usize],
    /// A multiple of [`Factor::K`].
    pub k: usize,
}

impl<'a, T> Left<'a, T> {
    /// A matrix of `k` columns.
    pub fn rows(data: &'a [T], rows: usize, k: usize) -> Self {
        Self {
            data,
            rows,
            stride: k,
            taps: &[0],
            k,
        }
    }
}

/// The right-hand side: an even number of panels, one after another.
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

/// The sums of one tile, row by row.
#[repr(align(64))]
pub(crate) struct Sums(pub [[f32; COLUMNS]; MAX_ROWS]);

/// What becomes of the sums.
pub(crate) trait Sink: Sync {
    /// Takes `rows` rows from `row` on, of the columns from `column` on. Called once for each place.
    fn put(&self, isa: Isa, row: usize, column: usize, sums: &[[f32; COLUMNS]]);
}

/// Elements of `A` that a task goes over again and again: about half of a core's second-level cache.
const BLOCK_BYTES: usize = 768 << 10;

/// `A B`, tile by tile, into `sink`. The order of every sum is fixed, so the result doesn't depend on the number of threads.
pub(crate) fn multiply<T: Factor>(isa: Isa, left: Left<T>, right: Right<T>, sink: &impl Sink) {
    let tile_rows = T::rows(isa);
    let panel = right.data.len() / right.panels.max(1);
    assert!(
        right.panels.is_multiple_of(2)
            && panel == left.taps.len() * left.k * PANEL
            && left.k.is_multiple_of(T::K),
        "packed for another shape"
    );
    let reach = left.taps.iter().max().map_or(0, |tap| tap + left.k);
    // Whole tiles read rows to their end; those that would read beyond the data get a copy with room.
    let safe = if left.data.len() < reach {
        0
    } else {
        ((left.data.len() - reach) / left.stride.max(1) + 1).min(left.rows.next_multiple_of(tile_rows))
            / tile_rows
            * tile_rows
    };
    let safe = safe.min(left.rows.next_multiple_of(tile_rows));
    if safe >= left.rows {
        return whole_tiles(isa, left, right, 0, sink);
    }
    if safe > 0 {
        whole_tiles(isa, Left { rows: safe, ..left }, right, 0, sink);
    }
    let rest = left.rows - safe;
    let mut copy = Buffer::dirty((rest.next_multiple_of(tile_rows) - 1) * left.stride + reach);
    let from = &left.data[safe * left.stride..];
    let len = from.len().min(copy.len());
    copy[..len].copy_from_slice(&from[..len]);
    copy[len..].fill(T::default());
    let left = Left {
        data: &copy,
        rows: rest,
        ..left
    };
    whole_tiles(isa, left, right, safe, sink);
}

/// The product where whole tiles may be read; `first` is what the sink calls the first row.
fn whole_tiles<T: Factor>(isa: Isa, left: Left<T>, right: Right<T>, first: usize, sink: &impl Sink) {
    let tile_rows = T::rows(isa);
    let row_bytes = (left.stride.min(left.taps.len() * left.k) * size_of::<T>()).max(1);
    let block = (BLOCK_BYTES / row_bytes).clamp(4 * tile_rows, 2048) / tile_rows * tile_rows;
    let threads = rayon::current_num_threads();
    let wanted = if threads == 1 { 1 } else { 4 * threads };
    let blocks = left.rows.div_ceil(block);
    let pairs = right.panels / 2;
    let splits = wanted.div_ceil(blocks).clamp(1, pairs.max(1));
    let (block, blocks) = if threads > 1 && splits == pairs && blocks * splits < wanted {
        let block = left.rows.div_ceil(wanted).next_multiple_of(tile_rows);
        (block, left.rows.div_ceil(block))
    } else {
        (block, blocks)
    };
    let task = |index: usize| {
        let (split, rows) = (index / blocks, index % blocks * block);
        let columns = split * pairs / splits..(split + 1) * pairs / splits;
        let rows = rows..(rows + block).min(left.rows);
        let part = Part {
            isa,
            left,
            right,
            rows,
            pairs: columns,
            first,
            sink,
        };
        vectorised(isa, part);
    };
    match blocks * splits {
        1 => task(0),
        tasks => (0..tasks).into_par_iter().for_each(task),
    }
}

/// One thread's share: a pair of panels stays near while the rows pass by.
struct Part<'a, T, S> {
    isa: Isa,
    left: Left<'a, T>,
    right: Right<'a, T>,
    rows: std::ops::Range<usize>,
    /// Pairs of panels.
    pairs: std::ops::Range<usize>,
    /// What the sink calls the first row.
    first: usize,
    sink: &'a S,
}

impl<T: Factor, S: Sink> Work for Part<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            isa,
            left,
            right,
            rows,
            pairs,
            first,
            sink,
        } = self;
        let _session = begin::<T>(isa);
        let tile_rows = T::rows(isa);
        let panel = right.data.len() / right.panels;
        let mut sums = Sums([[0.0; COLUMNS]; MAX_ROWS]);
        for pair in pairs {
            let b = &right.data[2 * pair * panel..2 * (pair + 1) * panel];
            for row in rows.clone().step_by(tile_rows) {
                let tile = Tile {
                    a: left.data[row * left.stride..].as_ptr(),
                    stride: left.stride,
                    taps: left.taps,
                    k: left.k,
                    b: b.as_ptr(),
                    panel,
                    c: sums.0.as_mut_ptr().cast(),
                    c_stride: COLUMNS,
                    accumulate: false,
                };
                // SAFETY: `multiply` made sure that whole tiles of rows lie in the data; `b` is two panels; `sums` is this thread's, and
                // has the most rows that a tile can have.
                unsafe { T::tile(isa, &tile) };
                let count = tile_rows.min(rows.end - row);
                sink.put(isa, first + row, pair * COLUMNS, &sums.0[..count]);
            }
        }
    }
}

/// One tile of rows, which every tap reads again, times two panels, so many times: for measuring.
pub(crate) fn repeat<T: Factor>(isa: Isa, a: &[T], b: &[T], taps: &[usize], times: usize) {
    struct Repeat<'a, T>(Isa, Tile<'a, T>, usize);
    impl<T: Factor> Work for Repeat<'_, T> {
        type Output = ();

        #[inline(always)]
        fn run(self) {
            let Self(isa, tile, times) = self;
            let _session = begin::<T>(isa);
            for _ in 0..times {
                // SAFETY: `repeat` made sure that all of it is there.
                unsafe { T::tile(isa, &tile) };
            }
        }
    }
    let k = b.len() / (COLUMNS * taps.len());
    let stride = a.len() / T::rows(isa);
    assert!(k.is_multiple_of(T::K) && stride >= k && taps.iter().all(|&tap| tap == 0));
    let mut sums = Sums([[0.0; COLUMNS]; MAX_ROWS]);
    let tile = Tile {
        a: a.as_ptr(),
        stride,
        taps,
        k,
        b: b.as_ptr(),
        panel: k * taps.len() * PANEL,
        c: sums.0.as_mut_ptr().cast(),
        c_stride: COLUMNS,
        accumulate: false,
    };
    vectorised(isa, Repeat(isa, tile, times));
}

/// What is done to a sum before it is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Plain,
    Silu,
    QuickGelu,
    Gelu,
    /// Panels alternate between values and gates: sixteen values, times the GELU of sixteen gates.
    Geglu,
}

/// Stores sums as rows of a matrix, with what is added to them.
#[derive(Clone, Copy)]
pub(crate) struct Store<'a, T> {
    pub out: &'a Shared<'a, T>,
    /// Columns of the output.
    pub columns: usize,
    /// Which row of the output each row of the product is, if not the same; `u32::MAX` for those that are dropped.
    pub map: Option<&'a [u32]>,
    /// What makes numbers of whole sums.
    pub scales: Option<Scales<'a>>,
    /// One for each column of the product, as packed.
    pub bias: Option<&'a [f32]>,
    /// `[images, columns]`, and the rows of an image.
    pub image_bias: Option<(&'a [T], usize)>,
    /// As the output.
    pub residual: Option<&'a [T]>,
    pub finish: Finish,
}

impl<T: Element> Sink for Store<'_, T> {
    #[inline(always)]
    fn put(&self, isa: Isa, row: usize, column: usize, sums: &[[f32; COLUMNS]]) {
        let mut bias = [0f32; COLUMNS];
        if let Some(all) = self.bias {
            bias.copy_from_slice(&all[column..column + COLUMNS]);
        }
        let scales = self.scales.map(|scales| scales.columns(column));
        let (column, width) = match self.finish {
            Finish::Geglu => (column / 2, PANEL),
            _ => (column, COLUMNS),
        };
        let width = width.min(self.columns.saturating_sub(column));
        for (r, sums) in sums.iter().enumerate() {
            let mut row = row + r;
            if let Some(map) = self.map {
                if map[row] == u32::MAX {
                    continue;
                }
                row = map[row] as usize;
            }
            let mut values = *sums;
            if let Some(scales) = &scales {
                scales.scale(row, &mut values);
            }
            add(&mut values, &bias);
            match self.finish {
                Finish::Plain => {}
                Finish::Silu => values.iter_mut().for_each(|v| *v = super::math::silu(*v)),
                Finish::Gelu => values.iter_mut().for_each(|v| *v = super::math::gelu(*v)),
                Finish::QuickGelu => values.iter_mut().for_each(|v| *v = super::math::quick_gelu(*v)),
                Finish::Geglu => {
                    let (left, gate) = values.split_at_mut(PANEL);
                    left.iter_mut()
                        .zip(gate)
                        .for_each(|(v, g)| *v *= super::math::gelu(*g));
                }
            }
            let at = row * self.columns + column;
            // SAFETY: every row and column is put once, by the contract of `Sink`, and rows of the output are not mapped to twice.
            let out = unsafe { self.out.slice(at, width) };
            let image = self
                .image_bias
                .map(|(all, rows)| &all[row / rows * self.columns + column..][..width]);
            let residual = self.residual.map(|all| &all[at..at + width]);
            let more = [image, residual];
            // The usual case, with a length that the compiler knows.
            if let Some(out) = out.as_mut_array::<COLUMNS>() {
                more.into_iter()
                    .flatten()
                    .for_each(|more| add(&mut values, &more[..COLUMNS]));
                T::narrow(isa, &values, out);
            } else {
                more.into_iter()
                    .flatten()
                    .for_each(|more| add(&mut values[..width], more));
                out.iter_mut()
                    .zip(&values)
                    .for_each(|(out, v)| *out = T::from_f32(*v));
            }
        }
    }
}

#[inline(always)]
fn add<T: Element>(values: &mut [f32], more: &[T]) {
    values
        .iter_mut()
        .zip(more)
        .for_each(|(v, more)| *v += more.to_f32());
}

/// Packs a right-hand side of `n` columns (made a multiple of two panels): `column` has its values `[k, taps]`, `k` made a multiple of
/// [`Factor::K`]. What is beyond, or has no values, is zero.
pub(crate) fn pack<'a, T: Factor>(
    n: usize,
    taps: usize,
    k: usize,
    column: impl Fn(usize) -> Option<&'a [T]> + Sync,
) -> (Kept<T>, usize) {
    /// Values of each column at a time, so that what is written stays in the nearest cache.
    const BLOCK: usize = 64;
    let (panels, padded) = (n.div_ceil(COLUMNS) * 2, k.next_multiple_of(T::K));
    let len = taps * padded * PANEL;
    let mut packed = Kept::zeroed(panels * len);
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
    (packed, panels)
}
