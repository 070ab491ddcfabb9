//! The noise of a batch: which seeds, which generators, in which order.

use super::{BrownianTree, Dtype, Generator, Source};
use crate::{Dialect, Error, Result};

/// A latent's shape without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels (4 for every Stable Diffusion).
    pub channels: usize,
    /// Rows of the latent.
    pub height: usize,
    /// Columns of the latent.
    pub width: usize,
}

impl Shape {
    /// Number of values; `None` if it overflows.
    fn len(self) -> Option<usize> {
        self.channels.checked_mul(self.height)?.checked_mul(self.width)
    }
}

/// The noise of a batch: seeds, shape and source.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseOptions {
    /// The program whose rules for a batch count: the WebUI has one generator for each image, diffusers and ComfyUI one for all.
    pub dialect: Dialect,
    /// The generator of the random numbers.
    pub source: Source,
    /// The type that noise is drawn in (diffusers: the model's; the others always float32).
    pub dtype: Dtype,
    /// The first image's seed.
    pub seed: u64,
    /// Images in the batch, at least 1.
    pub batch_size: usize,
    /// Each image's shape.
    pub shape: Shape,
    /// The first image's variation seed (WebUI).
    pub variation_seed: u64,
    /// The share of the variation's noise, 0..=1 (WebUI).
    pub variation_strength: f64,
    /// Eta noise seed delta: added to the seed after the first draw if not 0 (WebUI).
    pub ensd: i64,
    /// Draw at this height and width of the latent first, and paste it centred (WebUI's seed resize).
    pub seed_resize_from: Option<(usize, usize)>,
}

impl NoiseOptions {
    /// One image's noise in PyTorch's CPU dialect, nothing special.
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self {
            dialect: Dialect::WebUi,
            source: Source::TorchCpu,
            dtype: Dtype::F32,
            seed,
            batch_size: 1,
            shape,
            variation_seed: 0,
            variation_strength: 0.0,
            ensd: 0,
            seed_resize_from: None,
        }
    }
}

/// The generators of a batch. Draw [`first`](BatchNoise::first) once, then [`next`](BatchNoise::next) whenever a sampler asks.
#[derive(Debug, Clone)]
pub struct BatchNoise {
    options: NoiseOptions,
    values: usize,
    seeds: Vec<u64>,
    generators: Vec<Generator>,
}

impl BatchNoise {
    /// Makes the generators.
    ///
    /// # Errors
    /// `batch_size`, `shape` or `seed_resize_from` if one is 0 or the noise would have over 2^31 values;
    /// `variation_strength` unless in 0..=1.
    pub fn new(o: NoiseOptions) -> Result<Self> {
        let fits = |s: Shape| {
            s.len()?
                .checked_mul(o.batch_size)
                .filter(|n| (1..=1 << 31).contains(n))
        };
        if !(1..=65_536).contains(&o.batch_size) {
            return Err(Error::param(
                "batch_size",
                format!("must be from 1 to 65536, not {}", o.batch_size),
            ));
        }
        if fits(o.shape).is_none() {
            return Err(Error::param(
                "shape",
                format!("must hold from 1 to 2^31 values, not {:?}", o.shape),
            ));
        }
        if let Some((height, width)) = o.seed_resize_from
            && fits(Shape {
                height,
                width,
                ..o.shape
            })
            .is_none()
        {
            return Err(Error::param(
                "seed_resize_from",
                format!("can't be {height} x {width}"),
            ));
        }
        if !(0.0..=1.0).contains(&o.variation_strength) {
            return Err(Error::param(
                "variation_strength",
                format!("must lie in 0..=1, not {}", o.variation_strength),
            ));
        }
        let varied = o.variation_strength > 0.0;
        let advance = |i: usize| if varied { 0 } else { i as u64 };
        let seeds: Vec<u64> = match o.dialect {
            Dialect::WebUi => (0..o.batch_size)
                .map(|i| o.seed.wrapping_add(advance(i)))
                .collect(),
            _ => vec![o.seed],
        };
        let generators = seeds.iter().map(|&s| Generator::new(o.source, s)).collect();
        Ok(Self {
            values: o.shape.len().unwrap_or(0),
            seeds,
            generators,
            options: o,
        })
    }

    /// Each image's seed.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// The first noise of each image: what sampling starts from.
    pub fn first(&mut self) -> Vec<Vec<f32>> {
        let noise = match self.options.dialect {
            Dialect::WebUi => (0..self.seeds.len()).map(|i| self.first_of(i)).collect(),
            _ => self.next(),
        };
        match self.options.dialect {
            Dialect::WebUi if self.options.ensd != 0 => {
                let delta = self.options.ensd as u64;
                self.reseed(delta);
            }
            // A fresh generator, with the next seed on the CPU.
            Dialect::Comfy => self.reseed(u64::from(self.options.source == Source::TorchCpu)),
            _ => {}
        }
        noise
    }

    fn reseed(&mut self, delta: u64) {
        let fresh = |s: &u64| Generator::new(self.options.source, s.wrapping_add(delta));
        self.generators = self.seeds.iter().map(fresh).collect();
    }

    /// One image's first noise, with its variation and resize.
    fn first_of(&mut self, i: usize) -> Vec<f32> {
        let o = &self.options;
        let old = o.seed_resize_from.map(|(height, width)| Shape {
            height,
            width,
            ..o.shape
        });
        let old = old.filter(|s| *s != o.shape);
        let drawn = old.unwrap_or(o.shape);
        let n = drawn.len().unwrap_or(0);
        let mut noise = match old {
            Some(_) => Generator::new(o.source, self.seeds[i]).normal(n, o.dtype),
            None => self.generators[i].normal(n, o.dtype),
        };
        if o.variation_strength > 0.0 {
            let seed = o.variation_seed.wrapping_add(i as u64);
            let other = Generator::new(o.source, seed).normal(n, o.dtype);
            noise = slerp(o.variation_strength, &noise, &other, drawn);
        }
        let Some(old) = old else { return noise };
        let mut x = self.generators[i].normal(self.values, o.dtype);
        paste_centred(&mut x, o.shape, &noise, old);
        x
    }

    /// The next noise of each image: what ancestral samplers ask for.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Vec<Vec<f32>> {
        let (n, dtype) = (self.values, self.options.dtype);
        if self.options.dialect == Dialect::WebUi {
            return self.generators.iter_mut().map(|g| g.normal(n, dtype)).collect();
        }
        // One tensor for all, from one generator.
        let all = self.generators[0].normal(n * self.options.batch_size, dtype);
        all.chunks_exact(n).map(<[f32]>::to_vec).collect()
    }

    /// Brownian noise for SDE samplers over a range of sigmas ([`Plan::brownian_range`](crate::Plan::brownian_range)): one tree
    /// for each image (WebUI; the seeds without ENSD), or one over all.
    ///
    /// # Errors
    /// As [`BrownianTree::new`].
    pub fn brownian(&self, (sigma_min, sigma_max): (f64, f64)) -> Result<BatchBrownian> {
        let n = if self.options.dialect == Dialect::WebUi {
            self.values
        } else {
            self.values * self.options.batch_size
        };
        let tree = |&s: &u64| BrownianTree::new(s, self.options.source, n, sigma_min, sigma_max);
        Ok(BatchBrownian {
            trees: self.seeds.iter().map(tree).collect::<Result<_>>()?,
            values: self.values,
        })
    }
}

/// The Brownian trees of a batch.
#[derive(Debug, Clone)]
pub struct BatchBrownian {
    trees: Vec<BrownianTree>,
    values: usize,
}

impl BatchBrownian {
    /// Each image's noise for the way from one sigma to another.
    pub fn noise(&mut self, sigma_from: f64, sigma_to: f64) -> Vec<Vec<f32>> {
        let n = self.values;
        let draw = |t: &mut BrownianTree| t.noise(sigma_from, sigma_to);
        let all: Vec<Vec<f32>> = self.trees.iter_mut().map(draw).collect();
        all.iter()
            .flat_map(|a| a.chunks_exact(n))
            .map(<[f32]>::to_vec)
            .collect()
    }
}

/// Spherical interpolation as the WebUI does it: the angle is taken over each column of each channel; where the columns'
/// mean cosine is over 0.9995 it is linear, and then (as there) with the ends exchanged.
fn slerp(t: f64, low: &[f32], high: &[f32], s: Shape) -> Vec<f32> {
    let at = |c: usize, y: usize, x: usize| (c * s.height + y) * s.width + x;
    let columns = s.channels * s.width;
    let dot = |c: usize, x: usize| {
        let norm = |v: &[f32]| {
            (0..s.height)
                .map(|y| f64::from(v[at(c, y, x)]).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        let (a, b) = (norm(low), norm(high));
        (0..s.height)
            .map(|y| f64::from(low[at(c, y, x)]) / a * f64::from(high[at(c, y, x)]) / b)
            .sum::<f64>()
    };
    let dots: Vec<f64> = (0..columns).map(|i| dot(i / s.width, i % s.width)).collect();
    let close = dots.iter().sum::<f64>() / columns as f64 > 0.9995;
    let mut out = vec![0.0; low.len()];
    for c in 0..s.channels {
        for x in 0..s.width {
            let omega = dots[c * s.width + x].clamp(-1.0, 1.0).acos();
            let (a, b) = if close {
                (t, 1.0 - t)
            } else {
                (
                    ((1.0 - t) * omega).sin() / omega.sin(),
                    (t * omega).sin() / omega.sin(),
                )
            };
            for y in 0..s.height {
                let i = at(c, y, x);
                out[i] = (a * f64::from(low[i]) + b * f64::from(high[i])) as f32;
            }
        }
    }
    out
}

/// Puts `from` into the middle of `to`, or its middle into all of `to`.
fn paste_centred(to: &mut [f32], ts: Shape, from: &[f32], fs: Shape) {
    let place = |to: usize, from: usize| {
        let d = (to as i64 - from as i64).div_euclid(2);
        let length = if d >= 0 { from as i64 } else { from as i64 + 2 * d };
        (
            d.max(0) as usize,
            (-d).max(0) as usize,
            length.clamp(0, to as i64) as usize,
        )
    };
    let ((ty, fy, h), (tx, fx, w)) = (place(ts.height, fs.height), place(ts.width, fs.width));
    for c in 0..ts.channels {
        for y in 0..h {
            let t = (c * ts.height + ty + y) * ts.width + tx;
            let f = (c * fs.height + fy + y) * fs.width + fx;
            to[t..t + w].copy_from_slice(&from[f..f + w]);
        }
    }
}
