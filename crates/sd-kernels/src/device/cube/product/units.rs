//! Products in registers: units multiply numbers.

use burn_cubecl::cubecl::{self, prelude::*};

use super::{
    plan::{Plan, Quad, Sizes, Tile},
    read::{Places, read_input, read_weights},
};

/// The sums of this unit over some slices of the depth: of each of its rows, two quads that are 32 columns apart.
///
/// Slices of both factors are brought to shared memory in `f32`, those of the input row by row; the next ones are on their way from
/// global memory meanwhile.
#[cube]
pub(super) fn multiply<E: Float, NI: Size>(
    input: &[Vector<E, NI>],
    weights: &[Quad<E>],
    sums: &mut Array<Quad<f32>>,
    sizes: Sizes,
    first_row: u32,
    first_column: u32,
    from: u32,
    to: u32,
    #[comptime] plan: Plan,
) {
    let tile = comptime!(plan.tile);
    let quads = comptime!(tile.depth / 4);
    let across = comptime!(tile.width / 4);
    // A quad between rows keeps units of a plane out of each other's banks.
    let pitch = comptime!(tile.depth / 4 + 1);
    let unit = UNIT_POS as usize;

    let mut shared_input = Shared::<[Quad<f32>]>::new_slice(comptime!(tile.height * (tile.depth / 4 + 1)));
    let mut shared_weights = Shared::<[Quad<f32>]>::new_slice(comptime!(tile.depth * tile.width / 4));
    let mut next_input = Array::<Quad<E>>::new(comptime!(tile.input_quads()));
    let mut next_weights = Array::<Quad<E>>::new(comptime!(tile.weight_quads()));
    #[unroll]
    for i in 0..comptime!(2 * tile.rows()) {
        sums[i] = Quad::<f32>::new(0.0f32);
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
    let unit_x = unit % comptime!(tile.across());
    let unit_y = unit / comptime!(tile.across());
    let column = unit_x / 8 * 16 + unit_x % 8;
    for slice in from..to {
        #[unroll]
        for i in 0..comptime!(tile.input_quads()) {
            let row = input_row + comptime!(i * tile.input_step());
            shared_input[row * pitch + input_quad] = Quad::<f32>::cast_from(next_input[i]);
        }
        #[unroll]
        for i in 0..comptime!(tile.weight_quads()) {
            let row = weight_row + comptime!(i * tile.weight_step());
            shared_weights[row * across + weight_quad] = Quad::<f32>::cast_from(next_weights[i]);
        }
        sync_cube();
        let next = slice + 1;
        if next < to {
            read_input::<E, NI>(input, &mut next_input, &places, sizes, next, channel, plan);
            let first = next as usize * comptime!(tile.depth) + weight_row;
            read_weights::<E>(weights, &mut next_weights, first, weight_column, sizes, tile);
        }
        for quad in 0..quads {
            let mut factors = Array::<Quad<f32>>::new(comptime!(tile.rows()));
            #[unroll]
            for i in 0..comptime!(tile.rows()) {
                factors[i] = shared_input[(unit_y + comptime!(i * tile.down())) * pitch + quad];
            }
            #[unroll]
            for k in 0..4usize {
                let at = (quad * 4 + k) * across + column;
                let left = shared_weights[at];
                let right = shared_weights[at + 8];
                #[unroll]
                for i in 0..comptime!(tile.rows()) {
                    let factor = Quad::<f32>::new(factors[i].extract(k));
                    sums[comptime!(2 * i)] = fma(factor, left, sums[comptime!(2 * i)]);
                    sums[comptime!(2 * i + 1)] = fma(factor, right, sums[comptime!(2 * i + 1)]);
                }
            }
        }
        sync_cube();
    }
}

/// A row of this unit, in the tile.
#[cube]
pub(super) fn row(#[comptime] tile: Tile, #[comptime] i: usize) -> u32 {
    UNIT_POS / comptime!(tile.across() as u32) + comptime!((i * tile.down()) as u32)
}

/// The first column of this unit, in the tile.
#[cube]
pub(super) fn column(#[comptime] tile: Tile) -> u32 {
    let x = UNIT_POS % comptime!(tile.across() as u32);
    x / 8 * 64 + x % 8 * 4
}
