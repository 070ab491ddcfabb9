//! Layers: a few tensors and the operation on them. Each takes its tensors from [`Params`] by their canonical names.

use burn::tensor::{Int, Tensor, module};
use sd_kernels::Padding;

use crate::weights::Params;

/// `y = x W^T + b`.
#[derive(Clone)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    pub fn new(p: &Params, input: usize, output: usize) -> Self {
        p.layer(|p| Self {
            weight: p.tensor("weight", [output, input]),
            bias: Some(p.tensor("bias", [output])),
        })
    }

    pub fn without_bias(p: &Params, input: usize, output: usize) -> Self {
        p.layer(|p| Self {
            weight: p.tensor("weight", [output, input]),
            bias: None,
        })
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        sd_kernels::linear(x, self.weight.clone(), self.bias.clone())
    }
}

/// A convolution over `[batch, c, h, w]`.
#[derive(Clone)]
pub(crate) struct Conv2d {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: Padding,
}

impl Conv2d {
    /// Stride 1, the size of the picture kept (`kernel` is odd).
    pub fn same(p: &Params, input: usize, output: usize, kernel: usize) -> Self {
        Self::new(p, input, output, kernel, 1, Padding::Even(kernel / 2))
    }

    pub fn new(
        p: &Params,
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Self {
        p.layer(|p| Self {
            weight: p.tensor("weight", [output, input, kernel, kernel]),
            bias: p.tensor("bias", [output]),
            stride,
            padding,
        })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        sd_kernels::conv2d(
            x,
            self.weight.clone(),
            Some(self.bias.clone()),
            self.stride,
            self.padding,
        )
    }
}

/// Group normalisation, alone or with the SiLU that usually follows.
#[derive(Clone)]
pub(crate) struct GroupNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    pub fn new(p: &Params, channels: usize, groups: usize, eps: f64) -> Self {
        p.layer(|p| Self {
            gamma: p.tensor("weight", [channels]),
            beta: p.tensor("bias", [channels]),
            groups,
            eps,
        })
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        sd_kernels::group_norm(x, self.groups, self.gamma.clone(), self.beta.clone(), self.eps)
    }

    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        sd_kernels::group_norm_silu(x, self.groups, self.gamma.clone(), self.beta.clone(), self.eps)
    }
}

/// Layer normalisation over the last axis.
#[derive(Clone)]
pub(crate) struct LayerNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    pub fn new(p: &Params, channels: usize, eps: f64) -> Self {
        p.layer(|p| Self {
            gamma: p.tensor("weight", [channels]),
            beta: p.tensor("bias", [channels]),
            eps,
        })
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        sd_kernels::layer_norm(x, self.gamma.clone(), self.beta.clone(), self.eps)
    }
}

/// A table of vectors.
#[derive(Clone)]
pub(crate) struct Embedding {
    weight: Tensor<2>,
}

impl Embedding {
    pub fn new(p: &Params, rows: usize, width: usize) -> Self {
        p.layer(|p| Self {
            weight: p.tensor("weight", [rows, width]),
        })
    }

    /// `[batch, n]` indices to `[batch, n, width]`.
    pub fn forward(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        module::embedding(self.weight.clone(), indices)
    }

    /// The first `n` rows, `[1, n, width]`.
    pub fn first(&self, n: usize) -> Tensor<3> {
        self.weight.clone().narrow(0, 0, n).unsqueeze()
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
    /// `x` is `[batch, n, c]`, `context` is `[batch, m, d]`.
    pub fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>, causal: bool) -> Tensor<3> {
        let context = context.unwrap_or_else(|| x.clone());
        let (k, v) = (self.k.forward(context.clone()), self.v.forward(context));
        self.out
            .forward(sd_kernels::attention(self.q.forward(x), k, v, self.heads, causal))
    }
}

/// Pictures as token rows: `[batch, c, h, w]` to `[batch, h w, c]`.
pub(crate) fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    x.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// The inverse of [`to_tokens`].
pub(crate) fn to_picture(x: Tensor<3>, h: usize, w: usize) -> Tensor<4> {
    let [batch, _, c] = x.dims();
    x.swap_dims(1, 2).reshape([batch, c, h, w])
}
