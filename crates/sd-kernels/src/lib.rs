//! The layers that decide the speed of Stable Diffusion.
//!
//! ```
//! use burn_tensor::{Device, Tensor};
//! use sd_kernels::{Linear, Quantization};
//!
//! let device = Device::default();
//! // Two outputs of three inputs: a row of weights for each output.
//! let weight = Tensor::<2>::from_floats([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], &device);
//! let bias = Tensor::<1>::from_floats([0.5, 0.0], &device);
//! let layer = Linear::new(weight, Some(bias), Quantization::None);
//! let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device);
//! assert_eq!(layer.forward(x).into_data().try_to_vec::<f32>().unwrap(), [7.5, 2.0]);
//! ```
//!
//! Models in `sd-core` are made of these and use no operation of Burn's for anything heavy. `layers` is the interface: on the CPU, in
//! `f32` and `bf16`, a layer hands over to kernels of our own (`host`), with weights packed once when it is made; elsewhere to Burn's
//! operations (`device`), which the kernels are tested against. Sums and the statistics of normalisations are `f32` whatever the compute
//! type is.
//!
//! Pictures are `[batch, h, w, c]` throughout, so that pixels are rows of a matrix and nothing is transposed between layers.
//!
//! Shape errors panic, as Burn's do: callers validate first (`sd-core` checks every weight's shape while loading).

mod bands;
mod device;
#[cfg(feature = "flex")]
mod host;
mod layers;
mod matrix;
mod memory;
mod merging;
mod options;
#[cfg(feature = "flex")]
pub mod roof;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod weight;
mod wrap;

/// Whether the CPU's kernels multiply `bf16` faster than `f32`. The processor's instruction sets decide, or the one that is chosen.
pub fn multiplies_bf16() -> bool {
    #[cfg(feature = "flex")]
    let multiplies = host::multiplies_bf16();
    #[cfg(not(feature = "flex"))]
    let multiplies = false;
    multiplies
}

/// Whether the CPU's kernels multiply whole numbers faster than `f32`.
pub fn multiplies_whole() -> bool {
    #[cfg(feature = "flex")]
    let multiplies = host::multiplies_whole();
    #[cfg(not(feature = "flex"))]
    let multiplies = false;
    multiplies
}

/// The instruction set of the CPU's kernels: the best one of this processor, or the one that the environment variable `SDRS_ISA` names
/// (portable; neon, neon-dot, neon-bf16; avx2, avx-vnni, avx512, avx512-vnni, avx512-bf16, amx), for tests and measurements. `None` without such kernels.
///
/// # Errors
/// What is wrong with that name. Kernels use the best one then.
pub fn instruction_set() -> Result<Option<&'static str>, String> {
    #[cfg(feature = "flex")]
    let set = host::instruction_set().map(Some);
    #[cfg(not(feature = "flex"))]
    let set = Ok(None);
    set
}

/// Has what kernels for GPUs are compiled to kept between runs of the program, and tells the file that has it; `None` if nothing is kept. Settled
/// for the whole process by the first call, which comes before any GPU is asked for. The file is in the user's folder for caches, in CubeCL's
/// part of it, or in the folder that the environment variable `SDRS_KERNEL_CACHE` names; "off" keeps nothing. A `cubecl.toml` in the current
/// folder, or above it, decides alone. The feature `kernel-cache` has it, which `cuda` takes.
pub fn keep_kernels() -> Option<&'static std::path::Path> {
    #[cfg(feature = "kernel-cache")]
    let file = device::keep_kernels();
    #[cfg(not(feature = "kernel-cache"))]
    let file = None;
    file
}

pub use bands::{Bands, Prologue};
pub use layers::{
    Conv2d, GroupNorm, LayerNorm, Linear, TokenMerging, attention, concatenate, conv_workspace_bytes, silu,
};
pub use matrix::{Matrix, add_product};
pub use memory::{
    region::NoMemory,
    staging::Staging,
    workspace::{OperationTime, Workspace},
};
pub use options::{Activation, Axes, ConvExtras, ConvShape, Padding, Quantization};
pub use weight::{Weight, WeightType, f8_e4m3, f8_e5m2, to_f8_e4m3};
