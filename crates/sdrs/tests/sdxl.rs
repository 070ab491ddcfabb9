//! Stable Diffusion XL in small: both text encoders, the U-Net's additional vector and whole runs against transformers, diffusers and
//! k-diffusion.

mod common;

use std::path::Path;

use goldens::Refs;
use safetensors::tensor::TensorView;
use sdrs::{Array, Dtype, Lora, Pipeline, Request};

const PROMPT: &str = "a red circle above a blue square";
const NEGATIVE: &str = "blurry, low quality";

/// The tiny SD1's first text encoder and autoencoder with what SDXL has besides.
fn folder() -> tempfile::TempDir {
    common::put_together(&[
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

fn pipeline(path: &Path) -> Pipeline {
    Pipeline::builder()
        .checkpoint(path)
        .device("cpu")
        .build()
        .unwrap()
}

fn request<'a>(pipeline: &'a Pipeline, negative: &str) -> Request<'a> {
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

/// A LoRA under kohya's names: what it says of the second text encoder changes that one's half of the context alone.
#[test]
fn a_lora_changes_its_own_encoder() {
    let folder = folder();
    let pipeline = pipeline(folder.path());
    let lora = |module: &str, [output, input]: [usize; 2]| {
        let values = |n: usize| -> Vec<u8> {
            let values = (0..n).map(|i| (i as f32 * 0.7).sin());
            values.flat_map(f32::to_le_bytes).collect()
        };
        let (down, up) = (values(2 * input), values(2 * output));
        let view =
            |shape: [usize; 2], data| TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data).unwrap();
        let tensors = [
            (format!("{module}.lora_down.weight"), view([2, input], &down)),
            (format!("{module}.lora_up.weight"), view([output, 2], &up)),
        ];
        let bytes = safetensors::serialize(tensors, None).unwrap();
        pipeline.with_loras([Lora::bytes("lora", bytes)]).unwrap()
    };
    let context = |pipeline: &Pipeline| pipeline.encode_prompt(PROMPT, 1).unwrap().values;
    let halves = |values: &[f32]| -> [Vec<f32>; 2] {
        let half = |from: usize| {
            values
                .chunks(32)
                .flat_map(|row| row[from..from + 16].to_vec())
                .collect()
        };
        [half(0), half(16)]
    };
    let [first, second] = halves(&context(&pipeline));
    let changed = lora("lora_te1_text_model_encoder_layers_0_mlp_fc1", [64, 16]);
    let [l, g] = halves(&context(&changed));
    assert!(l != first && g == second);
    let changed = lora("lora_te2_text_model_encoder_layers_0_mlp_fc1", [64, 16]);
    let [l, g] = halves(&context(&changed));
    assert!(l == first && g != second);
    let changed = lora(
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn2_to_k",
        [32, 32],
    );
    assert_eq!(context(&changed), context(&pipeline));
    assert_ne!(latents(&changed, NEGATIVE), latents(&pipeline, NEGATIVE));
}
