//! Attention without a matrix of scores in memory: keys are looked at a block at a time, with a running maximum and sum (Milakov and
//! Gimelshein 2018, arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135).

use rayon::prelude::*;

use super::{
    gemm::pack,
    isa::Isa,
    math::{self, Work, vectorised},
    memory::{Buffer, Shared},
    tile::{COLUMNS, Element, MAX_ROWS, PANEL, Tile, begin},
};

/// Keys that are looked at together: their scores for one tile of queries are 32 kilobytes.
const KEYS: usize = 256;

/// Rows of `[batch, n, heads, d]`.
#[derive(Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
}

/// `out = softmax(q k^T / sqrt(d)) v` for each of `batch * heads`; `out` is as `q`. With `causal`, row `i` sees keys up to `i`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attention<T: Element>(
    isa: Isa,
    q: Heads<T>,
    k: Heads<T>,
    v: Heads<T>,
    [batch, heads, d]: [usize; 3],
    causal: bool,
    out: &mut [T],
) {
    let (n, m, width) = (q.rows, k.rows, heads * d);
    assert!(q.data.len() == batch * n * width && out.len() == q.data.len());
    assert!(k.data.len() == batch * m * width && v.data.len() == k.data.len() && v.rows == m && m > 0);
    let tile_rows = T::rows(isa);
    let out = Shared::new(out);
    let tasks_per_head = (2 * rayon::current_num_threads()).div_ceil(batch * heads).max(1);
    let rows_per_task = n.div_ceil(tasks_per_head).next_multiple_of(tile_rows);
    let chunks = n.div_ceil(rows_per_task);
    for image in 0..batch {
        // One head's keys and values at a time would do; a whole picture's are packed at once to keep all threads busy.
        let packed: Vec<_> = (0..heads)
            .into_par_iter()
            .map(|head| {
                let at = |row: usize, i: usize| (image * m + row) * width + head * d + i;
                let keys = pack::<T>(m, 1, d, |key, _, i| k.data[at(key, i)]);
                let values = pack::<T>(d, 1, m, |i, _, key| v.data[at(key, i)]);
                (keys, values)
            })
            .collect();
        (0..heads * chunks).into_par_iter().for_each(|index| {
            let (head, chunk) = (index / chunks, index % chunks);
            let ((keys, key_panels), (values, value_panels)) = &packed[head];
            let queries = Queries {
                isa,
                q,
                out: &out,
                rows: chunk * rows_per_task..n.min((chunk + 1) * rows_per_task),
                first: image * n * width + head * d,
                width,
                d,
                keys: KeyBlock {
                    keys,
                    values,
                    key_panels: *key_panels,
                    value_panels: *value_panels,
                    start: 0,
                    count: 0,
                    of: m,
                },
                causal,
            };
            vectorised(isa, queries);
        });
    }
}

/// Some rows of one head.
struct Queries<'a, T> {
    isa: Isa,
    q: Heads<'a, T>,
    out: &'a Shared<'a, T>,
    rows: std::ops::Range<usize>,
    /// Where the head's first row begins.
    first: usize,
    width: usize,
    d: usize,
    keys: KeyBlock<'a, T>,
    causal: bool,
}

impl<T: Element> Work for Queries<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            isa,
            q,
            rows,
            d,
            keys,
            ..
        } = self;
        let _session = begin::<T>(isa);
        let (tile_rows, padded) = (T::rows(isa), d.next_multiple_of(T::K));
        let scale = 1.0 / (d as f32).sqrt();
        let mut tile = QueryTile::new(padded, keys.value_panels);
        let at = |row: usize| self.first + row * self.width;
        for first in rows.clone().step_by(tile_rows) {
            let count = tile_rows.min(rows.end - first);
            for r in 0..count {
                tile.q[r * padded..][..d].copy_from_slice(&q.data[at(first + r)..][..d]);
            }
            let last = if self.causal {
                (first + count).min(keys.of)
            } else {
                keys.of
            };
            tile.start();
            for start in (0..last).step_by(KEYS) {
                let block = KeyBlock {
                    start,
                    count: KEYS.min(last - start),
                    ..keys
                };
                tile.step(isa, &block, scale, self.causal.then_some(first), count);
            }
            for r in 0..count {
                // SAFETY: each row of each head is written once, by the task it belongs to.
                let out = unsafe { self.out.slice(at(first + r), d) };
                let factor = 1.0 / tile.sum[r];
                let from = &tile.out[r * keys.value_panels * PANEL..][..d];
                out.iter_mut()
                    .zip(from)
                    .for_each(|(o, v)| *o = T::from_f32(v * factor));
            }
        }
    }
}

/// Some keys and values of a head, packed.
#[derive(Clone, Copy)]
struct KeyBlock<'a, T> {
    keys: &'a [T],
    values: &'a [T],
    key_panels: usize,
    value_panels: usize,
    start: usize,
    count: usize,
    /// All keys there are.
    of: usize,
}

/// A tile of queries and what is known of its result so far.
struct QueryTile<T> {
    padded: usize,
    q: Buffer<T>,
    scores: Buffer<f32>,
    weights: Buffer<T>,
    out: Buffer<f32>,
    max: [f32; MAX_ROWS],
    sum: [f32; MAX_ROWS],
}

impl<T: Element> QueryTile<T> {
    fn new(padded: usize, value_panels: usize) -> Self {
        Self {
            padded,
            q: Buffer::zeroed(MAX_ROWS * padded),
            scores: Buffer::zeroed(MAX_ROWS * KEYS),
            weights: Buffer::zeroed(MAX_ROWS * KEYS),
            out: Buffer::zeroed(MAX_ROWS * value_panels * PANEL),
            max: [0.0; MAX_ROWS],
            sum: [0.0; MAX_ROWS],
        }
    }

    #[inline(always)]
    fn start(&mut self) {
        self.out.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
    }

    /// Looks at one block of keys. `causal` is the first query's place in its row.
    #[inline(always)]
    fn step(&mut self, isa: Isa, block: &KeyBlock<T>, scale: f32, causal: Option<usize>, rows: usize) {
        let key_panel = block.keys.len() / block.key_panels;
        let value_panel = block.values.len() / block.value_panels;
        let width = block.value_panels * PANEL;
        let columns = block.count.next_multiple_of(COLUMNS);
        for column in (0..columns).step_by(COLUMNS) {
            let panel = (block.start + column) / PANEL;
            let tile = Tile {
                a: self.q.as_ptr(),
                stride: self.padded,
                taps: &[0],
                k: self.padded,
                b: block.keys[panel * key_panel..(panel + 2) * key_panel].as_ptr(),
                panel: key_panel,
                c: self.scores[column..].as_mut_ptr(),
                c_stride: KEYS,
                accumulate: false,
            };
            // SAFETY: `q` and `scores` have `MAX_ROWS` rows, two panels of keys are there since they come in pairs.
            unsafe { T::tile(isa, &tile) };
        }
        for r in 0..rows {
            let seen = match causal {
                Some(first) => (first + r + 1).saturating_sub(block.start).min(block.count),
                None => block.count,
            };
            let scores = &mut self.scores[r * KEYS..][..columns];
            scores[seen..].fill(f32::NEG_INFINITY);
            let max = maximum(scores) * scale;
            let max = if max > self.max[r] { max } else { self.max[r] };
            // Nothing to see yet: any finite number will do.
            let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
            let weights = &mut self.weights[r * KEYS..][..columns];
            let mut parts = [0f32; PANEL];
            for (scores, weights) in scores.chunks_exact(PANEL).zip(weights.chunks_exact_mut(PANEL)) {
                for ((score, weight), part) in scores.iter().zip(weights).zip(&mut parts) {
                    let value = math::exp(score * scale - base);
                    *part += value;
                    *weight = T::from_f32(value);
                }
            }
            for weight in &mut weights[seen..] {
                *weight = T::default();
            }
            // What isn't seen added the smallest normal number, which changes nothing.
            let sum = parts.iter().sum::<f32>();
            if max != self.max[r] {
                let factor = math::exp(self.max[r] - base);
                self.sum[r] *= factor;
                self.out[r * width..][..width]
                    .iter_mut()
                    .for_each(|v| *v *= factor);
                self.max[r] = max;
            }
            self.sum[r] += sum;
        }
        let k = block
            .count
            .next_multiple_of(T::K)
            .min(block.of.next_multiple_of(T::K) - block.start);
        for panel in (0..block.value_panels).step_by(2) {
            let tile = Tile {
                a: self.weights.as_ptr(),
                stride: KEYS,
                taps: &[0],
                k,
                b: block.values[panel * value_panel + block.start * PANEL..][..value_panel + k * PANEL]
                    .as_ptr(),
                panel: value_panel,
                c: self.out[panel * PANEL..].as_mut_ptr(),
                c_stride: width,
                accumulate: true,
            };
            // SAFETY: `weights` and `out` have `MAX_ROWS` rows; of the values' two panels, `k` rows from `start` on are there.
            unsafe { T::tile(isa, &tile) };
        }
    }
}

#[inline(always)]
fn maximum(values: &[f32]) -> f32 {
    let mut parts = [f32::NEG_INFINITY; PANEL];
    for chunk in values.chunks_exact(PANEL) {
        for (part, v) in parts.iter_mut().zip(chunk) {
            *part = if *v > *part { *v } else { *part };
        }
    }
    parts
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}
