//! Colour correction as the WebUI has it ("Apply color correction to img2img results"): histograms are matched in LAB by scikit-image's
//! rule, in OpenCV's 8-bit arithmetic, then each pixel gets its own lightness back, as blendmodes' luminosity does it.

use super::Picture;

/// Fractional bits of OpenCV's coefficients, of its linear colours, and of both together.
const SHIFT: u32 = 12;
const GAMMA_SHIFT: u32 = 3;
const WIDE_SHIFT: u32 = SHIFT + GAMMA_SHIFT;

/// 1 in the table from LAB to XYZ, and entries of the table back to sRGB.
const BASE: i64 = 1 << 14;
const INVERSE: usize = 4096;

/// The least argument of the table of [`Tables::cubes`].
const LEAST: i64 = -8145;

/// sRGB to XYZ of D65, over its white point, and back, in 12 bits.
const TO_XYZ: [[i64; 3]; 3] = [[1777, 1541, 778], [871, 2929, 296], [73, 448, 3575]];
const FROM_XYZ: [[i64; 3]; 3] = [[12615, -6296, -2223], [-3773, 7684, 185], [217, -836, 4715]];

/// OpenCV's tables for 8-bit LAB.
struct Tables {
    /// sRGB to linear.
    linear: Vec<i64>,
    /// The function f of CIE LAB.
    roots: Vec<i64>,
    /// For each L its Y and f(Y).
    lightness: Vec<[i64; 2]>,
    /// The inverse of f.
    cubes: Vec<i64>,
    /// Linear to sRGB.
    srgb: Vec<u8>,
}

fn rounded(x: i64, shift: u32) -> i64 {
    (x + (1 << (shift - 1))) >> shift
}

impl Tables {
    fn new() -> Self {
        let linear = |i: u32| {
            let x = f64::from(i) / 255.0;
            let y = if x <= 0.04045 {
                x / 12.92
            } else {
                ((x + 0.055) / 1.055).powf(2.4)
            };
            (f64::from(255 << GAMMA_SHIFT) * y).round_ties_even() as i64
        };
        // The root is rounded to f32 before it is scaled.
        let root = |i: u32| {
            let x = i as f32 * (1.0 / (255 << GAMMA_SHIFT) as f32);
            let y = match f64::from(x) < 216.0 / 24389.0 {
                true => x * (841.0 / 108.0) as f32 + (16.0 / 116.0) as f32,
                // OpenCV's own root is a bit lower there.
                false if i == 324 => (f64::from(x).cbrt() as f32).next_down(),
                false => f64::from(x).cbrt() as f32,
            };
            (f64::from(1 << WIDE_SHIFT) * f64::from(y)).round_ties_even() as i64
        };
        let lightness = |i: i64| {
            let (base, l) = (BASE as f64, i as f64);
            // Below L = 8 it is linear.
            let (y, f) = match i <= 20 {
                true => (
                    base * 20.0 * 9.0 * l / (17.0 * 24389.0),
                    16.0 * base / 116.0 + base * l * 5.0 / (3.0 * 17.0 * 29.0),
                ),
                false => {
                    let f = l * 100.0 * base / (255.0 * 116.0) + 16.0 * base / 116.0;
                    (f.powi(3) / (base * base), f)
                }
            };
            [y, f].map(|x| x.round_ties_even() as i64)
        };
        let cube = |i: i64| match i <= 3390 {
            true => i * 108 / 841 - BASE * 16 / 116 * 108 / 841,
            false => i * i / BASE * i / BASE,
        };
        let srgb = |i: usize| {
            let x = i as f64 / INVERSE as f64;
            let y = if x <= 0.0031308 {
                x * 12.92
            } else {
                1.055 * x.powf(1.0 / 2.4) - 0.055
            };
            (255.0 * y).round_ties_even() as u8
        };
        Self {
            linear: (0..256).map(linear).collect(),
            roots: (0..(256 * 3 / 2) << GAMMA_SHIFT).map(root).collect(),
            lightness: (0..256).map(lightness).collect(),
            cubes: (LEAST..BASE * 9 / 4 + LEAST).map(cube).collect(),
            srgb: (0..INVERSE).map(srgb).collect(),
        }
    }

    /// `cv2.COLOR_RGB2LAB`.
    fn lab(&self, rgb: [u8; 3]) -> [u8; 3] {
        let linear = rgb.map(|v| self.linear[usize::from(v)]);
        let [x, y, z] = TO_XYZ.map(|row| {
            let sum: i64 = row.iter().zip(linear).map(|(factor, value)| factor * value).sum();
            self.roots[rounded(sum, SHIFT) as usize]
        });
        let scale = (116 * 255 + 50) / 100;
        let offset = -((16 * 255 * (1 << WIDE_SHIFT) + 50) / 100);
        let middle = 128 << WIDE_SHIFT;
        let lab = [scale * y + offset, 500 * (x - y) + middle, 200 * (y - z) + middle];
        lab.map(|v| rounded(v, WIDE_SHIFT).clamp(0, 255) as u8)
    }

    /// `cv2.COLOR_LAB2RGB`.
    fn rgb(&self, [l, a, b]: [u8; 3]) -> [u8; 3] {
        let [y, f] = self.lightness[usize::from(l)];
        let a = ((5 * i64::from(a) * 53687 + (1 << 7)) >> 13) - 128 * BASE / 500;
        let b = ((i64::from(b) * 41943 + (1 << 4)) >> 9) - 128 * BASE / 200 + 1;
        let cube = |f: i64| self.cubes[(f - LEAST) as usize];
        let xyz = [cube(f + a), y, cube(f - b)];
        FROM_XYZ.map(|row| {
            let sum: i64 = row.iter().zip(xyz).map(|(factor, value)| factor * value).sum();
            self.srgb[rounded(sum, 14).clamp(0, INVERSE as i64 - 1) as usize]
        })
    }
}

/// The share of values up to each, by value.
fn quantiles(channel: impl Iterator<Item = u8>) -> ([u64; 256], Vec<f64>) {
    let mut counts = [0u64; 256];
    channel.for_each(|v| counts[usize::from(v)] += 1);
    let (mut sum, total) = (0, counts.iter().sum::<u64>() as f64);
    let shares = counts.iter().map(|n| {
        sum += n;
        sum as f64 / total
    });
    (counts, shares.collect())
}

/// For each value of one channel that of the other at the same quantile (`skimage.exposure.match_histograms`), cut to a byte.
fn matching(own: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>) -> [u8; 256] {
    let (_, own) = quantiles(own);
    let (counts, other) = quantiles(other);
    // Of the other's values those that there are.
    let known: Vec<(f64, f64)> = (0..256)
        .filter(|&v| counts[v] > 0)
        .map(|v| (other[v], v as f64))
        .collect();
    let mut table = [0; 256];
    for (to, &share) in table.iter_mut().zip(&own) {
        let after = known.partition_point(|(at, _)| *at <= share);
        let value = match (after.checked_sub(1).map(|at| known[at]), known.get(after)) {
            (Some((x0, y0)), Some((x1, y1))) => (y1 - y0) / (x1 - x0) * (share - x0) + y0,
            (Some((_, last)), None) => last,
            (None, Some((_, first))) => *first,
            (None, None) => 0.0,
        };
        *to = value as u8;
    }
    table
}

fn luminosity([r, g, b]: [f64; 3]) -> f64 {
    r * 0.299 + g * 0.587 + b * 0.114
}

/// `color` with the luminosity of `of`, kept within 0 to 1.
fn with_luminosity(color: [u8; 3], of: [u8; 3]) -> [u8; 3] {
    let unit = |rgb: [u8; 3]| rgb.map(|v| f64::from(v) / 255.0);
    let color = unit(color);
    let shift = luminosity(unit(of)) - luminosity(color);
    let mut moved = color.map(|v| v + shift);
    let middle = luminosity(moved);
    let least = moved.iter().copied().fold(f64::MAX, f64::min);
    let most = moved.iter().copied().fold(f64::MIN, f64::max);
    if least < 0.0 {
        moved = moved.map(|v| middle + (v - middle) * middle / (middle - least));
    }
    if most > 1.0 {
        moved = moved.map(|v| middle + (v - middle) * (1.0 - middle) / (most - middle));
    }
    moved.map(|v| (v * 255.0).round_ties_even() as u8)
}

/// Pixels of red, green and blue with the colours of a picture of any size.
pub(crate) fn corrected(rgb: &[u8], like: &Picture) -> Vec<u8> {
    let tables = Tables::new();
    let own: Vec<[u8; 3]> = rgb.as_chunks::<3>().0.to_vec();
    let lab: Vec<[u8; 3]> = own.iter().map(|pixel| tables.lab(*pixel)).collect();
    let other = like.rgba().as_chunks::<4>().0.iter();
    let other: Vec<[u8; 3]> = other.map(|&[r, g, b, _]| tables.lab([r, g, b])).collect();
    let maps = [0, 1, 2].map(|c| matching(lab.iter().map(|v| v[c]), other.iter().map(|v| v[c])));
    let pixels = lab.iter().zip(&own).flat_map(|(&[l, a, b], &own)| {
        let [l, a, b] = [(0, l), (1, a), (2, b)].map(|(c, v)| maps[c][usize::from(v)]);
        with_luminosity(tables.rgb([l, a, b]), own)
    });
    pixels.collect()
}

#[cfg(test)]
mod tests {
    use goldens::Refs;

    use super::*;

    fn pixels(values: &[u8]) -> Vec<[u8; 3]> {
        values.as_chunks::<3>().0.to_vec()
    }

    /// To the byte, both ways.
    #[test]
    fn lab_is_opencvs() {
        let refs = Refs::open("pictures/color_correction.safetensors");
        let (tables, rgb) = (Tables::new(), pixels(&refs.u8s("rgb")));
        let to = |of: &dyn Fn([u8; 3]) -> [u8; 3]| -> Vec<u8> { rgb.iter().flat_map(|v| of(*v)).collect() };
        assert!(to(&|v| tables.lab(v)) == refs.u8s("lab"));
        assert!(to(&|v| tables.rgb(v)) == refs.u8s("rgb.of_lab"));
    }

    #[test]
    fn colours_are_the_webuis() {
        let refs = Refs::open("pictures/color_correction.safetensors");
        for name in ["like", "unlike", "flat"] {
            let (shape, like) = (refs.shape(name), refs.u8s(name));
            let like = Picture::from_rgb(shape[1] as u32, shape[0] as u32, &like).unwrap();
            let got = corrected(&refs.u8s("drawn"), &like);
            assert!(got == refs.u8s(&format!("corrected.{name}")), "{name}");
        }
    }
}
