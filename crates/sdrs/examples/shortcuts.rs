//! What a run's shortcuts save, and how far the picture is from the one without them.
//!
//!     cargo run --release -p sdrs --features demo --example shortcuts -- demo|CHECKPOINT [DTYPE] [SIDE] [STEPS] [REPEAT]
//!
//! Every setting draws the same seeds, all in turn, REPEAT times. Time is of sampling alone; of each setting the fastest counts.
//! Errors: relative L2 of the final latents, and PSNR of the decoded pictures, on average.

use std::time::Instant;

use sdrs::{Dtype, GenerateParams, Pipeline, Sampler};

type Change = fn(&mut GenerateParams);

/// The first leaves nothing out.
const SETTINGS: [(&str, Change); 12] = [
    ("nothing", |_| {}),
    ("NGMS 2", |p| p.ngms = 2.0),
    ("NGMS 4", |p| p.ngms = 4.0),
    ("NGMS 1, all steps", |p| (p.ngms, p.ngms_all_steps) = (1.0, true)),
    ("skip early CFG 0.1", |p| p.skip_early_cfg = 0.1),
    ("guidance at 0.28 to 5.42", |p| {
        (p.guidance_sigma_min, p.guidance_sigma_max) = (0.28, Some(5.42));
    }),
    ("token merging 0.3", |p| p.token_merging = 0.3),
    ("token merging 0.5", |p| p.token_merging = 0.5),
    ("DeepCache 2", |p| p.deep_cache_interval = 2),
    ("DeepCache 3", |p| p.deep_cache_interval = 3),
    ("DeepCache 5", |p| p.deep_cache_interval = 5),
    ("DeepCache 3, branch 3", |p| {
        (p.deep_cache_interval, p.deep_cache_branch) = (3, 3);
    }),
];

const PROMPTS: [&str; 4] = [
    "a red circle above a blue square",
    "a yellow star left of a purple heart on a night sky",
    "a small white diamond inside a big green ring",
    "a striped orange triangle on a meadow",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let dtype = Dtype::from_name(&arg(1, "f32")).ok_or("DTYPE: f32, bf16 or f16")?;
    let (steps, repeat): (usize, usize) = (arg(3, "20").parse()?, arg(4, "1").parse()?);
    let builder = Pipeline::builder().device("cpu").dtype(dtype);
    let (builder, prompts) = match arg(0, "demo").as_str() {
        #[cfg(feature = "demo")]
        "demo" => (builder.demo(), &PROMPTS[..]),
        path => (builder.checkpoint(path), &PROMPTS[..1]),
    };
    let pipeline = builder.build()?;
    let side = match args.get(2) {
        Some(side) => side.parse()?,
        None => pipeline.sizes().default_side as u32,
    };
    let mut made: Vec<Made> = SETTINGS.map(|_| Made::default()).into();
    // The first run's memory is new to the process.
    draw(&pipeline, &GenerateParams::default(), PROMPTS[0], side, 2)?;
    for _ in 0..repeat {
        for ((name, change), made) in SETTINGS.iter().zip(&mut made) {
            let mut params = GenerateParams::default();
            change(&mut params);
            let mut seconds = 0.0;
            made.latents.clear();
            for prompt in prompts {
                let start = Instant::now();
                made.latents.push(draw(&pipeline, &params, prompt, side, steps)?);
                seconds += start.elapsed().as_secs_f64();
            }
            eprintln!("{name}: {:.3} s a step", seconds / (steps * prompts.len()) as f64);
            made.seconds = made.seconds.min(seconds);
        }
    }
    for made in &mut made {
        for latents in &made.latents {
            made.pictures.push(decode(&pipeline, latents, side)?);
        }
    }
    println!("| left out | time of a step | relative L2 of the latents | PSNR |\n|---|---|---|---|");
    let whole = &made[0];
    for ((name, _), made) in SETTINGS.iter().zip(&made) {
        let count = prompts.len() as f64;
        let errors = made
            .latents
            .iter()
            .zip(&whole.latents)
            .map(|(a, b)| relative_error(a, b));
        let psnr = made.pictures.iter().zip(&whole.pictures).map(|(a, b)| psnr(a, b));
        println!(
            "| {name} | {:.2} | {:.3} | {:.1} dB |",
            made.seconds / whole.seconds,
            errors.sum::<f64>() / count,
            psnr.sum::<f64>() / count
        );
    }
    Ok(())
}

struct Made {
    seconds: f64,
    latents: Vec<Vec<f32>>,
    pictures: Vec<Vec<u8>>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            seconds: f64::INFINITY,
            latents: Vec::new(),
            pictures: Vec::new(),
        }
    }
}

fn draw(
    pipeline: &Pipeline,
    params: &GenerateParams,
    prompt: &str,
    side: u32,
    steps: usize,
) -> sdrs::Result<Vec<f32>> {
    let mut params = params.clone();
    (params.prompt, params.seed, params.steps) = (prompt.into(), 1, steps);
    (params.width, params.height) = (Some(side), Some(side));
    let request = pipeline.txt2img("").params(params);
    Ok(request.sampler(Sampler::Euler).latents()?.latents.values)
}

fn decode(pipeline: &Pipeline, latents: &[f32], side: u32) -> sdrs::Result<Vec<u8>> {
    let sizes = pipeline.sizes();
    let side = side as usize / sizes.downscale;
    let picture = pipeline.vae_decode(latents, [1, sizes.latent_channels, side, side])?;
    Ok(picture
        .values
        .iter()
        .map(|v| (127.5 * (v + 1.0)).clamp(0.0, 255.0) as u8)
        .collect())
}

fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
}

fn psnr(got: &[u8], expected: &[u8]) -> f64 {
    let squares = got
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    10.0 * (255.0 * 255.0 * got.len() as f64 / squares.sum::<f64>()).log10()
}
