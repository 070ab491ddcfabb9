//! The tiny model and its LoRA, for the tests of weights.

// Each test uses a part of it.
#![allow(dead_code)]

use std::path::PathBuf;

use sdrs::{Image, Pipeline, Sampler};

pub fn folder() -> PathBuf {
    goldens::root().join("tiny-sd1")
}

pub fn lora_file() -> PathBuf {
    folder().join("lora/lora.safetensors")
}

pub fn builder() -> sdrs::PipelineBuilder {
    Pipeline::builder().checkpoint(folder()).device("cpu")
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
        .unet(latents, &[500.0], (&context.values, shape))
        .unwrap();
    (context.values, unet.values)
}
