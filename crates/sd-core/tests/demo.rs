//! The demo model's networks against transformers and diffusers, element by element in f32.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{ClipTextModel, UNet, UnetInput, Vae},
    weights::Target,
};

const TOLERANCE: f64 = 1e-5;

fn refs() -> Refs {
    Refs::open("demo/networks.safetensors")
}

fn demo() -> (Checkpoint, Target) {
    let checkpoint = Checkpoint::open(&goldens::root().join("../models/demo/base")).unwrap();
    (
        checkpoint,
        Target::new(Device::from_name("cpu").unwrap(), Dtype::F32),
    )
}

fn tensor<const D: usize>(name: &str, target: &Target) -> Tensor<D> {
    let shape: [usize; D] = refs().shape(name).try_into().unwrap();
    Tensor::from_data(
        TensorData::new(refs().f32s(name), shape),
        (target.device.burn(), DType::F32),
    )
}

fn assert_close<const D: usize>(name: &str, got: Tensor<D>) {
    refs().assert_close(name, &got.into_data().try_to_vec::<f32>().unwrap(), TOLERANCE);
}

#[test]
fn text_encoder() {
    let (checkpoint, target) = demo();
    let ids: Vec<u32> = refs()
        .i64s("text.input_ids")
        .iter()
        .map(|&id| id as u32)
        .collect();

    // Its own tokenizer, from the prompt that the manifest names.
    let tokenizer = checkpoint.tokenizer(Part::TextEncoder).unwrap();
    let mut own = vec![tokenizer.start()];
    own.extend(tokenizer.encode("a red circle above a blue square").unwrap());
    own.push(tokenizer.end());
    own.resize(ids.len(), tokenizer.pad());
    assert_eq!(own, ids);

    let config = checkpoint.configs().text_encoder();
    let model = ClipTextModel::load(config, checkpoint.weights(Part::TextEncoder), &target).unwrap();
    let ids = [ids];
    let states = model.hidden_states(&ids, &[]).unwrap();
    assert!(states.len() > 4);
    for (i, state) in states.iter().enumerate() {
        assert_close(&format!("text.hidden_state.{i}"), state.clone());
    }
    assert_close("text.final", model.encode(&ids, &[], 1).unwrap().context);
}

#[test]
fn unet() {
    let (checkpoint, target) = demo();
    let model = UNet::load(
        &checkpoint.configs().unet,
        checkpoint.weights(Part::Unet),
        &target,
    )
    .unwrap();
    let (sample, context) = (tensor("unet.sample", &target), tensor("unet.context", &target));
    assert_close(
        "unet.out",
        model
            .forward(&UnetInput::new(sample, &[500.0, 500.0], context))
            .unwrap(),
    );
}

#[test]
fn vae() {
    let (checkpoint, target) = demo();
    let model = Vae::load(&checkpoint.configs().vae, checkpoint.weights(Part::Vae), &target).unwrap();
    let moments = model.encode(tensor("vae.encode.image", &target)).unwrap();
    assert_close("vae.encode.mean", moments.mean);
    assert_close("vae.encode.logvar", moments.logvar);
    assert_close(
        "vae.decode.out",
        model.decode(tensor("vae.decode.latent", &target)).unwrap(),
    );
}
