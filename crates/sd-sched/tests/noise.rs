//! Noise against PyTorch.

mod common;

use common::golden;
use sd_sched::rng::TorchCpuRng;

/// Distance in units in the last place; below 1e-3 in those of 1e-3 (a cosine near 0 has no relative accuracy).
fn ulps(a: f32, b: f32) -> f32 {
    let scale = a.abs().max(b.abs()).max(1e-3);
    let ulp = f32::from_bits(scale.to_bits() + 1) - scale;
    (a - b).abs() / ulp
}

#[test]
fn torch_cpu_f32() {
    let (mut worst, mut equal, mut all) = (0f32, 0, 0);
    for row in golden("torch_cpu_noise.json").as_array().expect("rows") {
        let Some(draws) = row["f32"].as_array() else {
            continue;
        };
        let seed: u64 = row["seed"].as_str().expect("a seed").parse().expect("a number");
        let mut g = TorchCpuRng::new(seed);
        for draw in draws {
            let want: Vec<f32> = (draw.as_array().expect("bits").iter())
                .map(|b| f32::from_bits(b.as_i64().expect("an integer") as i32 as u32))
                .collect();
            let got = g.normal_f32(want.len());
            for (a, b) in got.iter().zip(&want) {
                assert!(ulps(*a, *b) <= 4.0, "seed {seed}: {a} for {b}");
                worst = worst.max(ulps(*a, *b));
                equal += usize::from(a == b);
                all += 1;
            }
        }
    }
    println!("worst {worst} ulp, {equal} of {all} equal");
}
