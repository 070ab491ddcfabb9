//! Normalisations.
//!
//! Variances are means of squared distances from the mean, as they are defined: a second look at values that lie in a cache costs little,
//! and the difference of two large sums would cost digits. Small pictures are normalised by one kernel, a cube for each group. Of large ones
//! a first kernel takes moments of pieces, whole rows of memory at a time, a second one joins them into [`ChannelScales`], and what follows
//! applies these where it reads the picture.

mod kernel;
#[cfg(all(test, feature = "flex"))]
mod tests;

use burn_cubecl::{
    cubecl::{self, prelude::*},
    tensor::CubeTensor,
};
use burn_tensor::{DType, Tensor};

use super::{
    elementwise::apply,
    tensor::{address, elem_of, empty, enter, lanes, leave},
};
use kernel::{TEAM, TEAMS, UNITS};

/// Values of a group that one cube normalises well.
const SMALL: usize = 1 << 16;

/// Channels of a picture whose moments a cube holds.
const CHANNELS: usize = 3072;

/// Pieces of a picture, at most.
const PIECES: usize = 4096;

/// Rows of pixels that a unit sees in a piece, if there are not too many pieces.
const ROWS: usize = 16;

/// Scale and shift of a normalisation in `f32`, `[c]` each.
pub(crate) struct Affine<'a> {
    pub gamma: &'a Tensor<1>,
    pub beta: &'a Tensor<1>,
    pub eps: f64,
}

impl Affine<'_> {
    fn enter(&self) -> [CubeTensor; 2] {
        [self.gamma, self.beta].map(|t| enter(t.clone()))
    }
}

/// Group normalisation as [`crate::GroupNorm`] has it.
pub(crate) fn group_norm(x: Tensor<4>, affine: &Affine, groups: usize, silu: bool) -> Tensor<4> {
    let [_, h, w, c] = x.dims();
    if h * w * (c / groups) <= SMALL || c > CHANNELS {
        small(x, affine, groups, silu)
    } else {
        large(x, affine, groups, silu)
    }
}

/// In one kernel.
fn small(x: Tensor<4>, affine: &Affine, groups: usize, silu: bool) -> Tensor<4> {
    let [batch, h, w, c] = x.dims();
    let (x, [gamma, beta]) = (enter(x), affine.enter());
    let lanes = lanes(&x.client, c / groups);
    let out = empty(&x, [batch, h, w, c], x.dtype);
    let (address, elem) = (address(&[&x]), elem_of(&x));
    // SAFETY: a cube has the vectors of its group in the pixels of its picture, and none beyond.
    unsafe {
        kernel::group_norm::launch_unchecked(
            &out.client,
            CubeCount::Static(groups as u32, batch as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            address,
            lanes,
            x.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            h * w,
            affine.eps as f32,
            groups,
            c / groups / lanes,
            silu,
            elem,
        );
    }
    leave(out)
}

/// In three kernels, with values read from memory twice.
fn large(x: Tensor<4>, affine: &Affine, groups: usize, silu: bool) -> Tensor<4> {
    let moments = moments(&enter(x.clone()), groups);
    let scales = join(moments, affine, x.dims()[0]);
    apply(x, &scales, silu)
}

/// The scales that normalise one picture, which is given in bands, `[1, rows, w, c]`. `None` if it has more channels than a cube holds.
pub(crate) fn scales(bands: &[&Tensor<4>], affine: &Affine, groups: usize) -> Option<[Tensor<1>; 2]> {
    if bands[0].dims()[3] > CHANNELS {
        return None;
    }
    let moments = bands
        .iter()
        .map(|&band| leave::<3>(moments(&enter(band.clone()), groups)));
    let moments = match bands.len() {
        1 => moments.collect::<Vec<_>>().remove(0),
        _ => Tensor::cat(moments.collect(), 1),
    };
    Some(join(enter(moments), affine, 1).map(|t| t.reshape([-1])))
}

/// `[batch, pieces, 3 groups]`: of each piece of each picture the number of its pixels, the mean, and the sum of squared distances from it.
fn moments(x: &CubeTensor, groups: usize) -> CubeTensor {
    let dims = x.meta.shape();
    let (batch, pixels, c) = (dims[0], dims[1] * dims[2], dims[3]);
    let lanes = lanes(&x.client, c);
    let columns = (c / lanes).min(UNITS);
    let slots = UNITS / columns;
    let mut piece = ROWS * slots;
    while pixels.div_ceil(piece) > PIECES {
        piece *= 2;
    }
    let pieces = pixels.div_ceil(piece);
    let out = empty(x, [batch, pieces, 3 * groups], DType::F32);
    let (address, elem) = (address(&[x]), elem_of(x));
    // SAFETY: pixels are below those of the picture, and columns below the channels.
    unsafe {
        kernel::moments::launch_unchecked(
            &out.client,
            CubeCount::Static(pieces as u32, batch as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            address,
            lanes,
            x.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            pixels,
            piece,
            groups,
            c / lanes,
            elem,
        );
    }
    out
}

/// Factors and terms, `[batch, c]` each, of the moments of all pieces.
fn join(moments: CubeTensor, affine: &Affine, batch: usize) -> [Tensor<2>; 2] {
    let [gamma, beta] = affine.enter();
    let c = gamma.meta.shape()[0];
    let dims = moments.meta.shape();
    let (pieces, groups) = (dims[1], dims[2] / 3);
    let out = [0; 2].map(|_| empty(&moments, [batch, c], moments.dtype));
    let address = address(&[&moments]);
    // SAFETY: a cube reads the moments of its group in the pieces of its picture, and writes the group's channels.
    unsafe {
        kernel::join::launch_unchecked(
            &gamma.client.clone(),
            CubeCount::Static(groups as u32, batch as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            address,
            moments.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            out[0].clone().into_buffer_arg(),
            out[1].clone().into_buffer_arg(),
            pieces,
            affine.eps as f32,
            groups,
            c / groups,
        );
    }
    out.map(leave)
}

/// Layer normalisation as [`crate::LayerNorm`] has it.
pub(crate) fn layer_norm<const D: usize>(x: Tensor<D>, affine: &Affine) -> Tensor<D> {
    let dims = x.dims();
    let c = dims[D - 1];
    let rows: usize = dims[..D - 1].iter().product();
    let (x, [gamma, beta]) = (enter(x), affine.enter());
    let lanes = lanes(&x.client, c);
    let out = empty(&x, dims, x.dtype);
    let cube = CubeDim::new_2d(TEAM as u32, TEAMS as u32);
    let count = cubecl::calculate_cube_count_elemwise(&x.client, rows * TEAM, cube);
    let (address, elem) = (address(&[&x]), elem_of(&x));
    // SAFETY: only rows below the last are read and written.
    unsafe {
        kernel::layer_norm::launch_unchecked(
            &out.client,
            count,
            cube,
            address,
            lanes,
            x.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            rows,
            affine.eps as f32,
            c / lanes,
            elem,
        );
    }
    leave(out)
}
