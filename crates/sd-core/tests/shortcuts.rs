//! What a call of the U-Net may leave out or take over, against the packages that brought it.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    models::{Deep, DeepFeatures, UNet, UnetOptions},
    weights::{Checkpoint, Part, Target},
};

fn unet(dtype: Dtype) -> UNet {
    let target = Target::new(Device::from_name("cpu").unwrap(), dtype);
    let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
    UNet::load(
        &checkpoint.configs().unet,
        checkpoint.weights(Part::Unet),
        &target,
    )
    .unwrap()
}

fn tensor<const D: usize>(refs: &Refs, name: &str) -> Tensor<D> {
    let shape: [usize; D] = refs.shape(name).try_into().unwrap();
    let device = Device::from_name("cpu").unwrap();
    Tensor::from_data(
        TensorData::new(refs.f32s(name), shape),
        (device.burn(), DType::F32),
    )
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

/// tomesd 0.1.3, as the WebUI applies it.
#[test]
fn merged_tokens_are_tomesds() {
    let (unet, refs) = (
        unet(Dtype::F32),
        Refs::open("tiny-sd1/refs/token_merging.safetensors"),
    );
    let mut compared = 0;
    for name in refs.names() {
        let Some((case, ratio)) = name.split_once(".out_") else {
            continue;
        };
        let sample = tensor::<4>(&refs, &format!("{case}.sample"));
        let memory = unet
            .remember(tensor(&refs, &format!("{case}.encoder_hidden_states")))
            .unwrap();
        let timesteps = vec![500.0; sample.dims()[0]];
        let call = |token_merging| {
            let options = UnetOptions {
                token_merging,
                ..UnetOptions::default()
            };
            let call = unet.forward_with(sample.clone(), &timesteps, &memory, None, options);
            values(call.unwrap().prediction)
        };
        let got = call(ratio.parse().unwrap());
        refs.assert_close(&name, &got, 1e-5);
        assert!(
            goldens::relative_error(&got, &call(0.0)) > 1e-3,
            "{name}: it should matter"
        );
        compared += 1;
    }
    assert_eq!(compared, 12);
}

/// A row gives the same whether its batch has others or not.
#[test]
fn merging_looks_at_each_picture_alone() {
    let (unet, refs) = (
        unet(Dtype::F32),
        Refs::open("tiny-sd1/refs/token_merging.safetensors"),
    );
    let sample = tensor::<4>(&refs, "b2_24x40.sample");
    let context = tensor::<3>(&refs, "b2_24x40.encoder_hidden_states");
    let call = |rows: std::ops::Range<usize>| {
        let memory = unet
            .remember(context.clone().narrow(0, rows.start, rows.len()))
            .unwrap();
        let options = UnetOptions {
            token_merging: 0.5,
            ..UnetOptions::default()
        };
        let sample = sample.clone().narrow(0, rows.start, rows.len());
        let call = unet.forward_with(sample, &vec![500.0; rows.len()], &memory, None, options);
        values(call.unwrap().prediction)
    };
    assert!(call(0..2) == [call(0..1), call(1..2)].concat());
}

/// DeepCacheSDHelper of DeepCache 0.1.1.
#[test]
fn reused_features_are_deepcaches() {
    let (unet, refs) = (
        unet(Dtype::F32),
        Refs::open("tiny-sd1/refs/deep_cache.safetensors"),
    );
    let memory = unet.remember(tensor(&refs, "encoder_hidden_states")).unwrap();
    let timesteps: Vec<f64> = refs.f32s("timesteps").iter().map(|&t| f64::from(t)).collect();
    let call = |i: usize, deep| {
        let options = UnetOptions {
            deep,
            ..UnetOptions::default()
        };
        let sample = tensor(&refs, &format!("sample.{i}"));
        unet.forward_with(sample, &[timesteps[i]; 2], &memory, None, options)
            .unwrap()
    };
    for branch in [0, 1, 2, 3, 4, 11] {
        let first = call(0, Deep::Keep { branch });
        assert!(values(first.prediction) == values(call(0, Deep::Whole).prediction));
        let kept = first.deep.unwrap();
        // Rows that were kept apart are the batch again.
        let kept = DeepFeatures::join(&kept.split()).unwrap();
        for i in [1, 2] {
            let got = call(i, Deep::Reuse(kept.clone()));
            refs.assert_close(&format!("branch_{branch}.out.{i}"), &values(got.prediction), 1e-5);
        }
    }
    assert_eq!(unet.branches(), 12);
}

/// What is remembered of a context gives what the context itself gives, to the bit.
#[test]
fn remembering_changes_nothing() {
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let (unet, refs) = (unet(dtype), Refs::open("tiny-sd1/refs/unet.safetensors"));
        let context = tensor::<3>(&refs, "b2_24x40_t500.encoder_hidden_states");
        let memory = unet.remember(context.clone()).unwrap();
        let width = 6 * 32 + 64 + 9 * 32;
        let size = if dtype == Dtype::F32 { 4 } else { 2 };
        assert_eq!(memory.bytes(), 2 * 77 * 2 * width * size);
        for t in [1.0, 261.37, 999.0] {
            let sample = tensor::<4>(&refs, "b2_24x40_t500.sample");
            let fresh = unet
                .forward(sample.clone(), &[t; 2], context.clone(), None)
                .unwrap();
            let options = UnetOptions::default();
            let remembered = unet
                .forward_with(sample, &[t; 2], &memory, None, options)
                .unwrap();
            assert!(values(fresh) == values(remembered.prediction), "{dtype} {t}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (unet, refs) = (
        unet(Dtype::F32),
        Refs::open("tiny-sd1/refs/deep_cache.safetensors"),
    );
    let (context, sample) = (
        tensor::<3>(&refs, "encoder_hidden_states"),
        tensor::<4>(&refs, "sample.0"),
    );
    let memory = unet.remember(context.clone()).unwrap();
    let call = |sample: Tensor<4>, memory, deep| {
        let options = UnetOptions {
            deep,
            ..UnetOptions::default()
        };
        let timesteps = vec![1.0; sample.dims()[0]];
        unet.forward_with(sample, &timesteps, memory, None, options)
    };
    let message = |result: sd_core::Result<_>| {
        result
            .map(|_: sd_core::models::UnetCall| ())
            .unwrap_err()
            .to_string()
    };
    let one = unet.remember(context.clone().narrow(0, 0, 1)).unwrap();
    assert!(message(call(sample.clone(), &one, Deep::Whole)).contains("text memory"));
    let far = message(call(sample.clone(), &memory, Deep::Keep { branch: 12 }));
    assert!(far.contains("branch") && far.contains("0 to 11"), "{far}");
    let kept = call(sample.clone(), &memory, Deep::Keep { branch: 2 })
        .unwrap()
        .deep
        .unwrap();
    let smaller = sample.narrow(3, 0, 16);
    let other = message(call(smaller, &memory, Deep::Reuse(kept.clone())));
    assert!(other.contains("deep features"), "{other}");
    assert!(DeepFeatures::join(&[]).is_none());
    let narrow = unet.remember(context.narrow(2, 0, 8)).unwrap_err().to_string();
    assert!(narrow.contains("context"), "{narrow}");
}
