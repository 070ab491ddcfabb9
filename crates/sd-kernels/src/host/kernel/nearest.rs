//! The most similar of many rows, without a matrix of similarities in memory.

use rayon::prelude::*;

use super::packed::{Room, pack};
use crate::{
    host::simd::{COLUMNS, Isa, PANEL, Simd, Tile, Work, begin, vectorised},
    memory::buffer::Buffer,
    merging::{Nearest, inverse_norm},
};

/// For each row of `x`, `[n, width]`, that `from` names, the largest cosine with a row that `to` names, and which of `to` that is: of
/// equal ones the first.
pub(crate) fn nearest<T: Simd>(isa: Isa, x: &[T], width: usize, from: &[u32], to: &[u32]) -> Vec<Nearest> {
    let row = |row: u32| &x[row as usize * width..][..width];
    let (padded, rows) = (width.next_multiple_of(T::K), T::rows(isa));
    // Left-hand sides are whole tiles of rows, right-hand sides panels; what is beyond is never looked at.
    let mut left = Buffer::<T>::dirty(to.len().next_multiple_of(rows) * padded);
    left.par_chunks_exact_mut(padded)
        .enumerate()
        .for_each(|(i, out)| match to.get(i) {
            Some(&to) => {
                out[..width].copy_from_slice(row(to));
                out[width..].fill(T::default());
            }
            None => out.fill(T::default()),
        });
    let panels = pack(from.len(), 1, width, |n| Some(row(from[n])));
    let right = panels.right();
    let scales: Vec<f32> = to
        .par_iter()
        .map(|&to| inverse_norm(row(to), T::to_f32))
        .collect();
    let mut found = vec![(0.0, 0); from.len()];
    found
        .par_chunks_mut(COLUMNS)
        .enumerate()
        .for_each(|(block, found)| {
            // Nothing is widened here.
            let mut room = Room::default();
            let columns = Columns {
                isa,
                left: &left,
                scales: &scales,
                right: right.panels(isa, 2 * block, 2, &mut room),
                padded,
            };
            let (best, place) = vectorised(isa, columns);
            for (i, found) in found.iter_mut().enumerate() {
                let scale = inverse_norm(row(from[block * COLUMNS + i]), T::to_f32);
                *found = (best[i] * scale, place[i]);
            }
        });
    found
}

/// All rows against the rows of two panels.
struct Columns<'a, T> {
    isa: Isa,
    left: &'a [T],
    /// One for each row that counts.
    scales: &'a [f32],
    right: &'a [T],
    padded: usize,
}

impl<T: Simd> Work for Columns<'_, T> {
    type Output = ([f32; COLUMNS], [u32; COLUMNS]);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let _session = begin::<T>(self.isa);
        let rows = T::rows(self.isa);
        let mut scores = Buffer::<f32>::dirty(rows * COLUMNS);
        let (mut best, mut place) = ([f32::NEG_INFINITY; COLUMNS], [0; COLUMNS]);
        for (block, scales) in self.scales.chunks(rows).enumerate() {
            let tile = Tile {
                a: self.left[block * rows * self.padded..][..rows * self.padded].as_ptr(),
                stride: self.padded,
                taps: &[0],
                k: self.padded,
                b: self.right.as_ptr(),
                panel: self.padded * PANEL,
                c: scores.as_mut_ptr(),
                accumulate: false,
            };
            // SAFETY: the rows of a whole tile are there (the slice above), `right` is two panels, and `scores` is a whole tile.
            unsafe { T::tile(self.isa, &tile) };
            for (i, (scale, scores)) in scales.iter().zip(scores.chunks_exact(COLUMNS)).enumerate() {
                let row = (block * rows + i) as u32;
                for ((score, best), place) in scores.iter().zip(&mut best).zip(&mut place) {
                    let score = score * scale;
                    let better = score > *best;
                    *best = if better { score } else { *best };
                    *place = if better { row } else { *place };
                }
            }
        }
        (best, place)
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Every instruction set finds a row that is as near as any, by sums in `f64`.
    fn finds_the_nearest<T: Simd>(tokens: usize, width: usize) {
        let mut state = tokens as u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::from_f32((state >> 8) as f32 / (1 << 24) as f32 - 0.5)
        };
        let mut x: Vec<T> = (0..tokens * width).map(|_| random()).collect();
        // Nothing is like a row of zeros, and it is like nothing.
        x[..width].fill(T::default());
        x[3 * width..4 * width].fill(T::default());
        let (to, from): (Vec<u32>, Vec<u32>) = (0..tokens as u32).partition(|token| token % 3 == 0);
        let row = |token: u32| {
            x[token as usize * width..][..width]
                .iter()
                .map(|v| f64::from(v.to_f32()))
        };
        let cosine = |a: u32, b: u32| {
            let dot: f64 = row(a).zip(row(b)).map(|(a, b)| a * b).sum();
            let norms: f64 = [a, b]
                .map(|t| row(t).map(|v| v * v).sum::<f64>().sqrt())
                .iter()
                .product();
            if norms > 0.0 { dot / norms } else { 0.0 }
        };
        for isa in Isa::available() {
            let found = nearest(isa, &x, width, &from, &to);
            assert_eq!(found.len(), from.len());
            for (&from, &(score, place)) in from.iter().zip(&found) {
                let best = to
                    .iter()
                    .map(|&to| cosine(from, to))
                    .fold(f64::NEG_INFINITY, f64::max);
                let what = format!("{isa:?}, {tokens} tokens of {width}: token {from}");
                assert!(
                    (f64::from(score) - best).abs() < 1e-5,
                    "{what}: {score} should be {best}"
                );
                assert!(best - cosine(from, to[place as usize]) < 1e-5, "{what}");
            }
        }
    }

    #[test]
    fn the_nearest_are_found() {
        for (tokens, width) in [(5, 8), (40, 40), (97, 33), (300, 320)] {
            finds_the_nearest::<f32>(tokens, width);
            finds_the_nearest::<bf16>(tokens, width);
        }
    }
}
