//! The tiny autoencoder against diffusers, in the layouts that it comes in, and files that are none.

use std::collections::BTreeMap;

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use safetensors::tensor::TensorView;
use sd_core::{
    Device, Dtype, Error,
    models::TinyVae,
    weights::{Target, TensorFile},
};

fn target(dtype: Dtype) -> Target {
    Target::new(Device::from_name("cpu").unwrap(), dtype)
}

fn refs() -> Refs {
    Refs::open("tiny-vae/refs.safetensors")
}

fn tensor(name: &str) -> Tensor<4> {
    let (refs, device) = (refs(), target(Dtype::F32).device);
    let shape: [usize; 4] = refs.shape(name).try_into().unwrap();
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (device.burn(), DType::F32),
    )
}

fn bytes() -> Vec<u8> {
    std::fs::read(goldens::root().join("tiny-vae/diffusion_pytorch_model.safetensors")).unwrap()
}

/// The file with other names; without a tensor where there is none.
fn renamed(name: impl Fn(&str) -> Option<String>) -> TensorFile {
    let bytes = bytes();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: BTreeMap<String, TensorView> = file
        .tensors()
        .into_iter()
        .filter_map(|(old, view)| Some((name(&old)?, view)))
        .collect();
    TensorFile::from_bytes("it", safetensors::serialize(tensors, None).unwrap()).unwrap()
}

fn compare(model: &TinyVae, what: &str, tolerance: f64) {
    let got = match what {
        "decoded" => model.decode(tensor("latents")),
        _ => model.encode(tensor("pictures")),
    };
    let got = got.unwrap();
    assert_eq!(got.dims().to_vec(), refs().shape(what));
    refs().assert_close(what, &got.into_data().try_to_vec::<f32>().unwrap(), tolerance);
}

#[test]
fn pictures_and_latents_are_diffusers() {
    for (dtype, tolerance) in [(Dtype::F32, 1e-5), (Dtype::Bf16, 3e-2)] {
        let file = TensorFile::from_bytes("it", bytes()).unwrap();
        let model = TinyVae::load(file, &target(dtype)).unwrap();
        assert_eq!((model.latent_channels(), model.factor()), (Some(4), Some(8)));
        compare(&model, "decoded", tolerance);
        compare(&model, "encoded", tolerance);
    }
}

/// What it is estimated to have in use, and what a workspace counts that holds nothing idle.
#[test]
fn estimates_are_near_what_is_counted() {
    let peak = |run: &dyn Fn()| {
        let workspace = sd_kernels::Workspace::default();
        workspace.set_limit(0);
        workspace.enter(run);
        workspace.peak_bytes() as f64
    };
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let file = TensorFile::from_bytes("it", bytes()).unwrap();
        let weights = TinyVae::weight_bytes_of(&file, &target(dtype));
        let model = TinyVae::load(file, &target(dtype)).unwrap();
        assert_eq!(model.weight_bytes(), weights);
        for [h, w] in [[24, 24], [32, 16], [64, 48]] {
            let zeros =
                |shape: [usize; 4]| Tensor::<4>::zeros(shape, (target(dtype).device.burn(), DType::F32));
            let decoding = peak(&|| drop(model.decode(zeros([1, 4, h, w])).unwrap()));
            let encoding = peak(&|| drop(model.encode(zeros([1, 3, 8 * h, 8 * w])).unwrap()));
            for (what, estimate, counted) in [
                ("decoding", model.decoder_bytes([h, w]), decoding),
                ("encoding", model.encoder_bytes([h, w]), encoding),
            ] {
                let ratio = estimate as f64 / counted;
                println!("{what} in {dtype}, {h}x{w}: {estimate} estimated, {ratio:.2} of what is counted");
                assert!(
                    (0.98..1.15).contains(&ratio),
                    "{what} in {dtype}, {h}x{w}: {ratio}"
                );
            }
        }
    }
}

#[test]
fn the_originals_files_are_halves() {
    // Their decoder counts the layer that bounds latents, which has no weights.
    let decoder = |old: &str| {
        let (number, leaf) = old.strip_prefix("decoder.layers.")?.split_once('.')?;
        Some(format!("{}.{leaf}", number.parse::<usize>().unwrap() + 1))
    };
    let encoder = |old: &str| old.strip_prefix("encoder.layers.").map(str::to_owned);
    let target = target(Dtype::F32);
    let decodes = TinyVae::load(renamed(decoder), &target).unwrap();
    compare(&decodes, "decoded", 1e-5);
    decodes.can_decode().unwrap();
    let encodes = TinyVae::load(renamed(encoder), &target).unwrap();
    compare(&encodes, "encoded", 1e-5);
    for error in [
        decodes.encode(tensor("pictures")),
        encodes.decode(tensor("latents")),
    ] {
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("it: has no ") && message.contains("give the file that has"),
            "{message}"
        );
    }
    assert!(matches!(encodes.can_decode(), Err(Error::Incomplete { .. })));
    assert!(matches!(
        decodes.decode(tensor("pictures")),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn faults_are_told() {
    let target = target(Dtype::F32);
    let none = renamed(|old| Some(old.replace("layers", "blocks")));
    let message = TinyVae::load(none, &target).err().unwrap().to_string();
    assert!(
        message.starts_with("it: no tiny autoencoder (TAESD); diffusers'"),
        "{message}"
    );
    let lacking = renamed(|old| (old != "decoder.layers.3.conv.2.bias").then(|| old.to_owned()));
    let Err(Error::Weights(faults)) = TinyVae::load(lacking, &target) else {
        panic!("a bias is missing");
    };
    assert_eq!(faults.missing, ["decoder.layers.3.conv.2.bias"]);
    let more = renamed(|old| Some(old.replace("encoder.layers.0.bias", "head.bias")));
    let Err(Error::Weights(faults)) = TinyVae::load(more, &target) else {
        panic!("a bias is too much");
    };
    assert_eq!(
        (faults.missing, faults.unexpected),
        (vec!["encoder.layers.0.bias".into()], vec!["head.bias".into()])
    );
}
