//! Token merging, DeepCache and cached texts, against the packages that brought them.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, DeepFeatures, UNet, UnetInput, UnetOutput},
    weights::Target,
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
        let context = tensor(&refs, &format!("{case}.encoder_hidden_states"));
        let text = unet.cross_attention_cache(context).unwrap();
        let timesteps = vec![500.0; sample.dims()[0]];
        let call = |token_merging| {
            let input = UnetInput {
                token_merging,
                ..UnetInput::new(sample.clone(), &timesteps, &text)
            };
            values(unet.forward(&input).unwrap())
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
        let context = context.clone().narrow(0, rows.start, rows.len());
        let sample = sample.clone().narrow(0, rows.start, rows.len());
        let timesteps = vec![500.0; rows.len()];
        let input = UnetInput {
            token_merging: 0.5,
            ..UnetInput::new(sample, &timesteps, context)
        };
        values(unet.forward(&input).unwrap())
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
    let text = unet
        .cross_attention_cache(tensor(&refs, "encoder_hidden_states"))
        .unwrap();
    let timesteps: Vec<f64> = refs.f32s("timesteps").iter().map(|&t| f64::from(t)).collect();
    let call = |i: usize, deep| {
        let sample = tensor(&refs, &format!("sample.{i}"));
        let timesteps = [timesteps[i]; 2];
        let input = UnetInput::new(sample, &timesteps, &text);
        unet.forward_cached(&input, &deep).unwrap()
    };
    for branch in [0, 1, 2, 3, 4, 11] {
        let first = call(0, DeepCache::Keep { branch });
        assert!(values(first.prediction) == values(call(0, DeepCache::Off).prediction));
        let kept = first.deep.unwrap();
        // Rows that were kept apart are the batch again.
        let kept = DeepFeatures::join(&kept.split()).unwrap();
        for i in [1, 2] {
            let got = call(i, DeepCache::Reuse(kept.clone()));
            refs.assert_close(&format!("branch_{branch}.out.{i}"), &values(got.prediction), 1e-5);
        }
    }
    assert_eq!(unet.branches(), 12);
}

/// A context's cached keys and values give what the context itself gives, to the bit.
#[test]
fn a_cached_text_changes_nothing() {
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        let (unet, refs) = (unet(dtype), Refs::open("tiny-sd1/refs/unet.safetensors"));
        let context = tensor::<3>(&refs, "b2_24x40_t500.encoder_hidden_states");
        let text = unet.cross_attention_cache(context.clone()).unwrap();
        let width = 6 * 32 + 64 + 9 * 32;
        let size = if dtype == Dtype::F32 { 4 } else { 2 };
        assert_eq!(text.bytes(), 2 * 77 * 2 * width * size);
        for t in [1.0, 261.37, 999.0] {
            let sample = tensor::<4>(&refs, "b2_24x40_t500.sample");
            let timesteps = [t; 2];
            let fresh = UnetInput::new(sample.clone(), &timesteps, context.clone());
            let cached = UnetInput::new(sample, &timesteps, &text);
            let [fresh, cached] = [fresh, cached].map(|input| values(unet.forward(&input).unwrap()));
            assert!(fresh == cached, "{dtype} {t}");
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
    let text = unet.cross_attention_cache(context.clone()).unwrap();
    let call = |sample: Tensor<4>, text, deep| {
        let timesteps = vec![1.0; sample.dims()[0]];
        unet.forward_cached(&UnetInput::new(sample, &timesteps, text), &deep)
    };
    let message = |result: sd_core::Result<UnetOutput>| result.unwrap_err().to_string();
    let one = unet
        .cross_attention_cache(context.clone().narrow(0, 0, 1))
        .unwrap();
    let other = message(call(sample.clone(), &one, DeepCache::Off));
    assert!(other.contains("text") && other.contains("2 rows"), "{other}");
    let far = message(call(sample.clone(), &text, DeepCache::Keep { branch: 12 }));
    assert!(far.contains("branch") && far.contains("0 to 11"), "{far}");
    let kept = call(sample.clone(), &text, DeepCache::Keep { branch: 2 })
        .unwrap()
        .deep
        .unwrap();
    let smaller = sample.narrow(3, 0, 16);
    let other = message(call(smaller, &text, DeepCache::Reuse(kept.clone())));
    assert!(other.contains("deep features"), "{other}");
    assert!(DeepFeatures::join(&[]).is_none());
    let narrow = unet.cross_attention_cache(context.narrow(2, 0, 8));
    let narrow = narrow.unwrap_err().to_string();
    assert!(narrow.contains("context"), "{narrow}");
}
