//! Token merging: which tokens of a picture become one.

use burn_tensor::Tensor;
use rayon::prelude::*;

/// Rows that are one task.
pub(crate) const ROWS: usize = 64;

/// The places of pictures' tokens among merged tokens.
pub(crate) struct Places {
    batch: usize,
    /// Tokens of a picture, and how many are left of them.
    tokens: usize,
    kept: usize,
    /// For each token its merged token, `[batch, tokens]`.
    places: Vec<u32>,
}

impl Places {
    /// Decides for pictures of `h w` tokens. `nearest` is given the tokens that may go and the destinations: it has for each picture and
    /// each of the former the most similar destination. `None` if no token goes.
    pub fn new(
        batch: usize,
        [h, w]: [usize; 2],
        ratio: f64,
        nearest: impl FnOnce(&[u32], &[u32]) -> Vec<Vec<Nearest>>,
    ) -> Option<Self> {
        let tokens = h * w;
        let is_destination = |token: usize| {
            let (y, x) = (token / w, token % w);
            y % 2 == 0 && x % 2 == 0 && y + 1 < h && x + 1 < w
        };
        let (to, from): (Vec<u32>, Vec<u32>) =
            (0..tokens as u32).partition(|&token| is_destination(token as usize));
        let merged = ((tokens as f64 * ratio) as usize).min(from.len());
        if merged == 0 || to.is_empty() {
            return None;
        }
        let mut places = vec![0; batch * tokens];
        for (places, nearest) in places.chunks_exact_mut(tokens).zip(&nearest(&from, &to)) {
            place(places, merged, &from, &to, nearest);
        }
        Some(Self {
            batch,
            tokens,
            kept: tokens - merged,
            places,
        })
    }

    /// For a batch of so many pictures: those of one for each.
    pub fn rows(&self, batch: usize) -> Self {
        let times = if self.batch == batch { 1 } else { batch };
        Self {
            batch,
            places: self.places.repeat(times),
            ..*self
        }
    }

    /// The shape of pictures' merged tokens of this width.
    pub fn merged(&self, width: usize) -> [usize; 3] {
        [self.batch, self.kept, width]
    }

    /// # Panics
    /// If `x` has not the tokens of these pictures.
    pub fn check(&self, x: &Tensor<3>) {
        let [batch, tokens, _] = x.dims();
        assert_eq!([batch, tokens], [self.batch, self.tokens]);
    }

    /// The row of all pictures' merged tokens that a token of all pictures' is in.
    pub fn row(&self, token: usize) -> usize {
        token / self.tokens * self.kept + self.places[token] as usize
    }

    /// The mean of the rows of `x` that belong to each row of `out`, summed in their order.
    pub fn means<T: Copy + Send + Sync>(
        &self,
        x: &[T],
        out: &mut [T],
        width: usize,
        wide: impl Fn(T) -> f32 + Sync,
        narrow: impl Fn(f32) -> T + Sync,
    ) {
        // The tokens of each row, side by side.
        let mut ends = vec![0; self.batch * self.kept + 1];
        let all = 0..self.batch * self.tokens;
        all.clone().for_each(|token| ends[self.row(token) + 1] += 1);
        for row in 1..ends.len() {
            ends[row] += ends[row - 1];
        }
        let mut tokens = vec![0; all.len()];
        let mut next = ends.clone();
        for token in all {
            let place = &mut next[self.row(token)];
            tokens[*place] = token;
            *place += 1;
        }
        let rows = out.par_chunks_exact_mut(width).with_min_len(ROWS).enumerate();
        rows.for_each_init(
            || vec![0.0f32; width],
            |sum, (row, out)| {
                let tokens = &tokens[ends[row]..ends[row + 1]];
                if let [token] = tokens {
                    return out.copy_from_slice(&x[token * width..][..width]);
                }
                sum.fill(0.0);
                for token in tokens {
                    let values = &x[token * width..][..width];
                    sum.iter_mut()
                        .zip(values)
                        .for_each(|(sum, &value)| *sum += wide(value));
                }
                let count = tokens.len() as f32;
                out.iter_mut()
                    .zip(&*sum)
                    .for_each(|(out, sum)| *out = narrow(sum / count));
            },
        );
    }
}

/// The largest cosine of a token with any destination, and the destination's place among them.
pub(crate) type Nearest = (f32, u32);

/// One picture's places: the `merged` tokens of `from` that are most like a destination go there, of two equal ones the first; all
/// others keep their order.
fn place(places: &mut [u32], merged: usize, from: &[u32], to: &[u32], nearest: &[Nearest]) {
    let mut order: Vec<usize> = (0..from.len()).collect();
    order.sort_by(|&a, &b| nearest[b].0.total_cmp(&nearest[a].0));
    let mut goes = vec![None; places.len()];
    for &i in &order[..merged] {
        goes[from[i] as usize] = Some(to[nearest[i].1 as usize]);
    }
    let mut next = 0..;
    for (place, _) in places.iter_mut().zip(&goes).filter(|(_, goes)| goes.is_none()) {
        *place = next.next().unwrap_or_default();
    }
    for (token, to) in goes.iter().enumerate() {
        if let Some(to) = to {
            places[token] = places[*to as usize];
        }
    }
}

/// One over the length of a row; 0 for one of zeros, which is like nothing.
pub(crate) fn inverse_norm<T: Copy>(row: &[T], wide: impl Fn(T) -> f32) -> f32 {
    // Several sums, since one would wait for each addition.
    const SUMS: usize = 16;
    let mut sums = [0.0; SUMS];
    for values in row.chunks(SUMS) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += wide(value) * wide(value);
        }
    }
    let norm = sums.iter().sum::<f32>().sqrt();
    if norm > 0.0 { 1.0 / norm } else { 0.0 }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn_tensor::{DType, Device, TensorData};

    use super::*;
    use crate::{TokenMerging, memory::staging::floats};

    fn tensor(values: Vec<f32>, shape: [usize; 3], dtype: DType) -> Tensor<3> {
        let device = Device::flex();
        Tensor::<3>::from_data(TensorData::new(values, shape), (&device, DType::F32)).cast(dtype)
    }

    /// Numbers of few digits, the same in every type.
    fn numbers(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * i * 7 + i * 3) % 61) as f32 / 32.0 - 1.0)
            .collect()
    }

    #[test]
    fn places_are_few_and_means_are_means() {
        let ([h, w], width) = ([6, 9], 40);
        let (values, shape) = (numbers(2 * h * w * width), [2, h * w, width]);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = tensor(values.clone(), shape, dtype);
            let merging = TokenMerging::new(&x, [h, w], 0.5).unwrap();
            assert_eq!(merging.0.kept, 27);
            let merged = merging.merge(x.clone());
            assert_eq!((merged.dims(), merged.dtype()), ([2, 27, width], dtype));
            let tolerance = if dtype == DType::F32 { 1e-6 } else { 8e-3 };
            let merged_values = floats(merged.clone());
            for row in 0..2 * 27 {
                let tokens: Vec<usize> = (0..2 * h * w)
                    .filter(|&token| merging.0.row(token) == row)
                    .collect();
                assert!(!tokens.is_empty(), "row {row}");
                for k in 0..width {
                    let mean = tokens.iter().map(|token| values[token * width + k]).sum::<f32>()
                        / tokens.len() as f32;
                    let got = merged_values[row * width + k];
                    assert!(
                        (got - mean).abs() <= tolerance,
                        "{dtype:?} row {row}: {got}, not {mean}"
                    );
                }
            }
            let sums = floats(merging.unmerge_onto(merged, x));
            for (i, sum) in sums.iter().enumerate() {
                let expected = values[i] + merged_values[merging.0.row(i / width) * width + i % width];
                assert!(
                    (sum - expected).abs() <= 2.0 * tolerance,
                    "{dtype:?} {i}: {sum}, not {expected}"
                );
            }
        }
    }

    /// f16 has no kernels on the host, so it takes the way of other devices.
    #[test]
    fn every_way_merges_the_same_tokens() {
        let values = numbers(2 * 64 * 24);
        let places = |dtype| {
            TokenMerging::new(&tensor(values.clone(), [2, 64, 24], dtype), [8, 8], 0.4)
                .unwrap()
                .0
                .places
        };
        assert_eq!(places(DType::F32), places(DType::F16));
        assert_eq!(places(DType::F32), places(DType::BF16));
    }

    #[test]
    fn nothing_to_merge() {
        let x = |h: usize, w: usize| tensor(numbers(h * w * 8), [1, h * w, 8], DType::F32);
        assert!(TokenMerging::new(&x(4, 4), [4, 4], 0.0).is_none());
        assert!(TokenMerging::new(&x(4, 4), [4, 4], 0.06).is_none());
        assert!(TokenMerging::new(&x(1, 9), [1, 9], 0.5).is_none());
        let all = TokenMerging::new(&x(4, 5), [4, 5], 1.0).unwrap();
        assert_eq!(all.0.kept, 4);
    }
}
