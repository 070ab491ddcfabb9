//! The common part of the tests of files: making files, and models' outputs to the bit. It panics on every fault, as a test should.

// Each test uses a part of it.
#![allow(dead_code)]

pub mod torch;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn_tensor::{DType, Tensor, TensorData};
use safetensors::tensor::TensorView;
use sd_core::{
    Device, Dtype, Result,
    checkpoint::Checkpoint,
    config::Part,
    models::{ClipTextModel, UNet, UnetInput, Vae},
    weights::{StoredDtype, Target, TensorFile},
};

/// A tensor in a file: type, shape, bytes.
pub type Stored = (StoredDtype, Vec<usize>, Vec<u8>);

/// The tensors of one file, by name.
pub type Tensors = BTreeMap<String, Stored>;

/// Where a diffusers folder has its parts' weights.
pub const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
pub const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
pub const TEXT_ENCODER: &str = "text_encoder/model.safetensors";

/// The tiny model's folder.
pub fn tiny() -> PathBuf {
    goldens::root().join("tiny-sd1")
}

/// A copy of the tiny model's folder, without the reference values.
pub fn tiny_copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in tiny_files() {
        put(folder.path(), &name, &bytes);
    }
    folder
}

/// The files of the tiny model's folder by their relative names.
pub fn tiny_files() -> HashMap<String, Arc<[u8]>> {
    let parts = ["unet", "vae", "text_encoder"];
    let configs = parts.map(|part| format!("{part}/config.json"));
    let weights = [UNET, VAE, TEXT_ENCODER].map(str::to_owned);
    let scheduler = "scheduler/scheduler_config.json".to_owned();
    let names = configs.into_iter().chain(weights).chain([scheduler]);
    names
        .map(|name| {
            let bytes = std::fs::read(tiny().join(&name)).unwrap();
            (name, Arc::from(bytes))
        })
        .collect()
}

/// Writes a file below a folder.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A safetensors file with this header, right or wrong, and this many bytes of zeros behind it.
pub fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// All tensors of a file.
pub fn tensors(path: &Path) -> Tensors {
    let file = TensorFile::open(path).unwrap();
    let stored = |name: &str| {
        let info = file.info(name).unwrap();
        (
            info.dtype,
            info.shape.clone(),
            file.tensor_bytes(name).unwrap().to_vec(),
        )
    };
    file.names().map(|name| (name.to_owned(), stored(name))).collect()
}

/// Tensors as a file.
pub fn serialized(tensors: &Tensors) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// The computer of all tests.
pub fn cpu() -> Target {
    Target::new(Device::from_name("cpu").unwrap(), Dtype::F32)
}

/// Loads a part and throws it away.
pub fn load(checkpoint: &Checkpoint, part: Part) -> Result<()> {
    let (configs, weights) = (checkpoint.configs(), checkpoint.weights(part));
    match part {
        Part::TextEncoder | Part::TextEncoder2 => {
            ClipTextModel::load(&configs.text_encoders[&part], weights, &cpu()).map(drop)
        }
        Part::Unet => UNet::load(&configs.unet, weights, &cpu()).map(drop),
        Part::Vae => Vae::load(&configs.vae, weights, &cpu()).map(drop),
    }
}

/// The output of a part for a fixed input.
pub fn output(checkpoint: &Checkpoint, part: Part) -> Result<Vec<u32>> {
    let (configs, weights) = (checkpoint.configs(), checkpoint.weights(part));
    Ok(match part {
        Part::TextEncoder | Part::TextEncoder2 => {
            let model = ClipTextModel::load(&configs.text_encoders[&part], weights, &cpu())?;
            bits(model.encode(&[vec![5, 6, 7, 49_407]], &[], 1)?.context)
        }
        Part::Unet => {
            let model = UNet::load(&configs.unet, weights, &cpu())?;
            let context = input([1, 3, configs.unet.cross_attention_dim]);
            let latents = input([1, configs.unet.in_channels, 8, 8]);
            let unet_input = UnetInput {
                added: configs.unet.added_width.map(|width| input([1, width])),
                ..UnetInput::new(latents, &[500.0], context)
            };
            bits(model.forward(&unet_input)?)
        }
        Part::Vae => {
            let model = Vae::load(&configs.vae, weights, &cpu())?;
            let mut all = bits(model.decode(input([1, configs.vae.latent_channels, 2, 2]))?);
            all.extend(bits(model.encode(input([1, 3, 16, 16]))?.mean));
            all
        }
    })
}

fn input<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i| (i as f32 * 0.7).sin())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (cpu().device.burn(), DType::F32))
}

fn bits<const D: usize>(x: Tensor<D>) -> Vec<u32> {
    let values = x.cast(DType::F32).into_data().try_to_vec::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// Fails unless the message contains every one of `words`, and can be read.
pub fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "should say '{word}': {message}");
    }
    assert!(
        !message.contains(char::is_control),
        "control characters: {message:?}"
    );
    assert!(message.len() < 3000, "too long: {} bytes", message.len());
}
