//! Matrix products with packed right-hand sides, on all threads of the current pool.

use rayon::prelude::*;

use super::packed::Right;
use crate::{
    host::simd::{COLUMNS, Isa, MAX_ROWS, PANEL, Product, Tile, Work, begin, vectorised},
    memory::buffer::Buffer,
};

/// The left-hand side: row `r` is the `k` elements from `r * stride + tap` on, for each tap in turn.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub stride: usize,
    pub taps: &'a [usize],
    /// A multiple of [`Operand::K`].
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

/// The sums of one tile, row by row.
#[repr(align(64))]
pub(crate) struct Sums(pub [[f32; COLUMNS]; MAX_ROWS]);

/// A receiver of sums.
pub(crate) trait Sink: Sync {
    /// Takes `rows` rows from `row` on, of the columns from `column` on. Called once for each place.
    fn put(&self, isa: Isa, row: usize, column: usize, sums: &[[f32; COLUMNS]]);
}

/// Elements of `A` that a task goes over again and again: about half of a core's second-level cache.
const BLOCK_BYTES: usize = 768 << 10;

/// `A B`, tile by tile, into `sink`. The order of every sum is fixed, so the result doesn't depend on the number of threads.
pub(crate) fn multiply<T: Product>(isa: Isa, left: Left<T>, right: Right<T>, sink: &impl Sink) {
    let tile_rows = T::rows(isa);
    let panel = right.len;
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

/// The product where whole tiles may be read; `first` is the sink's number of the first row.
fn whole_tiles<T: Product>(isa: Isa, left: Left<T>, right: Right<T>, first: usize, sink: &impl Sink) {
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
    /// The sink's number of the first row.
    first: usize,
    sink: &'a S,
}

impl<T: Product, S: Sink> Work for Part<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (isa, left, right) = (self.isa, self.left, self.right);
        let _session = begin::<T>(isa);
        let tile_rows = T::rows(isa);
        let panel = right.len;
        let mut room = right.room(2);
        let mut sums = Sums([[0.0; COLUMNS]; MAX_ROWS]);
        for pair in self.pairs {
            let b = right.panels(isa, 2 * pair, 2, &mut room);
            for row in self.rows.clone().step_by(tile_rows) {
                let tile = Tile {
                    a: left.data[row * left.stride..].as_ptr(),
                    stride: left.stride,
                    taps: left.taps,
                    k: left.k,
                    b: b.as_ptr(),
                    panel,
                    c: sums.0.as_mut_ptr().cast(),
                    accumulate: false,
                };
                // SAFETY: `multiply` made sure that whole tiles of rows lie in the data; `b` is two panels; `sums` is this thread's, and
                // has the most rows that a tile can have.
                unsafe { T::tile(isa, &tile) };
                let count = tile_rows.min(self.rows.end - row);
                self.sink
                    .put(isa, self.first + row, pair * COLUMNS, &sums.0[..count]);
            }
        }
    }
}

/// One tile of rows, which every tap reads again, times two panels, so many times: for measuring.
pub(crate) fn repeat<T: Product>(isa: Isa, a: &[T], b: &[T], taps: &[usize], times: usize) {
    struct Repeat<'a, T>(Isa, Tile<'a, T>, usize);
    impl<T: Product> Work for Repeat<'_, T> {
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
        accumulate: false,
    };
    vectorised(isa, Repeat(isa, tile, times));
}
