//! The tiny model and its LoRA, for the tests of weights.

// Each test uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use safetensors::{SafeTensors, tensor::TensorView};
use sd_sched::rng::{BatchNoise, NoiseOptions, Shape};
use sd_sched::{Latent, PlanOptions, Request, Stepper, plan};
use sdrs::{Image, Pipeline, Sampler, Schedule};

pub fn folder() -> PathBuf {
    goldens::root().join("tiny-sd1")
}

/// A folder of files that lie below several folders of goldens: `(folder, names)`.
pub fn put_together(files: &[(&str, &[&str])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, names) in files {
        for name in *names {
            let to = folder.path().join(name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(goldens::root().join(from).join(name), to).unwrap();
        }
    }
    folder
}

/// SDXL in small: the tiny SD1's first text encoder and autoencoder with what SDXL has besides.
pub fn sdxl_folder() -> tempfile::TempDir {
    put_together(&[
        (
            "tiny-sd1",
            &[
                "text_encoder/config.json",
                "text_encoder/model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
            ],
        ),
        (
            "tiny-sdxl",
            &[
                "model_index.json",
                "scheduler/scheduler_config.json",
                "text_encoder_2/config.json",
                "text_encoder_2/model.safetensors",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
            ],
        ),
    ])
}

/// Its refiner: the second text encoder alone, the same autoencoder, a U-Net of its own.
pub fn refiner_folder() -> tempfile::TempDir {
    put_together(&[
        (
            "tiny-sd1",
            &["vae/config.json", "vae/diffusion_pytorch_model.safetensors"],
        ),
        (
            "tiny-sdxl",
            &[
                "scheduler/scheduler_config.json",
                "text_encoder_2/config.json",
                "text_encoder_2/model.safetensors",
            ],
        ),
        (
            "tiny-refiner",
            &[
                "model_index.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
            ],
        ),
    ])
}

/// A folder of the tiny model whose U-Net has more input channels, their weights 0.1 sin(0.37 i).
pub fn widened(channels: usize) -> tempfile::TempDir {
    let files = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ];
    let folder = put_together(&[("tiny-sd1", &files)]);
    let at = |name: &str| folder.path().join("unet").join(name);
    let config = std::fs::read_to_string(at("config.json")).unwrap();
    let config = config.replace("\"in_channels\": 4", &format!("\"in_channels\": {channels}"));
    std::fs::write(at("config.json"), config).unwrap();
    widen(&at("diffusion_pytorch_model.safetensors"), channels);
    folder
}

fn widen(path: &Path, channels: usize) {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let old = tensors.tensor("conv_in.weight").unwrap();
    let (n, extra) = (old.shape()[0], channels - old.shape()[1]);
    let mut more = (0..n * extra * 9).map(|i| (0.1 * (0.37 * i as f64).sin()) as f32);
    let mut weight = Vec::new();
    assert_eq!(old.dtype(), safetensors::Dtype::F16);
    let old_values: Vec<f32> = old
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|v| half::f16::from_le_bytes(*v).to_f32())
        .collect();
    for row in old_values.chunks(old.shape()[1] * 9) {
        weight.extend(row.iter().flat_map(|v| v.to_le_bytes()));
        weight.extend(more.by_ref().take(extra * 9).flat_map(f32::to_le_bytes));
    }
    let view = TensorView::new(safetensors::Dtype::F32, vec![n, channels, 3, 3], &weight).unwrap();
    let all = tensors
        .tensors()
        .into_iter()
        .map(|(name, tensor)| match name.as_str() {
            "conv_in.weight" => (name, view.clone()),
            _ => (name, tensor),
        });
    safetensors::serialize_to_file(all, None, &path.with_extension("new")).unwrap();
    std::fs::rename(path.with_extension("new"), path).unwrap();
}

pub fn lora_file() -> PathBuf {
    folder().join("lora/lora.safetensors")
}

pub fn builder() -> sdrs::PipelineBuilder {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .checkpoint(folder())
        .device("cpu")
}

pub fn picture(pipeline: &Pipeline) -> Vec<u8> {
    draw(pipeline, "a red circle").unwrap().rgb
}

pub fn draw(pipeline: &Pipeline, prompt: &str) -> sdrs::Result<Image> {
    let request = pipeline.txt2img(prompt).width(48).height(64).steps(2);
    let output = request.seed(7).sampler(Sampler::Euler).run()?;
    Ok(output.images.into_iter().next().unwrap())
}

/// Everything that LoRAs change, as values: what the text encoder gives, and one call of the U-Net.
pub fn outputs(pipeline: &Pipeline) -> (Vec<f32>, Vec<f32>) {
    let sizes = pipeline.sizes();
    let context = pipeline.encode_prompt("a blue square", 1).unwrap();
    let n = sizes.latent_channels * 8 * 8;
    let latents: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    let shape = [1, context.shape[0], context.shape[1]];
    let latents = (&latents[..], [1, sizes.latent_channels, 8, 8]);
    let unet = pipeline
        .unet(latents, &[500.0], (&context.values, shape), None)
        .unwrap();
    (context.values, unet.values)
}

/// A run of 48 by 64 pixels with a cfg_scale of 5, put together of tokens, contexts, noise, stepper and U-Net, that of each step: its
/// latents, and their shape. The first step's pipeline encodes the prompt.
pub fn by_hand<'a>(
    of_step: &dyn Fn(usize) -> &'a Pipeline,
    prompt: &str,
    sampler: Sampler,
    steps: usize,
    seed: u64,
) -> (Vec<f32>, [usize; 4]) {
    let pipeline = of_step(0);
    let sizes = pipeline.sizes();
    let sides = [64 / sizes.downscale, 48 / sizes.downscale];
    let [cond, uncond] = [prompt, ""].map(|text| pipeline.encode_prompt(text, 1).unwrap());
    let contexts = [cond.values, uncond.values].concat();
    let options = PlanOptions::default();
    let plan = plan(sampler, Schedule::Automatic, steps, pipeline.sampling(), &options).unwrap();
    let shape = Shape {
        channels: sizes.latent_channels,
        height: sides[0],
        width: sides[1],
    };
    let mut noise = BatchNoise::new(NoiseOptions::new(seed, shape)).unwrap();
    let x = Vec::lincomb(&[(plan.noise_scale(), &noise.first().swap_remove(0))]);
    let mut stepper = Stepper::new(plan, x);
    loop {
        let step = stepper.steps_done();
        match stepper.request() {
            Request::Noise { .. } => stepper.provide_noise(noise.next().swap_remove(0)).unwrap(),
            Request::Denoise {
                x, sigma, timestep, ..
            } => {
                let s = pipeline.sampling().scalings(sigma);
                let input: Vec<f32> = Vec::lincomb(&[(s.c_in, x)]);
                let shape = [2, sizes.latent_channels, sides[0], sides[1]];
                let context_shape = [2, cond.shape[0], cond.shape[1]];
                let output = of_step(step)
                    .unet(
                        (&input.repeat(2), shape),
                        &[timestep; 2],
                        (&contexts, context_shape),
                        None,
                    )
                    .unwrap();
                let denoised = |output: &[f32]| Vec::lincomb(&[(s.c_skip, x), (s.c_out, &output.to_vec())]);
                let (cond, uncond) = output.values.split_at(input.len());
                let (cond, uncond): (Vec<f32>, Vec<f32>) = (denoised(cond), denoised(uncond));
                let guided = Vec::lincomb(&[(1.0 - 5.0, &uncond), (5.0, &cond)]);
                stepper.provide_denoised(guided).unwrap();
            }
            _ => break,
        }
    }
    (
        stepper.finish().unwrap(),
        [1, sizes.latent_channels, sides[0], sides[1]],
    )
}
