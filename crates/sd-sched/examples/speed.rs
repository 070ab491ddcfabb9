//! The cost of sampling itself: 1,000 steps over a latent of 4x128x128 in `Vec<f32>`, the denoiser left out.
//!
//! `cargo run --release -p sd-sched --example speed`

use std::time::{Duration, Instant};

use sd_sched::{ModelSampling, PlanOptions, Prediction, Request, Sampler, Schedule, Stepper, plan};

fn main() -> Result<(), sd_sched::Error> {
    let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
    let (n, steps) = (4 * 128 * 128, 1000);
    println!("| sampler | calls | ns per element and step | ms per step |");
    println!("|---|---|---|---|");
    // DPM adaptive wants true answers.
    for &sampler in Sampler::ALL.iter().filter(|s| **s != Sampler::DpmAdaptive) {
        let steps = if matches!(sampler, Sampler::Lcm | Sampler::Tcd) {
            50
        } else {
            steps
        };
        let made = Instant::now();
        let plan = plan(sampler, Schedule::Karras, steps, &model, &PlanOptions::default())?;
        let making = made.elapsed();
        let mut s = Stepper::new(plan, vec![0.5f32; n]);
        let mut inside = Duration::ZERO;
        while !s.is_done() && s.steps_done() < steps {
            // The answers are whatever lies there: their making is the caller's cost.
            let spare = |s: &mut Stepper<Vec<f32>>| s.take_spare().unwrap_or_else(|| vec![0.25; n]);
            let (a, b) = (spare(&mut s), None);
            let (noise, b) = match s.request() {
                Request::Noise { .. } => (true, b),
                Request::Denoise {
                    needs_uncond: true, ..
                } => (false, Some(spare(&mut s))),
                _ => (false, b),
            };
            let begin = Instant::now();
            match (noise, b) {
                (true, _) => s.provide_noise(a)?,
                (false, Some(b)) => s.provide_denoised_with_uncond(a, b)?,
                (false, None) => s.provide_denoised(a)?,
            }
            inside += begin.elapsed();
        }
        let done = s.steps_done().max(1) as f64;
        let per_step = inside.as_secs_f64() / done;
        let (ns, calls) = (per_step * 1e9 / n as f64, s.calls_done());
        println!("| {sampler} | {calls} | {ns:.2} | {:.3} |", per_step * 1e3);
        assert!(
            making < Duration::from_secs(5),
            "a plan of {steps} steps took {making:?}"
        );
    }
    Ok(())
}
