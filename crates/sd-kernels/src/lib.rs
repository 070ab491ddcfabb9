//! The layers that decide the speed of Stable Diffusion.
//!
//! Models in `sd-core` are made of these and use no operation of Burn's for anything heavy. On the CPU, in `f32` and `bf16`, they are
//! kernels of our own (`host`), with weights packed once when a layer is made; elsewhere they are composed of Burn's operations
//! (`composed`), which are also what the kernels are tested against. Sums and the statistics of normalisations are `f32` whatever the
//! compute type is.
//!
//! Pictures are `[batch, h, w, c]` throughout, so that pixels are rows of a matrix and nothing is transposed between layers.
//!
//! Shape errors panic, as Burn's do: callers validate first (`sd-core` checks every weight's shape while loading).

mod bands;
mod composed;
#[cfg(feature = "flex")]
mod host;
mod layer;
mod matrix;
mod merging;
mod norm;
mod ops;
#[cfg(feature = "flex")]
pub mod roof;
mod staging;
mod workspace;

pub use bands::{Bands, First};
pub use layer::{Activation, Conv2d, ConvExtras, ConvShape, Linear, Padding, Quantization, conv_room};
pub use matrix::{Matrix, add_product};
pub use merging::TokenMerging;
pub use norm::{GroupNorm, LayerNorm};
pub use ops::{attention, concatenate, silu};
pub use staging::Staging;
pub use workspace::{OperationTime, Workspace};
