//! Noise against PyTorch, numpy and torchsde.

mod common;

use common::{floats, golden};
use sd_sched::Dialect;
use sd_sched::rng::{
    BatchNoise, BrownianTree, NoiseOptions, PhiloxRng, SeedSequence, Shape, Source, TorchCpuRng,
    philox_4x32_10,
};
use serde_json::Value;

/// Distance in units in the last place; below 1e-3 in those of 1e-3 (a cosine near 0 has no relative accuracy).
fn ulps(a: f32, b: f32) -> f32 {
    let scale = a.abs().max(b.abs()).max(1e-3);
    let ulp = f32::from_bits(scale.to_bits() + 1) - scale;
    (a - b).abs() / ulp
}

fn list(v: &Value) -> &Vec<Value> {
    v.as_array().expect("a list")
}

fn text<T: std::str::FromStr>(v: &Value) -> T {
    v.as_str().and_then(|s| s.parse().ok()).expect("a number as text")
}

fn words(v: &Value) -> Vec<u32> {
    list(v)
        .iter()
        .map(|w| w.as_i64().expect("an integer") as u32)
        .collect()
}

#[test]
fn torch_cpu_f32() {
    let (mut worst, mut equal, mut all) = (0f32, 0, 0);
    for row in list(&golden("torch_cpu_noise.json")) {
        let Some(draws) = row["f32"].as_array() else {
            continue;
        };
        let mut g = TorchCpuRng::new(text(&row["seed"]));
        for draw in draws {
            let want: Vec<f32> = words(draw).into_iter().map(f32::from_bits).collect();
            for (a, b) in g.normal_f32(want.len()).into_iter().zip(want) {
                assert!(ulps(a, b) <= 4.0, "seed {}: {a} for {b}", row["seed"]);
                worst = worst.max(ulps(a, b));
                equal += usize::from(a == b);
                all += 1;
            }
        }
    }
    println!("f32: worst {worst} ulp, {equal} of {all} equal");
}

#[test]
fn torch_cpu_half() {
    for (kind, digits) in [("f16", 10), ("bf16", 7)] {
        let (mut worst, mut equal, mut all) = (0f32, 0, 0);
        for row in list(&golden("torch_cpu_noise.json")) {
            let Some(draws) = row[kind].as_array() else {
                continue;
            };
            let mut g = TorchCpuRng::new(text(&row["seed"]));
            for draw in draws {
                let bits = words(draw);
                let got = if kind == "f16" {
                    g.normal_f16(bits.len())
                } else {
                    g.normal_bf16(bits.len())
                };
                for (a, b) in got.into_iter().zip(bits) {
                    let b = if kind == "f16" {
                        f16(b)
                    } else {
                        f32::from_bits(b << 16)
                    };
                    let ulp = 2f32.powi(b.abs().max(0.01).log2().floor() as i32 - digits);
                    assert!((a - b).abs() <= ulp, "{kind} seed {}: {a} for {b}", row["seed"]);
                    worst = worst.max((a - b).abs() / ulp);
                    equal += usize::from(a == b);
                    all += 1;
                }
            }
        }
        println!("{kind}: worst {worst} ulp, {equal} of {all} equal");
    }
}

/// A float16 from its bits.
fn f16(bits: u32) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (e, m) = ((bits >> 10 & 31) as i32, (bits & 1023) as f32);
    sign * if e == 0 {
        m * 2f32.powi(-24)
    } else {
        (1.0 + m / 1024.0) * 2f32.powi(e - 15)
    }
}

#[test]
fn numpy_seed_sequence() {
    for row in list(&golden("seed_sequence.json")) {
        let key: Vec<u64> = list(&row["key"]).iter().map(text).collect();
        let want = words(&row["state"]);
        let pool = row["pool"].as_u64().expect("a size") as usize;
        assert_eq!(
            SeedSequence::new(text(&row["entropy"]), &key, pool).state(want.len()),
            want,
            "{row}"
        );
    }
}

#[test]
fn philox() {
    for row in list(&golden("philox.json")) {
        if let Some(draws) = row["normals"].as_array() {
            let mut g = PhiloxRng::new(text(&row["seed"]));
            for draw in draws {
                let want = floats(draw);
                for (a, b) in g.normal_f32(want.len()).into_iter().zip(want) {
                    assert!(ulps(a, b as f32) <= 1.0, "seed {}: {a} for {b}", row["seed"]);
                }
            }
            continue;
        }
        let (c, k) = (words(&row["counter"]), words(&row["key"]));
        assert_eq!(
            philox_4x32_10([c[0], c[1], c[2], c[3]], [k[0], k[1]]).to_vec(),
            words(&row["out"])
        );
    }
}

#[test]
fn torchsde_brownian_tree() {
    let mut worst = 0f64;
    for row in list(&golden("brownian.json")) {
        let n = row["n"].as_u64().expect("a size") as usize;
        let (min, max) = (
            row["min"].as_f64().expect("min"),
            row["max"].as_f64().expect("max"),
        );
        let mut tree = BrownianTree::new(text(&row["seed"]), Source::TorchCpu, n, min, max).expect("a tree");
        let queries = list(&row["queries"]);
        // Forwards and then backwards: a path has no memory.
        for q in queries.iter().chain(queries.iter().rev()) {
            let got = tree.noise(q["from"].as_f64().expect("from"), q["to"].as_f64().expect("to"));
            for (a, b) in got.iter().zip(floats(&q["noise"])) {
                let error = (f64::from(*a) - b).abs();
                assert!(
                    error < 1e-5,
                    "seed {} {} to {}: {a} for {b}",
                    row["seed"],
                    q["from"],
                    q["to"]
                );
                worst = worst.max(error);
            }
        }
    }
    println!("Brownian: worst {worst:e}");
}

#[test]
fn batches() {
    let mut worst = 0f32;
    for case in list(&golden("batch_noise.json")) {
        let shape = Shape {
            channels: 2,
            height: 5,
            width: 6,
        };
        let pair = |v: &Value| {
            (
                v[0].as_u64().expect("rows") as usize,
                v[1].as_u64().expect("columns") as usize,
            )
        };
        let mut batch = BatchNoise::new(NoiseOptions {
            dialect: match case["dialect"].as_str() {
                Some("comfy") => Dialect::Comfy,
                Some("diffusers") => Dialect::Diffusers,
                _ => Dialect::WebUi,
            },
            batch_size: case["batch"].as_u64().expect("a size") as usize,
            variation_seed: case["variation"].as_u64().unwrap_or(0),
            variation_strength: case["strength"].as_f64().unwrap_or(0.0),
            ensd: case["ensd"].as_i64().unwrap_or(0),
            seed_resize_from: case["resize"].as_array().map(|_| pair(&case["resize"])),
            ..NoiseOptions::new(case["seed"].as_u64().expect("a seed"), shape)
        })
        .expect("a batch");
        for (i, images) in list(&case["draws"]).iter().enumerate() {
            let got = if i == 0 { batch.first() } else { batch.next() };
            assert_eq!(got.len(), list(images).len());
            for (got, want) in got.iter().zip(list(images)) {
                for (a, b) in got.iter().zip(words(want)) {
                    let want = f32::from_bits(b);
                    if case["strength"].is_null() {
                        assert!(ulps(*a, want) <= 4.0, "{a} for {want}, seed {}", case["seed"]);
                    } else {
                        // Where two noises cancel, their own ulps count.
                        assert!((a - want).abs() <= 1e-6, "{a} for {want}, seed {}", case["seed"]);
                    }
                    worst = worst.max((a - want).abs());
                }
            }
        }
    }
    println!("batches: worst {worst:e}");
}

/// A batch gives what its images give alone.
#[test]
fn an_image_in_a_batch_is_the_image_alone() {
    let shape = Shape {
        channels: 4,
        height: 8,
        width: 8,
    };
    let mut batch = BatchNoise::new(NoiseOptions {
        batch_size: 3,
        ..NoiseOptions::new(5, shape)
    })
    .expect("a batch");
    let (first, next) = (batch.first(), batch.next());
    let tree = batch.brownian((0.03, 14.6)).expect("trees").noise(14.6, 7.0);
    for i in 0..3 {
        let mut alone = BatchNoise::new(NoiseOptions::new(5 + i as u64, shape)).expect("one");
        assert_eq!((&alone.first()[0], &alone.next()[0]), (&first[i], &next[i]));
        assert_eq!(
            alone.brownian((0.03, 14.6)).expect("a tree").noise(14.6, 7.0)[0],
            tree[i]
        );
    }
    assert!(
        BatchNoise::new(NoiseOptions {
            batch_size: 0,
            ..NoiseOptions::new(5, shape)
        })
        .is_err()
    );
    let huge = Shape {
        width: usize::MAX,
        ..shape
    };
    assert!(BatchNoise::new(NoiseOptions::new(5, huge)).is_err());
    let bad = NoiseOptions {
        variation_strength: 1.5,
        ..NoiseOptions::new(5, shape)
    };
    assert!(BatchNoise::new(bad).is_err());
    assert!(batch.brownian((1.0, 1.0)).is_err());
    assert!(batch.brownian((f64::NAN, 1.0)).is_err());
}
