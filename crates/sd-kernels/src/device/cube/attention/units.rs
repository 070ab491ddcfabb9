//! Attention in units of any device, with sums in `f32`.
//!
//! A unit keeps a few queries and their sums in registers, and reads keys and values from tiles in shared memory, which all units of a
//! cube fill together. Where heads are wide, several units share a query: each has some of its columns, and products meet in shared
//! memory.

use burn_cubecl::cubecl::{self, prelude::*};

/// Units of a cube.
pub(super) const UNITS: usize = 128;

/// Columns that a unit keeps of each of its queries, at most: as many registers hold them, and as many their sums.
const COLUMNS: usize = 40;

/// Units that may share a query.
const PARTS: usize = 32;

/// Bytes of shared memory that every device has.
const SHARED: usize = 32 << 10;

/// As many cubes keep a device busy; only with more of them, units get more than one query.
pub(super) const BUSY: usize = 512;

/// How queries, columns and keys are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Deal {
    /// Vectors of a head.
    pub width: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Units that share a query.
    parts: usize,
    /// Vectors that each of them has.
    columns: usize,
    /// Queries of a unit.
    rows: usize,
    /// Keys between two corrections.
    block: usize,
    /// Blocks of a tile.
    blocks: usize,
}

impl Deal {
    /// For `queries` of all heads and pictures of heads of `d` columns, `lanes` at a time. `None` if heads are too wide.
    pub fn new(queries: usize, heads: usize, d: usize, lanes: usize) -> Option<Self> {
        let width = d / lanes;
        let parts = d.div_ceil(COLUMNS).next_power_of_two();
        if parts > PARTS {
            return None;
        }
        let columns = width.div_ceil(parts);
        let rows = if queries * parts >= 2 * UNITS * BUSY { 2 } else { 1 };
        let key = 2 * size_of::<f32>() * parts * columns * lanes;
        [8, 4, 2, 1].into_iter().find_map(|block| {
            let products = if parts > 1 {
                2 * size_of::<f32>() * UNITS * rows * block
            } else {
                0
            };
            let blocks = (SHARED - products) / (key * block);
            (blocks > 0).then(|| Self {
                width,
                heads,
                parts,
                columns,
                rows,
                block,
                blocks: blocks.min(64 / block),
            })
        })
    }

    /// Queries of a cube.
    pub fn queries(&self) -> usize {
        UNITS / self.parts * self.rows
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn flash<E: Float, N: Size>(
    q: &[Vector<E, N>],
    k: &[Vector<E, N>],
    v: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    q_len: usize,
    k_len: usize,
    scale: f32,
    #[comptime] deal: Deal,
    #[comptime] causal: bool,
    #[define(E)] _dtype: ElemType,
) {
    let (parts, columns, rows, block) = comptime!((deal.parts, deal.columns, deal.rows, deal.block));
    let groups = comptime!(UNITS / parts);
    let padded = comptime!(parts * columns);
    let tile = comptime!(block * deal.blocks);

    // Units beside each other have the same columns of queries beside each other, so that they read the same keys at the same time.
    let unit = UNIT_POS as usize;
    let (part, group) = (unit / groups, unit % groups);
    let first = CUBE_POS_X as usize * comptime!(groups * rows);
    let (head, picture) = (CUBE_POS_Y as usize, CUBE_POS_Z as usize);
    let token = comptime!(deal.heads * deal.width);
    let (from_q, from_k) = (
        picture * q_len * token + head * deal.width,
        picture * k_len * token + head * deal.width,
    );

    let mut query = Array::<Vector<f32, N>>::new(comptime!(rows * columns));
    let mut sum = Array::<Vector<f32, N>>::new(comptime!(rows * columns));
    let mut largest = Array::<f32>::new(rows);
    let mut total = Array::<f32>::new(rows);
    #[unroll]
    for r in 0..rows {
        let row = first + r * groups + group;
        largest[r] = f32::min_value();
        total[r] = 0.0f32;
        #[unroll]
        for c in 0..columns {
            let column = part * columns + c;
            let mut values = Vector::<f32, N>::new(0.0f32);
            if row < q_len && column < deal.width {
                values = Vector::cast_from(q[from_q + row * token + column]);
            }
            query[r * columns + c] = values * Vector::new(scale);
            sum[r * columns + c] = Vector::new(0.0f32);
        }
    }

    let mut keys = Shared::<[Vector<f32, N>]>::new_slice(comptime!(tile * padded));
    let mut values = Shared::<[Vector<f32, N>]>::new_slice(comptime!(tile * padded));
    // Two sides, so that one is read while the other is written.
    let shares = comptime!(if parts > 1 { 2 * UNITS * rows * block } else { 1 });
    let mut shared = Shared::<[f32]>::new_slice(shares);

    // Of queries that are the last q_len of k_len positions, the first of a cube sees so many keys, and the last one all these.
    let before = k_len - q_len * comptime!(causal as usize);
    let mut seen = k_len;
    if comptime!(causal) {
        seen = min(k_len, before + first + comptime!(groups * rows));
    }

    let mut side = 0usize;
    let mut top = 0usize;
    while top < seen {
        sync_cube();
        for i in range_stepped(unit, comptime!(tile * padded), UNITS) {
            let (key, column) = (top + i / padded, i % padded);
            let mut of_keys = Vector::<f32, N>::new(0.0f32);
            let mut of_values = Vector::<f32, N>::new(0.0f32);
            if key < k_len && column < deal.width {
                let at = from_k + key * token + column;
                of_keys = Vector::cast_from(k[at]);
                of_values = Vector::cast_from(v[at]);
            }
            keys[i] = of_keys;
            values[i] = of_values;
        }
        sync_cube();

        let blocks = min(comptime!(deal.blocks), (seen - top).div_ceil(block));
        for b in 0..blocks {
            let at = b * comptime!(block * padded) + part * columns;
            let mut scores = Array::<f32>::new(comptime!(rows * block));
            #[unroll]
            for j in 0..block {
                let mut products = Array::<Vector<f32, N>>::new(rows);
                #[unroll]
                for r in 0..rows {
                    products[r] = Vector::new(0.0f32);
                }
                #[unroll]
                for c in 0..columns {
                    let key = keys[at + j * padded + c];
                    #[unroll]
                    for r in 0..rows {
                        products[r] = fma(query[r * columns + c], key, products[r]);
                    }
                }
                #[unroll]
                for r in 0..rows {
                    scores[r * block + j] = products[r].vector_sum();
                }
            }

            if comptime!(parts > 1) {
                let from = side * comptime!(UNITS * rows * block) + group;
                #[unroll]
                for i in 0..comptime!(rows * block) {
                    shared[from + (i * parts + part) * groups] = scores[i];
                }
                sync_cube();
                #[unroll]
                for i in 0..comptime!(rows * block) {
                    let mut score = 0.0f32;
                    #[unroll]
                    for p in 0..parts {
                        score += shared[from + (i * parts + p) * groups];
                    }
                    scores[i] = score;
                }
                side = 1 - side;
            }

            #[unroll]
            for r in 0..rows {
                let row = first + r * groups + group;
                let mut end = k_len;
                if comptime!(causal) {
                    end = min(k_len, before + row + 1);
                }
                let mut new = largest[r];
                #[unroll]
                for j in 0..block {
                    let score = select(top + b * block + j < end, scores[r * block + j], f32::min_value());
                    scores[r * block + j] = score;
                    new = max(new, score);
                }
                let correction = (largest[r] - new).exp();
                largest[r] = new;
                let mut weights = 0.0f32;
                #[unroll]
                for j in 0..block {
                    let weight = (scores[r * block + j] - new).exp();
                    scores[r * block + j] = weight;
                    weights += weight;
                }
                total[r] = fma(total[r], correction, weights);
                #[unroll]
                for c in 0..columns {
                    sum[r * columns + c] *= Vector::new(correction);
                }
            }

            #[unroll]
            for j in 0..block {
                #[unroll]
                for c in 0..columns {
                    let value = values[at + j * padded + c];
                    #[unroll]
                    for r in 0..rows {
                        sum[r * columns + c] =
                            fma(Vector::new(scores[r * block + j]), value, sum[r * columns + c]);
                    }
                }
            }
        }
        top += tile;
    }

    #[unroll]
    for r in 0..rows {
        let row = first + r * groups + group;
        #[unroll]
        for c in 0..columns {
            let column = part * columns + c;
            if row < q_len && column < deal.width {
                let mean = sum[r * columns + c] / Vector::new(total[r]);
                out[from_q + row * token + column] = Vector::cast_from(mean);
            }
        }
    }
}
