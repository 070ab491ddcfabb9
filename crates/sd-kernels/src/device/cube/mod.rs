//! GPUs: kernels of our own in CubeCL, one source for CUDA, Vulkan and Metal. What they don't take is left to Burn's operations.
//!
//! Sums are `f32` whatever type values have, and tiles are chosen from shapes: nothing is tuned while a program runs.

// A launch without bounds checks can't be had otherwise; kernels guard edges themselves, and every block says why it holds.
#![allow(unsafe_code)]

mod attention;
mod conv;
mod elementwise;
#[cfg(feature = "kernel-cache")]
mod kept;
mod linear;
mod math;
mod norm;
mod product;
mod tensor;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod trial;

pub(crate) use attention::attention;
pub(crate) use conv::Conv2d;
pub(crate) use elementwise::{concatenate, silu, window};
#[cfg(feature = "kernel-cache")]
pub(crate) use kept::keep;
pub(crate) use linear::Linear;
pub(crate) use norm::{Affine, group_norm, layer_norm, scales};
pub(crate) use tensor::takes;
