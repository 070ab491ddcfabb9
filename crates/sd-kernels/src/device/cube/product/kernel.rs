//! A product of rows of the input with packed weights, tile by tile: a cube computes a tile of the output.
//!
//! Rows of the input may be the pixels that windows of a convolution see, tap by tap: no window is copied.

use burn_cubecl::cubecl::{self, ir::ElemType, prelude::*};

use super::{
    cores,
    epilogue::{Epilogue, finish},
    plan::{MATRICES, Plan, Quad, Sizes, Tile},
    units,
};

/// A tile for each cube.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn product<E: Float, NI: Size, NO: Size>(
    input: &[Vector<E, NI>],
    weights: &[Quad<E>],
    bias: &[Quad<f32>],
    image_bias: ComptimeOption<&[Vector<E, NO>]>,
    residual: ComptimeOption<&[Vector<E, NO>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<E, NO>],
    sizes: Sizes,
    #[comptime] plan: Plan,
    #[comptime] epilogue: Epilogue,
    #[define(E)] _elem: ElemType,
) {
    let tile = comptime!(plan.tile);
    let first_row = first_row(sizes, tile);
    let first_column = first_column(sizes, tile);
    if first_row >= sizes.rows {
        terminate!();
    }
    let slices = slices(sizes, plan);
    if comptime!(tile.cores) {
        let sums =
            cores::multiply::<E, NI>(input, weights, sizes, first_row, first_column, 0u32, slices, plan);
        let mut staged = cores::staging(tile);
        #[unroll]
        for i in 0..comptime!(tile.matrix_rows() * MATRICES / 2) {
            cores::stage(&mut staged, &sums, i);
            #[unroll]
            for j in 0..cores::QUADS {
                let at = cores::staged(j);
                finish::<E, NO>(
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
            0u32,
            slices,
            plan,
        );
        #[unroll]
        for i in 0..comptime!(tile.rows()) {
            finish::<E, NO>(
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

/// The same for a part of the depth, of which there are as many as the cubes' third axis has: sums go to `[parts, rows, packed]`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn part_of_product<E: Float, NI: Size>(
    input: &[Vector<E, NI>],
    weights: &[Quad<E>],
    parts: &mut [Quad<f32>],
    sizes: Sizes,
    #[comptime] plan: Plan,
    #[define(E)] _elem: ElemType,
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
                put(
                    staged[at],
                    staged[at + cores::BESIDE],
                    parts,
                    first_row + cores::row(tile, i, j),
                    first_column + cores::column(tile, i, j),
                    sizes,
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
            put(
                sums[comptime!(2 * i)],
                sums[comptime!(2 * i + 1)],
                parts,
                first_row + units::row(tile, i),
                first_column + units::column(tile),
                sizes,
            );
        }
    }
}

/// Two quads of sums, 32 columns apart, to where this cube's part belongs.
#[cube]
fn put(left: Quad<f32>, right: Quad<f32>, parts: &mut [Quad<f32>], row: u32, packed: u32, sizes: Sizes) {
    // Of two panels both are there or none.
    if row < sizes.rows && packed < sizes.packed {
        let row = CUBE_POS_Z as usize * sizes.rows as usize + row as usize;
        let at = (row * sizes.packed as usize + packed as usize) / 4;
        parts[at] = left;
        parts[at + 8] = right;
    }
}

/// What [`part_of_product`] left, put together: two quads of sums for each unit.
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
