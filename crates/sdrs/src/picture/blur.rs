//! Blurs of 8-bit channels in the arithmetic of Pillow and of OpenCV, which differ.

use rayon::prelude::*;

/// The passes of a box that stand for a Gaussian.
const PASSES: usize = 3;

/// Pillow's `GaussianBlur` on `C` interleaved channels: three passes of a box whose edges count in part (Gwosdek et al., 2011, "Theoretical
/// foundations of Gaussian convolution by extended box filtering"). `radius` is the standard deviation in pixels.
pub(super) fn gaussian<const C: usize>(pixels: &mut Vec<u8>, width: usize, radius: f64) {
    // Pillow computes it in single precision.
    let radius = radius as f32;
    let variance = radius * radius / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let mut part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    part /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
    boxes::<C>(pixels, width, whole + part, PASSES);
}

/// Pillow's `BoxBlur`: the mean of the `2 * radius + 1` pixels around each, in rows and in columns. Pixels over the edge are those at it.
pub(super) fn boxed<const C: usize>(pixels: &mut Vec<u8>, width: usize, radius: f64) {
    boxes::<C>(pixels, width, radius as f32, 1);
}

fn boxes<const C: usize>(pixels: &mut Vec<u8>, width: usize, radius: f32, passes: usize) {
    if pixels.is_empty() || radius <= 0.0 {
        return;
    }
    let height = pixels.len() / C / width;
    box_rows::<C>(pixels, width, radius, passes);
    *pixels = transposed::<C>(pixels, width);
    box_rows::<C>(pixels, height, radius, passes);
    *pixels = transposed::<C>(pixels, height);
}

fn box_rows<const C: usize>(pixels: &mut [u8], width: usize, radius: f32, passes: usize) {
    pixels.par_chunks_mut(C * width).for_each(|row| {
        let mut source = row.to_vec();
        for pass in 0..passes {
            if pass > 0 {
                source.copy_from_slice(row);
            }
            box_row::<C>(row.as_chunks_mut::<C>().0, source.as_chunks::<C>().0, radius);
        }
    });
}

/// A sum slides along the row; the two pixels beyond it count in part.
fn box_row<const C: usize>(out: &mut [[u8; C]], row: &[[u8; C]], radius: f32) {
    const ONE: u32 = 1 << 24;
    let reach = radius as usize;
    let weight = (ONE as f32 / (radius * 2.0 + 1.0)) as u32;
    let edge = (ONE - (reach as u32 * 2 + 1) * weight) / 2;
    let last = row.len() - 1;
    let right = |x: usize| row[x.min(last)];
    let left = |x: usize| row[x.saturating_sub(reach + 1)];
    for channel in 0..C {
        let mut sum = u32::from(row[0][channel]) * (reach as u32 + 1);
        sum += (0..reach).map(|x| u32::from(right(x)[channel])).sum::<u32>();
        for (x, out) in out.iter_mut().enumerate() {
            let (first, next) = (u32::from(left(x)[channel]), right(x + reach + 1)[channel]);
            sum = sum + u32::from(right(x + reach)[channel]) - first;
            let total = sum * weight + (first + u32::from(next)) * edge;
            out[channel] = ((total + ONE / 2) >> 24) as u8;
        }
    }
}

fn transposed<const C: usize>(pixels: &[u8], width: usize) -> Vec<u8> {
    let pixels = pixels.as_chunks::<C>().0;
    let height = pixels.len() / width;
    let mut out = vec![0; C * pixels.len()];
    out.par_chunks_mut(C * height).enumerate().for_each(|(x, out)| {
        let column = pixels[x..].iter().step_by(width);
        let cells = out.as_chunks_mut::<C>().0.iter_mut();
        cells.zip(column).for_each(|(out, pixel)| *out = *pixel);
    });
    out
}

/// OpenCV's `GaussianBlur` of an 8-bit plane with kernels of odd lengths: coefficients of 8 bits whose rounding errors are carried on, one
/// rounding behind both passes, edges mirrored without repeating the outermost pixel.
pub(super) fn opencv(pixels: &[u8], width: usize, kernel: [usize; 2], sigma: f64) -> Vec<u8> {
    let height = pixels.len() / width;
    let [across, down] = kernel.map(|length| coefficients(length, sigma));
    // A row's sum is a byte times 256 at most.
    let mut rows = vec![0u32; pixels.len()];
    rows.par_chunks_mut(width)
        .zip(pixels.par_chunks(width))
        .for_each(|(out, row)| {
            for (x, out) in out.iter_mut().enumerate() {
                let values = (0..across.len()).map(|i| u32::from(row[mirrored(x + i, across.len(), width)]));
                *out = values.zip(&across).map(|(value, weight)| value * weight).sum();
            }
        });
    let mut out = vec![0; pixels.len()];
    out.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
        let mut sums = vec![1 << 15; width];
        for (i, weight) in down.iter().enumerate() {
            let row = &rows[mirrored(y + i, down.len(), height) * width..][..width];
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value * weight);
        }
        out.iter_mut()
            .zip(sums)
            .for_each(|(out, sum)| *out = (sum >> 16) as u8);
    });
    out
}

/// The place that a kernel's value meets, `at` counted from the kernel's half before the edge: 0 1 2 3 gives 2 1 [0 1 2 3] 2 1.
fn mirrored(at: usize, kernel: usize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let place = (at as isize - (kernel / 2) as isize).rem_euclid(period);
    place.min(period - place) as usize
}

/// A Gaussian's coefficients, 256 together.
fn coefficients(length: usize, sigma: f64) -> Vec<u32> {
    debug_assert!(length % 2 == 1);
    let half = length / 2;
    let value = |i: usize| {
        let x = half as f64 - i as f64;
        (-x * x / (2.0 * sigma * sigma)).exp()
    };
    let sum = 1.0 + 2.0 * (0..half).map(value).sum::<f64>();
    let (mut carried, mut side) = (0.0, Vec::with_capacity(half));
    for i in 0..half {
        let exact = value(i) / sum * 256.0 + carried;
        let rounded = exact.round_ties_even();
        carried = exact - rounded;
        side.push(rounded as u32);
    }
    let middle = 256 - 2 * side.iter().sum::<u32>();
    let back = side.iter().rev().copied().collect();
    [side, vec![middle], back].concat()
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    #[test]
    fn blurs_are_pillows_and_opencvs() {
        let refs = Refs::open("pictures/arithmetic.safetensors");
        let (rgba, grey) = (refs.u8s("rgba"), refs.u8s("grey"));
        let width = refs.shape("rgba")[1];
        let mut seen = 0;
        for name in refs.names() {
            let Some((kind, number)) = name.split_once(':') else {
                continue;
            };
            let number: f64 = number.parse().unwrap();
            let got = match kind {
                "gaussian.channels" => {
                    let mut pixels = rgba.clone();
                    gaussian::<4>(&mut pixels, width, number);
                    pixels
                }
                "gaussian.grey" | "box.grey" => {
                    let mut pixels = grey.clone();
                    match kind {
                        "box.grey" => boxed::<1>(&mut pixels, width, number),
                        _ => gaussian::<1>(&mut pixels, width, number),
                    }
                    pixels
                }
                "opencv.both" => opencv(&grey, width, [5, 9], number),
                "opencv.rows" => opencv(&grey, width, [2 * (2.5 * number + 0.5) as usize + 1, 1], number),
                _ => panic!("{name}"),
            };
            assert!(got == refs.u8s(&name), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 17);
    }
}
