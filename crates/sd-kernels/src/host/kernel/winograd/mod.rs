//! 3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308).
//!
//! A tile of 4x4 outputs sees 6x6 inputs. Tiles and kernels are taken to values of polynomials at the points 0, ±2/3, ±3/2 and
//! infinity, multiplied there, and taken back. Other points than the usual 0, ±1, ±2 round less: with 256 channels the error is 1.7
//! times that of the plain sum instead of 3.7 times (Barabasz et al. 2018, arXiv:1803.10986, on why).

mod transform;
pub(crate) mod whole;

use rayon::prelude::*;

use transform::{IN, Lanes, OUT};

use super::{
    epilogue::Store,
    gemm::{Left, Sink, multiply},
    geometry::{Geometry, Pictures},
    packed::Right,
    shared::Shared,
};
use crate::{
    host::simd::{COLUMNS, Isa, PANEL, Simd, Work, vectorised},
    memory::buffer::Buffer,
};

/// Products for each tile and pair of channels.
const PLACES: usize = IN * IN;

/// Bytes that the transformed tiles, and the transformed kernels, may take at a time.
const BLOCK_BYTES: usize = 32 << 20;

/// The narrowest picture that is worth it: smaller ones have too few tiles for each kernel that is transformed.
const NARROWEST: usize = 16;

/// True if a convolution is done in this way. The answer depends neither on the batch nor on the number of rows, since results must be
/// the same for some pictures of a batch, and for some rows of a picture.
pub(crate) fn suits<T: Simd>(isa: Isa, geometry: Geometry, channels: usize, columns: usize) -> bool {
    T::slow(isa)
        && geometry.kernel == [3, 3]
        && geometry.stride == 1
        && geometry.output()[1] >= NARROWEST
        && channels.min(columns) >= PANEL
}

/// A part of the work that is done at once.
struct Block {
    channels: usize,
    /// Pairs of panels.
    pairs: usize,
    tiles: usize,
}

impl Block {
    fn new(tiles: usize, channels: usize, pairs: usize) -> Self {
        let size = PLACES * size_of::<f32>();
        let pairs = (BLOCK_BYTES / (size * channels * COLUMNS)).clamp(1, pairs.max(1));
        let most = BLOCK_BYTES / (size * (channels + pairs * COLUMNS));
        let parts = tiles.div_ceil(most.max(1)).max(1);
        Self {
            channels,
            pairs,
            tiles: tiles.div_ceil(parts),
        }
    }

    /// Numbers of transformed inputs, of kernels, and of sums.
    fn values(&self) -> [usize; 3] {
        let columns = self.pairs * COLUMNS;
        [
            PLACES * apart(self.tiles * self.channels),
            PLACES * columns * self.channels,
            PLACES * apart(self.tiles * columns),
        ]
    }
}

/// The number of values that a convolution from `channels` to `columns` needs meanwhile, for `[batch, h, w]` of the output.
pub(crate) fn workspace([batch, h, w]: [usize; 3], channels: usize, columns: usize) -> usize {
    let tiles = batch * h.div_ceil(OUT) * w.div_ceil(OUT);
    Block::new(tiles, channels, columns.div_ceil(COLUMNS))
        .values()
        .iter()
        .sum()
}

/// The same as [`conv`](super::conv::conv), where it [`suits`].
pub(crate) fn convolve<T: Simd>(
    isa: Isa,
    x: Pictures<T>,
    geometry: Geometry,
    weights: Right<T>,
    store: &Store<T>,
) {
    let [batch, _, _, c] = x.shape;
    let grid = geometry.output().map(|side| side.div_ceil(OUT));
    let tiles = batch * grid[0] * grid[1];
    let pairs = weights.panels / 2;
    let block = Block::new(tiles, c, pairs);
    let (some_pairs, some_tiles) = (block.pairs, block.tiles);
    let [mut inputs, mut kernels, mut sums] = block.values().map(Buffer::<f32>::dirty);
    for first in (0..tiles).step_by(some_tiles) {
        let count = some_tiles.min(tiles - first);
        let shared = Shared::new(&mut inputs);
        each(count, 4, |index| {
            let tile = Tile::new(first + index, grid);
            vectorised(
                isa,
                Inputs {
                    x,
                    geometry,
                    tile,
                    out: &shared,
                    at: index * c,
                    apart: apart(count * c),
                },
            );
        });
        for pair in (0..pairs).step_by(some_pairs) {
            let pairs = some_pairs.min(pairs - pair);
            let (panels, columns) = (2 * pairs, pairs * COLUMNS);
            let shared = Shared::new(&mut kernels);
            each(panels, 1, |index| {
                vectorised(
                    isa,
                    Kernels {
                        isa,
                        weights,
                        panel: 2 * pair + index,
                        channels: c,
                        out: &shared,
                        at: index * c * PANEL,
                        apart: panels * c * PANEL,
                    },
                );
            });
            let shared = Shared::new(&mut sums);
            (0..PLACES).into_par_iter().for_each(|place| {
                let left = Left::rows(&inputs[place * apart(count * c)..][..count * c], count, c);
                let kernels = &kernels[place * panels * c * PANEL..][..panels * c * PANEL];
                let right = Right::ready(kernels, panels);
                let sums = Sums {
                    out: &shared,
                    at: place * apart(count * columns),
                    columns,
                };
                multiply(isa, left, right, &sums);
            });
            each(count, 4, |index| {
                let tile = Tile::new(first + index, grid);
                vectorised(
                    isa,
                    Outputs {
                        isa,
                        sums: &sums,
                        geometry,
                        tile,
                        columns,
                        first: pair * COLUMNS,
                        at: index * columns,
                        apart: apart(count * columns),
                        store,
                    },
                );
            });
        }
    }
}

/// From one place's values to the next's. Distances that are powers of two would bring all places to the same lines of a cache.
fn apart(values: usize) -> usize {
    values + 5 * PANEL
}

/// Calls `work` with the numbers up to `count`, a few in a task.
fn each(count: usize, few: usize, work: impl Fn(usize) + Send + Sync) {
    (0..count).into_par_iter().with_min_len(few).for_each(work);
}

/// The place of a tile.
#[derive(Clone, Copy)]
struct Tile {
    image: usize,
    y: usize,
    x: usize,
}

impl Tile {
    fn new(index: usize, [rows, columns]: [usize; 2]) -> Self {
        Self {
            image: index / (rows * columns),
            y: index / columns % rows * OUT,
            x: index % columns * OUT,
        }
    }
}

/// Takes one tile of the input to the points.
struct Inputs<'a, T> {
    x: Pictures<'a, T>,
    geometry: Geometry,
    tile: Tile,
    out: &'a Shared<'a, f32>,
    at: usize,
    apart: usize,
}

impl<T: Simd> Work for Inputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [_, h, w, c] = self.x.shape;
        let [sh, sw] = self.geometry.source;
        let shift = usize::from(self.geometry.upsample);
        // Beyond the picture there are zeros.
        let inside = |at: usize, (before, _): (usize, usize), size: usize| {
            at.checked_sub(before).filter(|&at| at < size)
        };
        let pixels: [[Option<&[T]>; IN]; IN] = std::array::from_fn(|i| {
            let y = inside(self.tile.y + i, self.geometry.rows, sh);
            std::array::from_fn(|j| {
                let x = inside(self.tile.x + j, self.geometry.columns, sw);
                let (y, x) = (y? >> shift, x? >> shift);
                Some(&self.x.data[((self.tile.image * h + y) * w + x) * c..][..c])
            })
        });
        for channel in (0..c).step_by(PANEL) {
            let mut columns = [[Lanes::ZERO; IN]; IN];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = transform::input(std::array::from_fn(|i| {
                    pixels[i][j].map_or(Lanes::ZERO, |pixel| Lanes::load(&pixel[channel..]))
                }));
            }
            let width = PANEL.min(c - channel);
            let rows: [_; IN] =
                std::array::from_fn(|i| transform::input(std::array::from_fn(|j| columns[j][i])));
            for (place, lanes) in rows.as_flattened().iter().enumerate() {
                let at = place * self.apart + self.at + channel;
                // SAFETY: these channels of this tile are this call's.
                put(lanes, unsafe { self.out.slice(at, width) });
            }
        }
    }
}

/// Takes one panel of kernels to the points.
struct Kernels<'a, T> {
    isa: Isa,
    weights: Right<'a, T>,
    panel: usize,
    channels: usize,
    out: &'a Shared<'a, f32>,
    at: usize,
    apart: usize,
}

impl<T: Simd> Work for Kernels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut room = self.weights.room(1);
        let panel = self.weights.panels(self.isa, self.panel, 1, &mut room);
        let taps = panel.len() / 9;
        assert!(self.channels.next_multiple_of(T::GROUP) * PANEL <= taps);
        for channel in 0..self.channels {
            let group = channel / T::GROUP * PANEL * T::GROUP;
            let tap = |tap: usize| {
                // SAFETY: asserted above that each tap has the group.
                Lanes(unsafe { T::lanes(panel[tap * taps + group..].as_ptr(), channel % T::GROUP) })
            };
            let mut columns = [[Lanes::ZERO; IN]; 3];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = transform::kernel(std::array::from_fn(|i| tap(3 * i + j)));
            }
            let rows: [_; IN] =
                std::array::from_fn(|i| transform::kernel(std::array::from_fn(|j| columns[j][i])));
            for (place, lanes) in rows.as_flattened().iter().enumerate() {
                let at = place * self.apart + self.at + channel * PANEL;
                // SAFETY: this panel is this call's.
                put(lanes, unsafe { self.out.slice(at, PANEL) });
            }
        }
    }
}

#[inline(always)]
fn put(lanes: &Lanes, out: &mut [f32]) {
    match out.as_mut_array::<PANEL>() {
        Some(out) => *out = lanes.0,
        None => out.iter_mut().zip(lanes.0).for_each(|(out, lane)| *out = lane),
    }
}

/// Keeps sums as they are.
struct Sums<'a> {
    out: &'a Shared<'a, f32>,
    at: usize,
    columns: usize,
}

impl Sink for Sums<'_> {
    #[inline(always)]
    fn put(&self, _: Isa, row: usize, column: usize, sums: &[[f32; COLUMNS]]) {
        for (r, sums) in sums.iter().enumerate() {
            let at = self.at + (row + r) * self.columns + column;
            // SAFETY: every row and column is put once, by the contract of `Sink`.
            let out = unsafe { self.out.slice(at, COLUMNS) };
            out.copy_from_slice(sums);
        }
    }
}

/// Takes the sums of one tile back from the points.
struct Outputs<'a, T> {
    isa: Isa,
    sums: &'a [f32],
    geometry: Geometry,
    tile: Tile,
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
        let [oh, ow] = self.geometry.output();
        let (height, width) = (OUT.min(oh - self.tile.y), OUT.min(ow - self.tile.x));
        for column in (0..self.columns).step_by(COLUMNS) {
            let mut pixels = [[[0f32; COLUMNS]; OUT]; OUT];
            for half in [0, PANEL] {
                let mut columns = [[Lanes::ZERO; OUT]; IN];
                for (j, to) in columns.iter_mut().enumerate() {
                    *to = transform::output(std::array::from_fn(|i| {
                        Lanes::load(
                            &self.sums[(i * IN + j) * self.apart + self.at + column + half..][..PANEL],
                        )
                    }));
                }
                for (i, pixels) in pixels.iter_mut().enumerate() {
                    let row = transform::output(std::array::from_fn(|j| columns[j][i]));
                    for (pixel, lanes) in pixels.iter_mut().zip(row) {
                        pixel[half..half + PANEL].copy_from_slice(&lanes.0);
                    }
                }
            }
            for (i, pixels) in pixels.iter().take(height).enumerate() {
                let row = (self.tile.image * oh + self.tile.y + i) * ow + self.tile.x;
                self.store
                    .put(self.isa, row, self.first + column, &pixels[..width]);
            }
        }
    }
}
