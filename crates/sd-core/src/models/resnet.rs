//! The residual block that U-Net and VAE share, and their changes of resolution.

use burn_tensor::Tensor;
use sd_kernels::{Axes, Bands, Conv2d, ConvExtras, ConvShape, GroupNorm, Linear, Padding, Prologue};

use super::nn::{conv, conv_of_shape, group_norm, linear};
use crate::weights::Params;

/// The sizes that all residual blocks of a model share.
#[derive(Clone, Copy)]
pub(crate) struct ResnetSpec {
    pub groups: usize,
    pub eps: f64,
    /// Width of the time embedding; the VAE has none.
    pub time_width: Option<usize>,
}

/// Norm, SiLU, convolution, twice, around a shortcut; the time embedding is added in between.
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub fn new(p: &Params, input: usize, output: usize, spec: ResnetSpec) -> Self {
        Self {
            norm1: group_norm(&p.at("norm1"), input, spec.groups, spec.eps),
            conv1: conv(&p.at("conv1"), input, output, 3),
            time: spec
                .time_width
                .map(|width| linear(&p.at("time_emb_proj").sensitive(), width, output)),
            norm2: group_norm(&p.at("norm2"), output, spec.groups, spec.eps),
            conv2: conv(&p.at("conv2"), output, output, 3),
            // Little of the arithmetic; nothing normalises what goes in, and what comes out is added as it is.
            shortcut: (input != output).then(|| conv(&p.at("conv_shortcut").sensitive(), input, output, 1)),
        }
    }

    /// `x` is `[batch, h, w, c]`, wrapped along some axes; `time` is `[batch, time_width]`, SiLU already applied.
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>, wrap: Axes) -> Tensor<4> {
        let image_bias = match (&self.time, time) {
            (Some(project), Some(time)) => Some(project.forward(time.clone())),
            _ => None,
        };
        let extras = ConvExtras {
            image_bias,
            wrap,
            ..ConvExtras::default()
        };
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()), extras);
        let residual = match &self.shortcut {
            Some(conv) => conv.forward(x, ConvExtras::default()),
            None => x,
        };
        let extras = ConvExtras {
            residual: Some(residual),
            wrap,
            ..ConvExtras::default()
        };
        self.conv2.forward(self.norm2.forward_silu(h), extras)
    }

    /// The same for a picture in bands, without a time embedding.
    pub fn forward_bands(&self, x: Bands) -> Bands {
        let h = x.clone().conv(&self.conv1, Prologue::NormSilu(&self.norm1), None);
        let residual = match &self.shortcut {
            Some(conv) => x.conv(conv, Prologue::Nothing, None),
            None => x,
        };
        h.conv(&self.conv2, Prologue::NormSilu(&self.norm2), Some(residual))
    }
}

/// Halves height and width with a convolution of stride 2.
pub(crate) struct Downsample(Conv2d);

impl Downsample {
    pub fn new(p: &Params, channels: usize, padding: Padding) -> Self {
        let shape = ConvShape { stride: 2, padding };
        Self(conv_of_shape(p, channels, channels, 3, shape))
    }

    pub fn forward(&self, x: Tensor<4>, wrap: Axes) -> Tensor<4> {
        let extras = ConvExtras {
            wrap,
            ..ConvExtras::default()
        };
        self.0.forward(x, extras)
    }

    /// The same for a picture in bands.
    pub fn forward_bands(&self, x: Bands) -> Bands {
        x.conv(&self.0, Prologue::Nothing, None)
    }
}

/// Doubles height and width by repeating pixels, then convolves.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    pub fn new(p: &Params, channels: usize) -> Self {
        Self(conv(p, channels, channels, 3))
    }

    /// `size` is the height and width wanted: less than twice the input's where the way down had an odd size.
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>, wrap: Axes) -> Tensor<4> {
        let [_, h, w, _] = x.dims();
        let size = size.unwrap_or([2 * h, 2 * w]);
        let extras = ConvExtras {
            upsample: Some(size),
            wrap,
            ..ConvExtras::default()
        };
        self.0.forward(x, extras)
    }

    /// To twice the size, for a picture in bands.
    pub fn forward_bands(&self, x: Bands) -> Bands {
        x.conv(&self.0, Prologue::Upsample, None)
    }
}
