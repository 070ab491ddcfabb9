//! Resizing of 8-bit pictures in Pillow's arithmetic.
//!
//! A picture goes through a separable filter, rows first. Coefficients are fixed-point numbers of 22 bits and each pass is rounded to
//! bytes, so that results are Pillow's to the last bit; programs that draw with such pictures agree on them then.

use std::f64::consts::PI;

use rayon::prelude::*;

/// The filter of a resizing. When a picture shrinks, each filter grows in proportion, so that every pixel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resample {
    /// The nearest pixel.
    Nearest,
    /// A triangle over two pixels.
    Bilinear,
    /// Keys' cubic over four pixels, with a = -0.5.
    Bicubic,
    /// A sinc over six pixels, windowed by a wider one.
    Lanczos,
    /// The mean of the pixels that a new one covers.
    Box,
    /// A sinc over two pixels in Hamming's window: sharper than bilinear where a picture shrinks.
    Hamming,
}

impl Resample {
    /// Every filter.
    pub const ALL: [Self; 6] = [
        Self::Nearest,
        Self::Bilinear,
        Self::Bicubic,
        Self::Lanczos,
        Self::Box,
        Self::Hamming,
    ];

    /// The name in lower case, as in Pillow's enumeration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
            Self::Box => "box",
            Self::Hamming => "hamming",
        }
    }

    /// How far the filter reaches to each side, in pixels.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
        let distance = x.abs();
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Hamming if distance == 0.0 => 1.0,
            Self::Hamming if distance >= 1.0 => 0.0,
            Self::Hamming => sinc(distance) * (0.54 + 0.46 * (distance * PI).cos()),
            Self::Bicubic => {
                const A: f64 = -0.5;
                if distance < 1.0 {
                    ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
                } else if distance < 2.0 {
                    (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// Pixels of `C` interleaved channels, brought from one size to another. Sizes are at least 1 by 1.
pub(super) fn resize<const C: usize>(
    pixels: &[u8],
    from: [usize; 2],
    to: [usize; 2],
    filter: Resample,
) -> Vec<u8> {
    debug_assert_eq!(pixels.len(), C * from[0] * from[1]);
    if from == to {
        return pixels.to_vec();
    }
    if filter == Resample::Nearest {
        return nearest::<C>(pixels, from, to);
    }
    let wide = match from[0] == to[0] {
        true => None,
        false => Some(in_rows::<C>(pixels, from[0], to[0], filter)),
    };
    let wide = wide.as_deref().unwrap_or(pixels);
    match from[1] == to[1] {
        true => wide.to_vec(),
        false => in_columns(wide, C * to[0], from[1], to[1], filter),
    }
}

/// The bits behind the point: a sum of coefficients and bytes stays within an `i32`, overshoot included.
const BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (BITS - 1);

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// The first pixel of the source that a new one is made of, and the coefficients from there on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

fn windows(from: usize, to: usize, filter: Resample) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let window = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (first..end)
            .map(|x| filter.weight((x as f64 - center + 0.5) * (1.0 / stretch)))
            .collect();
        let sum: f64 = weights.iter().sum();
        let sum = if sum == 0.0 { 1.0 } else { sum };
        let fixed = |weight: &f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
        Window {
            first,
            weights: weights.iter().map(fixed).collect(),
        }
    };
    (0..to).map(window).collect()
}

fn in_rows<const C: usize>(pixels: &[u8], from: usize, to: usize, filter: Resample) -> Vec<u8> {
    let windows = windows(from, to, filter);
    let mut out = vec![0; pixels.len() / from * to];
    let rows = out.par_chunks_mut(C * to).zip(pixels.par_chunks(C * from));
    rows.for_each(|(out, row)| {
        for (out, window) in out.as_chunks_mut::<C>().0.iter_mut().zip(&windows) {
            let mut sums = [HALF; C];
            for (pixel, weight) in row.as_chunks::<C>().0[window.first..].iter().zip(&window.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            *out = sums.map(byte);
        }
    });
    out
}

/// `row` counts bytes.
fn in_columns(pixels: &[u8], row: usize, from: usize, to: usize, filter: Resample) -> Vec<u8> {
    let windows = windows(from, to, filter);
    let mut out = vec![0; row * to];
    out.par_chunks_mut(row).zip(&windows).for_each(|(out, window)| {
        let mut sums = vec![HALF; row];
        for (line, weight) in pixels[window.first * row..]
            .chunks_exact(row)
            .zip(&window.weights)
        {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = byte(sum));
    });
    out
}

fn nearest<const C: usize>(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    // Places are summed up as Pillow does: a product may round to another pixel.
    let places = |from: usize, to: usize| -> Vec<usize> {
        let step = from as f64 / to as f64;
        let mut at = step * 0.5;
        let place = |_| {
            let place = (at as usize).min(from - 1);
            at += step;
            place
        };
        (0..to).map(place).collect()
    };
    let (columns, rows) = (places(from[0], to[0]), places(from[1], to[1]));
    let source = pixels.as_chunks::<C>().0;
    let mut out = vec![0; C * to[0] * to[1]];
    out.par_chunks_mut(C * to[0]).zip(rows).for_each(|(out, y)| {
        let row = &source[y * from[0]..][..from[0]];
        let pixels = out.as_chunks_mut::<C>().0.iter_mut();
        pixels.zip(&columns).for_each(|(out, x)| *out = row[*x]);
    });
    out
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    #[test]
    fn bytes_are_pillows() {
        let refs = Refs::open("pictures/arithmetic.safetensors");
        let grey = refs.u8s("grey");
        let from = [refs.shape("grey")[1], refs.shape("grey")[0]];
        let mut seen = 0;
        for name in refs.names() {
            let Some(case) = name.strip_prefix("resize.grey.") else {
                continue;
            };
            let is_meant = |filter: &Resample| case.starts_with(filter.name());
            let filter = Resample::ALL.into_iter().find(is_meant).unwrap();
            let to = [refs.shape(&name)[1], refs.shape(&name)[0]];
            assert!(resize::<1>(&grey, from, to, filter) == refs.u8s(&name), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 18);
    }
}
