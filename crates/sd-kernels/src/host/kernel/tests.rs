//! Every kernel on every instruction set against its definition, in `f64`.

use half::bf16;

use super::{
    attention::attention,
    conv::conv,
    epilogue::Store,
    geometry::{Geometry, Pictures},
    linear::linear,
    norm::{group_norm, layer_norm},
    packed::{Weights, pack, pack_blocks, pack_narrow},
    quantised::{self, ColumnScales},
    shared::Shared,
};
use crate::{
    host::simd::{COLUMNS, Form, Isa, Number, Simd},
    memory::buffer::Buffer,
};

/// Numbers between -1/2 and 1/2 that follow from `seed`, as `T` has them.
fn values<T: Simd>(len: usize, seed: u32) -> Buffer<T> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut values = Buffer::dirty(len);
    for value in values.iter_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *value = T::from_f32((state >> 8) as f32 / (1 << 24) as f32 - 0.5);
    }
    values
}

fn wide<T: Number>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| f64::from(v.to_f32())).collect()
}

/// The difference must be within `f32`'s rounding of sums, plus the type's rounding of the result.
fn check<T: Simd>(what: &str, got: &[T], expected: &[f64], sums: f64) {
    let unit = if T::GROUP == 2 { 1.0 / 256.0 } else { 1e-6 };
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, &expected)) in got.iter().zip(expected).enumerate() {
        let got = f64::from(got.to_f32());
        let allowed = sums + unit * expected.abs();
        assert!(
            (got - expected).abs() <= allowed,
            "{what}: {i}: {got} should be {expected}"
        );
    }
}

/// Values after eight bits, with a scale and a zero for each `len` of them.
fn quantised_inputs<T: Number>(values: &[T], len: usize) -> Vec<f64> {
    let chunks = values.chunks(len);
    let chunks = chunks.flat_map(|chunk| {
        let fold = |of: fn(f32, f32) -> f32| chunk.iter().fold(0f32, |range, v| of(range, v.to_f32()));
        let (least, most) = (fold(f32::min), fold(f32::max));
        let (step, inverse) = ((most - least) / 253.0, 253.0 / (most - least));
        let zero = -127.0 - (least * inverse).round_ties_even();
        // Where two are equally near, the even one of those that are stored, from which 128 makes no difference.
        let whole = move |v: &T| f64::from((v.to_f32() * inverse + zero).round_ties_even() - zero);
        chunk.iter().map(move |v| whole(v) * f64::from(step))
    });
    chunks.collect()
}

/// Values after eight bits, with a scale for each `len` of them.
fn quantised<T: Number>(values: &[T], len: usize) -> Vec<f64> {
    let chunks = values.chunks(len);
    let chunks = chunks.flat_map(|chunk| {
        let largest = chunk.iter().fold(0f32, |most, v| most.max(v.to_f32().abs()));
        let whole = move |v: &T| f64::from((v.to_f32() * (127.0 / largest)).round_ties_even());
        chunk.iter().map(move |v| whole(v) * f64::from(largest / 127.0))
    });
    chunks.collect()
}

fn on_every_isa(test: impl FnMut(Isa)) {
    Isa::available().into_iter().for_each(test);
}

/// Weights `[n, k, taps]` as whole numbers, as this instruction set multiplies them.
fn with_whole<T: Simd>(isa: Isa, weights: &[T], [n, taps, k]: [usize; 3], work: impl FnOnce(Weights<T>)) {
    let (all, len) = (n.next_multiple_of(COLUMNS), k * taps);
    let column = |i| (i < n).then_some(i);
    if isa.multiplies_bytes() {
        let (bytes, columns) = ColumnScales::new(isa, weights, len, all, column);
        let panels = pack::<u8>(n, taps, k, |n| Some(&bytes[n * len..][..len]));
        work(Weights::Bytes(panels.right(), &columns));
    } else {
        let (bytes, columns) = ColumnScales::new(isa, weights, len, all, column);
        let values = |n: usize| Some(&bytes[n * len..][..len]);
        let panels = pack_narrow::<u8, i16>(Form::Int8, n, taps, k, values);
        work(Weights::Words(panels.right(), &columns));
    }
}

fn product<T: Simd>(isa: Isa, [m, k, n]: [usize; 3], int8: bool) {
    let (a, w, residual) = (
        values::<T>(m * k, 1),
        values::<T>(n * k, 2),
        values::<T>(m * n, 3),
    );
    let bias: Vec<f32> = (0..n.next_multiple_of(32))
        .map(|i| i as f32 / 50.0 - 0.3)
        .collect();
    let [wide_a, wide_w] = match int8 {
        true => [quantised_inputs(&a, k), quantised(&w, k)],
        false => [wide(&a), wide(&w)],
    };
    let wide_residual = wide(&residual);
    let mut expected = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let sum: f64 = (0..k).map(|x| wide_a[i * k + x] * wide_w[j * k + x]).sum();
            expected.push(sum + f64::from(bias[j]) + wide_residual[i * n + j]);
        }
    }
    let mut out = Buffer::<T>::dirty(m * n);
    let shared = Shared::new(&mut out);
    let store = Store {
        bias: Some(&bias),
        residual: Some(&residual),
        ..Store::new(&shared, n)
    };
    if int8 {
        with_whole(isa, &w, [n, 1, k], |weights| {
            linear(isa, &a, [m, k], weights, store)
        });
    } else {
        let panels = pack::<T>(n, 1, k, |n| Some(&w[n * k..][..k]));
        linear(isa, &a, [m, k], Weights::Plain(panels.right()), store);
    }
    check(&format!("{isa:?} {m}x{k}x{n} {int8}"), &out, &expected, 2e-6);
}

#[test]
fn products_of_any_shape() {
    on_every_isa(|isa| {
        for (m, k, n) in [
            (1, 1, 1),
            (5, 3, 7),
            (33, 40, 31),
            (64, 64, 64),
            (100, 77, 50),
            (3, 200, 96),
        ] {
            for int8 in [false, true] {
                product::<f32>(isa, [m, k, n], int8);
                product::<bf16>(isa, [m, k, n], int8);
            }
        }
    });
}

fn convolution<T: Simd>(
    isa: Isa,
    [batch, h, w, c]: [usize; 4],
    n: usize,
    geometry: Geometry,
    odd: usize,
    int8: bool,
) {
    let shift = usize::from(geometry.upsample);
    let source = [h, w].map(|n| (n << shift) - odd);
    let geometry = Geometry { source, ..geometry };
    let x = values::<T>(batch * h * w * c, 4);
    let [kh, kw] = geometry.kernel;
    let weight = values::<T>(n * c * kh * kw, 5);
    let [oh, ow] = geometry.output();
    let (image_bias, residual) = (values::<T>(batch * n, 6), values::<T>(batch * oh * ow * n, 7));
    let len = c * kh * kw;
    let mut out = Buffer::<T>::dirty(batch * oh * ow * n);
    let shared = Shared::new(&mut out);
    let store = Store {
        image_bias: Some((&image_bias, oh * ow)),
        residual: Some(&residual),
        ..Store::new(&shared, n)
    };
    let pictures = Pictures {
        data: &x,
        shape: [batch, h, w, c],
    };
    if int8 {
        with_whole(isa, &weight, [n, kh * kw, c], |weights| {
            conv(isa, pictures, geometry, weights, store);
        });
    } else {
        let panels = pack::<T>(n, kh * kw, c, |o| Some(&weight[o * len..][..len]));
        conv(isa, pictures, geometry, Weights::Plain(panels.right()), store);
    }
    let pointwise = geometry.kernel == [1, 1] && geometry.stride == 1 && !geometry.upsample;
    let (x, weight) = match int8 {
        true if pointwise => (quantised_inputs(&x, c), quantised(&weight, len)),
        true => (quantised_inputs(&x, h * w * c), quantised(&weight, len)),
        false => (wide(&x), wide(&weight)),
    };
    let (image_bias, residual) = (wide(&image_bias), wide(&residual));
    let mut expected = Vec::new();
    for (i, residual) in residual.iter().enumerate() {
        let (b, y, at, o) = (i / n / ow / oh, i / n / ow % oh, i / n % ow, i % n);
        let mut sum = image_bias[b * n + o] + residual;
        for tap in 0..kh * kw {
            let place = |at: usize, tap: usize, (before, _): (usize, usize), size: usize| {
                (at * geometry.stride + tap)
                    .checked_sub(before)
                    .filter(|&p| p < size)
                    .map(|p| p >> shift)
            };
            let row = place(y, tap / kw, geometry.rows, source[0]);
            if let (Some(sy), Some(sx)) = (row, place(at, tap % kw, geometry.columns, source[1])) {
                for channel in 0..c {
                    let pixel = x[((b * h + sy) * w + sx) * c + channel];
                    sum += pixel * weight[(o * c + channel) * kh * kw + tap];
                }
            }
        }
        expected.push(sum);
    }
    // Winograd's way rounds more: 1e-5 of the results' size at worst, which is 1.4 here.
    let sums = match (ow < 8, c) {
        (true, _) => 3e-6,
        (false, ..=64) => 1.4e-5,
        // More channels have larger sums.
        (false, _) => 1e-5 * expected.iter().fold(0.0, |most: f64, v| most.max(v.abs())),
    };
    check(&format!("{isa:?} {geometry:?} {int8}"), &out, &expected, sums);
}

#[test]
fn convolutions_of_every_geometry() {
    let plain = Geometry {
        kernel: [3, 3],
        stride: 1,
        rows: (1, 1),
        columns: (1, 1),
        source: [0, 0],
        upsample: false,
    };
    let halving = Geometry { stride: 2, ..plain };
    let vae = Geometry {
        rows: (0, 1),
        columns: (0, 1),
        ..halving
    };
    // Of a larger picture, with the rows around it.
    let window = Geometry {
        rows: (0, 0),
        ..plain
    };
    let vae_window = Geometry { rows: (0, 0), ..vae };
    let upsample = Geometry {
        upsample: true,
        ..plain
    };
    let pointwise = Geometry {
        kernel: [1, 1],
        rows: (0, 0),
        columns: (0, 0),
        ..plain
    };
    on_every_isa(|isa| {
        for geometry in [plain, halving, vae, window, vae_window, upsample, pointwise] {
            for (shape, n) in [([2, 5, 7, 3], 5), ([1, 8, 8, 32], 32), ([3, 4, 6, 33], 40)] {
                convolution::<f32>(isa, shape, n, geometry, 0, false);
                convolution::<f32>(isa, shape, n, geometry, 0, true);
                convolution::<bf16>(isa, shape, n, geometry, 0, false);
                convolution::<bf16>(isa, shape, n, geometry, 0, true);
            }
        }
        // Large enough for Winograd's way, with tiles that end beyond the picture.
        for (geometry, odd) in [(plain, 0), (upsample, 0), (upsample, 1)] {
            for (shape, n) in [([2, 17, 18, 20], 40), ([1, 19, 16, 33], 17)] {
                convolution::<f32>(isa, shape, n, geometry, odd, false);
                convolution::<f32>(isa, shape, n, geometry, odd, true);
                convolution::<bf16>(isa, shape, n, geometry, odd, false);
                convolution::<bf16>(isa, shape, n, geometry, odd, true);
            }
        }
        // Several parts of tiles, and kernels of some channels after others, the last ones fewer.
        convolution::<f32>(isa, [1, 44, 45, 150], 17, plain, 0, false);
        convolution::<f32>(isa, [1, 37, 52, 290], 17, plain, 0, true);
        convolution::<bf16>(isa, [1, 44, 45, 150], 17, plain, 0, false);
        convolution::<f32>(isa, [2, 5, 7, 3], 5, upsample, 1, false);
        convolution::<f32>(isa, [2, 5, 7, 3], 5, upsample, 1, true);
        convolution::<bf16>(isa, [2, 5, 7, 3], 5, upsample, 1, false);
        convolution::<bf16>(isa, [2, 5, 7, 3], 5, upsample, 1, true);
    });
}

fn attend<T: Simd>(isa: Isa, [batch, heads, d]: [usize; 3], [n, m]: [usize; 2], causal: bool, size: f32) {
    let width = heads * d;
    let sized = |rows: usize, seed: u32| {
        let mut values = values::<T>(batch * rows * width, seed);
        values
            .iter_mut()
            .for_each(|v| *v = T::from_f32(v.to_f32() * size));
        values
    };
    let (q, k, v) = (sized(n, 8), sized(m, 9), values::<T>(batch * m * width, 10));
    let mut out = Buffer::<T>::dirty(batch * n * width);
    attention(isa, &q, &k, &v, [batch, heads, d], causal, &mut out);
    let (q, k, v) = (wide(&q), wide(&k), wide(&v));
    let mut expected = vec![0.0; q.len()];
    for (b, h, i) in (0..batch * heads * n).map(|x| (x / n / heads, x / n % heads, x % n)) {
        let seen = if causal { i + 1 + m - n } else { m };
        let at = |rows: usize, row: usize| (b * rows + row) * width + h * d;
        let score = |j: usize| -> f64 { (0..d).map(|x| q[at(n, i) + x] * k[at(m, j) + x]).sum() };
        let scores: Vec<f64> = (0..seen).map(|j| score(j) / (d as f64).sqrt()).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for x in 0..d {
            let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * v[at(m, j) + x]).sum();
            expected[at(n, i) + x] = sum / total;
        }
    }
    // The weights of values are rounded too.
    let sums = if T::GROUP == 2 { 2e-3 } else { 1e-6 };
    check(&format!("{isa:?} attention {n} {m} {d}"), &out, &expected, sums);
}

#[test]
fn attention_of_any_length() {
    on_every_isa(|isa| {
        for (n, m, causal) in [
            (1, 1, false),
            (40, 77, false),
            (77, 77, true),
            (33, 600, false),
            (300, 300, true),
            (1, 40, true),
            (5, 60, true),
            (70, 260, true),
        ] {
            attend::<f32>(isa, [2, 3, 40], [n, m], causal, 1.0);
            attend::<bf16>(isa, [2, 3, 40], [n, m], causal, 1.0);
            // Scores of 1e13, whose rounding is more than any exponent.
            attend::<f32>(isa, [2, 3, 40], [n, m], causal, 3e6);
            attend::<bf16>(isa, [2, 3, 40], [n, m], causal, 3e6);
        }
        attend::<f32>(isa, [1, 1, 7], [9, 10], false, 1.0);
        attend::<bf16>(isa, [1, 1, 7], [9, 10], false, 1.0);
    });
}

/// A large mean is what a one-pass variance would stumble over.
#[test]
fn normalisations() {
    let (batch, pixels, c, groups) = (2, 75, 24, 4);
    let x: Vec<f32> = values::<f32>(batch * pixels * c, 11)
        .iter()
        .map(|v| 1000.0 + 5.0 * v)
        .collect();
    let gamma: Vec<f32> = (0..c).map(|i| i as f32 / 10.0 - 1.0).collect();
    let beta: Vec<f32> = (0..c).map(|i| 0.5 - i as f32 / 20.0).collect();
    let moments = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, (variance + 1e-5).sqrt())
    };
    let (mut groupwise, mut rowwise) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    let size = c / groups;
    for (b, g) in (0..batch * groups).map(|i| (i / groups, i % groups)) {
        let places: Vec<usize> = (0..pixels * size)
            .map(|i| (b * pixels + i / size) * c + g * size + i % size)
            .collect();
        let all: Vec<f64> = places.iter().map(|&i| f64::from(x[i])).collect();
        let (mean, deviation) = moments(&all);
        for (&i, v) in places.iter().zip(all) {
            groupwise[i] = (v - mean) / deviation * f64::from(gamma[i % c]) + f64::from(beta[i % c]);
        }
    }
    for (row, out) in x.chunks(c).zip(rowwise.chunks_mut(c)) {
        let all: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let (mean, deviation) = moments(&all);
        for (i, (out, v)) in out.iter_mut().zip(all).enumerate() {
            *out = (v - mean) / deviation * f64::from(gamma[i]) + f64::from(beta[i]);
        }
    }
    let with_silu: Vec<f64> = groupwise.iter().map(|v| v / (1.0 + (-v).exp())).collect();
    on_every_isa(|isa| {
        let mut out = vec![0f32; x.len()];
        let scale = (&*gamma, &*beta);
        group_norm(isa, &x, [batch, pixels, c], groups, scale, 1e-5, false, &mut out);
        check("group norm", &out, &groupwise, 3e-4);
        group_norm(isa, &x, [batch, pixels, c], groups, scale, 1e-5, true, &mut out);
        check("group norm, silu", &out, &with_silu, 3e-4);
        layer_norm(isa, &x, c, scale, 1e-5, &mut out);
        check("layer norm", &out, &rowwise, 3e-4);
    });
}

#[test]
fn what_is_not_finite_stays_so_in_eight_bits() {
    on_every_isa(|isa| {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let values = [1.0, bad, 0.5, 1.0, -1.0, 3.0];
            let (_, scales) = quantised::rows::<f32, u8>(isa, &values, 3);
            assert!(scales[0].step.is_nan(), "{isa:?} {bad}");
            let (step, zero) = (4.0 / 253.0, 128 - 127 + 63);
            assert_eq!(scales[1], quantised::Scale { step, zero }, "{isa:?} {bad}");
        }
        // Too small for an inverse.
        let (bytes, scales) = quantised::rows::<f32, u8>(isa, &[0f32, 1e-40, 0.0, 0.0], 2);
        assert!(scales.iter().all(|scale| scale.step == 0.0));
        assert!(bytes.iter().all(|&byte| byte == 128));
        let (words, scales) = quantised::rows::<f32, i16>(isa, &[0f32, 1e-40, 0.0, 0.0], 2);
        assert!(scales.iter().all(|scale| scale.step == 0.0));
        assert!(words.iter().all(|&word| word == 0));
    });
}

/// Sums of whole numbers are the same to the bit on every instruction set, at the largest values too.
#[test]
fn whole_sums_are_the_same_everywhere() {
    for (m, k, n, largest) in [(5, 70, 40, false), (3, 640, 33, true), (40, 64, 96, false)] {
        let fill = |seed: u32, len: usize| match largest {
            true => values::<f32>(len, seed).iter().map(|v| v.signum()).collect(),
            false => values::<f32>(len, seed).to_vec(),
        };
        let (x, w): (Vec<f32>, Vec<f32>) = (fill(1, m * k), fill(2, n * k));
        let mut results = Vec::new();
        on_every_isa(|isa| {
            let mut out = vec![0f32; m * n];
            let shared = Shared::new(&mut out);
            let store = Store::new(&shared, n);
            with_whole(isa, &w, [n, 1, k], |weights| {
                linear(isa, &x, [m, k], weights, store);
            });
            results.push(out);
        });
        for other in &results[1..] {
            assert_eq!(bits(other), bits(&results[0]));
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The same of convolutions, with fewer multiplications on some of them, at the largest values too.
#[test]
fn whole_convolutions_are_the_same_everywhere() {
    for ([batch, h, w, c], n, upsample, largest) in [
        ([1, 17, 18, 40], 33, false, false),
        ([2, 4, 33, 320], 40, false, true),
        ([1, 9, 11, 20], 64, true, false),
        ([1, 5, 16, 2592], 16, false, true),
    ] {
        let fill = |seed: u32, len: usize| -> Vec<f32> {
            let values = values::<f32>(len, seed);
            match largest {
                // All of one sign, so that sums are as large as they can be.
                true => values
                    .iter()
                    .map(|_| if seed == 1 { 1.0 } else { -1.0 })
                    .collect(),
                false => values.to_vec(),
            }
        };
        let (x, weight) = (fill(1, batch * h * w * c), fill(2, n * 9 * c));
        let shift = usize::from(upsample);
        let geometry = Geometry {
            upsample,
            ..Geometry::same([h << shift, w << shift])
        };
        let [oh, ow] = geometry.output();
        let mut results = Vec::new();
        on_every_isa(|isa| {
            let mut out = vec![0f32; batch * oh * ow * n];
            let shared = Shared::new(&mut out);
            let store = Store::new(&shared, n);
            let pictures = Pictures {
                data: &x,
                shape: [batch, h, w, c],
            };
            with_whole(isa, &weight, [n, 9, c], |weights| {
                conv(isa, pictures, geometry, weights, store);
            });
            results.push(out);
        });
        for other in &results[1..] {
            assert!(bits(other) == bits(&results[0]), "{h} x {w}, {c} -> {n}");
        }
        if largest {
            let inside = results[0][(ow + 1) * n];
            assert!((inside + 9.0 * c as f32).abs() < 0.01, "{inside}");
        }
    }
}

/// Stored weights `[n, k, taps]` in a form, as files hold them, and the values that these are.
fn stored(form: Form, [n, taps, k]: [usize; 3]) -> (Vec<u8>, Vec<f32>) {
    let len = n * taps * k;
    let plain = values::<f32>(len, 77);
    let half = |at: &[u8]| half::f16::from_le_bytes([at[0], at[1]]).to_f32();
    match form {
        Form::Bf16 => {
            let narrow: Vec<bf16> = plain.iter().map(|&v| bf16::from_f32(v)).collect();
            let wide = narrow.iter().map(|v| v.to_f32()).collect();
            (bytemuck::cast_slice(&narrow).to_vec(), wide)
        }
        Form::F16 => {
            // With some that are no normal numbers.
            let narrow = plain.iter().enumerate();
            let narrow: Vec<half::f16> = narrow
                .map(|(i, &v)| half::f16::from_f32(if i % 5 == 0 { v * 1e-5 } else { v }))
                .collect();
            let wide = narrow.iter().map(|v| v.to_f32()).collect();
            (bytemuck::cast_slice(&narrow).to_vec(), wide)
        }
        Form::E4M3(scale) | Form::E5M2(scale) => {
            // Every finite code.
            let most = if matches!(form, Form::E4M3(_)) { 0x7f } else { 0x7c };
            let codes: Vec<u8> = (0..len)
                .map(|i| (i * 37 % most) as u8 | (i as u8 & 1) << 7)
                .collect();
            let wide = codes.iter().map(|&code| match form {
                Form::E4M3(_) => crate::f8_e4m3(code) * scale,
                _ => crate::f8_e5m2(code) * scale,
            });
            let wide = wide.collect();
            (codes, wide)
        }
        Form::Q8_0 | Form::Q4_0 => {
            let size = if form == Form::Q8_0 { 34 } else { 18 };
            let bytes: Vec<u8> = (0..len / 32 * size)
                .map(|i| match i % size {
                    0 => (i / 7) as u8,
                    // Scales are positive and negative, and some are tiny.
                    1 => 0x1c ^ (i as u8 & 0x80) ^ ((i / size % 4) as u8 * 4),
                    at => (i * 31 + at) as u8,
                })
                .collect();
            let blocks = bytes.chunks_exact(size);
            let wide = blocks.flat_map(|block| {
                let d = half(block);
                (0..32).map(move |i| match form {
                    Form::Q8_0 => f32::from(block[2 + i] as i8) * d,
                    _ => (f32::from(block[2 + i % 16] >> (i / 16 * 4) & 15) - 8.0) * d,
                })
            });
            let wide = wide.collect();
            (bytes, wide)
        }
        Form::Int8 => unreachable!("no form of files"),
    }
}

/// A convolution with stored weights equals, to the bit, the one with the same weights widened before.
fn same_as_widened<T: Simd>(isa: Isa, form: Form, [n, c, side]: [usize; 3], kernel: usize) {
    let taps = kernel * kernel;
    let shape = [2, side, side + 1, c];
    let padding = (kernel / 2, kernel / 2);
    let geometry = Geometry {
        kernel: [kernel; 2],
        rows: padding,
        columns: padding,
        ..Geometry::same([side, side + 1])
    };
    let x = values::<T>(shape.iter().product(), 21);
    let (bytes, wide) = stored(form, [n, taps, c]);
    let wide: Vec<T> = wide.into_iter().map(T::from_f32).collect();
    let len = taps * c;
    let panels = match form {
        Form::Q8_0 | Form::Q4_0 => {
            let row = bytes.len() / n;
            pack_blocks::<T>(form, n, c, |n| Some(&bytes[n * row..][..row]))
        }
        Form::Bf16 | Form::F16 => {
            let halves: &[u16] = bytemuck::cast_slice(&bytes);
            pack_narrow::<u16, T>(form, n, taps, c, |n| Some(&halves[n * len..][..len]))
        }
        _ => pack_narrow::<u8, T>(form, n, taps, c, |n| Some(&bytes[n * len..][..len])),
    };
    let plain = pack::<T>(n, taps, c, |n| Some(&wide[n * len..][..len]));
    let run = |weights| {
        let mut out = Buffer::<T>::dirty(2 * side * (side + 1) * n);
        let shared = Shared::new(&mut out);
        let pictures = Pictures { data: &x, shape };
        conv(
            isa,
            pictures,
            geometry,
            Weights::Plain(weights),
            Store::new(&shared, n),
        );
        out.iter().map(|v| v.to_f32().to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(
        run(panels.right()),
        run(plain.right()),
        "{isa:?} {form:?} {n} {c} {side} {kernel}"
    );
}

#[test]
fn narrow_weights_equal_widened_ones() {
    on_every_isa(|isa| {
        let (e4m3, e5m2) = (Form::E4M3(0.37), Form::E5M2(1.0));
        for form in [Form::Bf16, Form::F16, e4m3, e5m2, Form::Q8_0, Form::Q4_0] {
            let blocks = matches!(form, Form::Q8_0 | Form::Q4_0);
            for (n, c, side) in [(40, 64, 3), (1, 32, 2), (70, 96, 17), (33, 19, 18), (5, 3, 4)] {
                for kernel in [1, 3] {
                    if !blocks || kernel == 1 && c % 32 == 0 {
                        same_as_widened::<f32>(isa, form, [n, c, side], kernel);
                        same_as_widened::<bf16>(isa, form, [n, c, side], kernel);
                    }
                }
            }
        }
    });
}
