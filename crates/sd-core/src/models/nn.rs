//! Layers from their weights: each takes its tensors from [`Params`] by their canonical names.

use burn_tensor::{DType, Int, Tensor, activation, module};
use sd_kernels::{Conv2d, ConvShape, GroupNorm, LayerNorm, Linear, Padding};

use crate::weights::Params;

/// A linear layer with a bias.
pub(crate) fn linear(p: &Params, input: usize, output: usize) -> Linear {
    p.layer(|p| {
        Linear::new(
            p.weight("weight", [output, input]),
            Some(p.tensor("bias", [output])),
            p.quantization(),
        )
    })
}

/// A linear layer without a bias.
pub(crate) fn linear_without_bias(p: &Params, input: usize, output: usize) -> Linear {
    p.layer(|p| Linear::new(p.weight("weight", [output, input]), None, p.quantization()))
}

/// A convolution of one pixel, which is a linear layer over channels.
pub(crate) fn pixelwise_linear(p: &Params, input: usize, output: usize) -> Linear {
    p.layer(|p| {
        let weight = p.weight("weight", [output, input, 1, 1]);
        let [rows, columns, ..] = weight.dims();
        Linear::new(
            weight.reshape([rows, columns]),
            Some(p.tensor("bias", [output])),
            p.quantization(),
        )
    })
}

/// A gated linear layer; its weights are twice `output` wide.
pub(crate) fn gated_linear(p: &Params, input: usize, output: usize) -> Linear {
    let all = 2 * output;
    p.layer(|p| {
        Linear::gated(
            p.weight("weight", [all, input]),
            Some(p.tensor("bias", [all])),
            p.quantization(),
        )
    })
}

/// A convolution of stride 1 that keeps the picture's size (`kernel` is odd).
pub(crate) fn conv(p: &Params, input: usize, output: usize, kernel: usize) -> Conv2d {
    let shape = ConvShape {
        stride: 1,
        padding: Padding::Even(kernel / 2),
    };
    conv_of_shape(p, input, output, kernel, shape)
}

pub(crate) fn conv_of_shape(
    p: &Params,
    input: usize,
    output: usize,
    kernel: usize,
    shape: ConvShape,
) -> Conv2d {
    p.layer(|p| {
        let weight = p.weight("weight", [output, input, kernel, kernel]);
        Conv2d::new(weight, Some(p.tensor("bias", [output])), shape, p.quantization())
    })
}

pub(crate) fn group_norm(p: &Params, channels: usize, groups: usize, eps: f64) -> GroupNorm {
    p.layer(|p| {
        let (gamma, beta) = (p.tensor("weight", [channels]), p.tensor("bias", [channels]));
        GroupNorm::new(gamma, beta, groups, eps)
    })
}

pub(crate) fn layer_norm(p: &Params, channels: usize, eps: f64) -> LayerNorm {
    p.layer(|p| LayerNorm::new(p.tensor("weight", [channels]), p.tensor("bias", [channels]), eps))
}

/// A table of vectors.
#[derive(Clone)]
pub(crate) struct Embedding {
    weight: Tensor<2>,
    /// The type of the vectors that are handed out.
    dtype: DType,
}

impl Embedding {
    pub fn new(p: &Params, rows: usize, width: usize) -> Self {
        p.layer(|p| Self {
            weight: p.table("weight", [rows, width]),
            dtype: p.dtype().burn(),
        })
    }

    /// `[batch, n]` indices to `[batch, n, width]`.
    pub fn forward(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        module::embedding(self.weight.clone(), indices).cast(self.dtype)
    }

    /// The first `n` rows, `[1, n, width]`.
    pub fn first(&self, n: usize) -> Tensor<3> {
        self.weight.clone().narrow(0, 0, n).cast(self.dtype).unsqueeze()
    }
}

/// Keys and values of tokens, `[batch, m, width]` each.
pub(crate) type KeysValues = [Tensor<3>; 2];

/// Keys and values of tokens with those of the tokens before them, if there are any.
pub(crate) fn behind(before: Option<KeysValues>, own: KeysValues) -> KeysValues {
    match before {
        Some([keys, values]) => {
            let [own_keys, own_values] = own;
            [
                Tensor::cat(vec![keys, own_keys], 1),
                Tensor::cat(vec![values, own_values], 1),
            ]
        }
        None => own,
    }
}

/// Multi-head attention with separate projections, of `x` to itself or to a `context`.
pub(crate) struct Attention {
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub out: Linear,
    pub heads: usize,
}

impl Attention {
    /// Keys and values of a `context` `[batch, m, d]`, `[batch, m, c]` each.
    pub fn keys_values(&self, context: Tensor<3>) -> KeysValues {
        [self.k.forward(context.clone()), self.v.forward(context)]
    }

    /// `x + attention` of the normalised `x` `[batch, n, c]`, to these keys and values, or else to itself. One row looks at each row of keys
    /// and values.
    pub fn forward_onto(
        &self,
        x: Tensor<3>,
        normed: Tensor<3>,
        keys_values: Option<KeysValues>,
        causal: bool,
    ) -> Tensor<3> {
        let seen = self.attend(normed, keys_values, causal);
        let x = broadcast_rows(x, seen.dims()[0]);
        self.out.forward_onto(seen, x)
    }

    /// The same without `x`.
    pub fn forward(&self, normed: Tensor<3>, keys_values: Option<KeysValues>) -> Tensor<3> {
        self.out.forward(self.attend(normed, keys_values, false))
    }

    /// The weights that self-attention gives each row of the normalised `x`, summed over all rows that look at it, on the mean of the
    /// heads: `[batch, n]` in `f32`. Its memory grows with the square of `n`.
    pub fn received(&self, normed: Tensor<3>) -> Tensor<2> {
        let [batch, n, _] = normed.dims();
        let split = |x: Tensor<3>| {
            let x = x.cast(DType::F32);
            let width = x.dims()[2] / self.heads;
            x.reshape([batch, n, self.heads, width]).swap_dims(1, 2)
        };
        let (queries, keys) = (
            split(self.q.forward(normed.clone())),
            split(self.k.forward(normed)),
        );
        let scale = (queries.dims()[3] as f64).powf(-0.5);
        let weights = activation::softmax(queries.matmul(keys.swap_dims(2, 3)) * scale, 3);
        weights.mean_dim(1).sum_dim(2).reshape([batch, n])
    }

    fn attend(&self, normed: Tensor<3>, keys_values: Option<KeysValues>, causal: bool) -> Tensor<3> {
        let [k, v] = keys_values.unwrap_or_else(|| self.keys_values(normed.clone()));
        let queries = broadcast_rows(self.q.forward(normed), k.dims()[0]);
        sd_kernels::attention(queries, k, v, self.heads, causal)
    }
}

/// `x` with this many rows: as it is, or if it has fewer, all of them again and again.
pub(crate) fn broadcast_rows<const D: usize>(x: Tensor<D>, rows: usize) -> Tensor<D> {
    let own = x.dims()[0];
    match own == rows {
        true => x,
        false => x.repeat_dim(0, rows / own.max(1)),
    }
}

/// `x` with each row so many times, one behind the other.
pub(crate) fn each_row(x: Tensor<2>, times: usize) -> Tensor<2> {
    let [rows, width] = x.dims();
    match times {
        1 => x,
        _ => x
            .reshape([rows, 1, width])
            .repeat_dim(1, times)
            .reshape([rows * times, width]),
    }
}

/// Channels last, as the layers want pictures: `[batch, c, h, w]` to `[batch, h, w, c]`.
pub(crate) fn channels_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// The inverse of [`channels_last`].
pub(crate) fn channels_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

/// The pixels of pictures as rows: `[batch, h, w, c]` to `[batch, h w, c]`.
pub(crate) fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    x.flatten::<3>(1, 2)
}
