//! Interpolation of latents.

use rayon::prelude::*;

/// The way to bring planes of numbers, latents usually, to another size: PyTorch's `torch.nn.functional.interpolate` with
/// `align_corners=False`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interpolation {
    /// The value whose place, rounded down, is the new one's: PyTorch's `nearest`, which shifts a picture by up to half a value.
    Nearest,
    /// The value nearest to the new one's middle.
    NearestExact,
    /// A line between two neighbours.
    Bilinear,
    /// The same; where planes shrink, a triangle over all that a new value covers.
    BilinearAntialiased,
    /// Keys' cubic with a = -0.75 through four neighbours.
    Bicubic,
    /// Keys' cubic with a = -0.5, which grows where planes shrink.
    BicubicAntialiased,
}

impl Interpolation {
    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::Nearest,
        Self::NearestExact,
        Self::Bilinear,
        Self::BilinearAntialiased,
        Self::Bicubic,
        Self::BicubicAntialiased,
    ];

    /// PyTorch's name of the mode, with `-antialiased` where `antialias=True`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::NearestExact => "nearest-exact",
            Self::Bilinear => "bilinear",
            Self::BilinearAntialiased => "bilinear-antialiased",
            Self::Bicubic => "bicubic",
            Self::BicubicAntialiased => "bicubic-antialiased",
        }
    }

    /// The values that each new one is made of, along one axis: their places and weights.
    fn taps(self, from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
        (0..to).map(|at| self.taps_at(at, from, to)).collect()
    }

    fn taps_at(self, at: usize, from: usize, to: usize) -> Vec<(usize, f32)> {
        let scale = from as f64 / to as f64;
        let center = (at as f64 + 0.5) * scale;
        let last = from - 1;
        match self {
            // PyTorch finds these places in single precision.
            Self::Nearest | Self::NearestExact => {
                let middle = if self == Self::Nearest { 0.0 } else { 0.5 };
                let place = (at as f32 + middle) * (from as f32 / to as f32);
                vec![((place as usize).min(last), 1.0)]
            }
            Self::Bilinear => {
                let place = (center - 0.5).max(0.0);
                let first = (place as usize).min(last);
                let part = (place - first as f64) as f32;
                vec![(first, 1.0 - part), ((first + 1).min(last), part)]
            }
            Self::Bicubic => {
                let place = center - 0.5;
                let first = place.floor();
                let tap = |offset: i32| {
                    let x = first + f64::from(offset);
                    (x.clamp(0.0, last as f64) as usize, cubic(place - x, -0.75) as f32)
                };
                (-1..=2).map(tap).collect()
            }
            Self::BilinearAntialiased => covered(center, scale, from, 1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::BicubicAntialiased => covered(center, scale, from, 2.0, |x| cubic(x, -0.5)),
        }
    }
}

/// Keys' cubic convolution kernel (1981).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    } else {
        0.0
    }
}

/// A filter of this support, stretched where planes shrink, over the values around `center`.
fn covered(
    center: f64,
    scale: f64,
    from: usize,
    support: f64,
    filter: impl Fn(f64) -> f64,
) -> Vec<(usize, f32)> {
    let stretch = scale.max(1.0);
    let reach = support * stretch;
    let first = (center - reach + 0.5).max(0.0) as usize;
    let end = ((center + reach + 0.5) as usize).min(from);
    let weights: Vec<f64> = (first..end)
        .map(|x| filter((x as f64 - center + 0.5) / stretch))
        .collect();
    let sum: f64 = weights.iter().sum();
    (first..end)
        .zip(weights)
        .map(|(x, weight)| (x, (weight / sum) as f32))
        .collect()
}

/// Planes one after another, each brought from `[h, w]` to another size. No side is 0.
pub(crate) fn interpolate(
    planes: &[f32],
    from: [usize; 2],
    to: [usize; 2],
    interpolation: Interpolation,
) -> Vec<f32> {
    if from == to {
        return planes.to_vec();
    }
    let [height, width] = from;
    debug_assert_eq!(planes.len() % (height * width), 0);
    let (rows, columns) = (
        interpolation.taps(height, to[0]),
        interpolation.taps(width, to[1]),
    );
    let mut out = vec![0.0; planes.len() / (height * width) * to[0] * to[1]];
    let pairs = out
        .par_chunks_mut(to[0] * to[1])
        .zip(planes.par_chunks(height * width));
    pairs.for_each(|(out, plane)| {
        let mut wide = Vec::with_capacity(height * to[1]);
        for row in plane.chunks_exact(width) {
            let value =
                |taps: &Vec<(usize, f32)>| taps.iter().map(|&(x, weight)| row[x] * weight).sum::<f32>();
            wide.extend(columns.iter().map(value));
        }
        for (out, taps) in out.chunks_exact_mut(to[1]).zip(&rows) {
            for &(y, weight) in taps {
                let row = &wide[y * to[1]..][..to[1]];
                out.iter_mut()
                    .zip(row)
                    .for_each(|(out, value)| *out += value * weight);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    #[test]
    fn planes_are_as_pytorch_interpolates_them() {
        let refs = Refs::open("pictures/interpolation.safetensors");
        let (planes, shape) = (refs.f32s("planes"), refs.shape("planes"));
        let mut seen = 0;
        for name in refs.names() {
            let Some((mode, _)) = name.split_once(':') else {
                continue;
            };
            let interpolation = Interpolation::ALL.into_iter().find(|i| i.name() == mode).unwrap();
            let to = refs.shape(&name);
            let got = interpolate(&planes, [shape[2], shape[3]], [to[2], to[3]], interpolation);
            refs.assert_close(&name, &got, 1e-5);
            seen += 1;
        }
        assert_eq!(seen, 30);
    }
}
