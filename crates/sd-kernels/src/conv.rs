use burn::tensor::{
    Tensor, module,
    ops::{ConvOptions, InterpolateMode, InterpolateOptions},
};

/// How a convolution pads its input with zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The same number of pixels on all four sides.
    Even(usize),
    /// One pixel on the right and at the bottom: how the VAE's encoder pads before it halves.
    RightBottom,
}

/// 2-D convolution (cross-correlation) with zero padding.
///
/// `x` is `[batch, in, h, w]`, `weight` is `[out, in, kh, kw]`, `bias` is `[out]`.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    let pad = match padding {
        Padding::Even(n) => (n, n),
        Padding::RightBottom => (0, 1),
    };
    let mut options = ConvOptions::new([stride; 2], [0; 2], [1; 2], 1);
    options.padding = [pad; 2];
    module::conv2d(x, weight, bias, options)
}

/// Doubles height and width by repeating pixels: `[batch, c, h, w]` to `[batch, c, 2 h, 2 w]`.
pub fn upsample_nearest_2x(x: Tensor<4>) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * h, 2 * w]);
    module::interpolate(x, options)
}
