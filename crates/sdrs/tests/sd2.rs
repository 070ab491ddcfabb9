//! Stable Diffusion 2 in small: its text encoder, U-Net and v-prediction against transformers, diffusers and k-diffusion, in both layouts.

mod common;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use goldens::Refs;
use safetensors::SafeTensors;
use sdrs::{Array, Dtype, LogLevel, Pipeline, PipelineBuilder, Prediction, Request};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

/// The tiny SD1's text encoder and autoencoder with what SD2 has in their place.
fn folder() -> tempfile::TempDir {
    common::put_together(&[
        (
            "tiny-sd1",
            &[
                "text_encoder/model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
            ],
        ),
        (
            "tiny-sd2",
            &[
                "text_encoder/config.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
                "scheduler/scheduler_config.json",
            ],
        ),
    ])
}

fn builder(path: &Path) -> PipelineBuilder {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(path)
        .device("cpu")
}

fn request(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline.txt2img(PROMPT).negative_prompt(NEGATIVE);
    let request = request
        .sampler(sdrs::Sampler::Euler)
        .schedule(sdrs::Schedule::Karras);
    request.steps(6).cfg_scale(6.0).seed(29).width(192).height(128)
}

fn latents(pipeline: &Pipeline) -> Array {
    request(pipeline).latents().unwrap().latents
}

fn shape<const D: usize>(refs: &Refs, name: &str) -> [usize; D] {
    refs.shape(name).try_into().unwrap()
}

#[test]
fn calls_and_a_run_are_the_references() {
    let folder = folder();
    let pipeline = builder(folder.path()).build().unwrap();
    assert_eq!(pipeline.prediction(), Prediction::V);
    let refs = Refs::open("tiny-sd2/refs.safetensors");
    for (text, name) in [(PROMPT, "cond"), (NEGATIVE, "uncond")] {
        let context = pipeline.encode_prompt(text, 1).unwrap();
        refs.assert_close(name, &context.values, 1e-5);
    }
    let contexts = [refs.f32s("cond"), refs.f32s("uncond")].concat();
    let output = pipeline.unet(
        (&refs.f32s("latents"), shape(&refs, "latents")),
        &[900.0, 17.0],
        (&contexts, [2, 77, 16]),
        None,
    );
    refs.assert_close("output", &output.unwrap().values, 1e-5);
    refs.assert_close("run", &latents(&pipeline).values, 1e-4);
}

#[test]
fn both_layouts_hold_the_same_model() {
    let folder = folder();
    let pipeline = builder(folder.path()).build().unwrap();
    let drawn = latents(&pipeline);
    let out = tempfile::tempdir().unwrap();
    let (file, copy) = (out.path().join("sd2.safetensors"), out.path().join("sd2"));
    pipeline.save_file(&file, Dtype::F32).unwrap();
    pipeline.save_folder(&copy, Dtype::F32).unwrap();
    for path in [&file, &copy] {
        let again = builder(path).build().unwrap();
        assert_eq!(again.prediction(), Prediction::V);
        assert_eq!(latents(&again), drawn, "{}", path.display());
    }
    let bytes = fs::read(&file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let fused = "cond_stage_model.model.transformer.resblocks.4.attn.in_proj_weight";
    assert_eq!(file.tensor(fused).unwrap().shape(), [48, 16]);
}

/// As in the WebUI, and told.
#[test]
fn clip_skip_is_passed_over() {
    let folder = folder();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = lines.clone();
    let pipeline = builder(folder.path()).on_log(move |level, line| {
        if level == LogLevel::Warning {
            log.lock().unwrap().push(line.to_owned());
        }
    });
    let pipeline = pipeline.build().unwrap();
    let plain = latents(&pipeline);
    assert!(lines.lock().unwrap().is_empty());
    assert_eq!(request(&pipeline).clip_skip(2).latents().unwrap().latents, plain);
    let lines = lines.lock().unwrap();
    assert!(
        matches!(&lines[..], [line] if line.starts_with("clip_skip is not used")),
        "{lines:?}"
    );
}
