//! The CPU: layers with weights packed once, on kernels of our own for `f32` and `bf16`, with whatever the processor has.

// Registers, packed panels and shared outputs can't be had otherwise; every block says why it holds.
#![allow(unsafe_code)]

mod conv;
pub(crate) mod kernel;
mod linear;
mod merging;
mod norm;
mod operations;
pub(crate) mod simd;
mod tensor;
mod weights;

pub(crate) use conv::{Conv2d, conv_workspace_bytes};
pub(crate) use linear::Linear;
pub(crate) use merging::{merge, nearest, unmerge_onto};
pub(crate) use norm::{ChannelScales, GroupNorm, LayerNorm};
pub(crate) use operations::{attention, concatenate, window};
pub(crate) use tensor::{contiguous, takes};
