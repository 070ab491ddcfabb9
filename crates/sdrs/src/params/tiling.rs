//! The tiles of tiled diffusion: their places and weights, by the rules of the WebUI's extension (multidiffusion-upscaler-for-automatic1111).

use sd_kernels::Axes;

use super::{GenerateParams, TiledDiffusion};

/// Values of a latent's side that tiles have at least beyond their overlap.
const LEAST_STRIDE: usize = 4;

/// The variance of Gaussian weights, of a tile whose width is 1.
const VARIANCE: f64 = 0.01;

/// The least weight: of long, narrow tiles the ends would have none, where others have none either.
const LEAST_WEIGHT: f32 = 1e-30;

/// Overlapping tiles of one size that cover latents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tiles {
    /// Height and width of the latents.
    whole: [usize; 2],
    /// Height and width of a tile.
    pub size: [usize; 2],
    /// The upper left corners, row by row.
    places: Vec<[usize; 2]>,
    /// The weight of each value of a tile.
    weights: Vec<f32>,
    /// For each value of the latents 1 over the sum of the weights that it gets.
    shares: Vec<f32>,
    /// The axes along which a tile itself goes on at its opposite edges: those that it covers.
    pub wrap: Axes,
}

impl Tiles {
    /// The tiles that parameters ask for over latents of this height and width; none where one would cover them.
    pub fn new(params: &GenerateParams, whole: [usize; 2]) -> Option<Self> {
        let settings = &params.tiles;
        if settings.tiled_diffusion == TiledDiffusion::None {
            return None;
        }
        let asked = [settings.tile_height, settings.tile_width];
        let most = asked[0].min(asked[1]).saturating_sub(LEAST_STRIDE);
        let overlap = settings.tile_overlap.min(most);
        let size = [0, 1].map(|axis| asked[axis].min(whole[axis]));
        let covers = [0, 1].map(|axis| size[axis] == whole[axis]);
        if covers == [true; 2] {
            return None;
        }
        let wrap = params.wrap();
        let wraps = [wrap.rows, wrap.columns];
        let [rows, columns] = [0, 1].map(|axis| places(whole[axis], size[axis], overlap, wraps[axis]));
        let places: Vec<[usize; 2]> = rows
            .iter()
            .flat_map(|&y| columns.iter().map(move |&x| [y, x]))
            .collect();
        let weights = match settings.tiled_diffusion {
            TiledDiffusion::MixtureOfDiffusers => gaussian(size),
            TiledDiffusion::MultiDiffusion | TiledDiffusion::None => vec![1.0; size[0] * size[1]],
        };
        let mut tiles = Self {
            whole,
            size,
            places,
            weights,
            shares: vec![0.0; whole[0] * whole[1]],
            wrap: Axes {
                rows: wrap.rows && covers[0],
                columns: wrap.columns && covers[1],
            },
        };
        let mut sums = std::mem::take(&mut tiles.shares);
        for &place in &tiles.places {
            tiles
                .targets(place)
                .zip(&tiles.weights)
                .for_each(|(to, weight)| sums[to] += weight);
        }
        sums.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
        tiles.shares = sums;
        Some(tiles)
    }

    /// The number of tiles.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The places of a tile's values in a channel of the latents, row by row.
    fn targets(&self, [top, left]: [usize; 2]) -> impl Iterator<Item = usize> + use<> {
        let ([height, width], [tile_height, tile_width]) = (self.whole, self.size);
        (0..tile_height).flat_map(move |y| {
            let row = (top + y) % height * width;
            (0..tile_width).map(move |x| row + (left + x) % width)
        })
    }

    /// The part of some channels' values that tile `number` covers.
    pub fn cut(&self, values: &[f32], number: usize) -> Vec<f32> {
        let channels = values.chunks_exact(self.shares.len());
        let place = self.places[number];
        channels
            .flat_map(|channel| self.targets(place).map(move |from| channel[from]))
            .collect()
    }

    /// Adds what was made of tile `number` to the weighted mean of all tiles.
    pub fn add(&self, mean: &mut [f32], tile: &[f32], number: usize) {
        let channels = mean.chunks_exact_mut(self.shares.len());
        for (channel, tile) in channels.zip(tile.chunks_exact(self.weights.len())) {
            let values = tile.iter().zip(&self.weights);
            for (to, (value, weight)) in self.targets(self.places[number]).zip(values) {
                channel[to] += value * (weight * self.shares[to]);
            }
        }
    }
}

/// Where tiles begin along a side: as few as overlap enough, evenly spaced; around a side that wraps the same all the way round.
fn places(side: usize, tile: usize, overlap: usize, wraps: bool) -> Vec<usize> {
    if tile == side {
        return vec![0];
    }
    let stride = tile - overlap;
    if wraps {
        let n = side.div_ceil(stride);
        return (0..n).map(|i| i * side / n).collect();
    }
    let n = (side - overlap).div_ceil(stride);
    let step = (side - tile) as f64 / (n - 1) as f64;
    (0..n)
        .map(|i| ((i as f64 * step) as usize).min(side - tile))
        .collect()
}

/// The weights of Mixture of Diffusers: a normal distribution along each axis. Both have the width for a scale, and the rows' middle is half a
/// row lower than it might be, as in the extension.
fn gaussian([height, width]: [usize; 2]) -> Vec<f32> {
    let scale = (width * width) as f64 * 2.0 * VARIANCE;
    let along = |at: usize, middle: f64| {
        let d = at as f64 - middle;
        (-d * d / scale).exp() / (std::f64::consts::TAU * VARIANCE).sqrt()
    };
    let columns: Vec<f64> = (0..width).map(|x| along(x, (width - 1) as f64 / 2.0)).collect();
    let rows = (0..height).map(|y| along(y, height as f64 / 2.0));
    rows.flat_map(|row| columns.iter().map(move |column| (row * column) as f32))
        .map(|weight| weight.max(LEAST_WEIGHT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(method: TiledDiffusion, [width, height, overlap]: [usize; 3]) -> GenerateParams {
        let mut params = GenerateParams::default();
        params.tiles.tiled_diffusion = method;
        (params.tiles.tile_width, params.tiles.tile_height) = (width, height);
        params.tiles.tile_overlap = overlap;
        params
    }

    #[test]
    fn places_are_the_extensions() {
        let of = |side, tile, overlap| places(side, tile, overlap, false);
        // ceil((512 - 48) / 48) is 10, over 416 values.
        assert_eq!(of(512, 96, 48)[..4], [0, 46, 92, 138]);
        assert_eq!(of(512, 96, 48).len(), 10);
        assert_eq!(of(512, 96, 48)[9], 416);
        assert_eq!(of(100, 96, 48), [0, 4]);
        assert_eq!(of(96, 96, 48), [0]);
        assert_eq!(places(32, 16, 8, true), [0, 8, 16, 24]);
        let tiles = |width, height, whole| {
            let params = params(TiledDiffusion::MultiDiffusion, [width, height, 48]);
            Tiles::new(&params, whole).map(|tiles| (tiles.size, tiles.count()))
        };
        assert_eq!(tiles(96, 96, [64, 96]), None);
        // An overlap of more than a tile less four is that.
        assert_eq!(tiles(32, 32, [40, 30]), Some(([32, 30], 3)));
        assert_eq!(tiles(96, 96, [512, 512]), Some(([96, 96], 100)));
    }

    /// What all tiles agree on is the mean, whatever the weights, and no value goes without.
    #[test]
    fn weights_sum_to_one() {
        let methods = [TiledDiffusion::MultiDiffusion, TiledDiffusion::MixtureOfDiffusers];
        for method in methods {
            for ([width, height, overlap], whole) in [
                ([16, 16, 8], [37, 41]),
                ([256, 16, 4], [33, 300]),
                ([16, 256, 0], [300, 33]),
                ([17, 23, 200], [64, 16]),
            ] {
                for wrapped in [false, true] {
                    let mut params = params(method, [width, height, overlap]);
                    (params.network.tile_x, params.network.tile_y) = (wrapped, wrapped);
                    let tiles = Tiles::new(&params, whole).unwrap();
                    let latents: Vec<f32> = (0..2 * whole[0] * whole[1])
                        .map(|i| (i as f32 * 0.7).sin())
                        .collect();
                    let mut mean = vec![0.0; latents.len()];
                    for number in 0..tiles.count() {
                        let tile = tiles.cut(&latents, number);
                        assert_eq!(tile.len(), 2 * tiles.size[0] * tiles.size[1]);
                        tiles.add(&mut mean, &tile, number);
                    }
                    goldens::assert_close("mean", &mean, &latents, 1e-6);
                }
            }
        }
    }
}
