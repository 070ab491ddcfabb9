//! Layers: weights as they are wanted where they are used, and what is done with them.

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use crate::composed;
#[cfg(feature = "flex")]
use crate::{
    host::{self, Finish, Geometry, Host, Isa, Left, PANEL, Right, Shared, Store, Stored, Values},
    workspace::timed,
};

/// What follows a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x * sigmoid(x)` (Elfwing et al. 2017, arXiv:1702.03118).
    Silu,
    /// The exact, erf-based GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// `x * sigmoid(1.702 x)`, the approximation that OpenAI's CLIP was trained with.
    QuickGelu,
}

/// A right-hand side as the kernels want it.
#[cfg(feature = "flex")]
struct Packed<T> {
    data: host::Kept<T>,
    panels: usize,
    /// One for each packed column.
    bias: Option<Vec<f32>>,
}

#[cfg(feature = "flex")]
impl<T: Stored> Packed<T> {
    /// `column` says which of `outputs` a packed column is, if any.
    fn new(
        weight: &Values<T>,
        bias: Option<Tensor<1>>,
        [inputs, taps]: [usize; 2],
        columns: usize,
        column: impl Fn(usize) -> Option<usize> + Sync,
    ) -> Self {
        let weight = weight.slice();
        let values = |n: usize| column(n).map(|n| &weight[n * inputs * taps..][..inputs * taps]);
        let (data, panels) = host::pack(columns, taps, inputs, values);
        let bias = bias.map(|bias| {
            let bias = host::floats(bias);
            let columns = 0..panels * PANEL;
            columns
                .map(|n| column(n).and_then(|n| bias.get(n)).copied().unwrap_or(0.0))
                .collect()
        });
        Self { data, panels, bias }
    }

    fn right(&self) -> Right<'_, T> {
        Right {
            data: &self.data,
            panels: self.panels,
        }
    }
}

/// Weights on whatever device they are.
#[derive(Clone)]
enum Weights<const D: usize> {
    #[cfg(feature = "flex")]
    F32(Arc<Packed<f32>>),
    #[cfg(feature = "flex")]
    Bf16(Arc<Packed<half::bf16>>),
    Device(Box<(Tensor<D>, Option<Tensor<1>>)>),
}

/// `y = x W^T + b` on rows of any shape.
#[derive(Clone)]
pub struct Linear {
    weights: Weights<2>,
    inputs: usize,
    #[cfg_attr(not(feature = "flex"), expect(dead_code, reason = "for the kernels"))]
    outputs: usize,
    gated: bool,
}

impl Linear {
    /// `weight` is `[out, in]` as PyTorch stores it, `bias` is `[out]`.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self::make(weight, bias, false)
    }

    /// A gated layer, GEGLU (Shazeer 2020, arXiv:2002.05202): `weight` is `[2 out, in]`, and the result is the first half times the
    /// GELU of the second.
    pub fn gated(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self::make(weight, bias, true)
    }

    fn make(weight: Tensor<2>, bias: Option<Tensor<1>>, gated: bool) -> Self {
        let [all, inputs] = weight.dims();
        let outputs = if gated { all / 2 } else { all };
        #[cfg(feature = "flex")]
        let weights = {
            fn pack<T: Stored>(
                weight: &Values<T>,
                bias: Option<Tensor<1>>,
                [all, inputs]: [usize; 2],
                gated: bool,
            ) -> Arc<Packed<T>> {
                let plain = |n: usize| (n < all).then_some(n);
                // A panel of values, then the panel of their gates.
                let interleaved = |n: usize| {
                    let (panel, lane) = (n / PANEL, n % PANEL);
                    let value = panel / 2 * PANEL + lane;
                    (value < all / 2).then_some(value + panel % 2 * (all / 2))
                };
                let shape = [inputs, 1];
                Arc::new(match gated {
                    true => {
                        let columns = 2 * (all / 2).next_multiple_of(PANEL);
                        Packed::new(weight, bias, shape, columns, interleaved)
                    }
                    false => Packed::new(weight, bias, shape, all, plain),
                })
            }
            match Host::of(weight) {
                Ok(Host::F32(weight)) => Weights::F32(pack(&weight, bias, [all, inputs], gated)),
                Ok(Host::Bf16(weight)) => Weights::Bf16(pack(&weight, bias, [all, inputs], gated)),
                Err(weight) => Weights::Device(Box::new((weight, bias))),
            }
        };
        #[cfg(not(feature = "flex"))]
        let weights = Weights::Device(Box::new((weight, bias)));
        Self {
            weights,
            inputs,
            outputs,
            gated,
        }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.run(x, Activation::None, None)
    }

    /// The same, and then the activation.
    pub fn forward_then<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        self.run(x, activation, None)
    }

    /// The same, added to `residual`, `[.., out]`.
    pub fn forward_onto<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        self.run(x, Activation::None, Some(residual))
    }

    fn run<const D: usize>(
        &self,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        assert_eq!(x.dims()[D - 1], self.inputs, "a linear layer's inputs");
        match &self.weights {
            #[cfg(feature = "flex")]
            Weights::F32(packed) => self.on_host(packed, x, activation, residual),
            #[cfg(feature = "flex")]
            Weights::Bf16(packed) => self.on_host(packed, x, activation, residual),
            Weights::Device(weights) => {
                let (weight, bias) = &**weights;
                let y = composed::linear(x, weight.clone(), bias.clone());
                let y = if self.gated { composed::geglu(y) } else { y };
                let y = composed::activate(y, activation);
                match residual {
                    Some(residual) => residual + y,
                    None => y,
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    fn on_host<T: Stored, const D: usize>(
        &self,
        packed: &Packed<T>,
        x: Tensor<D>,
        activation: Activation,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let mut shape = x.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        shape[D - 1] = self.outputs;
        let (x, residual) = (host::values::<T, D>(x), residual.map(host::values::<T, D>));
        let mut out = host::Buffer::dirty(rows * self.outputs);
        let k = self.inputs.next_multiple_of(T::K);
        // Rows of an odd length have to be brought to a length that kernels take.
        let padded = (k != self.inputs).then(|| {
            let mut padded = host::Buffer::<T>::zeroed(rows * k);
            for (to, from) in padded
                .chunks_exact_mut(k)
                .zip(x.slice().chunks_exact(self.inputs))
            {
                to[..self.inputs].copy_from_slice(from);
            }
            padded
        });
        let left = Left {
            data: padded.as_deref().unwrap_or(x.slice()),
            rows,
            stride: k,
            taps: &[0],
            k,
        };
        let store = Store {
            out: &Shared::new(&mut out),
            columns: self.outputs,
            map: None,
            bias: packed.bias.as_deref(),
            image_bias: None,
            residual: residual.as_ref().map(Values::slice),
            finish: match (self.gated, activation) {
                (true, _) => Finish::Geglu,
                (false, Activation::None) => Finish::Plain,
                (false, Activation::Silu) => Finish::Silu,
                (false, Activation::Gelu) => Finish::Gelu,
                (false, Activation::QuickGelu) => Finish::QuickGelu,
            },
        };
        let (inputs, outputs) = (
            self.inputs,
            if self.gated {
                2 * self.outputs
            } else {
                self.outputs
            },
        );
        timed(
            if self.gated { "linear, GEGLU" } else { "linear" },
            || format!("{rows} x {inputs} -> {outputs}"),
            2.0 * rows as f64 * (inputs * outputs) as f64,
            || host::multiply(Isa::detect(), left, packed.right(), &store),
        );
        host::tensor(out, shape)
    }
}

/// How a convolution pads its input with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The same number of pixels on all four sides.
    Even(usize),
    /// One pixel on the right and at the bottom: how the VAE's encoder pads before it halves.
    RightBottom,
}

impl Padding {
    /// Before and after each axis.
    pub(crate) fn pixels(self) -> (usize, usize) {
        match self {
            Self::Even(n) => (n, n),
            Self::RightBottom => (0, 1),
        }
    }
}

/// What a convolution's weights don't say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
}

/// Bytes that a 3x3 convolution of stride 1 has in use on the CPU beside what goes in and what comes out: `[batch, h, w]` are the
/// output's. 0 in builds without kernels of our own.
pub fn conv_room(dtype: DType, output: [usize; 3], channels: usize, columns: usize) -> usize {
    #[cfg(feature = "flex")]
    return match dtype {
        DType::BF16 => host::room::<half::bf16>(output, channels, columns),
        _ => host::room::<f32>(output, channels, columns),
    };
    #[cfg(not(feature = "flex"))]
    {
        let _ = (dtype, output, channels, columns);
        0
    }
}

/// What is fused into a convolution.
#[derive(Default)]
pub struct ConvExtras {
    /// Repeats pixels first, each twice in both directions, up to this height and width: twice the input's or a pixel less.
    pub upsample: Option<[usize; 2]>,
    /// `[batch, out]`, added to every pixel of a picture.
    pub image_bias: Option<Tensor<2>>,
    /// As the output, added to it.
    pub residual: Option<Tensor<4>>,
    /// The rows above and below that windows reach are there: nothing is padded but to the left and to the right.
    pub window: bool,
}

/// A convolution (cross-correlation) with zero padding over `[batch, h, w, c]`.
#[derive(Clone)]
pub struct Conv2d {
    weights: Weights<4>,
    /// `[out, in, kh, kw]`.
    dims: [usize; 4],
    shape: ConvShape,
}

impl Conv2d {
    /// `weight` is `[out, in, kh, kw]` as PyTorch stores it, `bias` is `[out]`.
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>, shape: ConvShape) -> Self {
        let dims = weight.dims();
        #[cfg(feature = "flex")]
        let weights = {
            let [out, input, kh, kw] = dims;
            let plain = |n: usize| (n < out).then_some(n);
            let sizes = [input, kh * kw];
            match Host::of(weight) {
                Ok(Host::F32(w)) => Weights::F32(Arc::new(Packed::new(&w, bias, sizes, out, plain))),
                Ok(Host::Bf16(w)) => Weights::Bf16(Arc::new(Packed::new(&w, bias, sizes, out, plain))),
                Err(weight) => Weights::Device(Box::new((weight, bias))),
            }
        };
        #[cfg(not(feature = "flex"))]
        let weights = Weights::Device(Box::new((weight, bias)));
        Self { weights, dims, shape }
    }

    /// Height and width of the kernel, and what its weights don't say.
    pub(crate) fn geometry(&self) -> ([usize; 2], ConvShape) {
        ([self.dims[2], self.dims[3]], self.shape)
    }

    /// `[batch, h, w, in]` to `[batch, oh, ow, out]`.
    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        assert_eq!(x.dims()[3], self.dims[1], "a convolution's inputs");
        match &self.weights {
            #[cfg(feature = "flex")]
            Weights::F32(packed) => self.on_host(packed, x, extras),
            #[cfg(feature = "flex")]
            Weights::Bf16(packed) => self.on_host(packed, x, extras),
            Weights::Device(weights) => {
                let (weight, bias) = &**weights;
                let columns = self.shape.padding.pixels();
                let padding = [if extras.window { (0, 0) } else { columns }, columns];
                let (weight, bias) = (weight.clone(), bias.clone());
                let mut y = composed::conv2d(x, weight, bias, self.shape.stride, padding, extras.upsample);
                if let Some(bias) = extras.image_bias {
                    y = y + bias.unsqueeze_dims::<4>(&[1, 2]);
                }
                match extras.residual {
                    Some(residual) => residual + y,
                    None => y,
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    fn on_host<T: Stored>(&self, packed: &Packed<T>, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        let shape = x.dims();
        let [out, _, kh, kw] = self.dims;
        let padding = self.shape.padding.pixels();
        let geometry = Geometry {
            kernel: [kh, kw],
            stride: self.shape.stride,
            rows: if extras.window { (0, 0) } else { padding },
            columns: padding,
            source: extras.upsample.unwrap_or([shape[1], shape[2]]),
            upsample: extras.upsample.is_some(),
        };
        let [oh, ow] = geometry.output();
        let x = host::values::<T, 4>(x);
        let image_bias = extras.image_bias.map(host::values::<T, 2>);
        let residual = extras.residual.map(host::values::<T, 4>);
        let mut y = host::Buffer::dirty(shape[0] * oh * ow * out);
        let pictures = host::Pictures {
            data: x.slice(),
            shape,
        };
        let extras = host::Extras {
            bias: packed.bias.as_deref(),
            image_bias: image_bias.as_ref().map(Values::slice),
            residual: residual.as_ref().map(Values::slice),
        };
        let [batch, _, _, input] = shape;
        let weights = packed.right();
        timed(
            "conv",
            || {
                format!(
                    "{batch} x {oh} x {ow}, {input} -> {out}, {kh}x{kw}/{}",
                    geometry.stride
                )
            },
            2.0 * (batch * oh * ow) as f64 * (input * out * kh * kw) as f64,
            || host::conv(Isa::detect(), pictures, geometry, weights, extras, &mut y, out),
        );
        host::tensor(y, [shape[0], oh, ow, out])
    }
}
