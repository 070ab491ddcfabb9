//! Normalisations.

use burn_tensor::{DType, Tensor, module};

use super::activate;
#[cfg(feature = "cube")]
use super::cube::{self, Affine};
use crate::options::Activation;

/// A factor for each channel of a picture, and a term that is added then, each `[c]` in `f32`.
pub(crate) type ChannelScales = [Tensor<1>; 2];

/// Scale and shift are `f32`, as arithmetic is.
#[derive(Clone)]
pub(crate) struct GroupNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Self {
        Self {
            gamma: gamma.cast(DType::F32),
            beta: beta.cast(DType::F32),
            groups,
            eps,
        }
    }

    #[cfg(feature = "cube")]
    fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: &self.gamma,
            beta: &self.beta,
            eps: self.eps,
        }
    }

    pub fn forward(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        #[cfg(feature = "cube")]
        if cube::takes(&x) {
            return cube::group_norm(x, &self.affine(), self.groups, silu);
        }
        self.composed(x, silu)
    }

    fn composed(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        let (dtype, groups) = (x.dtype(), self.groups);
        let [batch, h, w, c] = x.dims();
        let grouped = x
            .cast(DType::F32)
            .reshape([batch, h * w, groups, c / groups])
            .swap_dims(1, 2)
            .reshape([batch, groups, h * w * (c / groups)]);
        // Two passes, because E[x^2] - E[x]^2 cancels where a group's mean is large.
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().powi_scalar(2).mean_dim(2);
        let normed = (centred / (variance + self.eps).sqrt()).reshape([batch, groups, h * w, c / groups]);
        let scale = |t: &Tensor<1>| t.clone().reshape([1, 1, 1, c]);
        let normed = normed.swap_dims(1, 2).reshape([batch, h, w, c]);
        let y = (normed * scale(&self.gamma) + scale(&self.beta)).cast(dtype);
        activate(y, if silu { Activation::Silu } else { Activation::None })
    }

    /// The scales that normalise one picture, which is given in bands, `[1, rows, w, c]`.
    pub fn scales(&self, bands: &[&Tensor<4>]) -> ChannelScales {
        #[cfg(feature = "cube")]
        if cube::takes(bands[0])
            && let Some(scales) = cube::scales(bands, &self.affine(), self.groups)
        {
            return scales;
        }
        self.composed_scales(bands)
    }

    fn composed_scales(&self, bands: &[&Tensor<4>]) -> ChannelScales {
        let (c, groups) = (bands[0].dims()[3], self.groups);
        let rows: usize = bands.iter().map(|band| band.dims()[1]).sum();
        // The share of the whole, the mean and the variance of each group in each band.
        let moments = bands.iter().map(|&band| {
            let [_, h, w, _] = band.dims();
            let grouped = band.clone().cast(DType::F32).reshape([h * w, groups, c / groups]);
            let grouped = grouped.swap_dims(0, 1).reshape([groups, h * w * (c / groups)]);
            let mean = grouped.clone().mean_dim(1);
            let variance = (grouped - mean.clone()).powi_scalar(2).mean_dim(1);
            (h as f64 / rows as f64, mean, variance)
        });
        let moments: Vec<(f64, Tensor<2>, Tensor<2>)> = moments.collect();
        let sum = |of: &dyn Fn(&Tensor<2>, &Tensor<2>) -> Tensor<2>| {
            let terms = moments
                .iter()
                .map(|(share, mean, variance)| of(mean, variance) * *share);
            terms.reduce(|a, b| a + b).expect("a picture has a band")
        };
        let mean = sum(&|mean, _| mean.clone());
        let variance = sum(&|own, variance| variance.clone() + (own.clone() - mean.clone()).powi_scalar(2));
        let by_group = |t: &Tensor<1>| t.clone().reshape([groups, c / groups]);
        let factors = by_group(&self.gamma) / (variance + self.eps).sqrt();
        let terms = by_group(&self.beta) - mean * factors.clone();
        [factors.reshape([c]), terms.reshape([c])]
    }
}

#[derive(Clone)]
pub(crate) struct LayerNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Self {
        let [gamma, beta] = [gamma, beta].map(|t| t.cast(DType::F32));
        Self { gamma, beta, eps }
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "cube")]
        if cube::takes(&x) {
            let affine = Affine {
                gamma: &self.gamma,
                beta: &self.beta,
                eps: self.eps,
            };
            return cube::layer_norm(x, &affine);
        }
        self.composed(x)
    }

    fn composed<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (dtype, gamma, beta) = (x.dtype(), self.gamma.clone(), self.beta.clone());
        module::layer_norm(x.cast(DType::F32), gamma, Some(beta), self.eps).cast(dtype)
    }
}
