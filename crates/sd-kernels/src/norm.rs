//! Normalisations, with their scale and shift.

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn_tensor::Tensor;

use crate::{Activation, composed};
#[cfg(feature = "flex")]
use crate::{
    host::{self, Host, Isa, Stored, Values},
    workspace::timed,
};

/// Scale and shift of a normalisation.
#[derive(Clone)]
struct Affine {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    #[cfg(feature = "flex")]
    host: Arc<(Vec<f32>, Vec<f32>)>,
}

impl Affine {
    fn new(gamma: Tensor<1>, beta: Tensor<1>) -> Self {
        Self {
            #[cfg(feature = "flex")]
            host: Arc::new((host::floats(gamma.clone()), host::floats(beta.clone()))),
            gamma,
            beta,
        }
    }
}

/// What each channel of a picture is multiplied by, and what is added then.
pub(crate) enum Scales {
    #[cfg(feature = "flex")]
    Host(host::Scales),
    /// Each `[c]`, in `f32`.
    Device(Box<[Tensor<1>; 2]>),
}

/// Group normalisation (Wu and He 2018, arXiv:1803.08494) over groups of neighbouring channels of `[batch, h, w, c]`, with the biased
/// variance.
#[derive(Clone)]
pub struct GroupNorm {
    affine: Affine,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// `gamma` and `beta` are `[c]`.
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Self {
        Self {
            affine: Affine::new(gamma, beta),
            groups,
            eps,
        }
    }

    /// Of `x`'s shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, false)
    }

    /// With SiLU, the pair that opens every half of a residual block.
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, true)
    }

    /// What normalises one picture that is given in bands, `[1, rows, w, c]`, one or more.
    pub(crate) fn scales(&self, bands: &[&Tensor<4>]) -> Scales {
        #[cfg(feature = "flex")]
        match Host::of(bands[0].clone()) {
            Ok(Host::F32(_)) => return Scales::Host(self.scales_on_host::<f32>(bands)),
            Ok(Host::Bf16(_)) => return Scales::Host(self.scales_on_host::<half::bf16>(bands)),
            Err(_) => {}
        }
        let Affine { gamma, beta, .. } = self.affine.clone();
        let scales = composed::group_scales(bands, self.groups, gamma, beta, self.eps);
        Scales::Device(Box::new(scales))
    }

    #[cfg(feature = "flex")]
    fn scales_on_host<T: Stored>(&self, bands: &[&Tensor<4>]) -> host::Scales {
        let bands = bands.iter().map(|&band| host::values::<T, 4>(band.clone()));
        let bands: Vec<Values<T>> = bands.collect();
        let slices: Vec<&[T]> = bands.iter().map(Values::slice).collect();
        let (gamma, beta) = &*self.affine.host;
        let (c, values) = (gamma.len(), slices.iter().map(|band| band.len()).sum::<usize>());
        let scales = || host::group_scales(Isa::detect(), &slices, self.groups, (gamma, beta), self.eps);
        timed(
            "group norm, moments",
            || format!("{} x {c}", values / c),
            0.0,
            scales,
        )
    }

    fn run(&self, x: Tensor<4>, silu: bool) -> Tensor<4> {
        #[cfg(feature = "flex")]
        let x = {
            let shape = x.dims();
            match Host::of(x) {
                Ok(Host::F32(x)) => return self.on_host(&x, shape, silu),
                Ok(Host::Bf16(x)) => return self.on_host(&x, shape, silu),
                Err(x) => x,
            }
        };
        let Affine { gamma, beta, .. } = self.affine.clone();
        let y = composed::group_norm(x, self.groups, gamma, beta, self.eps);
        composed::activate(y, if silu { Activation::Silu } else { Activation::None })
    }

    #[cfg(feature = "flex")]
    fn on_host<T: Stored>(&self, x: &Values<T>, shape: [usize; 4], silu: bool) -> Tensor<4> {
        let [batch, h, w, c] = shape;
        let mut out = host::Buffer::<T>::dirty(batch * h * w * c);
        let (gamma, beta) = &*self.affine.host;
        let norm = || {
            let shape = [batch, h * w, c];
            let affine = (gamma.as_slice(), beta.as_slice());
            host::group_norm(
                Isa::detect(),
                x.slice(),
                shape,
                self.groups,
                affine,
                self.eps,
                silu,
                &mut out,
            );
        };
        timed("group norm", || format!("{} x {c}", batch * h * w), 0.0, norm);
        host::tensor(out, shape)
    }
}

/// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis, with the biased variance.
#[derive(Clone)]
pub struct LayerNorm {
    affine: Affine,
    eps: f64,
}

impl LayerNorm {
    /// `gamma` and `beta` are `[c]`.
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Self {
        Self {
            affine: Affine::new(gamma, beta),
            eps,
        }
    }

    /// Of `x`'s shape, `[.., c]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        let x = {
            let shape = x.dims();
            match Host::of(x) {
                Ok(Host::F32(x)) => return self.on_host(&x, shape),
                Ok(Host::Bf16(x)) => return self.on_host(&x, shape),
                Err(x) => x,
            }
        };
        let Affine { gamma, beta, .. } = self.affine.clone();
        composed::layer_norm(x, gamma, beta, self.eps)
    }

    #[cfg(feature = "flex")]
    fn on_host<T: Stored, const D: usize>(&self, x: &Values<T>, shape: [usize; D]) -> Tensor<D> {
        let mut out = host::Buffer::<T>::dirty(shape.iter().product());
        let (gamma, beta) = &*self.affine.host;
        host::layer_norm(
            Isa::detect(),
            x.slice(),
            gamma.len(),
            (gamma, beta),
            self.eps,
            &mut out,
        );
        host::tensor(out, shape)
    }
}
