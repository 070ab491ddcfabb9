//! The same of whole numbers, for instruction sets that multiply words and no bytes: F(2x2, 3x3) with 2.25 times fewer multiplications.
//!
//! Its points are 0, ±1 and infinity, so that tiles stay whole numbers; kernels are taken to twice their values along each axis, which
//! makes them whole too, and a quarter of the result is exact. Values are at most 4 * 128 and 9 * 127 then, and fit words; sums may pass
//! 32 bits, as long as results times four don't.

use std::ops::Range;

use super::{
    super::{epilogue::Store, gemm::Sink as _, packed::Right},
    Division, Geometry, Slot, Task, apart, places,
    transform::{Axis, both_axes},
    worth,
};
use crate::host::simd::{COLUMNS, Isa, Operand, PANEL, Simd, Work, vectorised};

/// Outputs of a tile, along each axis.
const OUT: usize = 2;
/// Inputs of a tile, along each axis.
const IN: usize = 4;
const PLACES: usize = IN * IN;

/// The most channels for which four times any sum fits 32 bits.
const MOST_CHANNELS: usize = i32::MAX as usize / (4 * 9 * 127 * 128);

/// Values that are transformed together.
const WIDTH: usize = 32;

/// As [`suits`](super::suits).
pub(crate) fn suits(isa: Isa, geometry: Geometry, channels: usize, columns: usize) -> bool {
    !isa.multiplies_bytes() && worth(geometry, channels, columns) && channels <= MOST_CHANNELS
}

fn divide(isa: Isa, tiles: usize, k: usize) -> Division {
    Division::new::<i16>(isa, [PLACES, 128, 240], [tiles, k])
}

fn tiles([batch, h, w]: [usize; 3]) -> usize {
    batch * h.div_ceil(OUT) * w.div_ceil(OUT)
}

/// Bytes that a convolution needs meanwhile, for `[batch, h, w]` of the output.
pub(crate) fn workspace(isa: Isa, output: [usize; 3], channels: usize) -> usize {
    divide(isa, tiles(output), channels.next_multiple_of(i16::K)).bytes::<i16, i16>()
}

/// Pictures of whole numbers with their borders: output pixel `(y, x)` of picture `i` reads from the pixel `i step + y width + x` on.
#[derive(Clone, Copy)]
pub(crate) struct Pixels<'a> {
    pub data: &'a [i16],
    pub batch: usize,
    pub step: usize,
    pub width: usize,
    /// Channels, a multiple of [`Operand::K`].
    pub k: usize,
}

/// A convolution where it [`suits`].
pub(crate) fn convolve<T: Simd>(
    isa: Isa,
    x: Pixels,
    [oh, ow]: [usize; 2],
    weights: Right<i16>,
    store: &Store<T>,
) {
    let (k, pairs) = (x.k, weights.panels / 2);
    let grid = [oh, ow].map(|side| side.div_ceil(OUT));
    let tiles = tiles([x.batch, oh, ow]);
    let division = divide(isa, tiles, k);
    let zeros = vec![0i16; k];
    let place = |tile: usize| {
        let [rows, columns] = grid;
        let [y, x] = [tile / columns % rows, tile % columns].map(|at| at * OUT);
        [tile / (rows * columns), y, x]
    };
    let transform = |tile, slot: Slot<i16>| {
        let work = Inputs {
            x,
            zeros: &zeros,
            place: place(tile),
            slot,
        };
        vectorised(isa, work);
    };
    division.run(isa, [tiles, pairs], transform, |first, pair| PartTask {
        isa,
        apart: division.apart(COLUMNS),
        size: [oh, ow],
        place: move |row| place(first + row),
        weights,
        pair,
        store,
    });
}

type Words = [i16; WIDTH];

#[inline(always)]
fn add<const N: usize>(mut a: [i16; N], b: &[i16; N]) -> [i16; N] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_add(*b));
    a
}

#[inline(always)]
fn sub<const N: usize>(mut a: [i16; N], b: &[i16; N]) -> [i16; N] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = a.wrapping_sub(*b));
    a
}

/// Inputs to the points.
struct Input;

impl Axis<Words, IN, IN> for Input {
    #[inline(always)]
    fn along([a, b, c, d]: [Words; IN]) -> [Words; IN] {
        [sub(a, &c), add(b, &c), sub(c, &b), sub(b, &d)]
    }
}

/// Kernels to the points, twice their values.
struct Kernel;

impl Axis<Words, 3, IN> for Kernel {
    #[inline(always)]
    fn along([a, b, c]: [Words; 3]) -> [Words; IN] {
        let ends = add(a, &c);
        [add(a, &a), add(ends, &b), sub(ends, &b), add(c, &c)]
    }
}

/// Sums back from the points.
struct Output;

impl Axis<[i32; PANEL], IN, OUT> for Output {
    #[inline(always)]
    fn along([a, b, c, d]: [[i32; PANEL]; IN]) -> [[i32; PANEL]; OUT] {
        let (mut first, mut second) = (a, b);
        for i in 0..PANEL {
            first[i] = first[i].wrapping_add(b[i]).wrapping_add(c[i]);
            second[i] = second[i].wrapping_sub(c[i]).wrapping_sub(d[i]);
        }
        [first, second]
    }
}

/// Takes one tile of the input to the points.
struct Inputs<'a> {
    x: Pixels<'a>,
    zeros: &'a [i16],
    /// Picture, row and column.
    place: [usize; 3],
    slot: Slot<'a, i16>,
}

impl Work for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Pixels {
            data, step, width, k, ..
        } = self.x;
        let [image, y, x] = self.place;
        // A tile that reaches beyond the picture sees anything there: outputs within don't depend on it.
        let mut pixels = [[self.zeros; IN]; IN];
        for (i, line) in pixels.iter_mut().enumerate() {
            for (j, pixel) in line.iter_mut().enumerate() {
                let at = (image * step + (y + i) * width + x + j) * k;
                *pixel = data.get(at..at + k).unwrap_or(self.zeros);
            }
        }
        for channel in (0..k).step_by(WIDTH) {
            let mut to = self.slot.writer::<WIDTH>(channel);
            both_axes(
                Input,
                |i, j| load(&pixels[i][j][channel..]),
                |i, j, words| to.put(i * IN + j, &words),
            );
        }
    }
}

#[inline(always)]
fn load(values: &[i16]) -> Words {
    let mut words = [0; WIDTH];
    words.copy_from_slice(&values[..WIDTH]);
    words
}

struct PartTask<'a, T, F> {
    isa: Isa,
    /// From one place's sums to the next's.
    apart: usize,
    size: [usize; 2],
    /// Picture, row and column of a tile.
    place: F,
    weights: Right<'a, i16>,
    pair: usize,
    store: &'a Store<'a, T>,
}

impl<T: Simd, F: Fn(usize) -> [usize; 3]> Task<i16, i16> for PartTask<'_, T, F> {
    #[inline(always)]
    fn kernels(&self, half: usize, channels: Range<usize>, room: &mut [i16], out: &mut [i16]) {
        let (tap, values) = (self.weights.len / 9, channels.len() * PANEL);
        let mut rooms = room.chunks_exact_mut(values);
        let mut taps: [&[i16]; 9] = [&[]; 9];
        for (i, to) in taps.iter_mut().enumerate() {
            let from = i * tap + channels.start * PANEL;
            let room = rooms.next().unwrap_or_default();
            let panel = 2 * self.pair + half;
            *to = self.weights.part(self.isa, panel, from..from + values, room);
        }
        let apart = apart(channels.len() * COLUMNS);
        for start in (0..values).step_by(WIDTH) {
            let mut to = places::Writer::<_, WIDTH>::new(&mut out[half * values + start..], PLACES, apart);
            both_axes(
                Kernel,
                |i, j| load(&taps[3 * i + j][start..]),
                |i, j, words| to.put(i * IN + j, &words),
            );
        }
    }

    /// Sums are whole numbers in the bits of these.
    #[inline(always)]
    fn outputs(&self, count: usize, sums: &[f32]) {
        let [oh, ow] = self.size;
        let mut pixels = [[[0f32; COLUMNS]; OUT]; OUT];
        for row in 0..count {
            let [image, y, x] = (self.place)(row);
            let (height, width) = (OUT.min(oh - y), OUT.min(ow - x));
            for half in [0, PANEL] {
                let from = places::Reader::<_, PANEL>::new(&sums[row * COLUMNS + half..], PLACES, self.apart);
                both_axes(
                    Output,
                    |i, j| {
                        let mut whole = [0i32; PANEL];
                        for (to, sum) in whole.iter_mut().zip(from.get(i * IN + j)) {
                            *to = sum.to_bits() as i32;
                        }
                        whole
                    },
                    |i, j, whole| {
                        for (pixel, sum) in pixels[i][j][half..half + PANEL].iter_mut().zip(whole) {
                            *pixel = f32::from_bits((sum >> 2) as u32);
                        }
                    },
                );
            }
            for (i, pixels) in pixels.iter().take(height).enumerate() {
                let row = (image * oh + y + i) * ow + x;
                self.store
                    .put(self.isa, row, self.pair * COLUMNS, &pixels[..width]);
            }
        }
    }
}
