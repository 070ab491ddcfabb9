//! Normalisations. Statistics are taken in `f32` over a few values at a time and put together in `f64`, which is as good as two
//! passes over all of them (Chan et al. 1979).

use rayon::prelude::*;

use super::shared::Shared;
use crate::host::simd::{COLUMNS, Isa, Number, Simd, Work, affine, vectorised};

/// Pixels that statistics are taken over at a time: so many that they stay near for the second look, and are looked at often enough
/// for what follows to be little.
fn block_pixels(c: usize) -> usize {
    (8192 / c.max(1)).max(8)
}

/// Mean and sum of squared differences of some values.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn and(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares + other.squares + delta * delta * self.count * other.count / count,
        }
    }
}

/// The moments of each group in each block of pictures of so many pixels. Blocks are fixed, so that sums don't depend on the number of
/// threads.
fn moments<T: Number>(isa: Isa, x: &[T], [pixels, c]: [usize; 2], size: usize) -> Vec<Vec<Moments>> {
    let block = block_pixels(c);
    x.par_chunks((pixels * c).max(1))
        .flat_map(|image| image.par_chunks((block * c).max(1)))
        .map(|block| vectorised(isa, BlockMoments { block, c, size }))
        .collect()
}

/// The scales of a picture whose blocks have these moments.
fn scales(blocks: &[Vec<Moments>], (gamma, beta): (&[f32], &[f32]), size: usize, eps: f64) -> ChannelScales {
    let (mut factors, mut terms) = (vec![0f32; gamma.len()], vec![0f32; gamma.len()]);
    for group in 0..gamma.len() / size {
        let all = blocks.iter();
        let all = all.fold(Moments::default(), |sum, block| sum.and(block[group]));
        let deviation = (all.squares / all.count + eps).sqrt();
        for channel in group * size..(group + 1) * size {
            let factor = f64::from(gamma[channel]) / deviation;
            factors[channel] = factor as f32;
            terms[channel] = (f64::from(beta[channel]) - all.mean * factor) as f32;
        }
    }
    (factors, terms)
}

/// A factor for each channel of a picture, and a term that is added then.
pub(crate) type ChannelScales = (Vec<f32>, Vec<f32>);

/// The scales that normalise one picture, which is given in pieces of whole pixels.
pub(crate) fn group_scales<T: Number>(
    isa: Isa,
    pieces: &[&[T]],
    groups: usize,
    (gamma, beta): (&[f32], &[f32]),
    eps: f64,
) -> ChannelScales {
    let c = gamma.len();
    assert!(c.is_multiple_of(groups) && beta.len() == c);
    let of = |piece: &&[T]| moments(isa, piece, [piece.len() / c, c], c / groups);
    let blocks: Vec<Vec<Moments>> = pieces.iter().flat_map(of).collect();
    scales(&blocks, (gamma, beta), c / groups, eps)
}

/// Group normalisation of `[batch, pixels, c]`, with SiLU if wanted.
#[allow(clippy::too_many_arguments)]
pub(crate) fn group_norm<T: Simd>(
    isa: Isa,
    x: &[T],
    [batch, pixels, c]: [usize; 3],
    groups: usize,
    (gamma, beta): (&[f32], &[f32]),
    eps: f64,
    silu: bool,
    out: &mut [T],
) {
    assert!(x.len() == batch * pixels * c && out.len() == x.len() && c.is_multiple_of(groups));
    assert!(gamma.len() == c && beta.len() == c);
    let size = c / groups;
    let block = block_pixels(c);
    let blocks = pixels.div_ceil(block);
    let moments = moments(isa, x, [pixels, c], size);
    let scales: Vec<ChannelScales> = (0..batch)
        .map(|image| {
            scales(
                &moments[image * blocks..(image + 1) * blocks],
                (gamma, beta),
                size,
                eps,
            )
        })
        .collect();
    let rows = block * c;
    let out = Shared::new(out);
    (0..batch * blocks).into_par_iter().for_each(|index| {
        let (image, part) = (index / blocks, index % blocks);
        let start = image * pixels * c + part * rows;
        let len = rows.min(pixels * c - part * rows);
        // SAFETY: blocks don't overlap, and each is written by one task.
        let out = unsafe { out.slice(start, len) };
        let (x, scales) = (&x[start..start + len], &scales[image]);
        vectorised(
            isa,
            Affine {
                isa,
                out,
                x,
                scales,
                silu,
            },
        );
    });
}

/// `x factor + term` by channel, with SiLU if wanted.
pub(super) struct Affine<'a, T> {
    pub isa: Isa,
    pub out: &'a mut [T],
    pub x: &'a [T],
    pub scales: &'a ChannelScales,
    pub silu: bool,
}

impl<T: Simd> Work for Affine<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (factors, terms) = self.scales;
        let c = factors.len();
        let (factors, last_factors) = factors.as_chunks::<COLUMNS>();
        let (terms, last_terms) = terms.as_chunks::<COLUMNS>();
        for (out, x) in self.out.chunks_exact_mut(c).zip(self.x.chunks_exact(c)) {
            let (x, last_x) = x.as_chunks::<COLUMNS>();
            let (out, last_out) = out.as_chunks_mut::<COLUMNS>();
            T::affine(self.isa, x, factors, terms, self.silu, out);
            affine(last_x, last_factors, last_terms, self.silu, last_out);
        }
    }
}

/// The moments of each group in a block of pixels.
struct BlockMoments<'a, T> {
    block: &'a [T],
    c: usize,
    size: usize,
}

impl<T: Number> Work for BlockMoments<'_, T> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn run(self) -> Vec<Moments> {
        let Self { block, c, size } = self;
        let pixels = block.len() / c;
        let mut sums = vec![0f32; 2 * c];
        let (sums, squares) = sums.split_at_mut(c);
        for pixel in block.chunks_exact(c) {
            sums.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x.to_f32());
        }
        sums.iter_mut().for_each(|sum| *sum /= pixels as f32);
        for pixel in block.chunks_exact(c) {
            for ((square, x), mean) in squares.iter_mut().zip(pixel).zip(&*sums) {
                let delta = x.to_f32() - mean;
                *square += delta * delta;
            }
        }
        let channels = sums.chunks_exact(size).zip(squares.chunks_exact(size));
        channels
            .map(|(means, squares)| {
                // All channels of a group have as many pixels, so its mean is that of their means.
                let mean = means.iter().map(|&m| f64::from(m)).sum::<f64>() / size as f64;
                let between: f64 = means.iter().map(|&m| (f64::from(m) - mean).powi(2)).sum();
                let within: f64 = squares.iter().map(|&s| f64::from(s)).sum();
                Moments {
                    count: (pixels * size) as f64,
                    mean,
                    squares: within + between * pixels as f64,
                }
            })
            .collect()
    }
}

/// Layer normalisation of rows of `c`.
pub(crate) fn layer_norm<T: Number>(
    isa: Isa,
    x: &[T],
    c: usize,
    (gamma, beta): (&[f32], &[f32]),
    eps: f64,
    out: &mut [T],
) {
    assert!(
        c > 0 && x.len().is_multiple_of(c) && out.len() == x.len() && gamma.len() == c && beta.len() == c
    );
    let len = block_pixels(c) * c;
    let blocks = out.par_chunks_mut(len).zip(x.par_chunks(len));
    blocks.for_each(|(out, x)| {
        vectorised(
            isa,
            Rows {
                out,
                x,
                gamma,
                beta,
                eps,
            },
        )
    });
}

/// Some rows of a layer normalisation.
struct Rows<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    gamma: &'a [f32],
    beta: &'a [f32],
    eps: f64,
}

impl<T: Number> Work for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let c = self.gamma.len();
        for (out, x) in self.out.chunks_exact_mut(c).zip(self.x.chunks_exact(c)) {
            let mean = sum(x, |v| v) / c as f32;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / c as f32;
            let factor = (1.0 / (f64::from(variance) + self.eps).sqrt()) as f32;
            for (((out, x), gamma), beta) in out.iter_mut().zip(x).zip(self.gamma).zip(self.beta) {
                *out = T::from_f32((x.to_f32() - mean) * factor * gamma + beta);
            }
        }
    }
}

/// A sum in sixteen parts, which a vector register holds.
#[inline(always)]
fn sum<T: Number>(x: &[T], of: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0f32; 16];
    let mut chunks = x.chunks_exact(16);
    for chunk in &mut chunks {
        parts
            .iter_mut()
            .zip(chunk)
            .for_each(|(part, x)| *part += of(x.to_f32()));
    }
    let rest: f32 = chunks.remainder().iter().map(|x| of(x.to_f32())).sum();
    parts.iter().sum::<f32>() + rest
}
