//! Kernels on slices.

mod attention;
mod conv;
mod copy;
mod epilogue;
mod gemm;
mod geometry;
mod linear;
mod nearest;
mod norm;
mod packed;
mod quantised;
mod shared;
#[cfg(test)]
mod tests;
mod winograd;

pub(crate) use attention::attention;
pub(crate) use conv::{conv, quantised_workspace_bytes, workspace_bytes};
pub(crate) use copy::{Pieces, concatenate, window};
pub(crate) use epilogue::{Epilogue, Store};
pub(crate) use gemm::repeat;
pub(crate) use geometry::{Geometry, Pictures};
pub(crate) use linear::linear;
pub(crate) use nearest::nearest;
pub(crate) use norm::{ChannelScales, group_norm, group_scales, layer_norm};
pub(crate) use packed::{Panels, Weights, pack, pack_blocks, pack_narrow};
pub(crate) use quantised::ColumnScales;
pub(crate) use shared::Shared;
