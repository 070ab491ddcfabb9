//! Factors on their way from global memory.

use burn_cubecl::cubecl::{self, prelude::*};

use super::plan::{Plan, Quad, Sizes, Tile};

/// The rows that a unit brings.
#[derive(CubeType)]
pub(super) struct Places {
    /// Pixels before the row's picture; of rows that are the input's, the row itself.
    first: Array<u32>,
    /// Where the row's window begins; of a row that isn't there, far outside of the picture.
    y: Array<i32>,
    x: Array<i32>,
}

#[cube]
impl Places {
    pub fn new(sizes: Sizes, first_row: u32, #[comptime] plan: Plan) -> Self {
        let count = comptime!(plan.tile.input_quads());
        let mut first = Array::<u32>::new(count);
        let mut y = Array::<i32>::new(count);
        let mut x = Array::<i32>::new(count);
        #[unroll]
        for i in 0..count {
            let row = first_row + comptime!((i * plan.tile.input_step()) as u32);
            if comptime!(plan.rows.is_same()) {
                first[i] = row;
            } else {
                let pixels = sizes.output_height * sizes.output_width;
                let image = row / pixels;
                let pixel = row % pixels;
                let stride = comptime!(plan.rows.stride() as u32);
                first[i] = image * sizes.source_height * sizes.source_width;
                x[i] = (pixel % sizes.output_width * stride) as i32 - sizes.left as i32;
                y[i] = (pixel / sizes.output_width * stride) as i32 - sizes.top as i32;
                if row >= sizes.rows {
                    y[i] = -1_000_000i32;
                }
            }
        }
        Places { first, y, x }
    }
}

/// Four values from `at` on, which is a multiple of their vectors' length: as many as `there`, and zeros behind them.
#[cube]
pub(super) fn quad_at<E: Float, N: Size>(from: &[Vector<E, N>], at: usize, there: u32) -> Quad<E> {
    let lanes = N::value();
    let mut quad = Quad::<E>::new(E::from_int(0));
    #[unroll]
    for part in 0..comptime!(4 / lanes) {
        if there > comptime!((part * lanes) as u32) {
            let values = from[at / lanes + part];
            #[unroll]
            for lane in 0..lanes {
                quad.insert(comptime!(part * lanes + lane), values.extract(lane));
            }
        }
    }
    quad
}

/// A quad of each of the unit's rows for a slice of the depth, from the unit's channel on.
#[cube]
pub(super) fn read_input<E: Float, N: Size>(
    input: &[Vector<E, N>],
    into: &mut Array<Quad<E>>,
    places: &Places,
    sizes: Sizes,
    slice: u32,
    channel: u32,
    #[comptime] plan: Plan,
) {
    let count = comptime!(plan.tile.input_quads());
    let depth = comptime!(plan.tile.depth as u32);
    let slices = sizes.depth / depth;
    let channel = slice % slices * depth + channel;
    if comptime!(plan.rows.is_same()) {
        #[unroll]
        for i in 0..count {
            let row = places.first[i];
            let mut quad = Quad::<E>::new(E::from_int(0));
            if row < sizes.rows && channel < sizes.channels {
                let at = row as usize * sizes.channels as usize + channel as usize;
                quad = quad_at::<E, N>(input, at, sizes.channels - channel);
            }
            into[i] = quad;
        }
    } else {
        let tap = slice / slices;
        let kernel_width = comptime!(plan.rows.kernel()[1] as u32);
        let down = (tap / kernel_width) as i32;
        let right = (tap % kernel_width) as i32;
        #[unroll]
        for i in 0..count {
            let mut quad = Quad::<E>::new(E::from_int(0));
            let y = places.y[i] + down;
            let x = places.x[i] + right;
            let inside = y >= 0 && y < sizes.height as i32 && x >= 0 && x < sizes.width as i32;
            if inside && channel < sizes.channels {
                let mut y = y as u32;
                let mut x = x as u32;
                if comptime!(plan.rows.upsample()) {
                    y /= 2;
                    x /= 2;
                }
                let pixel = places.first[i] + y * sizes.source_width + x;
                let at = pixel as usize * sizes.channels as usize + channel as usize;
                quad = quad_at::<E, N>(input, at, sizes.channels - channel);
            }
            into[i] = quad;
        }
    }
}

/// The unit's quads of the weights for a slice of the depth, from its row on.
#[cube]
pub(super) fn read_weights<E: Float>(
    weights: &[Quad<E>],
    into: &mut Array<Quad<E>>,
    row: usize,
    column: usize,
    sizes: Sizes,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.weight_quads()) {
        let row = row + comptime!(i * tile.weight_step());
        into[i] = weights[row * (sizes.packed as usize / 4) + column];
    }
}
