//! The device and the types of what is loaded.

use sd_kernels::Quantization;

use crate::{Device, Dtype};

/// The type that a pipeline keeps its networks' matrices and kernels in on the CPU, where they may be narrower than the arithmetic: they
/// are widened while they are used, and results are those of weights widened before. Normalisations and biases are small, and stay in
/// the arithmetic's type. What a file has in fewer bits than asked for stays so, but for `F32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// As the file has them: in 16 bits, in 8, or in GGUF's blocks `Q8_0` and `Q4_0`; other blocks are rounded to 16 bits. Never wider
    /// than the arithmetic.
    #[default]
    Auto,
    /// The arithmetic's own type: nothing is widened while networks run.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision; with arithmetic in `bf16` that.
    F16,
    /// 8-bit floats of 4 exponent bits, each tensor with a scale, in U-Net and text encoders; 16 bits in the autoencoder and in layers
    /// of few weights. Pictures change.
    F8,
}

impl WeightDtype {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Auto, Self::F32, Self::Bf16, Self::F16, Self::F8];

    /// Parses "auto" (also "file"), "f8" (also "fp8", "float8_e4m3fn"), or a type as [`Dtype::from_name`] does.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "auto" | "file" => Some(Self::Auto),
            "f8" | "fp8" | "float8" | "float8_e4m3fn" | "f8_e4m3" => Some(Self::F8),
            other => Dtype::from_name(other).map(|dtype| match dtype {
                Dtype::F32 => Self::F32,
                Dtype::Bf16 => Self::Bf16,
                Dtype::F16 => Self::F16,
            }),
        }
    }

    /// The short name, as [`WeightDtype::from_name`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F8 => "f8",
        }
    }
}

impl std::fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Device and types of the loaded tensors.
#[derive(Debug, Clone)]
pub struct Target {
    /// The device.
    pub device: Device,
    /// The compute type that every tensor is cast to.
    pub dtype: Dtype,
    /// The type that matrices and kernels are kept in, where kernels of our own widen them.
    pub weights: WeightDtype,
    /// The numbers that the U-Net's large layers compute in, if not in `dtype`; other networks are never quantized.
    pub quantization: Quantization,
}

impl Target {
    /// A target where nothing is quantized, and weights are kept as files have them.
    pub fn new(device: Device, dtype: Dtype) -> Self {
        Self {
            device,
            dtype,
            weights: WeightDtype::Auto,
            quantization: Quantization::None,
        }
    }

    /// The types for a device that are best where nothing is asked for: on the CPU `bf16` if the processor multiplies it (AMX,
    /// AVX512-BF16, ARM's bf16), else `f32`, elsewhere `f16`. The CPU's kernels don't compute in `f16`: asked for that, they compute in `f32` with weights in
    /// `f16`.
    pub fn chosen(device: Device, dtype: Option<Dtype>, weights: WeightDtype) -> Self {
        let kernels = device.name() == "cpu";
        let dtype = dtype.unwrap_or_else(|| device.default_dtype());
        let (dtype, weights) = match (dtype, weights) {
            (Dtype::F16, WeightDtype::Auto) if kernels => (Dtype::F32, WeightDtype::F16),
            (Dtype::F16, _) if kernels => (Dtype::F32, weights),
            _ => (dtype, weights),
        };
        Self {
            weights,
            ..Self::new(device, dtype)
        }
    }
}
