//! Token merging, DeepCache and cached texts, against the packages that brought them.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, DeepFeatures, FirstBlock, MergedParts, UNet, UnetInput, UnetOutput},
    weights::Target,
};
use sd_kernels::Workspace;

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
        let Some((case, (parts, ratio))) =
            (name.split_once('.')).and_then(|(case, rest)| Some((case, rest.split_once('_')?)))
        else {
            continue;
        };
        let merged_parts = match parts {
            "out" => MergedParts::default(),
            "encoder" => continue,
            parts => MergedParts {
                cross_attention: parts != "mlp",
                feed_forward: parts != "cross",
            },
        };
        let sample = tensor::<4>(&refs, &format!("{case}.sample"));
        let context = tensor(&refs, &format!("{case}.encoder_hidden_states"));
        let text = unet.cross_attention_cache(context).unwrap();
        let timesteps = vec![500.0; sample.dims()[0]];
        let call = |token_merging| {
            let input = UnetInput {
                token_merging,
                merged_parts,
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
    assert_eq!(compared, 12 + 9);
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

/// A call whose first block gives what it gave before has the same output; beyond the threshold it is the whole one.
#[test]
fn a_call_is_left_out_where_the_first_block_stays() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let (unet, refs) = (unet(dtype), Refs::open("tiny-sd1/refs/deep_cache.safetensors"));
        let text = unet
            .cross_attention_cache(tensor(&refs, "encoder_hidden_states"))
            .unwrap();
        let call = |sample: Tensor<4>, t: f64, before: Option<&FirstBlock>, threshold| {
            // One row of latents for both texts, as runs have it.
            let timesteps = [t];
            let input = UnetInput::new(sample.narrow(0, 0, 1), &timesteps, &text);
            let whole = values(unet.forward(&input).unwrap());
            let workspace = Workspace::with_account();
            let output = workspace.enter(|| unet.forward_if_changed(&input, before, threshold));
            let work: f64 = workspace.account().iter().map(|entry| entry.flops).sum();
            (output.unwrap(), whole, work)
        };
        let sample = tensor::<4>(&refs, "sample.0");
        let (first, whole, all) = call(sample.clone(), 500.0, None, 0.5);
        assert!(values(first.prediction.clone()) == whole);
        let kept = first.first_block.unwrap();
        let kept = FirstBlock::join(&kept.split()).unwrap();
        // The same again: nothing has changed.
        let (again, _, work) = call(sample.clone(), 500.0, Some(&kept), 1e-9);
        assert!(values(again.prediction) == whole && again.first_block.is_none());
        assert!(work < 0.3 * all, "{work} of {all}");
        // A little noise: the nearest threshold says which.
        let noisy = sample.clone() + tensor::<4>(&refs, "sample.1") * 0.1;
        let left_out = |threshold| {
            let (output, fresh, work) = call(noisy.clone(), 480.0, Some(&kept), threshold);
            let got = values(output.prediction);
            match output.first_block {
                Some(_) => assert!(got == fresh && work == all),
                None => assert!(got == whole && work < 0.3 * all),
            }
            work < all
        };
        let thresholds = [0.0, 1e-3, 0.01, 0.1, 0.5, 1.0];
        let left_out: Vec<bool> = thresholds.into_iter().map(left_out).collect();
        assert!(
            left_out.is_sorted() && !left_out[1] && left_out[4],
            "{dtype} {left_out:?}"
        );
    }
    assert!(FirstBlock::join(&[]).is_none());
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
    let smaller = sample.clone().narrow(3, 0, 16);
    let other = message(call(smaller, &text, DeepCache::Reuse(kept.clone())));
    assert!(other.contains("deep features"), "{other}");
    assert!(DeepFeatures::join(&[]).is_none());
    let output = unet.forward_if_changed(&UnetInput::new(sample.clone(), &[1.0; 2], &text), None, 0.1);
    let kept = output.unwrap().first_block.unwrap();
    let again = |sample: Tensor<4>, kept: &FirstBlock| {
        let timesteps = vec![1.0; sample.dims()[0]];
        let input = UnetInput::new(sample, &timesteps, &text);
        message(unet.forward_if_changed(&input, Some(kept), 0.1))
    };
    let smaller = again(sample.clone().narrow(3, 0, 16), &kept);
    assert!(smaller.contains("first block"), "{smaller}");
    let [residual, prediction] = kept.parts();
    let narrow = FirstBlock::new(residual.clone(), prediction.clone().narrow(1, 0, 3));
    let narrow = again(sample.clone(), &narrow);
    assert!(narrow.contains("kept prediction"), "{narrow}");
    let narrow = unet.cross_attention_cache(context.narrow(2, 0, 8));
    let narrow = narrow.unwrap_err().to_string();
    assert!(narrow.contains("context"), "{narrow}");
}
