//! Kernels of normalisations.

use burn_cubecl::cubecl::{self, prelude::*};

use super::super::math::silu;

/// Units of a cube.
pub(super) const UNITS: usize = 256;

/// Units that share a row of a layer normalisation.
pub(super) const TEAM: usize = 32;

/// Rows of a cube.
pub(super) const TEAMS: usize = 4;

/// The sum of a value of each unit of a cube of [`UNITS`], known to all of them.
#[cube]
fn cube_sum(value: f32, first: &mut Shared<[f32]>, second: &mut Shared<[f32]>) -> f32 {
    let unit = UNIT_POS as usize;
    first[unit] = value;
    sync_cube();
    if unit < STEP {
        let mut sum = 0.0f32;
        #[unroll]
        for i in 0..comptime!(UNITS / STEP) {
            sum += first[unit + i * STEP];
        }
        second[unit] = sum;
    }
    sync_cube();
    let mut sum = 0.0f32;
    #[unroll]
    for i in 0..STEP {
        sum += second[i];
    }
    sum
}

/// As many units add first.
const STEP: usize = 16;

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn group_norm<E: Float, N: Size>(
    x: &[Vector<E, N>],
    gamma: &[Vector<f32, N>],
    beta: &[Vector<f32, N>],
    out: &mut [Vector<E, N>],
    pixels: usize,
    eps: f32,
    #[comptime] groups: usize,
    #[comptime] width: usize,
    #[comptime] with_silu: bool,
    #[define(E)] _dtype: ElemType,
) {
    let mut first = Shared::<[f32]>::new_slice(UNITS);
    let mut second = Shared::<[f32]>::new_slice(STEP);
    let group = CUBE_POS_X as usize * width;
    let from = CUBE_POS_Y as usize * pixels * comptime!(groups * width) + group;
    let unit = UNIT_POS as usize;
    let all = pixels * width;
    let count = f32::cast_from(all as u32) * f32::cast_from(N::value() as u32);

    let mut sum = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(unit, all, UNITS) {
        let at = from + i / width * comptime!(groups * width) + i % width;
        sum += Vector::cast_from(x[at]);
    }
    let mean = cube_sum(sum.vector_sum(), &mut first, &mut second) / count;
    let mut squares = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(unit, all, UNITS) {
        let at = from + i / width * comptime!(groups * width) + i % width;
        let distance = Vector::cast_from(x[at]) - Vector::new(mean);
        squares = fma(distance, distance, squares);
    }
    // The first sums were read by all before the second barrier of the call above; the second ones only before the first below.
    let variance = cube_sum(squares.vector_sum(), &mut first, &mut second) / count;
    let scale = 1.0f32 / (variance + eps).sqrt();
    for i in range_stepped(unit, all, UNITS) {
        let at = from + i / width * comptime!(groups * width) + i % width;
        let channel = group + i % width;
        let distance = Vector::cast_from(x[at]) - Vector::new(mean);
        let mut y = fma(distance * Vector::new(scale), gamma[channel], beta[channel]);
        if comptime!(with_silu) {
            y = silu::<N>(y);
        }
        out[at] = Vector::cast_from(y);
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn moments<E: Float, N: Size>(
    x: &[Vector<E, N>],
    out: &mut [f32],
    pixels: usize,
    piece: usize,
    #[comptime] groups: usize,
    #[comptime] width: usize,
    #[define(E)] _dtype: ElemType,
) {
    let columns = comptime!(if width < UNITS { width } else { UNITS });
    let slots = comptime!(UNITS / columns);
    let n = N::value();
    let channels = comptime!(width * n);
    let size = comptime!(channels / groups);
    let mut means = Shared::<[f32]>::new_slice(comptime!(UNITS * n));
    let mut squares = Shared::<[f32]>::new_slice(comptime!(UNITS * n));
    let mut channel_means = Shared::<[f32]>::new_slice(channels);
    let mut channel_squares = Shared::<[f32]>::new_slice(channels);

    let unit = UNIT_POS as usize;
    let (slot, column) = (unit / columns, unit % columns);
    let first = CUBE_POS_X as usize * piece;
    let rows = min(piece, pixels - first);
    let from = (CUBE_POS_Y as usize * pixels + first) * width;

    // All columns, as many at a time as there are units.
    #[unroll]
    for part in 0..comptime!(width.div_ceil(columns)) {
        let at = part * columns + column;
        let mut mean = Vector::<f32, N>::new(0.0f32);
        let mut square = Vector::<f32, N>::new(0.0f32);
        if slot < slots && at < width {
            let own = (rows + slots - 1 - slot) / slots;
            let mut sum = Vector::<f32, N>::new(0.0f32);
            for row in range_stepped(slot, rows, slots) {
                sum += Vector::cast_from(x[from + row * width + at]);
            }
            mean = sum / Vector::new(max(f32::cast_from(own as u32), 1.0f32));
            for row in range_stepped(slot, rows, slots) {
                let distance = Vector::cast_from(x[from + row * width + at]) - mean;
                square = fma(distance, distance, square);
            }
        }
        #[unroll]
        for i in 0..n {
            means[unit * n + i] = mean.extract(i);
            squares[unit * n + i] = square.extract(i);
        }
        sync_cube();
        for i in range_stepped(unit, comptime!(columns * n), UNITS) {
            let channel = part * comptime!(columns * n) + i;
            if channel < channels {
                let mut sum = 0.0f32;
                #[unroll]
                for s in 0..slots {
                    let own = (rows + slots - 1 - s) / slots;
                    sum += means[s * comptime!(columns * n) + i] * f32::cast_from(own as u32);
                }
                let mean = sum / f32::cast_from(rows as u32);
                let mut square = 0.0f32;
                #[unroll]
                for s in 0..slots {
                    let own = (rows + slots - 1 - s) / slots;
                    let distance = means[s * comptime!(columns * n) + i] - mean;
                    square += squares[s * comptime!(columns * n) + i]
                        + distance * distance * f32::cast_from(own as u32);
                }
                channel_means[channel] = mean;
                channel_squares[channel] = square;
            }
        }
        sync_cube();
    }

    let from = (CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize) * comptime!(3 * groups);
    for group in range_stepped(unit, groups, UNITS) {
        let mut sum = 0.0f32;
        for i in 0..size {
            sum += channel_means[group * size + i];
        }
        let mean = sum / f32::cast_from(size as u32);
        let mut square = 0.0f32;
        let count = f32::cast_from(rows as u32);
        for i in 0..size {
            let distance = channel_means[group * size + i] - mean;
            square += channel_squares[group * size + i] + distance * distance * count;
        }
        out[from + group] = count;
        out[from + groups + group] = mean;
        out[from + comptime!(2 * groups) + group] = square;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn join(
    moments: &[f32],
    gamma: &[f32],
    beta: &[f32],
    factors: &mut [f32],
    terms: &mut [f32],
    pieces: usize,
    eps: f32,
    #[comptime] groups: usize,
    #[comptime] size: usize,
) {
    let mut first = Shared::<[f32]>::new_slice(UNITS);
    let mut second = Shared::<[f32]>::new_slice(STEP);
    let unit = UNIT_POS as usize;
    let group = CUBE_POS_X as usize;
    let from = CUBE_POS_Y as usize * pieces * comptime!(3 * groups) + group;

    let mut count = 0.0f32;
    let mut sum = 0.0f32;
    for piece in range_stepped(unit, pieces, UNITS) {
        let at = from + piece * comptime!(3 * groups);
        count += moments[at];
        sum += moments[at] * moments[at + groups];
    }
    let count = cube_sum(count, &mut first, &mut second);
    let mean = cube_sum(sum, &mut first, &mut second) / count;
    let mut square = 0.0f32;
    for piece in range_stepped(unit, pieces, UNITS) {
        let at = from + piece * comptime!(3 * groups);
        let distance = moments[at + groups] - mean;
        square += moments[at + comptime!(2 * groups)]
            + distance * distance * moments[at] * f32::cast_from(size as u32);
    }
    let values = count * f32::cast_from(size as u32);
    let variance = cube_sum(square, &mut first, &mut second) / values;
    let scale = 1.0f32 / (variance + eps).sqrt();
    for i in range_stepped(unit, size, UNITS) {
        let channel = group * size + i;
        let factor = gamma[channel] * scale;
        let at = CUBE_POS_Y as usize * comptime!(groups * size) + channel;
        factors[at] = factor;
        terms[at] = beta[channel] - mean * factor;
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn layer_norm<E: Float, N: Size>(
    x: &[Vector<E, N>],
    gamma: &[Vector<f32, N>],
    beta: &[Vector<f32, N>],
    out: &mut [Vector<E, N>],
    rows: usize,
    eps: f32,
    #[comptime] width: usize,
    #[define(E)] _dtype: ElemType,
) {
    let mut sums = Shared::<[f32]>::new_slice(comptime!(TEAM * TEAMS));
    let mut squares = Shared::<[f32]>::new_slice(comptime!(TEAM * TEAMS));
    let (unit, team) = (UNIT_POS_X as usize, UNIT_POS_Y as usize);
    let row = CUBE_POS * TEAMS + team;
    let from = row * width;
    let end = select(row < rows, width, 0usize);
    let values = width * N::value();
    let count = f32::cast_from(values as u32);

    let mut sum = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(unit, end, TEAM) {
        sum += Vector::cast_from(x[from + i]);
    }
    sums[team * TEAM + unit] = sum.vector_sum();
    sync_cube();
    let mut mean = 0.0f32;
    #[unroll]
    for i in 0..TEAM {
        mean += sums[team * TEAM + i];
    }
    mean /= count;
    let mut square = Vector::<f32, N>::new(0.0f32);
    for i in range_stepped(unit, end, TEAM) {
        let distance = Vector::cast_from(x[from + i]) - Vector::new(mean);
        square = fma(distance, distance, square);
    }
    squares[team * TEAM + unit] = square.vector_sum();
    sync_cube();
    let mut variance = 0.0f32;
    #[unroll]
    for i in 0..TEAM {
        variance += squares[team * TEAM + i];
    }
    let scale = 1.0f32 / (variance / count + eps).sqrt();
    for i in range_stepped(unit, end, TEAM) {
        let distance = Vector::cast_from(x[from + i]) - Vector::new(mean);
        let y = fma(distance * Vector::new(scale), gamma[i], beta[i]);
        out[from + i] = Vector::cast_from(y);
    }
}
