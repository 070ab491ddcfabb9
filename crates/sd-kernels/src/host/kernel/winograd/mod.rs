//! 3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray 2016, arXiv:1509.09308).
//!
//! A tile of 4x4 outputs sees 6x6 inputs. Tiles and kernels are taken to values of polynomials at the points 0, ±2/3, ±3/2 and
//! infinity, multiplied there, and taken back. Other points than the usual 0, ±1, ±2 round less: with 256 channels the error is 1.7
//! times that of the plain sum instead of 3.7 times (Barabasz et al. 2018, arXiv:1803.10986, on why).

mod places;
mod transform;
pub(crate) mod whole;

use std::ops::Range;

use rayon::prelude::*;

use transform::{IN, Input, Kernel, Lanes, OUT, Output, both_axes};

use super::{
    epilogue::Store,
    gemm::Sink as _,
    geometry::{Geometry, Pictures},
    packed::Right,
    shared::Shared,
};
use crate::{
    host::simd::{self, COLUMNS, Isa, Operand, PANEL, Product, Simd, Work, begin, vectorised},
    memory::{buffer::Buffer, region::Line},
};

/// Products for each tile and pair of channels.
const PLACES: usize = IN * IN;

/// Bytes that transformed tiles may take at a time.
const BLOCK_BYTES: usize = 16 << 20;

/// True if a convolution is done in this way. The answer depends neither on the batch nor on the number of rows, since results must be
/// the same for some pictures of a batch, and for some rows of a picture.
pub(crate) fn suits<T: Simd>(isa: Isa, geometry: Geometry, channels: usize, columns: usize) -> bool {
    T::transforms(isa) && worth(geometry, channels, columns)
}

/// Narrower pictures have too few tiles for each kernel that is transformed.
fn worth(geometry: Geometry, channels: usize, columns: usize) -> bool {
    geometry.kernel == [3, 3]
        && geometry.stride == 1
        && geometry.output()[1] >= 8
        && channels.min(columns) >= PANEL
}

/// How the work is divided. Tiles are transformed a few parts at a time; then a task takes a part through a pair of panels, whose kernels
/// it transforms a few channels at a time: those of one place stay in the first-level cache, all of them and the sums in the second.
#[derive(Clone, Copy)]
struct Division {
    /// Products for each tile and pair of channels.
    places: usize,
    channels: usize,
    /// Channels at a time.
    some: usize,
    /// Tiles of a part.
    tiles: usize,
    /// The same, as whole tiles of products.
    rows: usize,
    /// Parts at a time.
    parts: usize,
}

impl Division {
    /// For products of `T`, `some` channels at a time, with at most `most` tiles in a part.
    fn new<T: Product>(isa: Isa, [places, some, most]: [usize; 3], [tiles, channels]: [usize; 2]) -> Self {
        let each = |tiles: usize| places * tiles * channels * size_of::<T>();
        let most = (BLOCK_BYTES / each(1)).clamp(most / 4, most);
        let all = tiles.div_ceil(most).max(1);
        let tiles = tiles.div_ceil(all);
        let turns = all.div_ceil((BLOCK_BYTES / each(tiles).max(1)).max(1));
        Self {
            places,
            channels,
            some: some.min(channels),
            tiles,
            rows: tiles.next_multiple_of(T::rows(isa)),
            parts: all.div_ceil(turns),
        }
    }

    /// From one place's rows of so many values to the next's.
    fn apart(&self, values: usize) -> usize {
        apart(self.rows * values)
    }

    /// Values of some channels of a part's transformed tiles, by place and row.
    fn chunk(&self) -> usize {
        self.places * self.apart(self.some)
    }

    /// Values of a part's transformed tiles.
    fn inputs(&self) -> usize {
        self.channels.div_ceil(self.some) * self.chunk()
    }

    /// A convolution: `transform` takes tiles to the points, by their numbers, then each task of a part's first tile and a pair of panels
    /// multiplies and stores.
    fn run<K: Product, T: Operand, W: Task<K, T>>(
        self,
        isa: Isa,
        [tiles, pairs]: [usize; 2],
        transform: impl Fn(usize, Slot<K>) + Sync,
        task: impl Fn(usize, usize) -> W + Sync,
    ) {
        let each_part = self.inputs();
        let mut inputs = Buffer::<K>::dirty(self.parts * each_part);
        let mut scratch = Scratch::new::<K, T>(&self);
        let turn = self.parts * self.tiles;
        for first in (0..tiles).step_by(turn) {
            let count = turn.min(tiles - first);
            let out = &Shared::new(&mut inputs);
            (0..count).into_par_iter().with_min_len(4).for_each(|index| {
                let slot = Slot {
                    division: self,
                    out,
                    at: index / self.tiles * each_part,
                    row: index % self.tiles,
                };
                transform(first + index, slot);
            });
            let parts = count.div_ceil(self.tiles);
            scratch.each(pairs * parts, |index, memory| {
                let (pair, part) = (index / parts, index % parts);
                let work = Products {
                    isa,
                    division: self,
                    inputs: &inputs[part * each_part..][..each_part],
                    count: self.tiles.min(count - part * self.tiles),
                    task: task(first + part * self.tiles, pair),
                    memory,
                };
                vectorised(isa, work);
            });
        }
    }

    /// Bytes that a task needs: for its sums, transformed kernels of `K`, and taps of `T` that are widened; in whole cache lines.
    fn scratch<K, T: Operand>(&self) -> [usize; 3] {
        [
            self.places * self.apart(COLUMNS) * size_of::<f32>(),
            self.places * apart(self.some * COLUMNS) * size_of::<K>(),
            9 * self.some.next_multiple_of(T::GROUP) * PANEL * size_of::<T>(),
        ]
        .map(|bytes| bytes.next_multiple_of(size_of::<Line>()))
    }

    /// Bytes that all of it needs.
    fn bytes<K, T: Operand>(&self) -> usize {
        let task: usize = self.scratch::<K, T>().iter().sum();
        self.parts * self.inputs() * size_of::<K>() + rayon::current_num_threads() * task
    }
}

/// The place of one transformed tile.
struct Slot<'a, K> {
    division: Division,
    out: &'a Shared<'a, K>,
    /// Where its part begins, and its row there.
    at: usize,
    row: usize,
}

impl<K: Copy> Slot<'_, K> {
    /// `N` channels from `channel` on, at each place.
    #[inline(always)]
    fn writer<const N: usize>(&self, channel: usize) -> places::Writer<'_, K, N> {
        let division = &self.division;
        let start = channel / division.some * division.some;
        let wide = division.some.min(division.channels - start);
        assert!(channel - start + N <= wide);
        let at = channel / division.some * division.chunk() + self.row * wide + (channel - start);
        // SAFETY: these channels of this tile are this slot's.
        unsafe { places::Writer::shared(self.out, self.at + at, division.places, division.apart(wide)) }
    }
}

/// What is particular to a task: to transform and to store.
trait Task<K, T> {
    /// Takes some channels of one of the two panels to the points; `room` is for taps that are widened.
    fn kernels(&self, half: usize, channels: Range<usize>, room: &mut [T], out: &mut [K]);

    /// Takes the sums of so many tiles back from the points, and stores them.
    fn outputs(&self, count: usize, sums: &[f32]);
}

/// A part's tiles through a pair of panels.
struct Products<'a, K, T, W> {
    isa: Isa,
    division: Division,
    /// The part's transformed tiles, and how many there are.
    inputs: &'a [K],
    count: usize,
    task: W,
    memory: Memory<'a, K, T>,
}

/// A task's memory, as [`Division::scratch`] has it.
struct Memory<'a, K, T> {
    sums: &'a mut [f32],
    kernels: &'a mut [K],
    room: &'a mut [T],
}

impl<K: Product, T, W: Task<K, T>> Work for Products<'_, K, T, W> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (isa, division) = (self.isa, self.division);
        let Memory { sums, kernels, room } = self.memory;
        let _session = begin::<K>(isa);
        assert!(self.count <= division.rows);
        let chunks = self.inputs.chunks_exact(division.chunk());
        for (start, inputs) in (0..division.channels).step_by(division.some).zip(chunks) {
            let channels = division.some.min(division.channels - start);
            for half in 0..2 {
                self.task.kernels(half, start..start + channels, room, kernels);
            }
            for place in 0..division.places {
                let inputs = &inputs[place * division.apart(channels)..][..division.rows * channels];
                let kernels = &kernels[place * apart(channels * COLUMNS)..][..channels * COLUMNS];
                let sums = &mut sums[place * division.apart(COLUMNS)..][..division.rows * COLUMNS];
                for row in (0..self.count).step_by(K::rows(isa)) {
                    let tile = simd::Tile {
                        a: inputs[row * channels..].as_ptr(),
                        stride: channels,
                        taps: &[0],
                        k: channels,
                        b: kernels.as_ptr(),
                        panel: channels * PANEL,
                        c: sums[row * COLUMNS..].as_mut_ptr(),
                        accumulate: start > 0,
                    };
                    // SAFETY: inputs and sums have `rows` rows, a whole number of tiles; kernels are two panels.
                    unsafe { K::tile(isa, &tile) };
                }
            }
        }
        self.task.outputs(self.count, sums);
    }
}

/// Memory of tasks, one share for each thread.
struct Scratch {
    all: Buffer<u8>,
    share: [usize; 3],
}

impl Scratch {
    fn new<K, T: Operand>(division: &Division) -> Self {
        let share = division.scratch::<K, T>();
        let bytes = share.iter().sum::<usize>() * rayon::current_num_threads();
        Self {
            all: Buffer::dirty(bytes),
            share,
        }
    }

    /// Runs tasks, each with its memory.
    fn each<K: bytemuck::Pod, T: bytemuck::Pod>(
        &mut self,
        tasks: usize,
        run: impl Fn(usize, Memory<K, T>) + Sync,
    ) {
        let [sums, kernels, taps] = self.share;
        let all = Shared::new(&mut self.all);
        (0..tasks).into_par_iter().for_each(|task| {
            let thread = rayon::current_thread_index().unwrap_or_default();
            let bytes = sums + kernels + taps;
            // SAFETY: a thread runs a task to its end before another one; only this operation's tasks use this memory.
            let (sums, rest) = unsafe { all.slice(thread * bytes, bytes) }.split_at_mut(sums);
            let (kernels, taps) = rest.split_at_mut(kernels);
            let memory = Memory {
                sums: bytemuck::cast_slice_mut(sums),
                kernels: bytemuck::cast_slice_mut(kernels),
                room: bytemuck::cast_slice_mut(taps),
            };
            run(task, memory);
        });
    }
}

/// Bytes that a convolution of `T` needs meanwhile, for `[batch, h, w]` of the output.
pub(crate) fn workspace<T: Operand>(isa: Isa, [batch, h, w]: [usize; 3], channels: usize) -> usize {
    let tiles = batch * h.div_ceil(OUT) * w.div_ceil(OUT);
    divide(isa, tiles, channels).bytes::<f32, T>()
}

fn divide(isa: Isa, tiles: usize, channels: usize) -> Division {
    Division::new::<f32>(isa, [PLACES, 64, 120], [tiles, channels])
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
    let (tiles, pairs) = (batch * grid[0] * grid[1], weights.panels / 2);
    let division = divide(isa, tiles, c);
    let zeros = vec![T::default(); c];
    let transform = |tile, slot: Slot<f32>| {
        let work = Inputs {
            x,
            geometry,
            tile: Tile::new(tile, grid),
            zeros: &zeros,
            slot,
        };
        vectorised(isa, work);
    };
    division.run(isa, [tiles, pairs], transform, |first, pair| PartTask {
        isa,
        geometry,
        apart: division.apart(COLUMNS),
        grid,
        first,
        weights,
        pair,
        store,
    });
}

/// From one place's values to the next's. Distances that are powers of two would bring all places to the same lines of a cache.
fn apart(values: usize) -> usize {
    values + 5 * PANEL
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
    zeros: &'a [T],
    slot: Slot<'a, f32>,
}

impl<T: Simd> Work for Inputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [_, h, w, c] = self.x.shape;
        let [sh, sw] = self.geometry.source;
        let shift = usize::from(self.geometry.upsample);
        let inside = |at: usize, (before, _): (usize, usize), size: usize| {
            at.checked_sub(before).filter(|&at| at < size)
        };
        // Beyond the picture there are zeros.
        let mut pixels: [[&[T]; IN]; IN] = [[self.zeros; IN]; IN];
        for (i, line) in pixels.iter_mut().enumerate() {
            for (j, pixel) in line.iter_mut().enumerate() {
                let y = inside(self.tile.y + i, self.geometry.rows, sh);
                let x = inside(self.tile.x + j, self.geometry.columns, sw);
                if let (Some(y), Some(x)) = (y, x) {
                    let (y, x) = (y >> shift, x >> shift);
                    *pixel = &self.x.data[((self.tile.image * h + y) * w + x) * c..][..c];
                }
            }
        }
        assert!(self.zeros.len() == c);
        let whole = c / PANEL * PANEL;
        for channel in (0..whole).step_by(PANEL) {
            let mut to = self.slot.writer::<PANEL>(channel);
            both_axes(
                Input,
                // SAFETY: each pixel has all channels.
                |i, j| Lanes::new(unsafe { pixels[i][j].as_ptr().add(channel).cast::<[T; PANEL]>().read() }),
                |i, j, lanes| to.put(i * IN + j, &lanes.0),
            );
        }
        (whole..c).for_each(|channel| {
            let mut to = self.slot.writer::<1>(channel);
            both_axes(
                Input,
                |i, j| Lanes::new([pixels[i][j][channel]; PANEL]),
                |i, j, lanes| to.put(i * IN + j, &[lanes.0[0]]),
            );
        });
    }
}

struct PartTask<'a, T> {
    isa: Isa,
    geometry: Geometry,
    /// From one place's sums to the next's.
    apart: usize,
    grid: [usize; 2],
    /// The number of the part's first tile.
    first: usize,
    weights: Right<'a, T>,
    pair: usize,
    store: &'a Store<'a, T>,
}

impl<T: Simd> Task<f32, T> for PartTask<'_, T> {
    #[inline(always)]
    fn kernels(&self, half: usize, channels: Range<usize>, room: &mut [T], out: &mut [f32]) {
        let (start, channels) = (channels.start, channels.len());
        let tap = self.weights.len / 9;
        let values = channels.next_multiple_of(T::GROUP) * PANEL;
        assert!(start * PANEL + values <= tap);
        let mut rooms = room.chunks_exact_mut(values);
        let mut taps: [&[T]; 9] = [&[]; 9];
        for (i, to) in taps.iter_mut().enumerate() {
            let from = i * tap + start * PANEL;
            let room = rooms.next().unwrap_or_default();
            let panel = 2 * self.pair + half;
            *to = self.weights.part(self.isa, panel, from..from + values, room);
        }
        let apart = apart(channels * COLUMNS);
        for channel in 0..channels {
            let group = channel / T::GROUP * PANEL * T::GROUP;
            let tap = |i: usize| {
                // SAFETY: each tap has the group.
                Lanes(unsafe { T::lanes(taps[i][group..].as_ptr(), channel % T::GROUP) })
            };
            let out = &mut out[(half * channels + channel) * PANEL..];
            let mut to = places::Writer::<_, PANEL>::new(out, PLACES, apart);
            both_axes(
                Kernel,
                |i, j| tap(3 * i + j),
                |i, j, lanes| to.put(i * IN + j, &lanes.0),
            );
        }
    }

    #[inline(always)]
    fn outputs(&self, count: usize, sums: &[f32]) {
        let [oh, ow] = self.geometry.output();
        let mut pixels = [[[0f32; COLUMNS]; OUT]; OUT];
        for row in 0..count {
            let tile = Tile::new(self.first + row, self.grid);
            let (height, width) = (OUT.min(oh - tile.y), OUT.min(ow - tile.x));
            for half in [0, PANEL] {
                let from = places::Reader::<_, PANEL>::new(&sums[row * COLUMNS + half..], PLACES, self.apart);
                both_axes(
                    Output,
                    |i, j| Lanes(from.get(i * IN + j)),
                    |i, j, lanes| pixels[i][j][half..half + PANEL].copy_from_slice(&lanes.0),
                );
            }
            for (i, pixels) in pixels.iter().take(height).enumerate() {
                let row = (tile.image * oh + tile.y + i) * ow + tile.x;
                self.store
                    .put(self.isa, row, self.pair * COLUMNS, &pixels[..width]);
            }
        }
    }
}
