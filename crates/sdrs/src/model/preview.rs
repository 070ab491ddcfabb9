//! Pictures of latents that are not done yet: by the autoencoder, or by a linear function that stands for it.

use sd_kernels::Axes;
use sd_sched::rng::{Dtype, Generator, Source};

use super::{Model, Runtime, values};
use crate::{Error, Preview, PreviewMethod, Result, picture::rgb_of_planes};

/// Sides of the pictures that colours are learned from, in values of a latent.
const LEARNED_SIDE: usize = 16;

/// A colour as a linear function of a latent's channels.
#[derive(Debug)]
pub(crate) struct LinearDecoder {
    /// For red, green and blue: a factor for each channel, and a constant.
    factors: [Vec<f64>; 3],
}

impl LinearDecoder {
    /// A fit by least squares to the autoencoder's latents of blurred mosaics: they lie where those of real pictures do, which random
    /// latents don't.
    ///
    /// An autoencoder without an encoder has its decoder's pictures of blurred mosaics of latents instead.
    fn fit(model: &Model, runtime: &Runtime) -> Result<Self> {
        let (f, channels) = (model.sizes().downscale, model.sizes().latent_channels);
        let (side, n) = (LEARNED_SIDE * f, LEARNED_SIDE * LEARNED_SIDE);
        let encodes = model.vae.can_encode().is_ok();
        let (mut latents, mut colours) = (Vec::new(), Vec::new());
        for (seed, cells) in (0..).zip([3, 6, 12]) {
            let (latent, picture) = match encodes {
                true => {
                    let picture = mosaic(seed, cells, side, 3);
                    let encoded = model.encode(picture.clone(), [1, 3, side, side], runtime)?;
                    (encoded.mean.values, picture)
                }
                false => {
                    let latent = mosaic(seed, cells, LEARNED_SIDE, channels);
                    let shape = [1, channels, LEARNED_SIDE, LEARNED_SIDE];
                    let picture = model.decode(latent.clone(), shape, runtime)?;
                    (latent, picture)
                }
            };
            latents.extend((0..n).map(|i| row(&latent, n, i)));
            colours.extend((0..n).map(|i| mean_colour(&picture, side, f, i)));
        }
        let factors = [0, 1, 2].map(|c| least_squares(&latents, colours.iter().map(|colour| colour[c])));
        match factors {
            [Some(r), Some(g), Some(b)] => Ok(Self { factors: [r, g, b] }),
            _ => Err(Error::NotFinite {
                what: "what the VAE encodes pictures to",
                advice: "compute in a wider dtype (f32), or ask for full previews",
            }),
        }
    }

    /// Planes of red, green and blue, -1 to 1 and beyond, of one latent with `n` values in each channel.
    fn planes(&self, latent: &[f32], n: usize) -> Vec<f32> {
        let rows: Vec<Vec<f64>> = (0..n).map(|i| row(latent, n, i)).collect();
        let value =
            |factors: &[f64], row: &[f64]| factors.iter().zip(row).map(|(f, x)| f * x).sum::<f64>() as f32;
        let planes = self.factors.iter();
        planes
            .flat_map(|factors| rows.iter().map(|row| value(factors, row)))
            .collect()
    }
}

/// The channels at a place of a latent, and 1 for the constant.
fn row(latent: &[f32], n: usize, i: usize) -> Vec<f64> {
    let channels = latent.iter().skip(i).step_by(n).map(|&v| f64::from(v));
    channels.chain([1.0]).collect()
}

/// A picture `[channels, side, side]` of random values at a grid of `cells + 1` points a side, linear between them.
fn mosaic(seed: u64, cells: usize, side: usize, channels: usize) -> Vec<f32> {
    let points = cells + 1;
    let grid = Generator::new(Source::TorchCpu, seed).normal(channels * points * points, Dtype::F32);
    let at = |c: usize, y: usize, x: usize| grid[(c * points + y) * points + x];
    let place = |i: usize| {
        let position = i as f32 * cells as f32 / side as f32;
        (position as usize, position.fract())
    };
    let mut picture = Vec::with_capacity(channels * side * side);
    for c in 0..channels {
        for (y, v) in (0..side).map(place) {
            for (x, u) in (0..side).map(place) {
                let line = |y| at(c, y, x) * (1.0 - u) + at(c, y, x + 1) * u;
                picture.push((line(y) * (1.0 - v) + line(y + 1) * v).clamp(-1.0, 1.0));
            }
        }
    }
    picture
}

/// The mean colour of the `f` by `f` pixels that one place of the latent stands for.
fn mean_colour(picture: &[f32], side: usize, f: usize, i: usize) -> [f64; 3] {
    let (top, left) = (i / LEARNED_SIDE * f, i % LEARNED_SIDE * f);
    [0, 1, 2].map(|c| {
        let rows = (top..top + f).map(|y| &picture[(c * side + y) * side + left..][..f]);
        rows.flatten().map(|&v| f64::from(v)).sum::<f64>() / (f * f) as f64
    })
}

/// The factors whose products with the rows come nearest to `targets`; `None` if these are no numbers. A little of the ridge keeps
/// channels apart that say the same.
fn least_squares(rows: &[Vec<f64>], targets: impl Iterator<Item = f64>) -> Option<Vec<f64>> {
    let n = rows.first()?.len();
    let mut system = vec![vec![0.0; n + 1]; n];
    for (row, target) in rows.iter().zip(targets) {
        for (i, &a) in row.iter().enumerate() {
            for (to, &b) in system[i].iter_mut().zip(row.iter().chain([&target])) {
                *to += a * b;
            }
        }
    }
    for (i, line) in system.iter_mut().enumerate() {
        line[i] += 1e-3 * rows.len() as f64;
    }
    // Symmetric and positive definite: no pivots are needed.
    for i in 0..n {
        let pivot = system[i].clone();
        for line in system.iter_mut().skip(i + 1) {
            let factor = line[i] / pivot[i];
            line.iter_mut()
                .zip(&pivot)
                .for_each(|(to, from)| *to -= factor * from);
        }
    }
    let mut solved = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| system[i][j] * solved[j]).sum();
        solved[i] = (system[i][n] - known) / system[i][i];
    }
    solved.iter().all(|v| v.is_finite()).then_some(solved)
}

impl Model {
    /// A picture of one denoised latent, `[1, c, h, w]`.
    pub fn preview(
        &self,
        denoised: &[f32],
        (shape, wrap): ([usize; 4], Axes),
        method: PreviewMethod,
        runtime: &Runtime,
    ) -> Result<Preview> {
        let [_, _, height, width] = shape;
        let (planes, scale) = match method {
            PreviewMethod::Full => (
                self.decode_wrapped(denoised.to_vec(), shape, wrap, runtime)?,
                self.sizes().downscale,
            ),
            PreviewMethod::Taesd => (
                self.decode_tiny(denoised, shape, runtime)?,
                self.sizes().downscale,
            ),
            PreviewMethod::Approximate => (self.linear_decoder(runtime)?.planes(denoised, height * width), 1),
        };
        Ok(Preview {
            // Sides of pictures are bounded far below this.
            width: (width * scale) as u32,
            height: (height * scale) as u32,
            rgb: rgb_of_planes(&planes),
        })
    }

    fn decode_tiny(&self, denoised: &[f32], shape: [usize; 4], runtime: &Runtime) -> Result<Vec<f32>> {
        let network = self.tiny_vae()?;
        runtime.compute(|| values(network.decode(self.tensor(denoised.to_vec(), shape))?))
    }

    fn linear_decoder(&self, runtime: &Runtime) -> Result<&LinearDecoder> {
        match self.linear_decoder.get() {
            Some(fitted) => Ok(fitted),
            None => {
                let fitted = runtime.timed("fitted approximate previews", || {
                    LinearDecoder::fit(self, runtime)
                })?;
                Ok(self.linear_decoder.get_or_init(|| fitted))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "demo")]
    use crate::Pipeline;

    #[test]
    fn least_squares_finds_what_made_the_values() {
        let latents: Vec<Vec<f64>> = (0..200)
            .map(|i| vec![f64::from(i % 7) - 3.0, f64::from(i % 11) - 5.0, 1.0])
            .collect();
        let targets = latents.iter().map(|row| 0.5 * row[0] - 0.25 * row[1] + 0.1);
        let found = least_squares(&latents, targets).unwrap();
        for (found, made) in found.iter().zip([0.5, -0.25, 0.1]) {
            assert!((found - made).abs() < 1e-3, "{found} for {made}");
        }
        let broken = latents.iter().map(|_| f64::NAN);
        assert!(least_squares(&latents, broken).is_none());
    }

    /// The distance of approximate previews from the decoded picture, at every step of runs of the demo model.
    #[cfg(feature = "demo")]
    #[test]
    fn approximate_previews_look_like_the_picture() {
        let pipeline = Pipeline::builder().demo().device("cpu").build().unwrap();
        let f = pipeline.sizes().downscale;
        for (seed, prompt) in [
            (1, "a red circle above a blue square"),
            (2, "a yellow star on a night sky"),
        ] {
            let run = || pipeline.txt2img(prompt).seed(seed).steps(8);
            let shown = |method| {
                let mut previews = Vec::new();
                let request = run()
                    .previews(method, 1)
                    .on_progress(|p| previews.extend(p.preview));
                let output = request.run().unwrap();
                assert_eq!(previews.len(), 8);
                (previews, output)
            };
            let (small, _) = shown(PreviewMethod::Approximate);
            let (full, output) = shown(PreviewMethod::Full);
            assert_eq!(
                full[7].rgb, output.images[0].rgb,
                "the last denoised latent is the result"
            );
            let mut sum = 0.0;
            for (step, (small, full)) in small.iter().zip(&full).enumerate() {
                assert_eq!(
                    (small.width * f as u32, small.height * f as u32),
                    (full.width, full.height)
                );
                let means = (0..small.rgb.len()).map(|i| mean(full, f, i / 3, i % 3));
                let r = correlation(small.rgb.iter().map(|&v| f64::from(v)), means);
                println!("seed {seed}, step {step}: {r:.3}");
                // Fitted to these very latents, a linear function comes to 0.90 in the worst step.
                assert!(r > 0.85, "seed {seed}, step {step}: {r}");
                sum += r;
            }
            assert!(sum / 8.0 > 0.9, "seed {seed}: {}", sum / 8.0);
        }
    }

    #[cfg(feature = "demo")]
    fn mean(picture: &Preview, f: usize, i: usize, c: usize) -> f64 {
        let width = picture.width as usize;
        let (top, left) = (i / (width / f) * f, i % (width / f) * f);
        let pixels = (top..top + f).flat_map(|y| (left..left + f).map(move |x| (y * width + x) * 3 + c));
        pixels.map(|at| f64::from(picture.rgb[at])).sum::<f64>() / (f * f) as f64
    }

    /// Pearson's.
    #[cfg(feature = "demo")]
    fn correlation(a: impl Iterator<Item = f64> + Clone, b: impl Iterator<Item = f64> + Clone) -> f64 {
        let n = a.clone().count() as f64;
        let (ma, mb) = (a.clone().sum::<f64>() / n, b.clone().sum::<f64>() / n);
        let sum = |f: &dyn Fn(f64, f64) -> f64| {
            a.clone()
                .zip(b.clone())
                .map(|(x, y)| f(x - ma, y - mb))
                .sum::<f64>()
        };
        sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
    }
}
