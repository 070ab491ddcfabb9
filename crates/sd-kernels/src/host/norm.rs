//! Normalisations.

use std::sync::Arc;

use burn_tensor::Tensor;

pub(crate) use super::kernel::ChannelScales;
use super::{
    kernel,
    simd::Isa,
    tensor::{HostTensor, in_type, tensor},
};
use crate::memory::{buffer::Buffer, staging::floats, workspace::Workspace};

/// Scale and shift of a normalisation, for each channel. A clone shares them.
#[derive(Clone)]
struct Affine(Arc<[Vec<f32>; 2]>);

impl Affine {
    fn new(gamma: Tensor<1>, beta: Tensor<1>) -> Self {
        Self(Arc::new([gamma, beta].map(floats)))
    }

    fn slices(&self) -> (&[f32], &[f32]) {
        let [gamma, beta] = &*self.0;
        (gamma, beta)
    }
}

#[derive(Clone)]
pub(crate) struct GroupNorm {
    affine: Affine,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Self {
        Self {
            affine: Affine::new(gamma, beta),
            groups,
            eps,
        }
    }

    pub fn forward(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        let ([batch, h, w, c], groups) = (x.dims(), self.groups);
        in_type!(x.dtype(), |T| {
            let x = HostTensor::<T>::new(x);
            let mut out = Buffer::<T>::dirty(batch * h * w * c);
            let (x, shape, affine) = (x.values(), [batch, h * w, c], self.affine.slices());
            Workspace::timed(
                "group norm",
                || format!("{} x {c}", batch * h * w),
                0.0,
                || kernel::group_norm(Isa::detect(), x, shape, groups, affine, self.eps, silu, &mut out),
            );
            tensor(out, [batch, h, w, c])
        })
    }

    pub fn scales(&self, bands: &[&Tensor<4>]) -> ChannelScales {
        let affine = self.affine.slices();
        in_type!(bands[0].dtype(), |T| {
            let bands = bands.iter().map(|&band| HostTensor::<T>::new(band.clone()));
            let bands: Vec<_> = bands.collect();
            let slices: Vec<&[T]> = bands.iter().map(HostTensor::values).collect();
            let (c, values) = (
                affine.0.len(),
                slices.iter().map(|band| band.len()).sum::<usize>(),
            );
            Workspace::timed(
                "group norm, moments",
                || format!("{} x {c}", values / c),
                0.0,
                || kernel::group_scales(Isa::detect(), &slices, self.groups, affine, self.eps),
            )
        })
    }
}

#[derive(Clone)]
pub(crate) struct LayerNorm {
    affine: Affine,
    eps: f64,
}

impl LayerNorm {
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Self {
        Self {
            affine: Affine::new(gamma, beta),
            eps,
        }
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (shape, affine) = (x.dims(), self.affine.slices());
        in_type!(x.dtype(), |T| {
            let x = HostTensor::<T>::new(x);
            let mut out = Buffer::<T>::dirty(shape.iter().product());
            let width = affine.0.len();
            kernel::layer_norm(Isa::detect(), x.values(), width, affine, self.eps, &mut out);
            tensor(out, shape)
        })
    }
}
