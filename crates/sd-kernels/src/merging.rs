//! Token merging: attention over fewer pixels, where neighbours are alike.

use burn_tensor::{DType, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::{Matrix, add_product};
#[cfg(feature = "flex")]
use crate::{
    host::{self, Host, Isa, Stored},
    workspace::timed,
};

/// Which tokens of a picture attention takes for one: ToMe for Stable Diffusion (Bolya and Hoffman 2023, arXiv:2303.17604), as
/// tomesd 0.1.3 does it with `use_rand=False`.
///
/// The upper left token of every 2x2 tokens is a destination. Of all others, those that are most like a destination (by the cosine)
/// are merged with it: a merged token is the mean of what is in it. On a device without kernels of our own the host decides.
pub struct TokenMerging {
    /// Pictures, their tokens, and what is left of them.
    batch: usize,
    tokens: usize,
    kept: usize,
    /// Which merged token each token belongs to, `[batch, tokens]`.
    places: Vec<u32>,
}

/// Tokens for which products are made at a time where there is no kernel for it, and rows that are one task.
const ROWS: usize = 64;

impl TokenMerging {
    /// Decides for `x`, `[batch, h w, c]`; the share `ratio` of the tokens goes, at most those that are no destination. `None` if that
    /// is not even one.
    pub fn new(x: &Tensor<3>, [h, w]: [usize; 2], ratio: f64) -> Option<Self> {
        let [batch, tokens, width] = x.dims();
        debug_assert_eq!(tokens, h * w);
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
        let pictures = nearest(x, width, &from, &to);
        let mut places = vec![0; batch * tokens];
        for (places, nearest) in places.chunks_exact_mut(tokens).zip(&pictures) {
            place(places, merged, &from, &to, nearest);
        }
        Some(Self {
            batch,
            tokens,
            kept: tokens - merged,
            places,
        })
    }

    /// `[batch, tokens, c]` to merged tokens, `[batch, kept, c]`.
    pub fn merge(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        assert_eq!([batch, tokens], [self.batch, self.tokens]);
        let shape = [batch, self.kept, width];
        #[cfg(feature = "flex")]
        let x = {
            let on_host = |mean: &mut dyn FnMut()| {
                timed(
                    "merge tokens",
                    || format!("{} x {width}", batch * tokens),
                    0.0,
                    mean,
                );
            };
            match Host::of(x) {
                Ok(Host::F32(x)) => {
                    let mut out = host::Buffer::dirty(batch * self.kept * width);
                    on_host(&mut || self.means(x.slice(), &mut out, width, |v| v));
                    return host::tensor(out, shape);
                }
                Ok(Host::Bf16(x)) => {
                    let mut out = host::Buffer::dirty(batch * self.kept * width);
                    on_host(&mut || self.means(x.slice(), &mut out, width, half::bf16::from_f32));
                    return host::tensor(out, shape);
                }
                Err(x) => x,
            }
        };
        let (device, dtype) = (x.device(), x.dtype());
        let mut out = vec![0.0; batch * self.kept * width];
        self.means(&floats(x), &mut out, width, |v| v);
        Tensor::<3>::from_data(TensorData::new(out, shape), (&device, DType::F32)).cast(dtype)
    }

    /// `residual`, `[batch, tokens, c]`, plus for each token what came out for the one that it was merged into, `[batch, kept, c]`.
    pub fn unmerge_onto(&self, merged: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let shape = residual.dims();
        let [batch, tokens, width] = shape;
        assert_eq!([batch, tokens], [self.batch, self.tokens]);
        assert_eq!(merged.dims(), [batch, self.kept, width]);
        #[cfg(feature = "flex")]
        let residual = {
            fn on_host<T: Stored>(
                own: &TokenMerging,
                merged: Tensor<3>,
                residual: &host::Values<T>,
                shape: [usize; 3],
            ) -> Tensor<3> {
                let merged = host::values::<T, 3>(merged);
                let mut out = host::Buffer::dirty(residual.slice().len());
                let (rows, width) = (shape[0] * shape[1], shape[2]);
                timed(
                    "unmerge tokens",
                    || format!("{rows} x {width}"),
                    0.0,
                    || {
                        let rows = out.par_chunks_exact_mut(width).with_min_len(ROWS);
                        rows.zip(residual.slice().par_chunks_exact(width))
                            .enumerate()
                            .for_each(|(token, (out, residual))| {
                                let merged = &merged.slice()[own.row(token) * width..][..width];
                                for ((out, a), b) in out.iter_mut().zip(residual).zip(merged) {
                                    *out = T::from_f32(a.to_f32() + b.to_f32());
                                }
                            });
                    },
                );
                host::tensor(out, shape)
            }
            match Host::of(residual) {
                Ok(Host::F32(residual)) => return on_host(self, merged, &residual, shape),
                Ok(Host::Bf16(residual)) => return on_host(self, merged, &residual, shape),
                Err(residual) => residual,
            }
        };
        let rows: Vec<i32> = (0..batch * tokens).map(|token| self.row(token) as i32).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch * tokens]), &residual.device());
        let merged = merged.reshape([batch * self.kept, width]);
        residual + merged.select(0, rows).reshape(shape)
    }

    /// Which row of all pictures' merged tokens a token of all pictures' is in.
    fn row(&self, token: usize) -> usize {
        token / self.tokens * self.kept + self.places[token] as usize
    }

    /// The mean of the rows of `x` that belong to each row of `out`, summed in their order.
    fn means<T: Copy + Into<f32> + Send + Sync>(
        &self,
        x: &[T],
        out: &mut [T],
        width: usize,
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
                        .for_each(|(sum, &value)| *sum += value.into());
                }
                let count = tokens.len() as f32;
                out.iter_mut()
                    .zip(&*sum)
                    .for_each(|(out, sum)| *out = narrow(sum / count));
            },
        );
    }
}

/// The largest cosine of a token with any destination, and that destination's place among them.
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

/// For each picture and each token of `from`, the most similar of `to`.
fn nearest(x: &Tensor<3>, width: usize, from: &[u32], to: &[u32]) -> Vec<Vec<Nearest>> {
    let picture = x.dims()[1] * width;
    #[cfg(feature = "flex")]
    let x = {
        fn on_host<T: Stored>(
            x: &host::Values<T>,
            (picture, width): (usize, usize),
            from: &[u32],
            to: &[u32],
        ) -> Vec<Vec<Nearest>> {
            let pictures = x.slice().chunks_exact(picture);
            let work = || {
                pictures
                    .map(|x| host::nearest(Isa::detect(), x, width, from, to))
                    .collect()
            };
            let count = x.slice().len() / picture;
            timed(
                "match tokens",
                || format!("{} x {}, {width}", count * from.len(), to.len()),
                2.0 * (count * from.len()) as f64 * (to.len() * width) as f64,
                work,
            )
        }
        match Host::of(x.clone()) {
            Ok(Host::F32(x)) => return on_host(&x, (picture, width), from, to),
            Ok(Host::Bf16(x)) => return on_host(&x, (picture, width), from, to),
            Err(x) => x,
        }
    };
    #[cfg(not(feature = "flex"))]
    let x = x.clone();
    let x = floats(x);
    x.chunks_exact(picture)
        .map(|x| by_products(x, width, from, to))
        .collect()
}

/// The same for one picture, in `f32` and any processor's way.
pub(crate) fn by_products(x: &[f32], width: usize, from: &[u32], to: &[u32]) -> Vec<Nearest> {
    let unit = |tokens: &[u32]| -> Vec<f32> {
        let rows = tokens.iter().map(|&token| &x[token as usize * width..][..width]);
        rows.flat_map(|row| {
            let scale = inverse_norm(row, |v| v);
            row.iter().map(move |v| v * scale)
        })
        .collect()
    };
    let (from, to) = (unit(from), unit(to));
    let count = to.len() / width;
    let to = Matrix::new(&to, count, width).transposed();
    let mut found = Vec::with_capacity(from.len() / width);
    for block in from.chunks(ROWS * width) {
        let rows = block.len() / width;
        let mut scores = vec![0.0; rows * count];
        add_product(&mut scores, 1.0, Matrix::new(block, rows, width), to);
        found.extend(scores.chunks_exact(count).map(|row| {
            let mut best = (f32::NEG_INFINITY, 0);
            for (i, &score) in row.iter().enumerate() {
                if score > best.0 {
                    best = (score, i as u32);
                }
            }
            best
        }));
    }
    found
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

/// A tensor's values as `f32`, on any device.
fn floats(x: Tensor<3>) -> Vec<f32> {
    let data = x.into_data().convert_dtype(DType::F32);
    data.try_to_vec().unwrap_or_default()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn_tensor::Device;

    use super::*;

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
            assert_eq!(merging.kept, 27);
            let merged = merging.merge(x.clone());
            assert_eq!((merged.dims(), merged.dtype()), ([2, 27, width], dtype));
            let tolerance = if dtype == DType::F32 { 1e-6 } else { 8e-3 };
            let merged_values = floats(merged.clone());
            for row in 0..2 * 27 {
                let tokens: Vec<usize> = (0..2 * h * w)
                    .filter(|&token| merging.row(token) == row)
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
                let expected = values[i] + merged_values[merging.row(i / width) * width + i % width];
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
        assert_eq!(all.kept, 4);
    }
}
