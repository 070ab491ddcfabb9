//! Stable Diffusion XL in small: both text encoders, the U-Net's additional vector and whole runs against transformers, diffusers and
//! k-diffusion.

use std::{fs, path::Path};

use goldens::Refs;
use sdrs::{Array, Dtype, Pipeline, Txt2Img};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

/// The tiny SD1's first text encoder and autoencoder with what SDXL has besides.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, name: &str| {
        let to = folder.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(goldens::root().join(from).join(name), to).unwrap();
    };
    for name in [
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        copy("tiny-sd1", name);
    }
    for name in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        copy("tiny-sdxl", name);
    }
    folder
}

fn pipeline(path: &Path) -> Pipeline {
    Pipeline::builder()
        .checkpoint(path)
        .device("cpu")
        .build()
        .unwrap()
}

fn request<'a>(pipeline: &'a Pipeline, negative: &str) -> Txt2Img<'a> {
    let request = pipeline.txt2img(PROMPT).negative_prompt(negative);
    let request = request
        .sampler(sdrs::Sampler::Euler)
        .schedule(sdrs::Schedule::Uniform);
    request.steps(8).cfg_scale(6.0).seed(31).width(192).height(128)
}

fn latents(pipeline: &Pipeline, negative: &str) -> Array {
    request(pipeline, negative).latents().unwrap().latents
}

#[test]
fn texts_and_runs_are_the_references() {
    let folder = folder();
    let pipeline = pipeline(folder.path());
    let refs = Refs::open("tiny-sdxl/refs.safetensors");
    for (text, name) in [
        (PROMPT, "cond"),
        (NEGATIVE, "uncond"),
        ("a (red:1.5) circle above a blue square", "weighted"),
    ] {
        let context = pipeline.encode_prompt(text, 1).unwrap();
        assert_eq!(context.shape, [77, 32]);
        refs.assert_close(name, &context.values, 1e-5);
    }
    refs.assert_close("run", &latents(&pipeline, NEGATIVE).values, 1e-4);
    // An empty negative prompt is zeros, as in the WebUI.
    refs.assert_close("run_without_negative", &latents(&pipeline, "").values, 1e-4);
}

#[test]
fn both_layouts_hold_the_same_model() {
    let folder = folder();
    let pipeline = pipeline(folder.path());
    let drawn = latents(&pipeline, NEGATIVE);
    let out = tempfile::tempdir().unwrap();
    let (file, copy) = (out.path().join("xl.safetensors"), out.path().join("xl"));
    pipeline.save_file(&file, Dtype::F32).unwrap();
    pipeline.save_folder(&copy, Dtype::F32).unwrap();
    for path in [&file, &copy] {
        let again = self::pipeline(path);
        assert_eq!(latents(&again, NEGATIVE), drawn, "{}", path.display());
    }
}

/// A batch, DeepCache and prompts that AND joins have the vectors of their own texts.
#[test]
fn each_text_has_its_vector() {
    let folder = folder();
    let pipeline = pipeline(folder.path());
    let alone = latents(&pipeline, NEGATIVE);
    let batch = request(&pipeline, NEGATIVE)
        .batch_size(2)
        .latents()
        .unwrap()
        .latents;
    assert_eq!(batch.values[..alone.values.len()], alone.values[..]);
    let doubled = format!("{PROMPT} :0.5 AND {PROMPT} :0.5");
    let joined = request(&pipeline, NEGATIVE)
        .prompt(doubled)
        .latents()
        .unwrap()
        .latents;
    goldens::assert_close("halves", &joined.values, &alone.values, 1e-4);
    let other = request(&pipeline, NEGATIVE)
        .prompt(format!("{PROMPT} AND a cat"))
        .latents();
    assert_ne!(other.unwrap().latents, alone);
    let deep = request(&pipeline, NEGATIVE)
        .deep_cache_interval(2)
        .latents()
        .unwrap();
    assert_ne!(deep.latents, alone);
}
