//! The same of whole numbers, for instruction sets that multiply words and no bytes: F(2x2, 3x3) with 2.25 times fewer multiplications.
//!
//! Its points are 0, ±1 and infinity, so that tiles stay whole numbers; kernels are taken to twice their values along each axis, which
//! makes them whole too, and a quarter of the result is exact. Values are at most 4 * 127 and 9 * 127 then, and fit words; sums may pass
//! 32 bits, as long as results times four don't.

use rayon::prelude::*;

use super::{
    super::{epilogue::Store, gemm::Sink, packed::Right, shared::Shared},
    BLOCK_BYTES, Geometry, Left, NARROWEST, Sums, apart, each, multiply,
};
use crate::{
    host::simd::{COLUMNS, Isa, Operand, PANEL, Simd, Work, vectorised},
    memory::buffer::Buffer,
};

/// Outputs of a tile, along each axis.
const OUT: usize = 2;
/// Inputs of a tile, along each axis.
const IN: usize = 4;
const PLACES: usize = IN * IN;

/// The most channels for which four times any sum fits 32 bits.
const MOST_CHANNELS: usize = i32::MAX as usize / (4 * 9 * 127 * 127);

/// Values that are transformed together.
const WIDTH: usize = 32;

/// As [`suits`](super::suits).
pub(crate) fn suits(isa: Isa, geometry: Geometry, channels: usize, columns: usize) -> bool {
    !isa.multiplies_bytes()
        && geometry.kernel == [3, 3]
        && geometry.stride == 1
        && geometry.output()[1] >= NARROWEST
        && channels.min(columns) >= PANEL
        && channels <= MOST_CHANNELS
}

/// A part of the work that is done at once: tiles, and pairs of panels.
#[derive(Clone, Copy)]
struct Block {
    tiles: usize,
    pairs: usize,
}

impl Block {
    fn new(tiles: usize, k: usize, pairs: usize) -> Self {
        let pairs = (BLOCK_BYTES / (PLACES * k * COLUMNS * size_of::<i16>())).clamp(1, pairs.max(1));
        let tile = PLACES * (k * size_of::<i16>() + pairs * COLUMNS * size_of::<i32>());
        let parts = tiles.div_ceil((BLOCK_BYTES / tile).max(1)).max(1);
        let tiles = tiles.div_ceil(parts);
        Self { tiles, pairs }
    }

    /// Numbers of transformed inputs, of kernels, and of sums.
    fn values(self, k: usize) -> [usize; 3] {
        let columns = self.pairs * COLUMNS;
        [
            PLACES * apart(self.tiles * k),
            PLACES * columns * k,
            PLACES * apart(self.tiles * columns),
        ]
    }
}

fn tiles([batch, h, w]: [usize; 3]) -> usize {
    batch * h.div_ceil(OUT) * w.div_ceil(OUT)
}

/// Bytes that a convolution needs meanwhile, for `[batch, h, w]` of the output.
pub(crate) fn workspace(output: [usize; 3], channels: usize, columns: usize) -> usize {
    let k = channels.next_multiple_of(i16::K);
    let block = Block::new(tiles(output), k, columns.div_ceil(COLUMNS));
    let [inputs, kernels, sums] = block.values(k);
    (inputs + kernels) * size_of::<i16>() + sums * size_of::<i32>()
}

/// Pictures of whole numbers with their borders: output pixel `(y, x)` of picture `i` reads from the pixel `(i height + y) width + x` on.
#[derive(Clone, Copy)]
pub(crate) struct Pixels<'a> {
    pub data: &'a [i16],
    pub batch: usize,
    pub height: usize,
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
    let (k, all) = (x.k, weights.panels / 2);
    let grid = [oh, ow].map(|side| side.div_ceil(OUT));
    let count = tiles([x.batch, oh, ow]);
    let block = Block::new(count, k, all);
    let [inputs, kernels, sums] = block.values(k);
    let (mut inputs, mut kernels) = (Buffer::<i16>::dirty(inputs), Buffer::<i16>::dirty(kernels));
    let mut sums = Buffer::<f32>::dirty(sums);
    let zeros = vec![0i16; k];
    for first in (0..count).step_by(block.tiles) {
        let count = block.tiles.min(count - first);
        let place = |index: usize| {
            let (index, [rows, columns]) = (first + index, grid);
            let [y, x] = [index / columns % rows, index % columns].map(|at| at * OUT);
            [index / (rows * columns), y, x]
        };
        let shared = Shared::new(&mut inputs);
        each(count, 4, |index| {
            let work = Inputs {
                x,
                zeros: &zeros,
                place: place(index),
                out: &shared,
                at: index * k,
                apart: apart(count * k),
            };
            vectorised(isa, work);
        });
        for pair in (0..all).step_by(block.pairs) {
            let pairs = block.pairs.min(all - pair);
            let (panels, columns) = (2 * pairs, pairs * COLUMNS);
            let shared = Shared::new(&mut kernels);
            each(panels, 1, |index| {
                let work = Kernels {
                    isa,
                    weights,
                    panel: 2 * pair + index,
                    out: &shared,
                    at: index * k * PANEL,
                    apart: panels * k * PANEL,
                };
                vectorised(isa, work);
            });
            let shared = Shared::new(&mut sums);
            (0..PLACES).into_par_iter().for_each(|place| {
                let left = Left::rows(&inputs[place * apart(count * k)..][..count * k], count, k);
                let right = Right::ready(
                    &kernels[place * panels * k * PANEL..][..panels * k * PANEL],
                    panels,
                );
                let sums = Sums {
                    out: &shared,
                    at: place * apart(count * columns),
                    columns,
                };
                multiply(isa, left, right, &sums);
            });
            each(count, 4, |index| {
                let work = Outputs {
                    isa,
                    sums: &sums,
                    size: [oh, ow],
                    place: place(index),
                    columns,
                    first: pair * COLUMNS,
                    at: index * columns,
                    apart: apart(count * columns),
                    store,
                };
                vectorised(isa, work);
            });
        }
    }
}

type Words = [i16; WIDTH];

#[inline(always)]
fn add(a: Words, b: Words) -> Words {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

#[inline(always)]
fn sub(a: Words, b: Words) -> Words {
    std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
}

/// Inputs along one axis.
#[inline(always)]
fn input([a, b, c, d]: [Words; IN]) -> [Words; IN] {
    [sub(a, c), add(b, c), sub(c, b), sub(b, d)]
}

/// A kernel along one axis, twice its values.
#[inline(always)]
fn kernel([a, b, c]: [Words; 3]) -> [Words; IN] {
    let ends = add(a, c);
    [add(a, a), add(ends, b), sub(ends, b), add(c, c)]
}

/// Sums along one axis.
#[inline(always)]
fn output([a, b, c, d]: [[i32; PANEL]; IN]) -> [[i32; PANEL]; OUT] {
    [
        std::array::from_fn(|i| a[i].wrapping_add(b[i]).wrapping_add(c[i])),
        std::array::from_fn(|i| b[i].wrapping_sub(c[i]).wrapping_sub(d[i])),
    ]
}

/// Takes one tile of the input to the points.
struct Inputs<'a> {
    x: Pixels<'a>,
    zeros: &'a [i16],
    /// Picture, row and column.
    place: [usize; 3],
    out: &'a Shared<'a, i16>,
    at: usize,
    apart: usize,
}

impl Work for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Pixels {
            data,
            height,
            width,
            k,
            ..
        } = self.x;
        let [image, y, x] = self.place;
        // A tile that reaches beyond the picture sees anything there: outputs within don't depend on it.
        let pixels: [[&[i16]; IN]; IN] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let at = (((image * height + y + i) * width) + x + j) * k;
                data.get(at..at + k).unwrap_or(self.zeros)
            })
        });
        for channel in (0..k).step_by(WIDTH) {
            let mut columns = [[[0i16; WIDTH]; IN]; IN];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = input(std::array::from_fn(|i| load(&pixels[i][j][channel..])));
            }
            #[expect(clippy::needless_range_loop, reason = "a row goes across the columns")]
            for i in 0..IN {
                let row = input(std::array::from_fn(|j| columns[j][i]));
                for (j, words) in row.iter().enumerate() {
                    let at = (i * IN + j) * self.apart + self.at + channel;
                    // SAFETY: these channels of this tile are this call's.
                    unsafe { self.out.slice(at, WIDTH) }.copy_from_slice(words);
                }
            }
        }
    }
}

#[inline(always)]
fn load(values: &[i16]) -> Words {
    std::array::from_fn(|i| values[..WIDTH][i])
}

/// Takes one panel of kernels to the points.
struct Kernels<'a> {
    isa: Isa,
    weights: Right<'a, i16>,
    panel: usize,
    out: &'a Shared<'a, i16>,
    at: usize,
    apart: usize,
}

impl Work for Kernels<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut room = self.weights.room(1);
        let panel = self.weights.panels(self.isa, self.panel, 1, &mut room);
        let tap = panel.len() / 9;
        for start in (0..tap).step_by(WIDTH) {
            let mut columns = [[[0i16; WIDTH]; IN]; 3];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = kernel(std::array::from_fn(|i| load(&panel[(3 * i + j) * tap + start..])));
            }
            #[expect(clippy::needless_range_loop, reason = "a row goes across the columns")]
            for i in 0..IN {
                let row = kernel(std::array::from_fn(|j| columns[j][i]));
                for (j, words) in row.iter().enumerate() {
                    let at = (i * IN + j) * self.apart + self.at + start;
                    // SAFETY: this panel is this call's.
                    unsafe { self.out.slice(at, WIDTH) }.copy_from_slice(words);
                }
            }
        }
    }
}

/// Takes the sums of one tile back from the points.
struct Outputs<'a, T> {
    isa: Isa,
    /// Whole numbers in the bits of these.
    sums: &'a [f32],
    size: [usize; 2],
    /// Picture, row and column.
    place: [usize; 3],
    columns: usize,
    /// The output's column that is the first here.
    first: usize,
    at: usize,
    apart: usize,
    store: &'a Store<'a, T>,
}

impl<T: Simd> Work for Outputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let ([image, y, x], [oh, ow]) = (self.place, self.size);
        let (height, width) = (OUT.min(oh - y), OUT.min(ow - x));
        for column in (0..self.columns).step_by(COLUMNS) {
            let mut pixels = [[[0f32; COLUMNS]; OUT]; OUT];
            for half in [0, PANEL] {
                let mut columns = [[[0i32; PANEL]; OUT]; IN];
                for (j, to) in columns.iter_mut().enumerate() {
                    *to = output(std::array::from_fn(|i| {
                        let at = (i * IN + j) * self.apart + self.at + column + half;
                        let sums = &self.sums[at..][..PANEL];
                        std::array::from_fn(|n| sums[n].to_bits() as i32)
                    }));
                }
                for (i, pixels) in pixels.iter_mut().enumerate() {
                    let row = output(std::array::from_fn(|j| columns[j][i]));
                    for (pixel, sums) in pixels.iter_mut().zip(row) {
                        for (pixel, sum) in pixel[half..half + PANEL].iter_mut().zip(sums) {
                            *pixel = f32::from_bits((sum >> 2) as u32);
                        }
                    }
                }
            }
            for (i, pixels) in pixels.iter().take(height).enumerate() {
                let row = (image * oh + y + i) * ow + x;
                self.store
                    .put(self.isa, row, self.first + column, &pixels[..width]);
            }
        }
    }
}
