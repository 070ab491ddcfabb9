//! Products on tensor cores: planes multiply matrices of 16 x 16, and sums are `f32`.

use burn_cubecl::cubecl::{self, cmma, prelude::*};

use super::{
    plan::{MATRICES, Plan, Quad, SIDE, Sizes, Tile},
    read::{Places, read_input, read_weights},
};
use crate::device::cube::trial::PLANE;

/// The sums of this plane over some slices of the depth: rows of [`MATRICES`] matrices.
///
/// Slices of both factors are brought to shared memory row by row; the next ones are on their way from global memory meanwhile.
#[cube]
pub(super) fn multiply<E: Float, NI: Size>(
    input: &[Vector<E, NI>],
    weights: &[Quad<E>],
    sizes: Sizes,
    first_row: u32,
    first_column: u32,
    from: u32,
    to: u32,
    #[comptime] plan: Plan,
) -> Sequence<cmma::Matrix<f32>> {
    let tile = comptime!(plan.tile);
    let quads = comptime!(tile.depth / 4);
    let across = comptime!(tile.width / 4);
    // Two quads between rows keep rows of a matrix out of each other's banks, and every matrix at a multiple of 32 bytes.
    let input_pitch = comptime!(tile.depth / 4 + 2);
    let weight_pitch = comptime!(tile.width / 4 + 2);
    let unit = UNIT_POS as usize;

    let mut shared_input =
        Shared::<[Quad<E>]>::new_aligned_slice(comptime!(tile.height * input_pitch), 32usize);
    let mut shared_weights =
        Shared::<[Quad<E>]>::new_aligned_slice(comptime!(tile.depth * weight_pitch), 32usize);
    let mut next_input = Array::<Quad<E>>::new(comptime!(tile.input_quads()));
    let mut next_weights = Array::<Quad<E>>::new(comptime!(tile.weight_quads()));
    let rows = comptime!(tile.matrix_rows());
    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _i in 0..comptime!(rows * MATRICES) {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            SIDE,
            SIDE,
            SIDE,
            cmma::MatrixLayout::Undefined,
            0.0f32,
        ));
    }

    let input_row = unit / quads;
    let input_quad = unit % quads;
    let weight_row = unit / across;
    let weight_quad = unit % across;
    let channel = (input_quad * 4) as u32;
    let places = Places::new(sizes, first_row + input_row as u32, plan);
    // Beyond the last column are others' sums, which nobody stores.
    let weight_column = min(
        first_column as usize / 4 + weight_quad,
        sizes.packed as usize / 4 - 1,
    );

    read_input::<E, NI>(input, &mut next_input, &places, sizes, from, channel, plan);
    let first = from as usize * comptime!(tile.depth) + weight_row;
    read_weights::<E>(weights, &mut next_weights, first, weight_column, sizes, tile);
    let plane = unit / PLANE;
    let plane_x = plane % comptime!(tile.planes_across());
    let plane_y = plane / comptime!(tile.planes_across());
    for slice in from..to {
        #[unroll]
        for i in 0..comptime!(tile.input_quads()) {
            let row = input_row + comptime!(i * tile.input_step());
            shared_input[row * input_pitch + input_quad] = next_input[i];
        }
        #[unroll]
        for i in 0..comptime!(tile.weight_quads()) {
            let row = weight_row + comptime!(i * tile.weight_step());
            shared_weights[row * weight_pitch + weight_quad] = next_weights[i];
        }
        sync_cube();
        let next = slice + 1;
        if next < to {
            read_input::<E, NI>(input, &mut next_input, &places, sizes, next, channel, plan);
            let first = next as usize * comptime!(tile.depth) + weight_row;
            read_weights::<E>(weights, &mut next_weights, first, weight_column, sizes, tile);
        }
        #[unroll]
        for k in 0..comptime!(tile.depth / SIDE) {
            let mut right = Sequence::<cmma::Matrix<Quad<E>>>::new();
            #[unroll]
            for column in 0..MATRICES {
                let at = comptime!(k * SIDE * weight_pitch) + plane_x * 16 + comptime!(column * SIDE / 4);
                right.push(cmma::Matrix::<Quad<E>>::from_slice(
                    cmma::MatrixIdent::B,
                    SIDE,
                    SIDE,
                    SIDE,
                    cmma::MatrixLayout::RowMajor,
                    &shared_weights[at..at + 4],
                    comptime!(4 * weight_pitch as u32),
                ));
            }
            #[unroll]
            for row in 0..rows {
                let first = (plane_y * rows + row) * SIDE;
                let at = first * input_pitch + comptime!(k * SIDE / 4);
                let left = cmma::Matrix::<Quad<E>>::from_slice(
                    cmma::MatrixIdent::A,
                    SIDE,
                    SIDE,
                    SIDE,
                    cmma::MatrixLayout::RowMajor,
                    &shared_input[at..at + 4],
                    comptime!(4 * input_pitch as u32),
                );
                #[unroll]
                for column in 0..MATRICES {
                    let sum = sums.index(comptime!(row * MATRICES + column));
                    cmma::execute(&left, right.index(column), sum, sum);
                }
            }
        }
        sync_cube();
    }
    sums
}

/// Quads that a unit takes of a staged matrix.
pub(super) const QUADS: usize = SIDE * SIDE / 4 / PLANE;

/// Quads between a staged matrix and that beside it.
pub(super) const BESIDE: usize = SIDE * SIDE / 4;

/// Room for two matrices of each plane, where all its units see them.
#[cube]
pub(super) fn staging(#[comptime] tile: Tile) -> Shared<[Quad<f32>]> {
    Shared::<[Quad<f32>]>::new_aligned_slice(comptime!(tile.units / PLANE * 2 * BESIDE), 32usize)
}

/// The `i`-th pair of the plane's matrices, which are 32 columns apart.
#[cube]
pub(super) fn stage(
    staged: &mut Shared<[Quad<f32>]>,
    sums: &Sequence<cmma::Matrix<f32>>,
    #[comptime] i: usize,
) {
    let first = comptime!(i / 2 * MATRICES + i % 2);
    let left = UNIT_POS as usize / PLANE * comptime!(2 * BESIDE);
    let right = left + BESIDE;
    cmma::store(
        &mut staged[left..left + 4],
        sums.index(first),
        comptime!(SIDE as u32),
        cmma::MatrixLayout::RowMajor,
    );
    cmma::store(
        &mut staged[right..right + 4],
        sums.index(comptime!(first + MATRICES / 2)),
        comptime!(SIDE as u32),
        cmma::MatrixLayout::RowMajor,
    );
    sync_cube();
}

/// The `j`-th quad of this unit in what is staged.
#[cube]
pub(super) fn staged(#[comptime] j: usize) -> usize {
    let unit = UNIT_POS as usize;
    unit / PLANE * comptime!(2 * BESIDE) + unit % PLANE + comptime!(j * PLANE)
}

/// Its row of the tile, in the `i`-th pair.
#[cube]
pub(super) fn row(#[comptime] tile: Tile, #[comptime] i: usize, #[comptime] j: usize) -> u32 {
    let plane_y = UNIT_POS / comptime!((PLANE * tile.planes_across()) as u32);
    let matrix = plane_y * comptime!(tile.matrix_rows() as u32) + comptime!((i / 2) as u32);
    matrix * comptime!(SIDE as u32) + (UNIT_POS % comptime!(PLANE as u32) + comptime!((j * PLANE) as u32)) / 4
}

/// Its column.
#[cube]
pub(super) fn column(#[comptime] tile: Tile, #[comptime] i: usize, #[comptime] j: usize) -> u32 {
    let plane_x = UNIT_POS / comptime!(PLANE as u32) % comptime!(tile.planes_across() as u32);
    let quad = UNIT_POS % comptime!(PLANE as u32) + comptime!((j * PLANE) as u32);
    plane_x * comptime!((SIDE * MATRICES) as u32) + comptime!((i % 2 * SIDE) as u32) + quad % 4 * 4
}
