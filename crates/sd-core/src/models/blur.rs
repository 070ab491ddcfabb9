//! A Gaussian blur of pictures, as matrices: pictures that are blurred are small.

use burn_tensor::{DType, Tensor, TensorData};

/// The matrix, `[n, n]` by rows, that blurs `n` values in a line with a Gaussian of deviation `sigma` on `taps` places, an odd number.
/// Beyond its ends the line is mirrored, the outermost value once. With an infinite `sigma` each value becomes the mean of all.
pub fn blur_matrix(n: usize, taps: usize, sigma: f64) -> Vec<f32> {
    if sigma.is_infinite() {
        return vec![1.0 / n as f32; n * n];
    }
    let half = (taps / 2) as isize;
    let weight = |at: isize| match sigma > 0.0 {
        true => (-0.5 * (at as f64 / sigma).powi(2)).exp(),
        false => f64::from(at == 0),
    };
    let sum: f64 = (-half..=half).map(weight).sum();
    let mut matrix = vec![0.0; n * n];
    for row in 0..n {
        for at in -half..=half {
            matrix[row * n + mirrored(row as isize + at, n)] += weight(at) / sum;
        }
    }
    matrix.into_iter().map(|value| value as f32).collect()
}

/// A place on a line of `n`, which is mirrored at both ends as often as needed.
fn mirrored(at: isize, n: usize) -> usize {
    let period = 2 * (n as isize - 1);
    if period == 0 {
        return 0;
    }
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// Pictures `[batch, h w, c]` blurred over height and width as smoothed energy guidance does it: on six deviations, but no more places than
/// the side has.
pub(crate) fn blurred(x: Tensor<3>, [h, w]: [usize; 2], sigma: f64) -> Tensor<3> {
    let ([batch, n, c], dtype, device) = (x.dims(), x.dtype(), x.device());
    let matrix = |side: usize, rows: usize| {
        let wanted = (6.0 * sigma).ceil().min(2.0 * side as f64) as usize;
        let taps = (wanted + 1 - wanted % 2).min(side + 1 - side % 2);
        let data = TensorData::new(blur_matrix(side, taps, sigma), [1, side, side]);
        Tensor::<3>::from_data(data, (&device, DType::F32)).expand([rows, side, side])
    };
    let x = x.cast(DType::F32).reshape([batch * h, w, c]);
    let x = matrix(w, batch * h).matmul(x).reshape([batch, h, w * c]);
    matrix(h, batch).matmul(x).reshape([batch, n, c]).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mirrored() {
        let places: Vec<usize> = (-5..8).map(|at| mirrored(at, 4)).collect();
        assert_eq!(places, [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(mirrored(-3, 1), 0);
    }

    #[test]
    fn rows_sum_to_one() {
        for (n, taps, sigma) in [
            (1, 9, 1.0),
            (3, 9, 2.0),
            (8, 9, 0.0),
            (8, 7, 1.5),
            (8, 9, f64::INFINITY),
        ] {
            for row in blur_matrix(n, taps, sigma).chunks(n) {
                let sum: f32 = row.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6, "{n} {taps} {sigma}: {sum}");
            }
        }
        assert_eq!(blur_matrix(2, 9, 0.0), [1.0, 0.0, 0.0, 1.0]);
    }
}
