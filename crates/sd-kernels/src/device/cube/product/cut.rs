//! How products are spread over a device.

use burn_cubecl::cubecl::prelude::Client;

use super::plan::Tile;

impl Tile {
    /// For products that fill a device.
    const LARGE: Self = Self {
        height: 128,
        width: 128,
        depth: 16,
        units: 256,
        cores: false,
    };

    /// For the others.
    pub const MEDIUM: Self = Self {
        height: 64,
        width: 64,
        depth: 16,
        units: 128,
        cores: false,
    };

    /// For a few rows, as what is one row for each picture.
    const SMALL: Self = Self {
        height: 16,
        width: 64,
        depth: 32,
        units: 64,
        cores: false,
    };

    /// [`Self::LARGE`] and [`Self::MEDIUM`] on tensor cores.
    pub const ON_CORES: [Self; 2] = [
        Self {
            depth: 32,
            cores: true,
            ..Self::LARGE
        },
        Self {
            depth: 32,
            cores: true,
            ..Self::MEDIUM
        },
    ];
}

/// Terms of a sum that are not taken apart.
const PART: usize = 256;

/// Parts of a product at most.
const PARTS: usize = 16;

/// A product, cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub tile: Tile,
    /// Cubes side by side.
    pub cubes: usize,
    /// Parts of the depth, each for cubes of its own.
    pub parts: usize,
}

impl Cut {
    /// For a product of so many rows, columns, and terms of a sum, on tensor cores where there are `cores`. Sizes decide, so that the same
    /// sizes give the same sums.
    pub fn choose(client: &Client, rows: usize, columns: usize, depth: usize, cores: bool) -> Self {
        let hardware = &client.properties().hardware;
        // Devices that don't tell get what suits one of middle size.
        let processors = hardware.num_streaming_multiprocessors.unwrap_or(32) as usize;
        let [large, medium] = match cores {
            true => Tile::ON_CORES,
            false => [Tile::LARGE, Tile::MEDIUM],
        };
        let fits = |tile: Tile| {
            tile.units <= hardware.max_units_per_cube as usize
                && tile.shared_bytes() <= hardware.max_shared_memory_size
        };
        let full = |tile: Tile| Self::of(tile, rows, columns).cubes >= 2 * processors;
        let tile = match rows {
            ..=32 => Tile::SMALL,
            _ if fits(large) && full(large) => large,
            _ => medium,
        };
        let cut = Self::of(tile, rows, columns);
        // A part must be long enough to be worth its way through memory.
        let most = (depth / PART).clamp(1, PARTS);
        let parts = (2 * processors / cut.cubes).clamp(1, most);
        Self { parts, ..cut }
    }

    /// Whole sums in these tiles.
    pub fn of(tile: Tile, rows: usize, columns: usize) -> Self {
        Self {
            tile,
            cubes: rows.div_ceil(tile.height) * columns.div_ceil(tile.width),
            parts: 1,
        }
    }
}
