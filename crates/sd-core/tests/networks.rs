//! The networks against transformers and diffusers, element by element, on the tiny model of `goldens/tiny-sd1`.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Tensor, TensorData};
use sd_core::{
    Device, Dtype,
    models::{ClipTextModel, UNet, Vae},
    weights::{Checkpoint, Configs, Folder, Part, Target, TensorFile},
};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

fn cpu(dtype: Dtype) -> Target {
    Target { device: Device::from_name("cpu").unwrap(), dtype }
}

struct Refs(TensorFile);

impl Refs {
    fn open(name: &str) -> Self {
        Self(TensorFile::open(&goldens().join("tiny-sd1/refs").join(name)).unwrap())
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let bytes = self.0.tensor_bytes(name).unwrap_or_else(|| panic!("no reference {name}"));
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let shape: [usize; D] = self.0.info(name).unwrap().shape.clone().try_into().unwrap();
        let device = cpu(Dtype::F32).device;
        Tensor::from_data(TensorData::new(self.values(name), shape), (device.burn(), DType::F32))
    }

    /// Norm of the difference over norm of the reference.
    fn error<const D: usize>(&self, name: &str, got: Tensor<D>) -> f64 {
        let expected = self.values(name);
        assert_eq!(got.dims().to_vec(), self.0.info(name).unwrap().shape, "{name}");
        let got = got.cast(DType::F32).into_data().try_to_vec::<f32>().unwrap();
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut got.iter().zip(&expected).map(|(a, b)| f64::from(a - b)));
        difference / norm(&mut expected.iter().map(|&v| f64::from(v)))
    }

    fn assert<const D: usize>(&self, name: &str, got: Tensor<D>, tolerance: f64) {
        let error = self.error(name, got);
        println!("{name}: {error:.2e}");
        assert!(error <= tolerance, "{name}: relative error {error:.3e} is over {tolerance:e}");
    }
}

fn folder() -> Checkpoint {
    Checkpoint::open(&goldens().join("tiny-sd1")).unwrap()
}

fn single_file() -> Checkpoint {
    let configs = Configs::from_folder(&Folder::Disk(goldens().join("tiny-sd1"))).unwrap();
    let file = TensorFile::open(&goldens().join("tiny-sd1-ldm.safetensors")).unwrap();
    Checkpoint::from_file_and_configs(file, configs)
}

/// Per network: the tolerances of the issue in f32; in bf16 and f16 those that PyTorch itself needs, from the manifest.
struct Tolerance {
    text: f64,
    unet: f64,
    vae: f64,
}

fn tolerance(dtype: Dtype) -> Tolerance {
    match dtype {
        Dtype::F32 => Tolerance { text: 1e-5, unet: 1e-5, vae: 1e-5 },
        Dtype::Bf16 => Tolerance { text: 0.03, unet: 0.05, vae: 0.05 },
        Dtype::F16 => Tolerance { text: 0.004, unet: 0.007, vae: 0.006 },
    }
}

fn text_encoder(checkpoint: &Checkpoint, dtype: Dtype) {
    let tolerance = tolerance(dtype).text;
    let (config, weights) = (&checkpoint.configs().text_encoder, checkpoint.weights(Part::TextEncoder));
    let model = ClipTextModel::load(config, weights, &cpu(dtype)).unwrap();
    let refs = Refs::open("text_encoder.safetensors");
    let ids = refs.0.tensor_bytes("input_ids").unwrap().as_chunks::<8>().0;
    let ids: Vec<u32> = ids.iter().map(|b| i64::from_le_bytes(*b) as u32).collect();
    let ids: Vec<Vec<u32>> = ids.chunks(77).map(<[u32]>::to_vec).collect();
    let out = model.forward(&ids).unwrap();
    assert_eq!(out.hidden_states.len(), config.num_hidden_layers + 1);
    for (i, state) in out.hidden_states.iter().enumerate() {
        refs.assert(&format!("hidden_state.{i}"), state.clone(), tolerance);
    }
    let last = out.hidden_states.last().unwrap().clone();
    refs.assert("final", model.final_norm(last), tolerance);
}

fn unet(checkpoint: &Checkpoint, dtype: Dtype) {
    let target = cpu(dtype);
    let model = UNet::load(&checkpoint.configs().unet, checkpoint.weights(Part::Unet), &target).unwrap();
    let refs = Refs::open("unet.safetensors");
    let mut cases: Vec<String> = refs.0.names().filter_map(|n| n.strip_suffix(".out")).map(str::to_owned).collect();
    cases.sort();
    assert!(cases.len() >= 9);
    for case in cases {
        let timesteps: Vec<f64> = refs.values(&format!("{case}.timestep")).iter().map(|&t| f64::from(t)).collect();
        let sample = refs.tensor(&format!("{case}.sample"));
        let context = refs.tensor(&format!("{case}.encoder_hidden_states"));
        let out = model.forward(sample, &timesteps, context, None).unwrap();
        refs.assert(&format!("{case}.out"), out, tolerance(dtype).unet);
    }
}

fn vae(checkpoint: &Checkpoint, dtype: Dtype) {
    let tolerance = tolerance(dtype).vae;
    let model = Vae::load(&checkpoint.configs().vae, checkpoint.weights(Part::Vae), &cpu(dtype)).unwrap();
    let refs = Refs::open("vae.safetensors");
    let moments = model.encode(refs.tensor("encode.image")).unwrap();
    refs.assert("encode.mean", moments.mean, tolerance);
    refs.assert("encode.logvar", moments.logvar, tolerance);
    refs.assert("decode.out", model.decode(refs.tensor("decode.latent")).unwrap(), tolerance);
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
