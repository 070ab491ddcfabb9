//! GPUs: kernels of our own in CubeCL, one source for CUDA, Vulkan and Metal. What they don't take is left to Burn's operations.
//!
//! Sums are `f32` whatever type values have, and tiles are chosen from shapes: nothing is tuned while a program runs.

// A launch without bounds checks can't be had otherwise; kernels guard edges themselves, and every block says why it holds.
#![allow(unsafe_code)]

mod tensor;

pub(crate) use tensor::takes;
