//! Devices: every operation composed of Burn's, for any device and type. Kernels are tested against these.
//!
//! Pictures are `[batch, h, w, c]`; Burn's convolutions want channels first, which on a GPU is a change of strides only.

#[cfg(not(feature = "flex"))]
mod alone;
mod conv;
#[cfg(feature = "cube")]
mod cube;
mod linear;
mod merging;
mod norm;
mod operations;

#[cfg(not(feature = "flex"))]
pub(crate) use alone::{conv_workspace_bytes, takes};
pub(crate) use conv::Conv2d;
#[cfg(feature = "kernel-cache")]
pub(crate) use cube::keep as keep_kernels;
pub(crate) use linear::{Linear, activate};
pub(crate) use merging::{merge, nearest, unmerge_onto};
pub(crate) use norm::{ChannelScales, GroupNorm, LayerNorm};
pub(crate) use operations::{attention, concatenate, contiguous, window};
