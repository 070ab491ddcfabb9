//! Convolutions.

use burn_tensor::{DType, Tensor};

use super::packed::{Quantization, Weights};
use crate::composed;
#[cfg(feature = "flex")]
use crate::{
    host::{self, Geometry, Isa, Kernels, Stored, Values},
    layer::packed::{Bias, Packing},
    workspace::timed,
};

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
pub fn conv_room(
    dtype: DType,
    quantization: Quantization,
    output: [usize; 3],
    channels: usize,
    columns: usize,
) -> usize {
    #[cfg(feature = "flex")]
    return match dtype {
        _ if quantization == Quantization::Int8 => host::room_of_bytes(output, channels),
        DType::BF16 => host::room::<half::bf16>(output, channels, columns),
        _ => host::room::<f32>(output, channels, columns),
    };
    #[cfg(not(feature = "flex"))]
    {
        let _ = (dtype, quantization, output, channels, columns);
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
    pub fn new(
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        shape: ConvShape,
        quantization: Quantization,
    ) -> Self {
        let dims = weight.dims();
        #[cfg(feature = "flex")]
        let weights = {
            let [out, inputs, kh, kw] = dims;
            let packing = Packing {
                inputs,
                taps: kh * kw,
                columns: out,
                column: |n: usize| (n < out).then_some(n),
            };
            Weights::new(weight, bias, quantization, &packing)
        };
        #[cfg(not(feature = "flex"))]
        let weights = {
            let _ = quantization;
            Weights::Device(Box::new((weight, bias)))
        };
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
            Weights::F32(weights) => self.on_host(Kernels::Plain(weights.0.right()), &weights.1, x, extras),
            #[cfg(feature = "flex")]
            Weights::Bf16(weights) => self.on_host(Kernels::Plain(weights.0.right()), &weights.1, x, extras),
            #[cfg(feature = "flex")]
            Weights::Int8(weights) => {
                let (packed, columns, bias) = &**weights;
                match x.dtype() {
                    DType::BF16 => {
                        let kernels = Kernels::<half::bf16>::Quantised(packed.right(), columns);
                        self.on_host(kernels, bias, x, extras)
                    }
                    _ => self.on_host(
                        Kernels::<f32>::Quantised(packed.right(), columns),
                        bias,
                        x,
                        extras,
                    ),
                }
            }
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
    fn on_host<T: Stored>(
        &self,
        weights: Kernels<T>,
        bias: &Bias,
        x: Tensor<4>,
        extras: ConvExtras,
    ) -> Tensor<4> {
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
            bias: bias.as_deref(),
            image_bias: image_bias.as_ref().map(Values::slice),
            residual: residual.as_ref().map(Values::slice),
        };
        let [batch, _, _, input] = shape;
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
