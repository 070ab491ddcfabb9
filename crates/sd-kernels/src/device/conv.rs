//! Convolutions.

use burn_tensor::{
    Tensor, module,
    ops::{ConvOptions, InterpolateMode, InterpolateOptions},
};

#[cfg(feature = "cube")]
use super::cube;
use crate::{
    options::{ConvExtras, ConvShape, Quantization},
    weight::Weight,
};

#[derive(Clone)]
pub(crate) enum Conv2d {
    #[cfg(feature = "cube")]
    Fused(cube::Conv2d),
    Composed(Composed),
}

impl Conv2d {
    pub fn new(weight: Weight<4>, bias: Option<Tensor<1>>, shape: ConvShape, _: Quantization) -> Self {
        let weight = weight.tensor();
        #[cfg(feature = "cube")]
        if cube::takes(&weight) {
            return Self::Fused(cube::Conv2d::new(weight, bias, shape));
        }
        Self::Composed(Composed::new(weight, bias, shape))
    }

    pub fn with_slopes(self, slopes: Tensor<1>) -> Self {
        match self {
            #[cfg(feature = "cube")]
            Self::Fused(layer) => Self::Fused(layer.with_slopes(slopes)),
            Self::Composed(layer) => Self::Composed(layer.with_slopes(slopes)),
        }
    }

    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        match self {
            #[cfg(feature = "cube")]
            Self::Fused(layer) => layer.forward(x, extras),
            Self::Composed(layer) => layer.forward(x, extras),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Composed {
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    shape: ConvShape,
    slopes: Option<Tensor<1>>,
}

impl Composed {
    pub fn new(weight: Tensor<4>, bias: Option<Tensor<1>>, shape: ConvShape) -> Self {
        Self {
            weight,
            bias,
            shape,
            slopes: None,
        }
    }

    pub fn with_slopes(self, slopes: Tensor<1>) -> Self {
        let slopes = Some(slopes);
        Self { slopes, ..self }
    }

    pub fn forward(&self, x: Tensor<4>, extras: ConvExtras) -> Tensor<4> {
        let mut x = x.permute([0, 3, 1, 2]);
        if let Some([height, width]) = extras.upsample {
            let [_, _, h, w] = x.dims();
            let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
            x = module::interpolate(x, options)
                .narrow(2, 0, height)
                .narrow(3, 0, width);
        }
        let mut options = ConvOptions::new([self.shape.stride; 2], [0; 2], [1; 2], 1);
        let axes = [extras.bordered.rows, extras.bordered.columns];
        options.padding = axes.map(|bordered| match bordered {
            true => (0, 0),
            false => self.shape.padding.pixels(),
        });
        let mut y = module::conv2d(x, self.weight.clone(), self.bias.clone(), options).permute([0, 2, 3, 1]);
        if let Some(bias) = extras.image_bias {
            y = y + bias.unsqueeze_dims::<4>(&[1, 2]);
        }
        if let Some(residual) = extras.residual {
            y = residual + y;
        }
        let dtype = y.dtype();
        match &self.slopes {
            Some(slopes) => {
                y.clone().clamp_min(0) + y.clamp_max(0) * slopes.clone().cast(dtype).unsqueeze::<4>()
            }
            None => y,
        }
    }
}
