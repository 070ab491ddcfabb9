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

/// Whether products of `bf16` are faster than those of `f32`.
pub(crate) fn multiplies_bf16() -> bool {
    simd::Isa::detect().prefers_bf16()
}

/// Whether products of whole numbers are faster than those of `f32`.
pub(crate) fn multiplies_whole() -> bool {
    simd::Isa::detect().prefers_whole()
}

/// The name of the instruction set in use, or what is wrong with the one that was chosen.
pub(crate) fn instruction_set() -> Result<&'static str, String> {
    simd::Isa::chosen().clone()?;
    Ok(simd::Isa::detect().name())
}
