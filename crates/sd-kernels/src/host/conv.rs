//! Convolutions.

use std::sync::Arc;

use burn_tensor::{DType, Tensor};

use super::{
    kernel::{self, Geometry, Pictures, Shared, Store, Weights},
    simd::{COLUMNS, Isa},
    tensor::{HostTensor, Stored, in_type, tensor},
    weights::{Numbers, PackedWeights, Packing, with_weights},
};
use crate::{
    memory::{buffer::Buffer, staging::floats, workspace::Workspace},
    options::{ConvExtras, ConvShape, Quantization},
    weight::Weight,
};

#[derive(Clone)]
pub(crate) struct Conv2d {
    weights: PackedWeights,
    /// `[out, in, kh, kw]`.
    dims: [usize; 4],
    shape: ConvShape,
    slopes: Option<Arc<[f32]>>,
}

impl Conv2d {
    pub fn new(
        weight: Weight<4>,
        bias: Option<Tensor<1>>,
        shape: ConvShape,
        quantization: Quantization,
    ) -> Self {
        let dims = weight.dims();
        let [out, inputs, kh, kw] = dims;
        let packing = Packing {
            inputs,
            taps: kh * kw,
            columns: out,
            column: &|n| (n < out).then_some(n),
        };
        Self {
            weights: PackedWeights::new(weight, bias, quantization, &packing),
            dims,
            shape,
            slopes: None,
        }
    }

    pub fn with_slopes(mut self, slopes: Tensor<1>) -> Self {
        let mut slopes = floats(slopes);
        // Panels have empty columns at their end.
        slopes.resize(self.dims[0].next_multiple_of(COLUMNS), 0.0);
        self.slopes = Some(slopes.into());
        self
    }

    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        assert_eq!(x.dims()[3], self.dims[1], "a convolution's inputs");
        with_weights!(self.weights.numbers(), x.dtype(), |weights| self
            .compute(weights, x, extras))
    }

    fn compute<T: Stored>(&self, weights: Weights<T>, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        let shape = x.dims();
        let [batch, height, width, input] = shape;
        let [out, _, kh, kw] = self.dims;
        let padding = self.shape.padding.pixels();
        let geometry = Geometry {
            kernel: [kh, kw],
            stride: self.shape.stride,
            rows: if extras.bordered.rows { (0, 0) } else { padding },
            columns: if extras.bordered.columns { (0, 0) } else { padding },
            source: extras.upsample.unwrap_or([height, width]),
            upsample: extras.upsample.is_some(),
        };
        let [oh, ow] = geometry.output();
        let x = HostTensor::<T>::new(x);
        let image_bias = extras.image_bias.map(HostTensor::<T>::new);
        let residual = extras.residual.map(HostTensor::<T>::new);
        let mut y = Buffer::dirty(batch * oh * ow * out);
        let shared = Shared::new(&mut y);
        let pictures = Pictures {
            data: x.values(),
            shape,
        };
        let store = Store {
            bias: self.weights.bias(),
            image_bias: image_bias.as_ref().map(|bias| (bias.values(), oh * ow)),
            residual: residual.as_ref().map(HostTensor::values),
            slopes: self.slopes.as_deref(),
            ..Store::new(&shared, out)
        };
        Workspace::timed(
            "conv",
            || {
                format!(
                    "{batch} x {oh} x {ow}, {input} -> {out}, {kh}x{kw}/{}",
                    geometry.stride
                )
            },
            2.0 * (batch * oh * ow) as f64 * (input * out * kh * kw) as f64,
            || kernel::conv(Isa::detect(), pictures, geometry, weights, store),
        );
        tensor(y, [batch, oh, ow, out])
    }
}

pub(crate) fn conv_workspace_bytes(
    dtype: DType,
    quantization: Quantization,
    output: [usize; 3],
    channels: usize,
    columns: usize,
) -> usize {
    match quantization.resolved() {
        Quantization::None => in_type!(dtype, |T| kernel::workspace_bytes::<T>(output, channels, columns)),
        _ => kernel::quantised_workspace_bytes(output, channels, columns),
    }
}
