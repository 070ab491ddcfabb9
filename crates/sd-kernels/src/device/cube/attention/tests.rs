//! Attention against Burn's operations in `f32` on the CPU.

use burn_cubecl::cubecl::{self, prelude::*};
use burn_tensor::{DType, Tensor};
use proptest::prelude::*;

use super::{
    super::tensor::{enter, leave},
    super::tests::{agree, dtypes, gpu, tensor, to},
    super::trial::PLANE,
    Deal, Plan, attention,
    fragments::{Pair, Planes},
    has_cores, on_planes, on_units,
};
use crate::{device, memory::staging::floats};

/// Queries, keys and values of `[batch, heads, n, m]`, and what comes of them. Scores are a few units, so that weights differ.
fn case(
    [batch, heads, n, m]: [usize; 4],
    d: usize,
    causal: bool,
    dtype: DType,
) -> ([Tensor<3>; 3], Tensor<3>) {
    let q = tensor([batch, n, heads * d], dtype, 1) * 16;
    let [k, v] = [2, 3].map(|seed| tensor([batch, m, heads * d], dtype, seed));
    let reference = device::attention(q.clone(), k.clone(), v.clone(), heads, causal);
    ([q, k, v], reference)
}

/// All types that there are, for a head width.
fn compare(shape: [usize; 4], d: usize, causal: bool) {
    let Some(gpu) = gpu() else { return };
    for dtype in dtypes(&gpu) {
        let (inputs, reference) = case(shape, d, causal, dtype);
        let [q, k, v] = inputs.each_ref().map(|x| to(x, &gpu, dtype));
        let ours = attention(&q, &k, &v, shape[1], causal).expect("heads are narrow enough");
        let what = format!("{shape:?} of {d}, {dtype:?}");
        // Tensor cores take weights in the type that values have: rounding these does no more than rounding values did.
        match d.is_multiple_of(4) && has_cores(&enter(q)) {
            true => nearly(&what, ours, reference, v),
            false => agree(&what, ours, reference),
        }
    }
}

/// Values are the reference's to what rounding it and the values that it is a mean of does.
fn nearly(what: &str, ours: Tensor<3>, reference: Tensor<3>, v: Tensor<3>) {
    let unit = f32::powi(2.0, if ours.dtype() == DType::F16 { -11 } else { -8 });
    let largest = floats(v).into_iter().fold(0.0, |a: f32, b| a.max(b.abs()));
    for (a, b) in floats(ours).into_iter().zip(floats(reference)) {
        assert!(
            (a - b).abs() <= unit * (b.abs() + largest) + 1e-5,
            "{what}: {a} and {b}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn odd_shapes(n in 1..150usize, m in 1..90usize, d in 1..90usize, batch in 1..3usize, causal: bool) {
        let m = if causal { m.max(n) } else { m };
        compare([batch, 2, n, m], d, causal);
    }
}

/// The widths of heads that networks have: SD1's, SDXL's, the autoencoders'.
#[test]
fn heads_of_networks() {
    for (d, m) in [(40, 77), (64, 130), (80, 77), (160, 70), (512, 40)] {
        compare([1, 2, 70, m], d, false);
        compare([1, 1, 40, m], d, true);
    }
}

/// Of many queries, each unit has two.
#[test]
fn two_queries_of_a_unit() {
    let Some(gpu) = gpu() else { return };
    for (d, lanes) in [(3, 1), (40, 4), (64, 4), (160, 4)] {
        for causal in [false, true] {
            let ([q, k, v], reference) = case([2, 2, 300, 310], d, causal, DType::F32);
            let inputs = [q, k, v].map(|x| enter(to(&x, &gpu, DType::F32)));
            let deal = Deal::new(usize::MAX / 64, 2, d, lanes).unwrap();
            let ours = leave(on_units(deal, [2, 300, 310], lanes, causal, inputs));
            agree(&format!("{d}, {causal}"), ours, reference);
        }
    }
}

/// Tensor cores by their definition, in memory that a cube shares: so what happens around them is tested on any device.
struct Spelled;

/// Numbers of a plane: both factors of a product.
const FACTORS: usize = 16 * 16 + 16 * 8;

#[cube]
impl Planes for Spelled {
    fn multiply<E: Float>(
        a: &Array<Pair<E>>,
        b: &Array<Pair<E>>,
        c: &mut Array<Pair<f32>>,
        scratch: &mut Shared<[f32]>,
    ) {
        let unit = UNIT_POS as usize;
        let (left, row, across) = (unit / PLANE * FACTORS, unit % PLANE / 4, unit % 4 * 2);
        let right = left + 256;
        #[unroll]
        for j in 0..2usize {
            #[unroll]
            for i in 0..4usize {
                scratch[left + (row + i % 2 * 8) * 16 + across + j + i / 2 * 8] =
                    f32::cast_from(a[i].extract(j));
            }
            #[unroll]
            for i in 0..2usize {
                scratch[right + (across + j + i * 8) * 8 + row] = f32::cast_from(b[i].extract(j));
            }
        }
        sync_cube();
        #[unroll]
        for i in 0..2usize {
            let mut sums = c[i];
            #[unroll]
            for j in 0..2usize {
                let mut sum = sums.extract(j);
                for k in 0..16usize {
                    sum += scratch[left + (row + i * 8) * 16 + k] * scratch[right + k * 8 + across + j];
                }
                sums.insert(j, sum);
            }
            c[i] = sums;
        }
        sync_cube();
    }

    fn largest(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
        let unit = UNIT_POS as usize;
        scratch[unit] = value;
        sync_cube();
        let mut result = value;
        #[unroll]
        for i in 0..4usize {
            result = max(result, scratch[unit / 4 * 4 + i]);
        }
        sync_cube();
        result
    }

    fn sum(value: f32, scratch: &mut Shared<[f32]>) -> f32 {
        let unit = UNIT_POS as usize;
        scratch[unit] = value;
        sync_cube();
        let mut result = 0.0f32;
        #[unroll]
        for i in 0..4usize {
            result += scratch[unit / 4 * 4 + i];
        }
        sync_cube();
        result
    }
}

#[test]
fn fragments() {
    let Some(gpu) = gpu() else { return };
    for (d, keys, parts) in [(4, 16, 1), (16, 32, 1), (20, 16, 1), (40, 16, 1), (40, 16, 2)] {
        for (n, m, causal) in [(33, 41, false), (17, 60, true), (70, 5, false)] {
            let ([q, k, v], reference) = case([2, 2, n, m], d, causal, DType::F32);
            let inputs = [q, k, v].map(|x| enter(to(&x, &gpu, DType::F32)));
            let plan = Plan {
                width: d,
                heads: 2,
                planes: 2,
                parts,
                keys,
                causal,
            };
            let ours = on_planes::<Spelled>(plan, [2, n, m], 2 * FACTORS, inputs);
            agree(&format!("{plan:?}, {n} x {m}"), leave(ours), reference);
        }
    }
}
