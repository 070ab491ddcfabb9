//! A network and the way of a picture through it, square by square.

use burn_tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;
use sd_core::{models, weights::Target};

use super::tiles::{ranges, shares};
use crate::{
    Error, Result,
    model::{Runtime, values},
};

/// Pixels that neighbouring squares share: several times as far as it takes for an edge to fade.
const OVERLAP: usize = 32;

/// The least side of a square: four times what it shares.
pub(super) const LEAST_TILE: usize = 4 * OVERLAP;

/// A loaded network, and what it computes with.
pub(super) struct Network {
    pub network: models::Upscaler,
    pub target: Target,
    pub runtime: Runtime,
}

/// The squares of a picture.
pub(super) struct Grid {
    width: usize,
    height: usize,
    columns: Vec<std::ops::Range<usize>>,
    rows: Vec<std::ops::Range<usize>>,
}

impl Grid {
    pub fn squares(&self) -> usize {
        self.columns.len() * self.rows.len()
    }
}

impl Network {
    pub fn factor(&self) -> usize {
        self.network.structure().factor
    }

    /// The squares of a picture of this size; a `tile` of 0 is all of it.
    pub fn grid(&self, [width, height]: [usize; 2], tile: usize) -> Grid {
        let multiple = self.network.structure().multiple();
        let [width, height] = [width, height].map(|side| side.next_multiple_of(multiple));
        let tile = match tile {
            0 => usize::MAX,
            tile => tile.max(LEAST_TILE).next_multiple_of(multiple),
        };
        Grid {
            width,
            height,
            columns: ranges(width, tile, OVERLAP, multiple),
            rows: ranges(height, tile, OVERLAP, multiple),
        }
    }

    /// Enlarges red, green and blue of a picture. `after` is called when a square is done.
    pub fn enlarge(
        &self,
        rgb: &[u8],
        [width, height]: [usize; 2],
        tile: usize,
        after: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<u8>> {
        let f = self.factor();
        let grid = self.grid([width, height], tile);
        let source = mirrored(rgb, [width, height], [grid.width, grid.height]);
        let line = 3 * f * grid.width;
        let mut out = Vec::with_capacity(3 * width * f * height * f);
        // Sums of the rows that are not done, the first of which is row `first`.
        let (mut first, mut sums) = (0, Vec::new());
        for (r, rows) in grid.rows.iter().enumerate() {
            let done = rows.start * f - first;
            self.finish(&mut sums, done * line, line, width * f * 3, &mut out)?;
            first = rows.start * f;
            sums.resize(rows.len() * f * line, 0.0f32);
            let down = shares(&grid.rows, r, f);
            for (c, columns) in grid.columns.iter().enumerate() {
                let across = shares(&grid.columns, c, f);
                let square = crop(&source, grid.width, rows, columns);
                let made = self.forward(square, [rows.len(), columns.len()])?;
                let (width, start) = (3 * f * columns.len(), 3 * f * columns.start);
                let lines = sums.par_chunks_mut(line).zip(made.par_chunks(width)).zip(&down);
                lines.for_each(|((sums, made), down)| {
                    let pixels = sums[start..][..width].as_chunks_mut::<3>().0.iter_mut();
                    for ((sum, pixel), across) in pixels.zip(made.as_chunks::<3>().0).zip(&across) {
                        (0..3).for_each(|i| sum[i] += pixel[i] * (down * across));
                    }
                });
                after()?;
            }
        }
        // Rows that were added to fill a multiple are left out.
        sums.truncate((height * f - first) * line);
        let rest = sums.len();
        self.finish(&mut sums, rest, line, width * f * 3, &mut out)?;
        Ok(out)
    }

    /// Rows whose sums are whole become bytes, without what was added at their end.
    fn finish(
        &self,
        sums: &mut Vec<f32>,
        count: usize,
        line: usize,
        kept: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        for row in sums[..count].chunks_exact(line) {
            if !row.iter().all(|v| v.is_finite()) {
                return Err(Error::NotFinite {
                    what: "the enlarged picture",
                    advice: "compute in a wider dtype (f32), or use another upscaler",
                });
            }
            out.extend(
                row[..kept]
                    .iter()
                    .map(|v| (v.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8),
            );
        }
        sums.drain(..count);
        Ok(())
    }

    /// A square's red, green and blue through the network; a network for grey pictures sees them one by one.
    fn forward(&self, square: Vec<f32>, [height, width]: [usize; 2]) -> Result<Vec<f32>> {
        let f = self.factor();
        let made = self.runtime.compute(|| {
            let device = (self.target.device.burn(), DType::F32);
            let picture = Tensor::<4>::from_data(TensorData::new(square, [1, height, width, 3]), device);
            let grey = self.network.structure().channels == 1;
            values(match grey {
                true => {
                    let pictures = picture.permute([3, 1, 2, 0]);
                    self.network.forward(pictures)?.permute([3, 1, 2, 0])
                }
                false => self.network.forward(picture)?,
            })
        })?;
        debug_assert_eq!(made.len(), 3 * height * width * f * f);
        Ok(made)
    }
}

/// Values 0 to 1 of a picture that is filled up to another size with its mirror image, right and below, edges not repeated.
fn mirrored(rgb: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let place = |at: usize, side: usize| match at < side {
        true => at,
        false => (2 * side).saturating_sub(2 + at).min(side - 1),
    };
    let mut out = Vec::with_capacity(3 * to[0] * to[1]);
    for y in 0..to[1] {
        let row = &rgb[3 * from[0] * place(y, from[1])..][..3 * from[0]];
        let pixels = row.as_chunks::<3>().0;
        let values = (0..to[0]).flat_map(|x| pixels[place(x, from[0])]);
        out.extend(values.map(|v| f32::from(v) / 255.0));
    }
    out
}

fn crop(
    source: &[f32],
    width: usize,
    rows: &std::ops::Range<usize>,
    columns: &std::ops::Range<usize>,
) -> Vec<f32> {
    let lines = source.chunks_exact(3 * width).skip(rows.start).take(rows.len());
    lines
        .flat_map(|row| &row[3 * columns.start..3 * columns.end])
        .copied()
        .collect()
}
