//! The layers that decide the speed of Stable Diffusion.
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
mod wrap;

pub use bands::{Bands, Prologue};
pub use layers::{
    Conv2d, GroupNorm, LayerNorm, Linear, TokenMerging, attention, concatenate, conv_workspace_bytes, silu,
};
pub use matrix::{Matrix, add_product};
pub use memory::{
    staging::Staging,
    workspace::{OperationTime, Workspace},
};
pub use options::{Activation, Axes, ConvExtras, ConvShape, Padding, Quantization};
