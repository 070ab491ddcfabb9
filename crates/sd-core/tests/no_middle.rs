//! A U-Net without a middle, as some distilled models of SD1 are, against diffusers.

mod common;

use burn_tensor::{DType, Tensor, TensorData};
use common::{cpu, tensors, tiny_copy};
use goldens::Refs;
use sd_core::{
    Device, Dtype, Quantization, Result,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, DeepFeatures, UNet, UnetInput, unet_bytes},
    weights::Target,
};

/// The tiny model with that U-Net.
fn folder() -> tempfile::TempDir {
    let folder = tiny_copy();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let from = goldens::root().join("no-middle").join(name);
        std::fs::copy(from, folder.path().join("unet").join(name)).unwrap();
    }
    folder
}

fn load(checkpoint: &Checkpoint, target: &Target) -> Result<UNet> {
    UNet::load(&checkpoint.configs().unet, checkpoint.weights(Part::Unet), target)
}

fn tensor<const D: usize>(refs: &Refs, name: &str) -> Tensor<D> {
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (cpu().device.burn(), DType::F32),
    )
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

fn compare(unet: &UNet, tolerance: f64) {
    let refs = Refs::open("no-middle/refs.safetensors");
    let names = refs.names();
    let cases: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".out"))
        .collect();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let timesteps = refs.f32s(&format!("{case}.timestep"));
        let timesteps: Vec<f64> = timesteps.into_iter().map(f64::from).collect();
        let sample = tensor(&refs, &format!("{case}.sample"));
        let context = tensor(&refs, &format!("{case}.encoder_hidden_states"));
        let out = unet
            .forward(&UnetInput::new(sample, &timesteps, context))
            .unwrap();
        refs.assert_close(&format!("{case}.out"), &values(out), tolerance);
    }
}

#[test]
fn agrees_with_diffusers() {
    let folder = folder();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.configs().unet.middle, None);
    compare(&load(&checkpoint, &cpu()).unwrap(), 1e-5);

    // In LDM's layout: blocks are numbered without it, and an upsampler stands behind its block's attention.
    let file = folder.path().join("single.safetensors");
    checkpoint.save_file(&file, Dtype::F32).unwrap();
    let stored = tensors(&file);
    for name in [
        "input_blocks.2.0.op.weight",
        "output_blocks.1.2.conv.weight",
        "output_blocks.3.1.proj_out.bias",
    ] {
        assert!(
            stored.contains_key(&format!("model.diffusion_model.{name}")),
            "{name}"
        );
    }
    assert!(!stored.keys().any(|name| name.contains("middle_block")));
    let single = Checkpoint::open(&file).unwrap();
    assert_eq!(single.configs().unet, checkpoint.configs().unet);
    compare(&load(&single, &cpu()).unwrap(), 1e-5);
}

/// Whole numbers of eight bits lose what they lose in other networks.
#[test]
fn in_eight_bits() {
    let folder = folder();
    let target = Target {
        quantization: Quantization::Int8,
        ..Target::new(Device::from_name("cpu").unwrap(), Dtype::Bf16)
    };
    compare(
        &load(&Checkpoint::open(folder.path()).unwrap(), &target).unwrap(),
        0.1,
    );
}

/// A call that reuses the features of a call on the same input gives the same, for every branch.
#[test]
fn deep_features_are_reused() {
    let folder = folder();
    let unet = load(&Checkpoint::open(folder.path()).unwrap(), &cpu()).unwrap();
    let refs = Refs::open("no-middle/refs.safetensors");
    let text = unet
        .cross_attention_cache(tensor(&refs, "b2_9x14.encoder_hidden_states"))
        .unwrap();
    let call = |deep| {
        let sample = tensor(&refs, "b2_9x14.sample");
        unet.forward_cached(&UnetInput::new(sample, &[37.5; 2], &text), &deep)
            .unwrap()
    };
    let whole = values(call(DeepCache::Off).prediction);
    assert_eq!(unet.branches(), 4);
    for branch in 0..unet.branches() {
        let kept = call(DeepCache::Keep { branch }).deep.unwrap();
        let kept = DeepFeatures::join(&kept.split()).unwrap();
        assert!(
            values(call(DeepCache::Reuse(kept)).prediction) == whole,
            "branch {branch}"
        );
    }
}

/// A missing middle takes no memory, and is no missing tensor.
#[test]
fn its_memory_is_less() {
    let folder = folder();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let unet = &checkpoint.configs().unet;
    let mut with = unet.clone();
    with.middle = Some(sd_core::config::UnetMiddle::Transformer { depth: 1, heads: 4 });
    let bytes = |config| unet_bytes(config, Dtype::F32, Quantization::None, 2, [8, 8]);
    assert!(bytes(unet) <= bytes(&with));
    let error = UNet::load(&with, checkpoint.weights(Part::Unet), &cpu())
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("mid_block"), "{error}");
}
