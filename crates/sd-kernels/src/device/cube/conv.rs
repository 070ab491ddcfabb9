//! Convolutions.

use burn_cubecl::tensor::CubeTensor;
use burn_tensor::Tensor;

use super::{
    product::{Epilogue, Picture, Rows, Terms, Weights},
    tensor::{enter, leave},
};
use crate::options::{ConvExtras, ConvShape};

/// A convolution whose weights are packed once: a product whose rows are windows.
#[derive(Clone)]
pub(crate) struct Conv2d {
    weights: Weights,
    kernel: [usize; 2],
    shape: ConvShape,
    slopes: Option<CubeTensor>,
}

impl Conv2d {
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>, shape: ConvShape) -> Self {
        let [out, input, height, width] = weight.dims();
        Self {
            weights: Weights::new(weight.reshape([out, input, height * width]), bias, false),
            kernel: [height, width],
            shape,
            slopes: None,
        }
    }

    pub fn with_slopes(self, slopes: Tensor<1>) -> Self {
        let slopes = Some(self.weights.packed_vector(slopes));
        Self { slopes, ..self }
    }

    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        assert_eq!(channels, self.weights.channels, "a convolution's inputs");
        let (dtype, columns) = (self.weights.dtype(), self.weights.columns);
        let axes = [extras.bordered.rows, extras.bordered.columns];
        let padding = axes.map(|bordered| match bordered {
            true => (0, 0),
            false => self.shape.padding.pixels(),
        });
        let seen = extras.upsample.unwrap_or([height, width]);
        let side = |axis: usize| {
            let (before, after) = padding[axis];
            (seen[axis] + before + after - self.kernel[axis]) / self.shape.stride + 1
        };
        let picture = Picture {
            source: [height, width],
            seen,
            before: padding.map(|(before, _)| before),
            output: [side(0), side(1)],
        };
        let pointwise = self.kernel == [1, 1] && self.shape.stride == 1 && padding == [(0, 0); 2];
        let rows = match pointwise && extras.upsample.is_none() {
            true => Rows::Same,
            false => Rows::Windows {
                kernel: self.kernel,
                stride: self.shape.stride,
                upsample: extras.upsample.is_some(),
            },
        };
        let shape = [batch, side(0), side(1), columns];
        let terms = Terms {
            image_bias: extras.image_bias.map(|bias| {
                assert_eq!(bias.dims(), [batch, columns], "a convolution's bias by image");
                enter(bias.cast(dtype))
            }),
            residual: extras.residual.map(|residual| {
                assert_eq!(residual.dims(), shape, "a convolution's residual");
                enter(residual.cast(dtype))
            }),
            slopes: self.slopes.clone(),
        };
        let x = enter(x.cast(dtype));
        leave(
            self.weights
                .multiply(x, rows, picture, Epilogue::Plain, terms, shape),
        )
    }
}
