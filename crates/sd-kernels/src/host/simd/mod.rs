//! Number types, the instruction sets that a processor may have, and the innermost loops of each type on each of them.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dispatch;
mod isa;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod number;
mod portable;
#[cfg(test)]
mod tests;
mod tile;
mod widen;

pub(crate) use dispatch::{Product, Simd, Whole, begin};
pub(crate) use isa::{Isa, Work, vectorised};
pub(crate) use number::{Number, Operand};
pub(crate) use portable::affine;
pub(crate) use tile::{COLUMNS, MAX_ROWS, PANEL, Tile};
pub(crate) use widen::{Form, PIECE, Widen};
