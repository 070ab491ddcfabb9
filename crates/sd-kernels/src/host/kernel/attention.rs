//! Attention without a matrix of scores in memory: keys are looked at a block at a time, with a running maximum and sum (Milakov and
//! Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135).
//!
//! Scores are computed transposed, a row for each key and a column for each query: what has to be known of each query, its maximum and
//! sum, then lies side by side in a vector, and nothing is ever summed across one.

use rayon::prelude::*;

use super::shared::Shared;
use crate::{
    host::simd::{COLUMNS, Isa, PANEL, Simd, Tile, Work, begin, math, vectorised},
    memory::buffer::Buffer,
};

/// Keys that are looked at together; a multiple of every tile's rows and of its step. Their scores fit the first-level cache.
pub(crate) const KEYS: usize = 192;

/// Bytes that tiles of queries may take together.
const TILES_BYTES: usize = 512 << 10;

/// Queries of a tile.
pub(crate) const QUERIES: usize = COLUMNS;

/// Values of keys, of several images together, up to which these are computed together: half a megabyte in `f32`.
const TOGETHER: usize = 1 << 17;

/// `out = softmax(q k^T / sqrt(d)) v` for each of `batch * heads`: `q` and `out` are `[batch, n, heads, d]`, `k` and `v` are
/// `[batch, m, heads, d]`. With `causal`, row `i` sees keys up to `i + m - n`: queries are those of the last keys.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attention<T: Simd>(
    isa: Isa,
    q: &[T],
    k: &[T],
    v: &[T],
    [batch, heads, d]: [usize; 3],
    causal: bool,
    out: &mut [T],
) {
    let width = heads * d;
    let [n, m] = [q, k].map(|x| x.len() / (batch * width));
    assert!(q.len() == batch * n * width && out.len() == q.len());
    assert!(k.len() == batch * m * width && v.len() == k.len() && m > 0);
    assert!(!causal || m >= n, "{n} queries of {m} keys");
    let causal = causal.then(|| m - n);
    let out = Shared::new(out);
    let per_head = (2 * rayon::current_num_threads()).div_ceil(heads).max(1);
    let rows_per_task = n.div_ceil(per_head).next_multiple_of(QUERIES);
    let chunks = n.div_ceil(rows_per_task);
    // Short texts go together: one by one, threads would wait for each other more than they compute.
    let together = (TOGETHER / (m * width)).clamp(1, batch);
    for first in (0..batch).step_by(together) {
        let images = together.min(batch - first);
        let memory: Vec<_> = (0..images * heads)
            .into_par_iter()
            .map(|index| {
                let (image, head) = (first + index / heads, index % heads);
                let at = |key: usize| (image * m + key) * width + head * d;
                let keys = |key: usize| &k[at(key)..][..d];
                let values = |key: usize| &v[at(key)..][..d];
                Memory::new(isa, m, d, keys, values)
            })
            .collect();
        (0..images * heads * chunks).into_par_iter().for_each(|index| {
            let (index, chunk) = (index / chunks, index % chunks);
            let (image, head) = (first + index / heads, index % heads);
            let queries = Queries {
                isa,
                q,
                out: &out,
                rows: chunk * rows_per_task..n.min((chunk + 1) * rows_per_task),
                first: image * n * width + head * d,
                width,
                memory: &memory[index],
                causal,
            };
            vectorised(isa, queries);
        });
    }
}

/// The keys and values of one head, as left-hand sides.
struct Memory<T> {
    /// `[keys][padded]`, with rows of zeros to a whole number of tiles.
    keys: Buffer<T>,
    /// For each block of keys `[rows][block]`: values transposed.
    values: Buffer<T>,
    count: usize,
    /// [`KEYS`], or of a few keys as many as a product takes: most texts are short.
    block: usize,
    d: usize,
    /// `d` as a multiple of a tile's step, and of its rows.
    padded: usize,
    rows: usize,
}

impl<T: Simd> Memory<T> {
    fn new<'a>(
        isa: Isa,
        count: usize,
        d: usize,
        key: impl Fn(usize) -> &'a [T],
        value: impl Fn(usize) -> &'a [T],
    ) -> Self {
        let (tile_rows, step) = (T::rows(isa), T::step(isa));
        let (padded, rows) = (d.next_multiple_of(step), d.next_multiple_of(tile_rows));
        let mut keys = Buffer::<T>::dirty(count.next_multiple_of(tile_rows) * padded);
        for (i, to) in keys.chunks_exact_mut(padded).enumerate() {
            let (to, rest) = to.split_at_mut(d);
            match i < count {
                true => to.copy_from_slice(key(i)),
                false => to.fill(T::default()),
            }
            rest.fill(T::default());
        }
        let block = KEYS.min(count.next_multiple_of(step));
        let mut values = Buffer::<T>::dirty(count.div_ceil(block) * rows * block);
        values.fill(T::default());
        for (first, to) in (0..count)
            .step_by(block)
            .zip(values.chunks_exact_mut(rows * block))
        {
            for i in 0..block.min(count - first) {
                for (row, v) in value(first + i).iter().enumerate() {
                    to[row * block + i] = *v;
                }
            }
        }
        Self {
            keys,
            values,
            count,
            block,
            d,
            padded,
            rows,
        }
    }
}

/// Some rows of one head.
struct Queries<'a, T> {
    isa: Isa,
    q: &'a [T],
    out: &'a Shared<'a, T>,
    rows: std::ops::Range<usize>,
    /// The place of the head's first row.
    first: usize,
    width: usize,
    memory: &'a Memory<T>,
    /// How many keys stand before the first query's own, where it doesn't see all.
    causal: Option<usize>,
}

impl<T: Simd> Work for Queries<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (isa, memory, d) = (self.isa, self.memory, self.memory.d);
        let _session = begin::<T>(isa);
        let tiles = tiles_together::<T>(memory);
        let mut tiles: Vec<_> = (0..tiles.min(self.rows.len().div_ceil(QUERIES)))
            .map(|_| QueryTile::new(memory))
            .collect();
        let mut scratch = Scratch::new(memory);
        let at = |row: usize| self.first + row * self.width;
        let queries = |first: usize| first..self.rows.end.min(first + QUERIES);
        for first in self.rows.clone().step_by(tiles.len() * QUERIES) {
            // The tiles with queries, and how many keys the last one of each sees.
            let firsts = (first..self.rows.end).step_by(QUERIES);
            let last = |first: usize| match self.causal {
                Some(before) => (before + queries(first).end).min(memory.count),
                None => memory.count,
            };
            for (tile, first) in tiles.iter_mut().zip(firsts.clone()) {
                tile.start();
                for (i, query) in queries(first).enumerate() {
                    tile.place(i, &self.q[at(query)..][..d]);
                }
            }
            for start in (0..memory.count).step_by(KEYS) {
                for (tile, first) in tiles.iter_mut().zip(firsts.clone()) {
                    let keys = start..last(first).min(start + KEYS);
                    if !keys.is_empty() {
                        let causal = self.causal.map(|before| before + first);
                        tile.look(isa, memory, keys, causal, &mut scratch);
                    }
                }
            }
            for (tile, first) in tiles.iter().zip(firsts) {
                let factors = tile.sum.map(|sum| 1.0 / sum);
                let rows = scratch.finished.chunks_exact_mut(QUERIES);
                for (to, from) in rows.zip(tile.out.chunks_exact(QUERIES)) {
                    for ((to, from), factor) in to.iter_mut().zip(from).zip(&factors) {
                        *to = T::from_f32(from * factor);
                    }
                }
                for (i, query) in queries(first).enumerate() {
                    // SAFETY: each row of each head is written once, by the task it belongs to.
                    let out = unsafe { self.out.slice(at(query), d) };
                    for (out, row) in out.iter_mut().zip(scratch.finished.chunks_exact(QUERIES)) {
                        *out = row[i];
                    }
                }
            }
        }
    }
}

/// Tiles of queries that look at a block of keys one after another, while it is in a near cache: as many as fit half of the second-level one.
fn tiles_together<T>(memory: &Memory<T>) -> usize {
    let each = QUERIES * (memory.padded * size_of::<T>() + memory.rows * size_of::<f32>());
    (TILES_BYTES / each).clamp(1, 8)
}

/// A tile of queries and its result so far.
struct QueryTile<T> {
    padded: usize,
    /// Two panels.
    q: Buffer<T>,
    /// `[rows][QUERIES]`.
    out: Buffer<f32>,
    /// The largest score.
    max: [f32; QUERIES],
    sum: [f32; QUERIES],
}

/// What a tile needs while it looks at a block of keys.
struct Scratch<T> {
    /// `[KEYS][QUERIES]`.
    scores: Buffer<f32>,
    /// The same, as two panels.
    weights: Buffer<T>,
    /// `[rows][QUERIES]`: a tile's result, divided by the sums.
    finished: Buffer<T>,
}

impl<T: Simd> Scratch<T> {
    fn new(memory: &Memory<T>) -> Self {
        Self {
            scores: Buffer::dirty(KEYS * QUERIES),
            weights: Buffer::dirty(KEYS * QUERIES),
            finished: Buffer::dirty(memory.rows * QUERIES),
        }
    }
}

impl<T: Simd> QueryTile<T> {
    fn new(memory: &Memory<T>) -> Self {
        let mut q = Buffer::<T>::dirty(QUERIES * memory.padded);
        // Columns without a query stay zero.
        q.fill(T::default());
        Self {
            padded: memory.padded,
            q,
            out: Buffer::dirty(memory.rows * QUERIES),
            max: [0.0; QUERIES],
            sum: [0.0; QUERIES],
        }
    }

    #[inline(always)]
    fn start(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
    }

    #[inline(always)]
    fn place(&mut self, query: usize, row: &[T]) {
        let panel = &mut self.q[query / PANEL * self.padded * PANEL..];
        let groups = panel.chunks_exact_mut(PANEL * T::GROUP);
        let lane = query % PANEL * T::GROUP;
        let mut values = row.chunks_exact(T::GROUP);
        let mut groups = groups.map(|group| &mut group[lane..lane + T::GROUP]);
        for (from, to) in (&mut values).zip(&mut groups) {
            to.copy_from_slice(from);
        }
        if let Some(to) = groups.next() {
            let rest = values.remainder();
            to[..rest.len()].copy_from_slice(rest);
        }
    }

    /// Looks at one block of keys. `causal` is the place of the first query's own key.
    #[inline(always)]
    fn look(
        &mut self,
        isa: Isa,
        memory: &Memory<T>,
        keys: std::ops::Range<usize>,
        causal: Option<usize>,
        scratch: &mut Scratch<T>,
    ) {
        let Scratch { scores, weights, .. } = scratch;
        let (tile_rows, count) = (T::rows(isa), keys.len());
        let k = count.next_multiple_of(T::step(isa));
        for row in (0..count).step_by(tile_rows) {
            let tile = Tile {
                a: memory.keys[(keys.start + row) * memory.padded..].as_ptr(),
                stride: memory.padded,
                taps: &[0],
                k: memory.padded,
                b: self.q.as_ptr(),
                panel: self.padded * PANEL,
                c: scores[row * QUERIES..].as_mut_ptr(),
                accumulate: false,
            };
            // SAFETY: keys are there in whole tiles; `q` is two panels; a block's scores are a whole number of tiles.
            unsafe { T::tile(isa, &tile) };
        }
        scores[count * QUERIES..k.max(count) * QUERIES].fill(f32::NEG_INFINITY);
        if let Some(first) = causal {
            for (key, scores) in keys.clone().zip(scores.chunks_exact_mut(QUERIES)) {
                let hidden = key.saturating_sub(first).min(QUERIES);
                scores[..hidden].fill(f32::NEG_INFINITY);
            }
        }
        let scale = 1.0 / (memory.d as f32).sqrt();
        let mut factors = [1.0; QUERIES];
        let mut base = [0.0; QUERIES];
        let max = T::maximum(isa, &scores[..k * QUERIES]);
        for query in 0..QUERIES {
            let max = max[query].max(self.max[query]);
            // Nothing to see yet: any finite number will do.
            base[query] = if max == f32::NEG_INFINITY { 0.0 } else { max };
            factors[query] = math::exp((self.max[query] - base[query]) * scale);
            self.max[query] = max;
        }
        let sums = T::exponentials(isa, &scores[..k * QUERIES], scale, &base, weights, KEYS * PANEL);
        for ((sum, new), factor) in self.sum.iter_mut().zip(sums).zip(&factors) {
            *sum = *sum * factor + new;
        }
        if keys.start > 0 && factors.iter().any(|factor| *factor != 1.0) {
            for row in self.out.chunks_exact_mut(QUERIES) {
                row.iter_mut().zip(&factors).for_each(|(v, factor)| *v *= factor);
            }
        }
        let values = &memory.values[keys.start * memory.rows..];
        for row in (0..memory.rows).step_by(tile_rows) {
            let tile = Tile {
                a: values[row * memory.block..].as_ptr(),
                stride: memory.block,
                taps: &[0],
                k,
                b: weights.as_ptr(),
                panel: KEYS * PANEL,
                c: self.out[row * QUERIES..].as_mut_ptr(),
                accumulate: keys.start > 0,
            };
            // SAFETY: a block's values are whole tiles of as many columns, at least `k`; the weights' panels are `KEYS` long; `out` is whole tiles.
            unsafe { T::tile(isa, &tile) };
        }
    }
}
