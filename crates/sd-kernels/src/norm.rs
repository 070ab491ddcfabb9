use burn::tensor::{DType, Tensor, module};

use crate::silu;

/// Group normalisation (Wu and He 2018, arXiv:1803.08494) over `groups` groups of neighbouring channels.
///
/// `x` is `[batch, c, h, w]`, `gamma` and `beta` are `[c]`; the statistics are computed in `f32`, with the biased variance.
pub fn group_norm(x: Tensor<4>, groups: usize, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<4> {
    let dtype = x.dtype();
    let [batch, c, h, w] = x.dims();
    let grouped = x.cast(DType::F32).reshape([batch, groups, c / groups * h * w]);
    // Two passes, because E[x^2] - E[x]^2 cancels where a group's mean is large.
    let centred = grouped.clone() - grouped.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normed = centred / (variance + eps).sqrt();
    let scale = |t: Tensor<1>| t.cast(DType::F32).reshape([1, c, 1, 1]);
    (normed.reshape([batch, c, h, w]) * scale(gamma) + scale(beta)).cast(dtype)
}

/// [`group_norm`] followed by SiLU, the pair that opens every half of a residual block.
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    silu(group_norm(x, groups, gamma, beta, eps))
}

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis, with the biased variance.
///
/// `x` is `[.., c]`, `gamma` and `beta` are `[c]`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let f32 = |t: Tensor<1>| t.cast(DType::F32);
    module::layer_norm(x.cast(DType::F32), f32(gamma), Some(f32(beta)), eps).cast(dtype)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
    }

    /// The definition, in `f64`: a large mean is what a one-pass variance would stumble over.
    #[test]
    fn group_norm_is_its_definition() {
        let (batch, c, hw, groups) = (2, 6, 20, 3);
        let x: Vec<f32> = (0..batch * c * hw)
            .map(|i| 1000.0 + ((i * 37) % 101) as f32 / 25.0)
            .collect();
        let (gamma, beta): (Vec<f32>, Vec<f32>) = (0..c).map(|i| (i as f32 - 2.5, 0.5 * i as f32)).unzip();
        let mut expected = vec![0f64; x.len()];
        let n = c / groups * hw;
        for (g, group) in x.chunks(n).enumerate() {
            let mean = group.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
            let variance = group.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n as f64;
            for (i, &v) in group.iter().enumerate() {
                let channel = (g * n + i) / hw % c;
                let normed = (f64::from(v) - mean) / (variance + 1e-5).sqrt();
                expected[g * n + i] = normed * f64::from(gamma[channel]) + f64::from(beta[channel]);
            }
        }
        let x = tensor(x, [batch, c, 4, 5]);
        let got = group_norm(x, groups, tensor(gamma, [c]), tensor(beta, [c]), 1e-5);
        let got = got.into_data().try_to_vec::<f32>().unwrap();
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (f64::from(*got) - expected).abs() < 2e-3,
                "{got} should be {expected}"
            );
        }
    }
}
