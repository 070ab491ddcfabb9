//! The few tensor operations that decide the speed of Stable Diffusion.
//!
//! Models in `sd-core` call these functions and never Burn's own operations for anything heavy, so that a faster
//! kernel replaces the composed one in one place. Each function accepts and returns tensors of the compute dtype;
//! statistics of the normalisations are taken in `f32` whatever that dtype is.
//!
//! Shape errors panic, as Burn's do: callers validate first (`sd-core` checks every weight's shape while loading).

mod activation;
mod attention;
mod conv;
mod linear;
mod matrix;
mod norm;

pub use activation::{geglu, gelu, quick_gelu, silu};
pub use attention::attention;
pub use conv::{Padding, conv2d, upsample_nearest_2x};
pub use linear::linear;
pub use matrix::{Matrix, add_product};
pub use norm::{group_norm, group_norm_silu, layer_norm};
