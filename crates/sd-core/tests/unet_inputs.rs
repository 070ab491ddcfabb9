//! Inputs of the U-Net beside latents and text: residuals and concatenated channels; and its encoder alone.

mod common;

use std::sync::Arc;

use burn_tensor::{DType, Tensor, TensorData};
use common::{UNET, cpu, serialized, tensors, tiny};
use goldens::Refs;
use sd_core::{
    checkpoint::Checkpoint,
    config::{Part, UnetConfig},
    models::{DeepCache, UNet, UnetEncoder, UnetFeatures, UnetInput},
    weights::{PartWeights, TensorFile},
};

const TIMESTEPS: [f64; 2] = [500.0, 37.5];

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&tiny()).unwrap()
}

fn unet() -> UNet {
    let checkpoint = checkpoint();
    UNet::load(&checkpoint.configs().unet, checkpoint.weights(Part::Unet), &cpu()).unwrap()
}

/// The encoder alone, from the weights of the whole network.
fn encoder() -> UnetEncoder {
    let checkpoint = checkpoint();
    let weights = PartWeights {
        allow_unexpected: true,
        ..checkpoint.weights(Part::Unet).clone()
    };
    UnetEncoder::load(&checkpoint.configs().unet, &weights, &cpu()).unwrap()
}

fn tensor<const D: usize>(name: &str) -> Tensor<D> {
    let refs = Refs::open("tiny-sd1/refs/deep_cache.safetensors");
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (cpu().device.burn(), DType::F32),
    )
}

fn context() -> Tensor<3> {
    tensor("encoder_hidden_states")
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().unwrap()
}

/// The difference of two latents' features, for the first `skips` alone, and for the middle where it is asked for.
fn residuals(skips: usize, middle: bool) -> UnetFeatures {
    let encoder = encoder();
    let features = |name: &str| {
        let input = UnetInput::new(tensor(name), &TIMESTEPS, context());
        encoder.forward(&input).unwrap()
    };
    let (a, b) = (features("sample.0"), features("sample.1"));
    let all = a.skips.iter().zip(b.skips).enumerate();
    UnetFeatures {
        skips: all
            .map(|(i, (a, b))| (b - a.clone()) * if i < skips { 1.0 } else { 0.0 })
            .collect(),
        middle: (b.middle - a.middle) * if middle { 1.0 } else { 0.0 },
    }
}

#[test]
fn residuals_of_zeros_change_nothing() {
    let (unet, zeros) = (unet(), residuals(0, false));
    let plain = UnetInput::new(tensor("sample.0"), &TIMESTEPS, context());
    let with = UnetInput {
        residuals: Some(&zeros),
        ..plain.clone()
    };
    assert!(values(unet.forward(&plain).unwrap()) == values(unet.forward(&with).unwrap()));
}

/// Residuals at each skip and behind the middle turn the features of one input into those of another, and so its prediction: the skips
/// are added to behind the middle's input, as in diffusers.
#[test]
fn residuals_are_added_to_their_features() {
    let unet = unet();
    let text = unet.cross_attention_cache(context()).unwrap();
    let input = |name: &str| UnetInput::new(tensor(name), &TIMESTEPS, &text);
    let with = |residuals: &UnetFeatures| {
        let input = UnetInput {
            residuals: Some(residuals),
            ..input("sample.0")
        };
        values(unet.forward(&input).unwrap())
    };
    let whole = values(unet.forward(&input("sample.1")).unwrap());
    let error = goldens::relative_error(&with(&residuals(12, true)), &whole);
    assert!(error < 1e-5, "{error}");
    assert!(goldens::relative_error(&with(&residuals(12, false)), &whole) > 1e-3);
    // A branch of DeepCache sees the first skips alone: those of one of the latents, on deep features of the other.
    for branch in 0..unet.branches() {
        let kept = unet.forward_cached(&input("sample.0"), &DeepCache::Keep { branch });
        let reused = DeepCache::Reuse(kept.unwrap().deep.unwrap());
        let mixed = unet.forward_cached(&input("sample.1"), &reused).unwrap();
        let residuals = residuals(branch + 1, false);
        let error = goldens::relative_error(&with(&residuals), &values(mixed.prediction));
        assert!(error < 1e-5, "branch {branch}: {error}");
        // The branch's own skips are added to as well.
        let input = UnetInput {
            residuals: Some(&residuals),
            ..input("sample.0")
        };
        let reused = unet.forward_cached(&input, &reused).unwrap();
        assert!(values(reused.prediction) == with(&residuals), "branch {branch}");
    }
}

/// diffusers' `down_block_additional_residuals` and `mid_block_additional_residual`.
#[test]
fn residuals_are_diffusers() {
    let folder = goldens::root().join("tiny-sd2/unet");
    let json = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let file = TensorFile::open(&folder.join("diffusion_pytorch_model.safetensors")).unwrap();
    let weights = PartWeights {
        files: vec![Arc::new(file)],
        ..checkpoint().weights(Part::Unet).clone()
    };
    let unet = UNet::load(&UnetConfig::from_json(&json, "x").unwrap(), &weights, &cpu()).unwrap();
    let refs = Refs::open("tiny-sd2/refs.safetensors");
    let target = cpu();
    let options = || (target.device.burn(), DType::F32);
    let of = |values: Vec<f32>, shape: [usize; 4]| {
        Tensor::<4>::from_data(TensorData::new(values, shape), options())
    };
    let contexts = [refs.f32s("cond"), refs.f32s("uncond")].concat();
    let context = Tensor::<3>::from_data(TensorData::new(contexts, [2, 77, 16]), options());
    let [batch, channels, height, width] = refs.shape("latents").try_into().unwrap();
    // The formula and the places of tiny_sd2.py.
    let places = [(32, 1), (32, 1), (32, 2), (64, 2), (64, 4), (32, 4), (32, 4)]
        .iter()
        .enumerate();
    let mut all: Vec<Tensor<4>> = places
        .map(|(k, &(channels, f))| {
            let shape = [batch, channels, height / f, width / f];
            let values =
                (0..shape.iter().product()).map(|i: usize| (0.3 * (0.7 * i as f64 + k as f64).sin()) as f32);
            of(values.collect(), shape).permute([0, 2, 3, 1])
        })
        .collect();
    let residuals = UnetFeatures {
        middle: all.pop().unwrap(),
        skips: all,
    };
    let latents = of(refs.f32s("latents"), [batch, channels, height, width]);
    let input = UnetInput {
        residuals: Some(&residuals),
        ..UnetInput::new(latents, &[900.0, 17.0], context)
    };
    refs.assert_close("controlled", &values(unet.forward(&input).unwrap()), 1e-5);
}

#[test]
fn residuals_that_do_not_fit_are_refused() {
    let unet = unet();
    let message = |residuals: UnetFeatures| {
        let input = UnetInput {
            residuals: Some(&residuals),
            ..UnetInput::new(tensor("sample.0"), &TIMESTEPS, context())
        };
        unet.forward(&input).map(drop).unwrap_err().to_string()
    };
    let mut few = residuals(12, true);
    few.skips.pop();
    assert!(message(few).contains("residuals"));
    let mut narrow = residuals(12, true);
    narrow.middle = narrow.middle.narrow(3, 0, 1);
    assert!(message(narrow).contains("residual"));
}

/// Nine channels, as inpainting models have: those behind the latents' may come apart from them.
#[test]
fn concatenated_channels() {
    let checkpoint = checkpoint();
    let mut all = tensors(&tiny().join(UNET));
    let (_, shape, bytes) = all.get_mut("conv_in.weight").unwrap();
    let (outputs, inputs) = (shape[0], shape[1]);
    let kernels: Vec<Vec<u8>> = bytes
        .chunks(bytes.len() / outputs / inputs)
        .map(<[u8]>::to_vec)
        .collect();
    let nine = kernels
        .chunks(inputs)
        .flat_map(|kernels| kernels.iter().cycle().take(9).flatten());
    (*bytes, shape[1]) = (nine.copied().collect(), 9);
    let weights = PartWeights {
        files: vec![Arc::new(
            TensorFile::from_bytes("nine", serialized(&all)).unwrap(),
        )],
        ..checkpoint.weights(Part::Unet).clone()
    };
    let mut config = checkpoint.configs().unet.clone();
    config.in_channels = 9;
    let unet = UNet::load(&config, &weights, &cpu()).unwrap();

    let (latents, behind) = (tensor::<4>("sample.0"), tensor::<4>("sample.1"));
    let behind = Tensor::cat(vec![behind.clone(), behind.narrow(1, 0, 1)], 1);
    let whole = Tensor::cat(vec![latents.clone(), behind.clone()], 1);
    let whole = UnetInput::new(whole, &TIMESTEPS, context());
    let apart = UnetInput {
        concat: Some(behind.clone()),
        ..UnetInput::new(latents.clone(), &TIMESTEPS, context())
    };
    assert!(values(unet.forward(&whole).unwrap()) == values(unet.forward(&apart).unwrap()));

    let message = |concat| {
        let input = UnetInput {
            concat,
            ..UnetInput::new(latents.clone(), &TIMESTEPS, context())
        };
        unet.forward(&input).map(drop).unwrap_err().to_string()
    };
    assert!(message(None).contains("latents"));
    let few = message(Some(behind.narrow(1, 0, 4)));
    assert!(
        few.contains("concatenated channels") && few.contains("[2, 5,"),
        "{few}"
    );
}
