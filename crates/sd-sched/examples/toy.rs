//! Samples a distribution on the plane without any tensor library: a ring of eight Gaussians, drawn as text.
//!
//! `cargo run -p sd-sched --example toy -- "DPM++ 2M Karras" 20`

use sd_sched::rng::TorchCpuRng;
use sd_sched::{Error, ModelSampling, PlanOptions, Prediction, parse_sampler, plan, sample};

/// The best denoiser there is: the mean of what the point may have been, over eight Gaussians of deviation 0.1.
fn denoise(x: &[f64], sigma: f64) -> Vec<f64> {
    let centre = |k: usize| {
        let angle = k as f64 * std::f64::consts::FRAC_PI_4;
        [2.0 * angle.cos(), 2.0 * angle.sin()]
    };
    let variance = 0.01 + sigma * sigma;
    let point = |p: &[f64]| {
        let far = |k: usize| (p[0] - centre(k)[0]).powi(2) + (p[1] - centre(k)[1]).powi(2);
        let nearest = (0..8).map(far).fold(f64::INFINITY, f64::min);
        let (mut total, mut mean) = (0.0, [0.0; 2]);
        for k in 0..8 {
            let w = (-0.5 * (far(k) - nearest) / variance).exp();
            total += w;
            (0..2).for_each(|i| mean[i] += w * (centre(k)[i] + 0.01 / variance * (p[i] - centre(k)[i])));
        }
        mean.map(|m| m / total)
    };
    x.chunks_exact(2).flat_map(point).collect()
}

fn main() -> Result<(), sd_sched::Error> {
    let mut args = std::env::args().skip(1);
    let (sampler, schedule) = parse_sampler(&args.next().unwrap_or("DPM++ 2M Karras".into()))?;
    let steps = args.next().and_then(|s| s.parse().ok()).unwrap_or(20);
    let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
    let plan = plan(
        sampler,
        schedule.unwrap_or_default(),
        steps,
        &model,
        &PlanOptions::default(),
    )?;
    println!(
        "{sampler}, {}, {} steps, {} calls",
        plan.schedule(),
        plan.steps(),
        plan.calls()
    );

    let points = 3000;
    let mut rng = TorchCpuRng::new(42);
    let mut noise = || -> Vec<f64> { rng.normal_f32(2 * points).into_iter().map(f64::from).collect() };
    let start = noise().into_iter().map(|n| n * plan.noise_scale()).collect();
    let both = |x: &Vec<f64>, sigma: f64| {
        let d = denoise(x, sigma);
        sd_sched::Denoised {
            uncond: Some(d.clone()),
            denoised: d,
        }
    };
    let x = sample(
        plan,
        start,
        |x, call| Ok(both(x, call.sigma)),
        |_| Ok::<_, Error>(noise()),
        |_| Ok(()),
    )?;

    let (columns, rows) = (64, 28);
    let mut counts = vec![0usize; columns * rows];
    for p in x.chunks_exact(2) {
        let (c, r) = (
            (p[0] + 2.8) / 5.6 * columns as f64,
            (2.8 - p[1]) / 5.6 * rows as f64,
        );
        if (0.0..columns as f64).contains(&c) && (0.0..rows as f64).contains(&r) {
            counts[r as usize * columns + c as usize] += 1;
        }
    }
    for row in counts.chunks_exact(columns) {
        let shade = |&n: &usize| [' ', '.', ':', 'o', '#'][(n + 3).ilog2().min(5) as usize - 1];
        println!("{}", row.iter().map(shade).collect::<String>().trim_end());
    }
    Ok(())
}
