//! What becomes of sums before they are stored.

use burn_cubecl::cubecl::{self, prelude::*};

use super::{
    plan::{Quad, Sizes},
    read::quad_at,
};
use crate::device::cube::math::{gelu, quick_gelu, silu};

/// The function that is applied to a sum before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::device::cube) enum Epilogue {
    Plain,
    Silu,
    Gelu,
    QuickGelu,
    /// Weights alternate between panels of values and of gates: values, times the GELU of gates.
    Geglu,
}

/// Two quads of sums of a row, the first from the column `packed` of the weights on, the second 32 columns further: results of both, or
/// of values and their gates.
#[cube]
pub(super) fn finish<E: Float, N: Size>(
    left: Quad<f32>,
    right: Quad<f32>,
    bias: &[Quad<f32>],
    image_bias: ComptimeOption<&[Vector<E, N>]>,
    residual: ComptimeOption<&[Vector<E, N>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<E, N>],
    row: u32,
    packed: u32,
    sizes: Sizes,
    #[comptime] epilogue: Epilogue,
) {
    if row < sizes.rows && packed < sizes.packed {
        let left = left + bias[packed as usize / 4];
        let right = right + bias[packed as usize / 4 + 8];
        if comptime!(epilogue == Epilogue::Geglu) {
            let column = packed / 64 * 32 + packed % 64;
            let values = left * gelu::<Const<4>>(right);
            store::<E, N>(
                values, image_bias, residual, slopes, output, row, column, sizes, epilogue,
            );
        } else {
            store::<E, N>(
                left, image_bias, residual, slopes, output, row, packed, sizes, epilogue,
            );
            store::<E, N>(
                right,
                image_bias,
                residual,
                slopes,
                output,
                row,
                packed + 32,
                sizes,
                epilogue,
            );
        }
    }
}

#[cube]
fn store<E: Float, N: Size>(
    sums: Quad<f32>,
    image_bias: ComptimeOption<&[Vector<E, N>]>,
    residual: ComptimeOption<&[Vector<E, N>]>,
    slopes: ComptimeOption<&[Quad<f32>]>,
    output: &mut [Vector<E, N>],
    row: u32,
    column: u32,
    sizes: Sizes,
    #[comptime] epilogue: Epilogue,
) {
    if column < sizes.columns {
        let there = sizes.columns - column;
        let at = row as usize * sizes.columns as usize + column as usize;
        let mut values = sums;
        #[comptime]
        if let ComptimeOption::Some(image_bias) = image_bias {
            let image = row / (sizes.output_height * sizes.output_width);
            let at = image as usize * sizes.columns as usize + column as usize;
            values += Quad::<f32>::cast_from(quad_at::<E, N>(image_bias, at, there));
        }
        match comptime!(epilogue) {
            Epilogue::Silu => values = silu::<Const<4>>(values),
            Epilogue::Gelu => values = gelu::<Const<4>>(values),
            Epilogue::QuickGelu => values = quick_gelu::<Const<4>>(values),
            Epilogue::Plain | Epilogue::Geglu => {}
        }
        #[comptime]
        if let ComptimeOption::Some(residual) = residual {
            values += Quad::<f32>::cast_from(quad_at::<E, N>(residual, at, there));
        }
        #[comptime]
        if let ComptimeOption::Some(slopes) = slopes {
            let slopes = slopes[column as usize / 4];
            let mut rectified = Quad::<f32>::empty();
            #[unroll]
            for lane in 0..comptime!(4usize) {
                let value = values.extract(lane);
                let slope = select(value < 0.0f32, slopes.extract(lane), 1.0f32);
                rectified.insert(lane, value * slope);
            }
            values = rectified;
        }
        put_quad::<E, N>(output, at, there, Quad::<E>::cast_from(values));
    }
}

/// Four values, or as many as `there` is room for, from `at` on.
#[cube]
pub(super) fn put_quad<E: Float, N: Size>(into: &mut [Vector<E, N>], at: usize, there: u32, quad: Quad<E>) {
    let lanes = N::value();
    #[unroll]
    for part in 0..comptime!(4 / lanes) {
        if there > comptime!((part * lanes) as u32) {
            let mut values = Vector::<E, N>::empty();
            #[unroll]
            for lane in 0..lanes {
                values.insert(lane, quad.extract(comptime!(part * lanes + lane)));
            }
            into[at / lanes + part] = values;
        }
    }
}
