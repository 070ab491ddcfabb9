//! The networks against transformers and diffusers, element by element, on the tiny model of `goldens/tiny-sd1`.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::{Checkpoint, Configs},
    config::Part,
    models::{ClipTextModel, UNet, UnetInput, Vae},
    weights::{Folder, Target, TensorFile},
};

fn cpu(dtype: Dtype) -> Target {
    Target::new(Device::from_name("cpu").unwrap(), dtype)
}

fn tensor<const D: usize>(refs: &Refs, name: &str) -> Tensor<D> {
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    let device = cpu(Dtype::F32).device;
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (device.burn(), DType::F32),
    )
}

fn assert_close<const D: usize>(refs: &Refs, name: &str, got: Tensor<D>, tolerance: f64) {
    assert_eq!(got.dims().to_vec(), refs.shape(name), "{name}");
    refs.assert_close(
        name,
        &got.cast(DType::F32).into_data().try_to_vec::<f32>().unwrap(),
        tolerance,
    );
}

fn folder() -> Checkpoint {
    Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap()
}

fn single_file() -> Checkpoint {
    let configs = Configs::from_folder(&Folder::Disk(goldens::root().join("tiny-sd1"))).unwrap();
    let file = TensorFile::open(&goldens::tiny_sd1_ldm()).unwrap();
    Checkpoint::from_file_and_configs(file, configs).unwrap()
}

/// Per network: the tolerances of the issue in f32; in bf16 and f16 those that PyTorch itself needs, from the manifest.
struct Tolerance {
    text: f64,
    unet: f64,
    vae: f64,
}

fn tolerance(dtype: Dtype) -> Tolerance {
    match dtype {
        Dtype::F32 => Tolerance {
            text: 1e-5,
            unet: 1e-5,
            vae: 1e-5,
        },
        Dtype::Bf16 => Tolerance {
            text: 0.03,
            unet: 0.05,
            vae: 0.05,
        },
        Dtype::F16 => Tolerance {
            text: 0.004,
            unet: 0.007,
            vae: 0.006,
        },
    }
}

fn text_encoder(checkpoint: &Checkpoint, dtype: Dtype) {
    let tolerance = tolerance(dtype).text;
    let (config, weights) = (
        checkpoint.configs().text_encoder(),
        checkpoint.weights(Part::TextEncoder),
    );
    let model = ClipTextModel::load(config, weights, &cpu(dtype)).unwrap();
    let refs = Refs::open("tiny-sd1/refs/text_encoder.safetensors");
    let ids: Vec<u32> = refs.i64s("input_ids").iter().map(|&id| id as u32).collect();
    let ids: Vec<Vec<u32>> = ids.chunks(77).map(<[u32]>::to_vec).collect();
    let states = model.hidden_states(&ids, &[]).unwrap();
    assert_eq!(states.len(), config.num_hidden_layers + 1);
    for (i, state) in states.iter().enumerate() {
        assert_close(&refs, &format!("hidden_state.{i}"), state.clone(), tolerance);
    }
    let encoded = model.encode(&ids, &[], 1).unwrap();
    assert_close(&refs, "final", encoded.context, tolerance);
}

fn unet(checkpoint: &Checkpoint, dtype: Dtype) {
    let target = cpu(dtype);
    let model = UNet::load(
        &checkpoint.configs().unet,
        checkpoint.weights(Part::Unet),
        &target,
    )
    .unwrap();
    let refs = Refs::open("tiny-sd1/refs/unet.safetensors");
    let names = refs.names();
    let cases: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".out"))
        .collect();
    assert!(cases.len() >= 9);
    for case in cases {
        let timesteps: Vec<f64> = refs
            .f32s(&format!("{case}.timestep"))
            .iter()
            .map(|&t| f64::from(t))
            .collect();
        let sample = tensor(&refs, &format!("{case}.sample"));
        let context = tensor(&refs, &format!("{case}.encoder_hidden_states"));
        let out = model
            .forward(&UnetInput::new(sample, &timesteps, context))
            .unwrap();
        assert_close(&refs, &format!("{case}.out"), out, tolerance(dtype).unet);
    }
}

fn vae(checkpoint: &Checkpoint, dtype: Dtype) {
    let tolerance = tolerance(dtype).vae;
    let model = Vae::load(
        &checkpoint.configs().vae,
        checkpoint.weights(Part::Vae),
        &cpu(dtype),
    )
    .unwrap();
    let refs = Refs::open("tiny-sd1/refs/vae.safetensors");
    let moments = model.encode(tensor(&refs, "encode.image")).unwrap();
    assert_close(&refs, "encode.mean", moments.mean, tolerance);
    assert_close(&refs, "encode.logvar", moments.logvar, tolerance);
    assert_close(
        &refs,
        "decode.out",
        model.decode(tensor(&refs, "decode.latent")).unwrap(),
        tolerance,
    );
}

#[test]
fn text_encoder_f32() {
    text_encoder(&folder(), Dtype::F32);
    text_encoder(&single_file(), Dtype::F32);
}

#[test]
fn text_encoder_half() {
    text_encoder(&folder(), Dtype::Bf16);
    text_encoder(&folder(), Dtype::F16);
}

#[test]
fn unet_f32() {
    unet(&folder(), Dtype::F32);
    unet(&single_file(), Dtype::F32);
}

#[test]
fn unet_half() {
    unet(&folder(), Dtype::Bf16);
    unet(&folder(), Dtype::F16);
}

#[test]
fn vae_f32() {
    vae(&folder(), Dtype::F32);
    vae(&single_file(), Dtype::F32);
}

#[test]
fn vae_half() {
    vae(&folder(), Dtype::Bf16);
    vae(&folder(), Dtype::F16);
}
