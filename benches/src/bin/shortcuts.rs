//! The arithmetic that a run's shortcuts save, and the distance of the picture from the one without them.
//!
//!     cargo run --release -p benches --bin shortcuts -- demo|CHECKPOINT [DTYPE] [SIDE] [STEPS]
//!
//! Arithmetic is counted, not timed: products of sampling alone. Errors: relative L2 of the final latents, and PSNR of the decoded
//! pictures, on average over some prompts with the same seed. The program `calls` measures the time of a call.

use sdrs::{Dtype, GenerateParams, Pipeline, Sampler};

type Change = fn(&mut GenerateParams);

/// The first leaves nothing out.
const SETTINGS: [(&str, Change); 20] = [
    ("nothing", |_| {}),
    ("NGMS 2", |p| p.guidance.ngms = 2.0),
    ("NGMS 4", |p| p.guidance.ngms = 4.0),
    ("NGMS 1, all steps", |p| {
        (p.guidance.ngms, p.guidance.ngms_all_steps) = (1.0, true)
    }),
    ("skip early CFG 0.1", |p| p.guidance.skip_early_cfg = 0.1),
    ("guidance at 0.28 to 5.42", |p| {
        (p.guidance.guidance_sigma_min, p.guidance.guidance_sigma_max) = (0.28, Some(5.42));
    }),
    ("adaptive guidance 0.98", |p| p.guidance.adaptive_guidance = 0.98),
    ("adaptive guidance 0.99", |p| p.guidance.adaptive_guidance = 0.99),
    ("adaptive guidance 0.995", |p| {
        p.guidance.adaptive_guidance = 0.995
    }),
    ("token merging 0.3", |p| p.speed.token_merging = 0.3),
    ("token merging 0.5", |p| p.speed.token_merging = 0.5),
    ("token merging 0.5, cross-attention too", |p| {
        (p.speed.token_merging, p.speed.token_merging_cross_attention) = (0.5, true);
    }),
    ("token merging 0.5, MLP too", |p| {
        (p.speed.token_merging, p.speed.token_merging_mlp) = (0.5, true);
    }),
    ("DeepCache 2", |p| p.speed.deep_cache_interval = 2),
    ("DeepCache 3", |p| p.speed.deep_cache_interval = 3),
    ("DeepCache 5", |p| p.speed.deep_cache_interval = 5),
    ("DeepCache 3, branch 3", |p| {
        (p.speed.deep_cache_interval, p.speed.deep_cache_branch) = (3, 3);
    }),
    ("first-block cache 0.1", |p| p.speed.first_block_cache = 0.1),
    ("first-block cache 0.15", |p| p.speed.first_block_cache = 0.15),
    ("first-block cache 0.2", |p| p.speed.first_block_cache = 0.2),
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
    let steps: usize = arg(3, "20").parse()?;
    let builder = Pipeline::builder().device("cpu").dtype(dtype).profile(true);
    let (builder, prompts) = match arg(0, "demo").as_str() {
        "demo" => (builder.demo(), &PROMPTS[..]),
        path => (builder.checkpoint(path), &PROMPTS[..1]),
    };
    let pipeline = builder.build()?;
    let side = match args.get(2) {
        Some(side) => side.parse()?,
        None => pipeline.sizes().default_side as u32,
    };
    // What the text encoder gives is kept from here on.
    for prompt in prompts {
        draw(&pipeline, &GenerateParams::default(), prompt, side, 1)?;
    }
    let flops = || pipeline.profile().iter().map(|entry| entry.flops).sum::<f64>();
    let mut whole: Option<Outcome> = None;
    println!("| left out | arithmetic | relative L2 of the latents | PSNR |\n|---|---|---|---|");
    for (name, change) in SETTINGS {
        let mut params = GenerateParams::default();
        change(&mut params);
        let mut outcome = Outcome::default();
        for prompt in prompts {
            let before = flops();
            let latents = draw(&pipeline, &params, prompt, side, steps)?;
            outcome.flops += flops() - before;
            outcome.pictures.push(decode(&pipeline, &latents, side)?);
            outcome.latents.push(latents);
        }
        let Some(whole) = &whole else {
            whole = Some(outcome);
            continue;
        };
        let count = prompts.len() as f64;
        let errors = outcome.latents.iter().zip(&whole.latents);
        let errors = errors.map(|(a, b)| relative_error(a, b)).sum::<f64>() / count;
        let psnr = outcome.pictures.iter().zip(&whole.pictures);
        let psnr = psnr.map(|(a, b)| self::psnr(a, b)).sum::<f64>() / count;
        let work = outcome.flops / whole.flops;
        println!("| {name} | {work:.2} | {errors:.3} | {psnr:.1} dB |");
    }
    Ok(())
}

#[derive(Default)]
struct Outcome {
    flops: f64,
    latents: Vec<Vec<f32>>,
    pictures: Vec<Vec<u8>>,
}

fn draw(
    pipeline: &Pipeline,
    params: &GenerateParams,
    prompt: &str,
    side: u32,
    steps: usize,
) -> sdrs::Result<Vec<f32>> {
    let mut params = params.clone();
    (params.text.prompt, params.noise.seed, params.sampling.steps) = (prompt.into(), 1, steps);
    (params.size.width, params.size.height) = (Some(side), Some(side));
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
