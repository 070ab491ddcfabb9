//! Attention in half types on tensor cores: planes of 32 units have sixteen queries each, or, where heads are wide, some of their columns.
//!
//! Products are NVIDIA's `mma.m16n8k16` (PTX ISA, "Matrix Fragments for mma.m16n8k16"): a unit has two neighbours of a row in each register,
//! four units a row. Scores come out of a product as weights go into the next one, so that they never leave registers (Dao 2023,
//! arXiv:2307.08691). Keys and values wait in shared memory in words of two: keys beside each other in a row, values of two rows one above
//! the other. The next tile is on its way from global memory meanwhile.

use burn_cubecl::cubecl::{self, prelude::*};

use super::fragments::{Pair, Plan, Planes, QUERIES, Quad};
use crate::device::cube::trial::PLANE;

/// Where a cube's tiles lie.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Place {
    /// The picture's and head's first quad.
    from: usize,
    /// Keys that there are.
    k_len: usize,
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(super) fn flash<E: Float, P: Planes>(
    q: &[Pair<E>],
    k: &[Quad<E>],
    v: &[Quad<E>],
    out: &mut [Pair<E>],
    q_len: usize,
    k_len: usize,
    scale: f32,
    #[comptime] plan: Plan,
    #[comptime] scratch: usize,
    #[define(E)] _dtype: ElemType,
) {
    let (steps, columns) = comptime!((plan.steps(), plan.columns()));
    let (key_stride, value_stride) = comptime!((plan.key_stride(), plan.value_stride()));
    let half_width = comptime!(plan.width / 2);
    let unit = UNIT_POS as usize;
    let (plane, lane) = (unit / PLANE, unit % PLANE);
    // A row of a fragment, and a unit's place among the four that share it.
    let (row, across) = (lane / 4, lane % 4);
    let part = plane % plan.parts;
    let first = CUBE_POS_X as usize * comptime!(plan.queries());
    let own = first + plane / plan.parts * QUERIES + row;
    let token = comptime!(plan.heads * plan.width / 2);
    let from_q = CUBE_POS_Z as usize * q_len * token + CUBE_POS_Y as usize * half_width;
    let place = Place {
        from: (CUBE_POS_Z as usize * k_len * token + CUBE_POS_Y as usize * half_width) / 2,
        k_len,
    };

    let mut scratch = Shared::<[f32]>::new_slice(scratch);
    let mut keys = Shared::<[Pair<E>]>::new_slice(comptime!(plan.keys * key_stride));
    let mut values = Shared::<[Pair<E>]>::new_slice(comptime!(plan.keys / 2 * value_stride));

    let shares = comptime!(if plan.parts > 1 {
        plan.planes * plan.keys / 8 * 2 * PLANE
    } else {
        1
    });
    let mut shares = Shared::<[Pair<f32>]>::new_slice(shares);

    let mut queries = Sequence::<Array<Pair<E>>>::new();
    #[unroll]
    for s in 0..steps {
        let mut fragment = Array::<Pair<E>>::new(4usize);
        #[unroll]
        for i in 0..4usize {
            let query = own + i % 2 * 8;
            let column = (part * steps + s) * 8 + i / 2 * 4 + across;
            let mut pair = Pair::<E>::new(E::new(0.0f32));
            if query < q_len && column < half_width {
                pair = q[from_q + query * token + column];
            }
            fragment[i] = pair;
        }
        queries.push(fragment);
    }
    let mut sums = zeros(columns);
    let mut largest = Array::<f32>::new(2usize);
    let mut totals = Array::<f32>::new(2usize);
    #[unroll]
    for half in 0..2usize {
        largest[half] = f32::min_value();
        totals[half] = 0.0f32;
    }

    // Of queries that are the last q_len of k_len positions, the first of a cube sees one key more than these, and the last one all below `seen`.
    let before = k_len - q_len * comptime!(plan.causal as usize);
    let mut seen = k_len;
    if comptime!(plan.causal) {
        seen = min(k_len, before + first + comptime!(plan.queries()));
    }
    let mut next_keys = Array::<Quad<E>>::new(comptime!(plan.key_quads()));
    let mut next_values = Array::<Quad<E>>::new(comptime!(2 * plan.value_quads()));
    fetch(k, v, &mut next_keys, &mut next_values, 0usize, place, plan);
    let mut top = 0usize;
    while top < seen {
        sync_cube();
        store(&mut keys, &mut values, &next_keys, &next_values, plan);
        sync_cube();
        if top + plan.keys < seen {
            fetch(
                k,
                v,
                &mut next_keys,
                &mut next_values,
                top + plan.keys,
                place,
                plan,
            );
        }

        let mut scores = zeros(comptime!(plan.keys / 8));
        #[unroll]
        for s in 0..steps {
            #[unroll]
            for j in 0..comptime!(plan.keys / 8) {
                let at = (j * 8 + row) * key_stride + (part * steps + s) * 8 + across;
                let mut fragment = Array::<Pair<E>>::new(2usize);
                fragment[0] = keys[at];
                fragment[1] = keys[at + 4];
                P::multiply::<E>(queries.index(s), &fragment, scores.index_mut(j), &mut scratch);
            }
        }

        if comptime!(plan.parts > 1) {
            exchange(&mut scores, &mut shares, plane, lane, plan);
        }

        #[unroll]
        for half in 0..2usize {
            let mut end = k_len;
            if comptime!(plan.causal) {
                end = min(k_len, before + own + half * 8 + 1);
            }
            let mut new = largest[half];
            #[unroll]
            for j in 0..comptime!(plan.keys / 8) {
                let pair = scores.index(j)[half];
                let key = top + j * 8 + across * 2;
                let mut masked = Pair::<f32>::new(f32::min_value());
                #[unroll]
                for i in 0..2usize {
                    let score = select(key + i < end, pair.extract(i) * scale, f32::min_value());
                    masked.insert(i, score);
                    new = max(new, score);
                }
                let scores = scores.index_mut(j);
                scores[half] = masked;
            }
            let new = P::largest(new, &mut scratch);
            let correction = (largest[half] - new).exp();
            largest[half] = new;
            let mut weights = Pair::<f32>::new(0.0f32);
            #[unroll]
            for j in 0..comptime!(plan.keys / 8) {
                let scores = scores.index_mut(j);
                let pair = (scores[half] - Pair::<f32>::new(new)).exp();
                weights += pair;
                scores[half] = pair;
            }
            totals[half] = fma(totals[half], correction, weights.vector_sum());
            #[unroll]
            for c in 0..columns {
                let sums = sums.index_mut(c);
                sums[half] *= Pair::<f32>::new(correction);
            }
        }

        #[unroll]
        for j in 0..comptime!(plan.keys / 16) {
            let mut weights = Array::<Pair<E>>::new(4usize);
            #[unroll]
            for i in 0..4usize {
                weights[i] = Pair::cast_from(scores.index(2 * j + i / 2)[i % 2]);
            }
            #[unroll]
            for c in 0..columns {
                let at = (j * 8 + across) * value_stride + (part * columns + c) * 8 + row;
                let mut fragment = Array::<Pair<E>>::new(2usize);
                fragment[0] = values[at];
                fragment[1] = values[at + comptime!(4 * value_stride)];
                P::multiply::<E>(&weights, &fragment, sums.index_mut(c), &mut scratch);
            }
        }
        top += plan.keys;
    }

    #[unroll]
    for half in 0..2usize {
        let query = own + half * 8;
        let total = Pair::<f32>::new(P::sum(totals[half], &mut scratch));
        #[unroll]
        for c in 0..columns {
            let column = (part * columns + c) * 4 + across;
            if query < q_len && column < half_width {
                out[from_q + query * token + column] = Pair::cast_from(sums.index(c)[half] / total);
            }
        }
    }
}

/// Scores over all columns, of what planes have over theirs.
#[cube]
fn exchange(
    scores: &mut Sequence<Array<Pair<f32>>>,
    shares: &mut Shared<[Pair<f32>]>,
    plane: usize,
    lane: usize,
    #[comptime] plan: Plan,
) {
    let count = comptime!(plan.keys / 8);
    let own = plane * comptime!(count * 2 * PLANE) + lane;
    #[unroll]
    for i in 0..comptime!(2 * count) {
        shares[own + i * PLANE] = scores.index(i / 2)[i % 2];
    }
    sync_cube();
    let first = plane / plan.parts * comptime!(plan.parts * count * 2 * PLANE) + lane;
    #[unroll]
    for i in 0..comptime!(2 * count) {
        let mut sum = Pair::<f32>::new(0.0f32);
        #[unroll]
        for part in 0..plan.parts {
            sum += shares[first + (part * comptime!(2 * count) + i) * PLANE];
        }
        let scores = scores.index_mut(i / 2);
        scores[i % 2] = sum;
    }
}

/// So many fragments of zeros.
#[cube]
fn zeros(#[comptime] count: usize) -> Sequence<Array<Pair<f32>>> {
    let mut all = Sequence::<Array<Pair<f32>>>::new();
    #[unroll]
    for _ in 0..count {
        let mut fragment = Array::<Pair<f32>>::new(2usize);
        fragment[0] = Pair::<f32>::new(0.0f32);
        fragment[1] = Pair::<f32>::new(0.0f32);
        all.push(fragment);
    }
    all
}

/// This unit's share of a tile: zeros where there are no keys or columns.
#[cube]
fn fetch<E: Float>(
    k: &[Quad<E>],
    v: &[Quad<E>],
    keys: &mut Array<Quad<E>>,
    values: &mut Array<Quad<E>>,
    top: usize,
    place: Place,
    #[comptime] plan: Plan,
) {
    let width = comptime!(plan.width / 4);
    let token = comptime!(plan.heads * width);
    let unit = UNIT_POS as usize;
    let row = comptime!(4 * plan.steps() * plan.parts);
    #[unroll]
    for i in 0..comptime!(plan.key_quads()) {
        let at = unit + i * comptime!(plan.units());
        let (key, column) = (top + at / row, at % row);
        let mut quad = Quad::<E>::new(E::new(0.0f32));
        if key < place.k_len && column < width {
            quad = k[place.from + key * token + column];
        }
        keys[i] = quad;
    }
    let row = comptime!(2 * plan.columns() * plan.parts);
    #[unroll]
    for i in 0..comptime!(plan.value_quads()) {
        let at = unit + i * comptime!(plan.units());
        let column = at % row;
        #[unroll]
        for of_pair in 0..2usize {
            let key = top + at / row * 2 + of_pair;
            let mut quad = Quad::<E>::new(E::new(0.0f32));
            if key < place.k_len && column < width {
                quad = v[place.from + key * token + column];
            }
            values[2 * i + of_pair] = quad;
        }
    }
}

/// What was fetched, in words.
#[cube]
fn store<E: Float>(
    keys: &mut Shared<[Pair<E>]>,
    values: &mut Shared<[Pair<E>]>,
    fetched_keys: &Array<Quad<E>>,
    fetched_values: &Array<Quad<E>>,
    #[comptime] plan: Plan,
) {
    let unit = UNIT_POS as usize;
    let row = comptime!(4 * plan.steps() * plan.parts);
    #[unroll]
    for i in 0..comptime!(plan.key_quads()) {
        let at = unit + i * comptime!(plan.units());
        if at < comptime!(plan.keys * row) {
            let word = at / row * comptime!(plan.key_stride()) + at % row * 2;
            let quad = fetched_keys[i];
            #[unroll]
            for j in 0..2usize {
                let mut pair = Pair::<E>::new(quad.extract(2 * j));
                pair.insert(1usize, quad.extract(2 * j + 1));
                keys[word + j] = pair;
            }
        }
    }
    let row = comptime!(2 * plan.columns() * plan.parts);
    #[unroll]
    for i in 0..comptime!(plan.value_quads()) {
        let at = unit + i * comptime!(plan.units());
        if at < comptime!(plan.keys / 2 * row) {
            let word = at / row * comptime!(plan.value_stride()) + at % row * 4;
            let (above, below) = (fetched_values[2 * i], fetched_values[2 * i + 1]);
            #[unroll]
            for j in 0..4usize {
                let mut pair = Pair::<E>::new(above.extract(j));
                pair.insert(1usize, below.extract(j));
                values[word + j] = pair;
            }
        }
    }
}
