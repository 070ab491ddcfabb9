//! Real-ESRGAN's compact network, SRVGGNetCompact.

use burn_tensor::Tensor;
use sd_kernels::{Conv2d, ConvExtras};

use super::{Slopes, UpscalerStructure, conv};
use crate::weights::Params;

pub(super) struct Compact {
    convolutions: Vec<Conv2d>,
    factor: usize,
}

impl Compact {
    pub fn new(structure: &UpscalerStructure, convolutions: usize, p: &Params) -> Self {
        let UpscalerStructure {
            channels: c,
            width,
            factor,
            ..
        } = *structure;
        let layer = |i: usize| {
            let here = p.at(format_args!("body.{}", 2 * i));
            let input = if i == 0 { c } else { width };
            match i + 1 == convolutions {
                true => conv(&here, [input, c * factor * factor], 1.0, None),
                false => {
                    let slopes = p.at(format_args!("body.{}", 2 * i + 1));
                    conv(&here, [input, width], 1.0, Some(Slopes::Learned(slopes)))
                }
            }
        };
        Self {
            convolutions: (0..convolutions).map(layer).collect(),
            factor,
        }
    }

    /// `[batch, h, w, c]`: what the network makes of it is added to each of its pixels, repeated.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let ([batch, h, w, c], f) = (x.dims(), self.factor);
        let convolve = |x: Tensor<4>, conv: &Conv2d| conv.forward(x, ConvExtras::default());
        let y = self.convolutions.iter().fold(x.clone(), convolve);
        let y = y.reshape([batch, h, w, c, f * f]) + x.reshape([batch, h, w, c, 1]);
        let y = y.reshape([batch, h, w, c, f, f]).permute([0, 1, 4, 2, 5, 3]);
        y.reshape([batch, h * f, w * f, c])
    }
}
