//! A product of rows of the input with packed weights, tile by tile: a cube computes a tile of the output.
//!
//! Rows of the input may be the pixels that windows of a convolution see, tap by tap: no window is copied.

use burn_cubecl::cubecl::{self, ir::ElemType, prelude::*};

use super::{
    cores,
    epilogue::{Epilogue, finish, put_quad},
    plan::{MATRICES, Plan, Quad, Sizes, Tile},
    units,
};

/// A tile for each cube, of a part of the depth: there are as many parts as the cubes' third axis has. With an epilogue there is one, and
/// the output gets results, `[rows, columns]`; without one it gets sums in `f32`, `[parts, rows, packed]`, for [`join_parts`].
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn product<E: Float, O: Float, NI: Size, NO: Size>(
    input: &[Vector<E, NI>],
    weights: &[Quad<E>],
    bias: &[Quad<f32>],
    image_bias: ComptimeOption<&[Vector<O, NO>]>,
    residual: ComptimeOption<&[Vector<O, NO>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<O, NO>],
    sizes: Sizes,
    #[comptime] plan: Plan,
    #[comptime] epilogue: Option<Epilogue>,
    #[define(E, O)] _elems: [ElemType; 2],
) {
    let tile = comptime!(plan.tile);
    let first_row = first_row(sizes, tile);
    let first_column = first_column(sizes, tile);
    if first_row >= sizes.rows {
        terminate!();
    }
    let slices = slices(sizes, plan);
    let from = CUBE_POS_Z * slices / CUBE_COUNT_Z;
    let to = (CUBE_POS_Z + 1) * slices / CUBE_COUNT_Z;
    if comptime!(tile.cores) {
        let sums = cores::multiply::<E, NI>(input, weights, sizes, first_row, first_column, from, to, plan);
        let mut staged = cores::staging(tile);
        #[unroll]
        for i in 0..comptime!(tile.matrix_rows() * MATRICES / 2) {
            cores::stage(&mut staged, &sums, i);
            #[unroll]
            for j in 0..cores::QUADS {
                let at = cores::staged(j);
                leave::<O, NO>(
                    staged[at],
                    staged[at + cores::BESIDE],
                    bias,
                    image_bias,
                    residual,
                    slopes,
                    output,
                    first_row + cores::row(tile, i, j),
                    first_column + cores::column(tile, i, j),
                    sizes,
                    epilogue,
                );
            }
            sync_cube();
        }
    } else {
        let mut sums = Array::<Quad<f32>>::new(comptime!(2 * tile.rows()));
        units::multiply::<E, NI>(
            input,
            weights,
            &mut sums,
            sizes,
            first_row,
            first_column,
            from,
            to,
            plan,
        );
        #[unroll]
        for i in 0..comptime!(tile.rows()) {
            leave::<O, NO>(
                sums[comptime!(2 * i)],
                sums[comptime!(2 * i + 1)],
                bias,
                image_bias,
                residual,
                slopes,
                output,
                first_row + units::row(tile, i),
                first_column + units::column(tile),
                sizes,
                epilogue,
            );
        }
    }
}

/// Two quads of sums, 32 columns apart: finished, or to where this cube's part belongs.
#[cube]
fn leave<O: Float, N: Size>(
    left: Quad<f32>,
    right: Quad<f32>,
    bias: &[Quad<f32>],
    image_bias: ComptimeOption<&[Vector<O, N>]>,
    residual: ComptimeOption<&[Vector<O, N>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<O, N>],
    row: u32,
    packed: u32,
    sizes: Sizes,
    #[comptime] epilogue: Option<Epilogue>,
) {
    if comptime!(epilogue.is_some()) {
        finish::<O, N>(
            left,
            right,
            bias,
            image_bias,
            residual,
            slopes,
            output,
            row,
            packed,
            sizes,
            comptime!(epilogue.unwrap_or(Epilogue::Plain)),
        );
    } else if row < sizes.rows && packed < sizes.packed {
        // Of two panels both are there or none.
        let row = CUBE_POS_Z as usize * sizes.rows as usize + row as usize;
        let at = row * sizes.packed as usize + packed as usize;
        put_quad::<O, N>(output, at, 4u32, Quad::<O>::cast_from(left));
        put_quad::<O, N>(output, at + 32, 4u32, Quad::<O>::cast_from(right));
    }
}

/// What [`product`] left of parts, put together: two quads of sums for each unit.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn join_parts<E: Float, NO: Size>(
    parts: &[Quad<f32>],
    bias: &[Quad<f32>],
    image_bias: ComptimeOption<&[Vector<E, NO>]>,
    residual: ComptimeOption<&[Vector<E, NO>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<E, NO>],
    sizes: Sizes,
    count: u32,
    #[comptime] epilogue: Epilogue,
    #[define(E)] _elem: ElemType,
) {
    let across = sizes.packed / 8;
    let position = block() * CUBE_DIM + UNIT_POS;
    let row = position / across;
    let pair = position % across;
    if row >= sizes.rows {
        terminate!();
    }
    let packed = pair / 8 * 64 + pair % 8 * 4;
    let mut left = Quad::<f32>::new(0.0f32);
    let mut right = Quad::<f32>::new(0.0f32);
    for part in 0..count {
        let row = part as usize * sizes.rows as usize + row as usize;
        let at = (row * sizes.packed as usize + packed as usize) / 4;
        left += parts[at];
        right += parts[at + 8];
    }
    finish::<E, NO>(
        left, right, bias, image_bias, residual, slopes, output, row, packed, sizes, epilogue,
    );
}

/// Cubes lie along columns first, then along rows, on two axes since one may be too short.
#[cube]
fn block() -> u32 {
    CUBE_POS_X + CUBE_POS_Y * CUBE_COUNT_X
}

#[cube]
fn first_row(sizes: Sizes, #[comptime] tile: Tile) -> u32 {
    let width = comptime!(tile.width as u32);
    block() / sizes.packed.div_ceil(width) * comptime!(tile.height as u32)
}

#[cube]
fn first_column(sizes: Sizes, #[comptime] tile: Tile) -> u32 {
    let width = comptime!(tile.width as u32);
    block() % sizes.packed.div_ceil(width) * width
}

/// Slices of the depth, tap by tap.
#[cube]
fn slices(sizes: Sizes, #[comptime] plan: Plan) -> u32 {
    sizes.depth / comptime!(plan.tile.depth as u32) * comptime!(plan.rows.taps() as u32)
}
