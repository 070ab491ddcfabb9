//! Options of layers: plain values that say what a layer computes.

use burn_tensor::Tensor;

/// The function that follows a linear layer.
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

/// The numbers that a layer's weights are kept in and its products are computed in. Only kernels of our own know more than one:
/// elsewhere nothing is quantized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quantization {
    /// The type that the weights come in.
    #[default]
    None,
    /// Whole numbers of eight bits: weights with a scale for each output, inputs with a scale and a zero for each row (for each picture
    /// where a kernel spans several pixels) that are found when they are there. Results are of the inputs' type.
    Int8,
    /// [`Quantization::Int8`] where that is faster, else [`Quantization::None`]: see [`Quantization::resolved`].
    Auto,
}

impl Quantization {
    /// `Auto` as what it is on this processor. With AVX2 a call of a U-Net takes 0.67 of its time in `f32`, with AVX-VNNI 0.43, with AVX-512
    /// 0.67, with AVX512-VNNI 0.41, with AMX 0.79 of its time in `bf16` (docs/performance.md). ARM's dot products take four times the values
    /// of a product of `f32`. Without such instructions it takes five times as long.
    pub fn resolved(self) -> Self {
        match self {
            Self::Auto if crate::multiplies_whole() => Self::Int8,
            Self::Auto => Self::None,
            other => other,
        }
    }

    /// Parses "none", "int8" or "auto".
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "int8" => Some(Self::Int8),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }

    /// The name, as [`Quantization::from_name`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "int8",
            Self::Auto => "auto",
        }
    }
}

/// The zeros around a convolution's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The same number of pixels on all four sides.
    Even(usize),
    /// One pixel on the right and at the bottom: the VAE's encoder pads like this before it halves.
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

/// The properties of a convolution that its weights don't tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: Padding,
}

/// Axes of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Axes {
    /// From the top down.
    pub rows: bool,
    /// From left to right.
    pub columns: bool,
}

impl Axes {
    /// Whether it is neither.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Operations that are fused into a convolution.
#[derive(Default)]
pub struct ConvExtras {
    /// Repeats pixels first, each twice in both directions, up to this height and width: twice the input's or a pixel less.
    pub upsample: Option<[usize; 2]>,
    /// `[batch, out]`, added to every pixel of a picture.
    pub image_bias: Option<Tensor<2>>,
    /// A tensor of the output's shape that is added to it.
    pub residual: Option<Tensor<4>>,
    /// The axes along which the input has all that windows reach: nothing is padded there.
    pub bordered: Axes,
    /// The axes along which the picture goes on at its opposite edge, as PyTorch's circular padding has it; the other edges see zeros. Padding
    /// that isn't [even](Padding::Even) stays zeros.
    pub wrap: Axes,
}
