//! The kernels of the CPU: on slices, for `f32` and `bf16`, with whatever the processor has.

// Registers, packed panels and shared outputs can't be had otherwise; every block says why it holds.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod avx512;
mod conv;
mod copy;
mod gemm;
mod isa;
mod kept;
mod math;
mod memory;
mod nearest;
mod norm;
mod portable;
mod quantised;
mod tensor;
#[cfg(test)]
mod tests;
mod tile;
mod winograd;

pub(crate) use attention::{Heads, attention};
pub(crate) use conv::{Extras, Geometry, Kernels, Pictures, conv, room, room_of_bytes};
pub(crate) use copy::{Pieces, concatenate, window};
pub(crate) use gemm::{Finish, Left, Right, Store, multiply, pack, repeat};
pub(crate) use isa::Isa;
pub(crate) use kept::Kept;
pub(crate) use memory::{Buffer, Line, Shared};
pub(crate) use nearest::nearest;
pub(crate) use norm::{Scales, group_norm, group_scales, layer_norm};
pub(crate) use quantised::{Columns, Scales as ProductScales, rows as quantised_rows};
pub(crate) use tensor::{Host, Stored, Values, floats, tensor, values};
pub(crate) use tile::{COLUMNS, Element, Factor, PANEL};
