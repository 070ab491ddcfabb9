//! The residual block that U-Net and VAE share, and their changes of resolution.

use burn::tensor::Tensor;
use sd_kernels::Padding;

use super::nn::{Conv2d, GroupNorm, Linear};
use crate::weights::Params;

/// What all residual blocks of one model have in common.
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
            norm1: GroupNorm::new(&p.at("norm1"), input, spec.groups, spec.eps),
            conv1: Conv2d::same(&p.at("conv1"), input, output, 3),
            time: spec
                .time_width
                .map(|width| Linear::new(&p.at("time_emb_proj"), width, output)),
            norm2: GroupNorm::new(&p.at("norm2"), output, spec.groups, spec.eps),
            conv2: Conv2d::same(&p.at("conv2"), output, output, 3),
            shortcut: (input != output).then(|| Conv2d::same(&p.at("conv_shortcut"), input, output, 1)),
        }
    }

    /// `x` is `[batch, c, h, w]`; `time` is `[batch, time_width]`, SiLU already applied.
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let mut h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        if let (Some(project), Some(time)) = (&self.time, time) {
            h = h + project.forward(time.clone()).unsqueeze_dims::<4>(&[2, 3]);
        }
        let h = self.conv2.forward(self.norm2.forward_silu(h));
        h + match &self.shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        }
    }
}

/// Halves height and width with a convolution of stride 2.
pub(crate) struct Downsample(Conv2d);

impl Downsample {
    pub fn new(p: &Params, channels: usize, padding: Padding) -> Self {
        Self(Conv2d::new(
            &p.at("downsamplers.0.conv"),
            channels,
            channels,
            3,
            2,
            padding,
        ))
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.0.forward(x)
    }
}

/// Doubles height and width by repeating pixels, then convolves.
pub(crate) struct Upsample(Conv2d);

impl Upsample {
    pub fn new(p: &Params, channels: usize) -> Self {
        Self(Conv2d::same(&p.at("upsamplers.0.conv"), channels, channels, 3))
    }

    /// `size` is the height and width wanted: less than twice the input's where the way down had an odd size.
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>) -> Tensor<4> {
        let x = sd_kernels::upsample_nearest_2x(x);
        let [h, w] = size.unwrap_or([x.dims()[2], x.dims()[3]]);
        let x = if [h, w] == [x.dims()[2], x.dims()[3]] {
            x
        } else {
            x.narrow(2, 0, h).narrow(3, 0, w)
        };
        self.0.forward(x)
    }
}
